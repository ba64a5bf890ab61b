"""PBM, PGM and PPM files: all six kinds are the pixels that they say."""

import numpy as np
import pytest
from phone_pictures import PHONE_GOOD
from pictures import garment

from modiste.errors import PhotoError
from modiste.photo.opening import open_photo
from modiste.photo.pnm import Pnm


def expected(mode: str) -> np.ndarray:
    return np.asarray(garment().convert(mode).convert("RGB"))


@pytest.mark.parametrize(("name", "mode"), [("ppm", "RGB"), ("ppm as text", "RGB"), ("pgm", "L"), ("pgm as text", "L")])
def test_binary_and_text_hold_the_same_pixels(name: str, mode: str) -> None:
    assert np.array_equal(open_photo(PHONE_GOOD[name]()), expected(mode))


def test_bits_are_black_where_they_are_set() -> None:
    assert np.array_equal(open_photo(PHONE_GOOD["pbm"]()), expected("1"))
    assert Pnm(b"P1\n# two rows\n2 2\n10\n01\n").pixels()[..., 0].tolist() == [[0, 255], [255, 0]]


def test_levels_are_stretched_to_bytes() -> None:
    assert Pnm(b"P2 4 1 15 0 5 10 15").pixels()[0, :, 0].tolist() == [0, 85, 170, 255]
    assert Pnm(b"P5 2 1 1000\n" + bytes((0, 0, 3, 0xE8))).pixels()[0, :, 0].tolist() == [0, 255]
    assert Pnm(b"P5 1 1 100\n" + bytes((200,))).pixels()[0, 0, 0] == 255  # above its largest value
    assert Pnm(b"P2 1 1 255 300").pixels()[0, 0, 0] == 255


@pytest.mark.parametrize("data", [b"P6 2 2 255\n" + bytes(11), b"P4 9 2\n\0\0\0", b"P2 2 2 9 1 2 3", b"P1 2 2 101"])
def test_missing_pixels_are_noticed(data: bytes) -> None:
    with pytest.raises(PhotoError, match="pixels are missing"):
        Pnm(data).pixels()
