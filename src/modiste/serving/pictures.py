"""A person's pictures to answers, the network left to the batcher."""

import asyncio
import base64
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from modiste import prediction
from modiste.cores import available_cores
from modiste.explanation import evidence
from modiste.onnx_model import scores_of
from modiste.photo import Prepared
from modiste.photo.preparation import Preparation
from modiste.prediction import answered, batch_of, prepared
from modiste.serving.batching import Batcher
from modiste.serving.wire import Answer, Step

Value = TypeVar("Value")
SHOWN_SIDE = 256
"""Pixels of a step's longer side, as it is sent."""


class Picture(NamedTuple):
    """A file that somebody sent; without content where that was no base64."""

    name: str
    content: bytes | None


class Studio:
    """Prepares pictures on all cores, and has them answered.

    Args:
        batcher: of a classifier of square images.
    """

    def __init__(self, batcher: Batcher) -> None:
        self.batcher, self.preparation = batcher, batcher.model.preparation
        self._threads = ThreadPoolExecutor(len(available_cores()), thread_name_prefix="pictures")

    async def answers(self, pictures: list[Picture], *, steps: bool, explained: int) -> list[Answer]:
        """Return an answer for each picture; for one that cannot be read, its fault.

        Args:
            pictures: files.
            steps: whether to show each step of the preparation.
            explained: of how many of them, the first, to show where the network looked.
        """
        read = await asyncio.gather(*(self._in_thread(_prepared, one.content, self.preparation) for one in pictures))
        images = batch_of(read)
        scores = None if images is None else scores_of(await self.batcher.run(images))
        found = answered(self.batcher.model.class_names, [one.name for one in pictures], read, scores)
        return [
            await self._shown(answer, steps=steps, explain=number < explained) for number, answer in enumerate(found)
        ]

    async def warm_up(self) -> None:
        """Answer an empty picture, so that whoever comes first does not wait for libraries to be loaded."""
        side = self.preparation.side
        blank = np.full((8 * side, 8 * side), 255, np.uint8)
        blank[side:, side:] = 0
        content = base64.b64decode(_png(blank).partition(",")[2])
        await self.answers([Picture("blank", content)], steps=True, explained=1)

    def close(self) -> None:
        """Stop."""
        self._threads.shutdown()

    async def _shown(self, answer: prediction.Answer, *, steps: bool, explain: bool) -> Answer:
        if answer.prepared is None:
            return Answer(name=answer.source, fault=answer.fault)
        return Answer(
            name=answer.source,
            label=answer.probabilities[0][0],
            probabilities=dict(answer.probabilities),
            novelty=answer.novelty,
            none_of_the_classes=None if answer.novelty is None else answer.is_novel,
            separated=answer.prepared.separated,
            inverted=answer.prepared.inverted,
            evidence=await self._evidence(answer.prepared) if explain else [],
            steps=await self._in_thread(_steps, answer.prepared) if steps else [],
        )

    async def _evidence(self, prepared: Prepared) -> list[list[float]]:
        model = self.batcher.model
        found = await self.batcher.between_batches(lambda: evidence(model, prepared.planes))
        rows: list[list[float]] = found.round(4).tolist()
        return rows

    async def _in_thread(self, function: Callable[..., Value], *arguments: object) -> Value:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def _prepared(content: bytes | None, preparation: Preparation) -> Prepared | str:
    return "expected base64" if content is None else prepared(content, preparation)


def _steps(prepared: Prepared) -> list[Step]:
    return [Step(name=name, picture=_png(picture)) for name, picture in prepared.steps.items()]


def _png(picture: np.ndarray) -> str:
    from PIL import Image

    image, file = Image.fromarray(picture), io.BytesIO()
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.BOX)
    image.save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
