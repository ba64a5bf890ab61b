"""The way of uploaded pictures to answers: preparation on all cores, and prediction in the batches of the network."""

import asyncio
import base64
import io
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np

from modiste.inference.answers import FileAnswer, answered, batch_of, prepared
from modiste.inference.classifier import evidence
from modiste.photo.garment import Prepared
from modiste.photo.preparation import Preparation
from modiste.serving.batching import Batcher
from modiste.serving.schemas import Answer, Step
from modiste.system.processes import available_cores

Value = TypeVar("Value")
SLOW_SECONDS = 2.0
"""Time after which a picture no longer occupies a core that others wait for."""
MOST_SLOW = 8
"""Largest number of such slow pictures at work beside the others."""
SHOWN_SIDE = 256
"""Longer side, in pixels, of a step's picture in a response."""


class UploadedPicture(NamedTuple):
    """A file that a client sent; its content is None if it was not valid base64."""

    name: str
    content: bytes | None


class Studio:
    """Prepares uploaded pictures on all cores and predicts their classes.

    Args:
        batcher: computes the outputs of the network.
        preparation: turns a picture file into the network's image.
    """

    def __init__(self, batcher: Batcher, preparation: Preparation) -> None:
        self.batcher, self.preparation = batcher, preparation
        self._count = len(available_cores())
        self._cores = asyncio.Semaphore(self._count)
        self._threads = ThreadPoolExecutor(self._count + MOST_SLOW, thread_name_prefix="pictures")

    async def answers(
        self, pictures: list[UploadedPicture], *, steps: bool, explained: int, drawn: bool = False
    ) -> list[Answer]:
        """Return an answer for each picture; a picture that cannot be read gets its fault instead of a class.

        Args:
            pictures: files.
            steps: whether to return the picture after each step of the preparation.
            explained: number of pictures, from the first, for which to return where the network looked.
            drawn: whether they are drawings, whose novelty is measured by a limit of their own.
        """
        read = await self._read(pictures)
        images = batch_of(read)
        scores = None if images is None else self.batcher.model.scores(await self.batcher.run(images))
        if drawn and scores is not None and scores.novelty is not None:
            scores = replace(scores, novelty=scores.novelty / self.batcher.model.drawing_limit)
        found = answered(self.batcher.model.class_names, [one.name for one in pictures], read, scores)
        return [
            await self._shown(answer, steps=steps, explain=number < explained) for number, answer in enumerate(found)
        ]

    async def warm_up(self) -> None:
        """Answer a blank picture, so that the first client does not wait until libraries are loaded."""
        side = self.preparation.side
        blank = np.full((8 * side, 8 * side), 255, np.uint8)
        blank[side:, side:] = 0
        content = base64.b64decode(_png(blank).partition(",")[2])
        await self.answers([UploadedPicture("blank", content)], steps=True, explained=1)

    def close(self) -> None:
        """Stop without waiting for the pictures at work."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _read(self, pictures: list[UploadedPicture]) -> list[Prepared | str]:
        """Prepare a request's pictures, at most one per core at a time, so that other requests have their turn."""
        turns = asyncio.Semaphore(self._count)

        async def read(picture: UploadedPicture) -> Prepared | str:
            async with turns:
                return await self._in_thread(_prepared, picture.content, self.preparation)

        return await asyncio.gather(*map(read, pictures))

    async def _shown(self, answer: FileAnswer, *, steps: bool, explain: bool) -> Answer:
        """Return an answer as the body of a response has it."""
        if answer.prepared is None:
            return Answer(name=answer.source, fault=answer.fault)
        if not all(math.isfinite(share) for _, share in answer.probabilities):
            return Answer(name=answer.source, fault="the network gives no finite probabilities for this picture")
        return Answer(
            name=answer.source,
            label=answer.probabilities[0][0],
            probabilities=dict(answer.probabilities),
            novelty=_finite(answer.novelty),
            none_of_the_classes=None if answer.novelty is None else answer.is_novel,
            separated=answer.prepared.separated,
            background=answer.prepared.background or None,
            network=answer.prepared.network or None,
            doubt=answer.prepared.doubt,
            inverted=answer.prepared.inverted,
            evidence=await self._evidence(answer.prepared) if explain else [],
            steps=await self._in_thread(_steps, answer.prepared) if steps else [],
        )

    async def _evidence(self, prepared: Prepared) -> list[list[float]]:
        model = self.batcher.model
        found = await self.batcher.between_batches(lambda: evidence(model, prepared.planes))
        rows: list[list[float]] = np.nan_to_num(found).round(4).tolist()
        return rows

    async def _in_thread(self, function: Callable[..., Value], *arguments: object) -> Value:
        """Return the result of a function that runs in a thread; after SLOW_SECONDS it gives its core to others."""
        async with self._cores:
            work = asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
            await asyncio.wait([work], timeout=SLOW_SECONDS)
        return await work


def _prepared(content: bytes | None, preparation: Preparation) -> Prepared | str:
    if content is None:
        return "expected base64, with or without data:image/...;base64, before it"
    return prepared(content, preparation)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _steps(prepared: Prepared) -> list[Step]:
    return [Step(name=name, picture=_png(picture)) for name, picture in prepared.steps.items()]


def _png(picture: np.ndarray) -> str:
    """Return a picture as a data: URL of a PNG, at most SHOWN_SIDE pixels high and wide."""
    from PIL import Image

    image, file = Image.fromarray(picture), io.BytesIO()
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.BOX)
    image.save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
