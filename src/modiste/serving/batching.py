"""Batches of images from many requests, for one pass through the network.

Requests that arrive while a batch is running form the next batch. The server never waits to fill a batch, and batches
grow with the load.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import UInt8

from modiste.inference.onnx_model import OnnxModel

Outputs = dict[str, np.ndarray]
Value = TypeVar("Value")


class _Waiting(NamedTuple):
    images: UInt8[np.ndarray, "n c h w"]
    outputs: "asyncio.Future[Outputs]"


class Batcher:
    """Computes the outputs of a network for the images of many requests, one batch at a time.

    Args:
        model: The network.
        most: The largest number of images in a batch of several requests, 1 or more.
        observe: Called with the size of each batch.
    """

    def __init__(self, model: OnnxModel, *, most: int, observe: Callable[[int], object]) -> None:
        self.model, self.most, self.observe = model, most, observe
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._work = asyncio.create_task(self._compute_all())

    async def run(self, images: UInt8[np.ndarray, "n c h w"]) -> Outputs:
        """Return every output of the network for the images, by name; DataError if their shape or type is wrong.

        More images than fit one batch take several. Other requests have their turn in between.
        """
        self.model.demand_images(images.shape, str(images.dtype))
        starts = range(0, max(len(images), 1), self.most)
        parts = [await self._turn(images[start : start + self.most]) for start in starts]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    async def _turn(self, images: UInt8[np.ndarray, "n c h w"]) -> Outputs:
        outputs: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(images, outputs))
        self._arrived.set()
        return await outputs

    async def between_batches(self, compute: Callable[[], Value]) -> Value:
        """Call ``compute`` in the network's thread, between two batches; return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, compute)

    def close(self) -> None:
        """Stop without waiting for the running batch."""
        self._work.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _compute_all(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while batch := self._next():
                await self._compute(batch)

    def _next(self) -> list[_Waiting]:
        """Take the requests that fit one batch, in the order of their arrival, and at least one if any waits."""
        batch, count = list[_Waiting](), 0
        while self._waiting and (not batch or count + len(self._waiting[0].images) <= self.most):
            one = self._waiting.popleft()
            if not one.outputs.done():  # its request may have been cancelled
                batch.append(one)
                count += len(one.images)
        return batch

    async def _compute(self, batch: list[_Waiting]) -> None:
        try:
            images = np.concatenate([one.images for one in batch])
            self.observe(len(images))
            whole = await self.between_batches(lambda: self.model.run(images))
        except Exception as error:  # each request reports it to its own client
            for one in batch:
                if not one.outputs.done():
                    one.outputs.set_exception(error)
            return
        start = 0
        for one in batch:
            stop = start + len(one.images)
            if not one.outputs.done():
                one.outputs.set_result({name: values[start:stop] for name, values in whole.items()})
            start = stop
