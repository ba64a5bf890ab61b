"""The processes that prepare pictures: one that died while it waited costs no picture."""

import asyncio

import pytest

from modiste.photo.preparation import Preparation
from modiste.serving.picture_pool import PicturePool
from modiste.serving.picture_process import PreparedUpload


@pytest.mark.parametrize("is_noticed", [True, False])
def test_a_process_that_dies_while_idle_costs_no_picture(photos: list[bytes], is_noticed: bool) -> None:
    async def ask() -> tuple[PreparedUpload, PreparedUpload, int]:
        pool = PicturePool(Preparation())
        first = await pool.prepare(photos[0], steps=False)
        (process,) = pool._processes
        process.kill()
        if is_noticed:
            await process.wait()
        second = await pool.prepare(photos[0], steps=False)
        count = len(pool._processes)
        await pool.close()
        return first, second, count

    first, second, count = asyncio.run(ask())
    assert not isinstance(first.picture, str)
    assert not isinstance(second.picture, str)
    assert (second.picture.planes == first.picture.planes).all()
    assert count == 1
