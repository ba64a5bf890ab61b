"""TIFF files: what the pixels need is kept, and nothing else reaches a decoder."""

import io

import numpy as np
import pytest
from phone_pictures import plain_tiff, tiled_tiff
from pictures import BLACK, garment, oriented, saved
from PIL import Image

from modiste.errors import PhotoError
from modiste.photo import tiff
from modiste.photo.opening import open_photo
from modiste.photo.tiff import read_tiff


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "YCbCr"])
def test_the_reduced_file_has_the_same_pixels(mode: str, compression: str) -> None:
    grey = mode in ("I;16", "F")
    image = garment().convert("L").convert(mode) if grey else garment().convert(mode)
    whole = saved(image, "TIFF", compression=compression, software="a program", description="x" * 500)
    found = read_tiff(whole)
    assert found.size == (80, 100)
    with Image.open(io.BytesIO(whole)) as expected, Image.open(io.BytesIO(found.picture)) as reduced:
        assert np.array_equal(np.asarray(reduced), np.asarray(expected))
        assert 305 in expected.tag_v2
        assert 305 not in reduced.tag_v2


def test_both_byte_orders_strips_and_tiles_are_one_picture() -> None:
    expected = np.asarray(garment())
    for whole in (
        plain_tiff("<"),
        plain_tiff(">"),
        tiled_tiff(),
        saved(garment(), "TIFF", compression="packbits", strip_size=240),
    ):
        assert np.array_equal(open_photo(whole), expected)


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_scanner_is_held_as_its_tag_says(turn: int) -> None:
    with Image.open(io.BytesIO(oriented(turn))) as stored:
        whole = saved(stored.convert("RGB"), "TIFF", tiffinfo={274: turn})
    assert np.array_equal(open_photo(whole), np.asarray(garment()))


@pytest.mark.parametrize("value", [0.5, 1.0, np.nan])
def test_floats_up_to_1_are_refused_for_all_would_be_black(value: float) -> None:
    values = np.full((20, 20), value, np.float32)
    with pytest.raises(PhotoError, match="holds fractions up to 1, or no numbers; expected 0 to 255; save it with 8"):
        open_photo(saved(Image.fromarray(values), "TIFF"))
    values[:] = 0
    values[0, 0] = 200
    assert open_photo(saved(Image.fromarray(values), "TIFF")).max() == 200


def test_only_the_first_page_is_read() -> None:
    pages = saved(garment(), "TIFF", save_all=True, append_images=[BLACK.copy()] * 5)
    assert np.array_equal(open_photo(pages), np.asarray(garment()))
    with Image.open(io.BytesIO(read_tiff(pages).picture)) as reduced:
        assert reduced.n_frames == 1


def test_strips_and_other_values_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = saved(garment(), "TIFF", compression="tiff_lzw", strip_size=240)
    monkeypatch.setattr(tiff, "MOST_PIECES", 100)
    read_tiff(whole)
    monkeypatch.setattr(tiff, "MOST_PIECES", 99)
    with pytest.raises(PhotoError, match="100 values of TIFF tag 273; expected at most 99"):
        read_tiff(whole)
    monkeypatch.undo()
    monkeypatch.setattr(tiff, "MOST_VALUES", 3)
    read_tiff(plain_tiff())
    monkeypatch.setattr(tiff, "MOST_VALUES", 2)
    with pytest.raises(PhotoError, match="3 values of TIFF tag 258; expected at most 2"):
        read_tiff(plain_tiff())


def test_tiles_may_exceed_the_image_but_not_by_much(monkeypatch: pytest.MonkeyPatch) -> None:
    read_tiff(tiled_tiff())
    monkeypatch.setattr(tiff, "TILE_PIXELS", 64 * 64 - 1)
    read_tiff(tiled_tiff())  # twice the image
    monkeypatch.setattr(tiff, "MOST_OVERHANG", 2)
    with pytest.raises(PhotoError, match="tiles of 64 x 64; expected none larger than itself"):
        read_tiff(tiled_tiff())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"t256": (3, [80, 80])}, "TIFF tag 256 is not one number"),
        ({"t259": (3, [34712])}, "compression 34712"),
        ({"t322": (3, [0]), "t323": (3, [64])}, "its tiles have no size"),
        ({"t279": (4, [10**9])}, "larger than the file"),
    ],
)
def test_a_damaged_directory_is_refused(changes: dict[str, tuple[int, list[int]]], reason: str) -> None:
    with pytest.raises(PhotoError, match=reason):
        open_photo(plain_tiff(**changes))
