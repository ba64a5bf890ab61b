"""The way of uploaded pictures to answers: preparation on all cores, and prediction in the batches of the network."""

import asyncio
import base64
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from modiste.inference.answers import FileAnswer, answered, batch_of
from modiste.inference.classifier import evidence
from modiste.photo.garment import Prepared
from modiste.photo.preparation import Preparation
from modiste.serving.batching import Batcher
from modiste.serving.picture_pool import PicturePool
from modiste.serving.picture_process import PreparedUpload, png
from modiste.serving.schemas import Answer, Step

NO_BASE64 = "expected base64, with or without data:image/...;base64, before it"


class UploadedPicture(NamedTuple):
    """A file that a client sent; its content is None if it was not valid base64."""

    name: str
    content: bytes | None


class Studio:
    """Prepares uploaded pictures on all cores and predicts their classes.

    Args:
        batcher: Computes the outputs of the network.
        preparation: Turns a picture file into the network's image.
        least: Probability from which on a class belongs to the prediction set; None for no sets.
    """

    def __init__(self, batcher: Batcher, preparation: Preparation, least: float | None = None) -> None:
        self.batcher, self.preparation, self.least = batcher, preparation, least
        self._pool = PicturePool(preparation)

    async def answers(
        self, pictures: list[UploadedPicture], *, steps: bool, explained: int, drawn: bool = False
    ) -> list[Answer]:
        """Return an answer for each picture; a picture that cannot be read gets its fault instead of a class.

        Args:
            pictures: Files.
            steps: Whether to return the picture after each step of the preparation.
            explained: Number of pictures, from the first, for which to return where the network looked.
            drawn: Whether they are drawings, whose novelty is measured by a limit of their own.
        """
        uploads = await self._read(pictures, steps=steps)
        read = [upload.picture for upload in uploads]
        images = batch_of(read)
        scores = None if images is None else self.batcher.model.scores(await self.batcher.run(images))
        if drawn and scores is not None and scores.novelty is not None:
            scores = replace(scores, novelty=scores.novelty / self.batcher.model.drawing_limit)
        found = answered(self.batcher.model.class_names, [one.name for one in pictures], read, scores)
        return [
            await self._shown(answer, upload.steps, explain=number < explained)
            for number, (answer, upload) in enumerate(zip(found, uploads, strict=True))
        ]

    async def warm_up(self) -> None:
        """Answer blank pictures, so that the first client does not wait until processes and libraries are loaded."""
        side = self.preparation.side
        blank = np.full((8 * side, 8 * side), 255, np.uint8)
        blank[side:, side:] = 0
        content = base64.b64decode(png(blank).partition(",")[2])
        await self.answers([UploadedPicture("blank", content)] * self._pool.count, steps=True, explained=1)

    async def close(self) -> None:
        """Stop without waiting for the pictures at work."""
        await self._pool.close()

    async def _read(self, pictures: list[UploadedPicture], *, steps: bool) -> list[PreparedUpload]:
        """Prepare a request's pictures, at most one per core at a time, so that other requests have their turn."""
        turns = asyncio.Semaphore(self._pool.count)

        async def read(picture: UploadedPicture) -> PreparedUpload:
            if picture.content is None:
                return PreparedUpload(NO_BASE64, [])
            async with turns:
                return await self._pool.prepare(picture.content, steps=steps)

        return await asyncio.gather(*map(read, pictures))

    async def _shown(self, answer: FileAnswer, steps: list[tuple[str, str]], *, explain: bool) -> Answer:
        """Return an answer as the body of a response has it."""
        if answer.prepared is None:
            return Answer(name=answer.source, fault=answer.fault)
        return Answer(
            name=answer.source,
            label=answer.probabilities[0][0],
            probabilities=dict(answer.probabilities),
            possible=[] if self.least is None else list(answer.with_set(self.least).possible),
            novelty=answer.novelty,
            none_of_the_classes=None if answer.novelty is None else answer.is_novel,
            separated=answer.prepared.separated,
            background=answer.prepared.background or None,
            network=answer.prepared.network or None,
            doubt=answer.prepared.doubt,
            inverted=answer.prepared.inverted,
            evidence=await self._evidence(answer.prepared) if explain else [],
            steps=[Step(name=name, picture=picture) for name, picture in steps],
        )

    async def _evidence(self, prepared: Prepared) -> list[list[float]]:
        model = self.batcher.model
        found = await self.batcher.between_batches(lambda: evidence(model, prepared.planes))
        rows: list[list[float]] = np.nan_to_num(found).round(4).tolist()
        return rows
