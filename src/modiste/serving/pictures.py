"""A person's pictures to answers, the network left to the batcher."""

import asyncio
import base64
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from modiste.cores import available_cores
from modiste.errors import PhotoError
from modiste.explanation import evidence
from modiste.photo import Prepared, prepare
from modiste.serving.batching import Batcher, Outputs
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
        batcher: of a classifier of square grey images.
    """

    def __init__(self, batcher: Batcher) -> None:
        self.batcher, self.side = batcher, batcher.model.side
        self._threads = ThreadPoolExecutor(len(available_cores()), thread_name_prefix="pictures")

    async def answers(self, pictures: list[Picture], *, steps: bool, explained: int) -> list[Answer]:
        """Return an answer for each picture; for one that cannot be read, its fault.

        Args:
            pictures: files.
            steps: whether to show each step of the preparation.
            explained: of how many of them, the first, to show where the network looked.
        """
        prepared = await asyncio.gather(*(self._in_thread(_prepared, one.content, self.side) for one in pictures))
        images = [one.image for one in prepared if isinstance(one, Prepared)]
        outputs = await self.batcher.classify(np.stack(images)[:, None]) if images else {}
        rows = iter(range(len(images)))
        return [
            await self._answer(picture.name, one, (outputs, next(rows)), steps=steps, explain=number < explained)
            if isinstance(one, Prepared)
            else Answer(name=picture.name, fault=one)
            for number, (picture, one) in enumerate(zip(pictures, prepared, strict=True))
        ]

    async def warm_up(self) -> None:
        """Answer an empty picture, so that whoever comes first does not wait for libraries to be loaded."""
        blank = np.full((8 * self.side, 8 * self.side), 255, np.uint8)
        blank[self.side :, self.side :] = 0
        content = base64.b64decode(_png(blank).partition(",")[2])
        await self.answers([Picture("blank", content)], steps=True, explained=1)

    def close(self) -> None:
        """Stop."""
        self._threads.shutdown()

    async def _answer(
        self, name: str, prepared: Prepared, found: tuple[Outputs, int], *, steps: bool, explain: bool
    ) -> Answer:
        outputs, row = found
        values = outputs["probabilities"][row].tolist()
        classes = sorted(zip(self.batcher.model.class_names, values, strict=True), key=lambda item: -item[1])
        novelty = float(outputs["novelty"][row]) if "novelty" in outputs else None
        looked = await self._evidence(prepared) if explain else []
        return Answer(
            name=name,
            label=classes[0][0],
            probabilities=dict(classes),
            novelty=novelty,
            none_of_the_classes=None if novelty is None else novelty > 1,
            separated=prepared.separated,
            inverted=prepared.inverted,
            steps=await self._in_thread(_steps, prepared) if steps else [],
            evidence=looked,
        )

    async def _evidence(self, prepared: Prepared) -> list[list[float]]:
        model = self.batcher.model
        found = await self.batcher.between_batches(lambda: evidence(model, prepared.image))
        rows: list[list[float]] = found.round(4).tolist()
        return rows

    async def _in_thread(self, function: Callable[..., Value], *arguments: object) -> Value:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def _prepared(content: bytes | None, side: int) -> Prepared | str:
    if content is None:
        return "expected base64"
    try:
        return prepare(content, side=side)
    except PhotoError as error:
        return str(error)


def _steps(prepared: Prepared) -> list[Step]:
    return [Step(name=name, picture=_png(picture)) for name, picture in prepared.steps.items()]


def _png(picture: np.ndarray) -> str:
    from PIL import Image

    image, file = Image.fromarray(picture), io.BytesIO()
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.BOX)
    image.save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
