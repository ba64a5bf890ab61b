"""Files as people have them, made by script: each is a photo, or is refused with a reason that helps."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from modiste.errors import PhotoError
from modiste.photo import prepare
from modiste.photo.opening import LONGEST_SIDE, MOST_BYTES, open_photo

ORIENTATION = 0x0112


def garment(width: int = 80, height: int = 100) -> Image.Image:
    """A dark shape that no turn or mirror leaves as it is, on a light ground."""
    pixels = np.full((height, width, 3), 240, np.uint8)
    pixels[height // 5 : -height // 5, width // 4 : width // 2] = (60, 40, 90)
    pixels[height // 5 : height // 3, width // 4 : -width // 5] = (90, 60, 60)
    return Image.fromarray(pixels)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def oriented(value: int) -> bytes:
    """The same scene as a camera held in each of eight ways stores it."""
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[value]
    stored = garment() if undo is None else garment().transpose(undo)
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return saved(stored, "PNG", exif=exif)


def header_only(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds none."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def transparent() -> Image.Image:
    image = garment().convert("RGBA")
    pixels = np.asarray(image).copy()
    pixels[pixels[..., 0] == 240] = (0, 0, 0, 0)
    return Image.fromarray(pixels)


def sixteen_bit() -> Image.Image:
    return Image.fromarray(np.asarray(garment().convert("L")).astype(np.uint16) * 257)


def with_text() -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("comment", "x" * 5000)
    return saved(garment(), "PNG", pnginfo=notes)


GOOD: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved(garment(), "JPEG", quality=92),
    "progressive jpeg": lambda: saved(garment(), "JPEG", progressive=True),
    "grey jpeg": lambda: saved(garment().convert("L"), "JPEG"),
    "cmyk jpeg": lambda: saved(garment().convert("CMYK"), "JPEG"),
    "large jpeg": lambda: saved(garment(4000, 5000), "JPEG"),
    "png": lambda: saved(garment(), "PNG"),
    "grey png": lambda: saved(garment().convert("L"), "PNG"),
    "16 bit png": lambda: saved(sixteen_bit(), "PNG"),
    "palette png": lambda: saved(garment().quantize(8), "PNG"),
    "one bit png": lambda: saved(garment().convert("1"), "PNG"),
    "alpha png": lambda: saved(transparent(), "PNG"),
    "grey alpha png": lambda: saved(transparent().convert("LA"), "PNG"),
    "transparent palette png": lambda: saved(transparent().quantize(8), "PNG"),
    "annotated png": with_text,
    "webp": lambda: saved(garment(), "WEBP"),
    "lossless webp": lambda: saved(garment(), "WEBP", lossless=True),
    "alpha webp": lambda: saved(transparent(), "WEBP", lossless=True),
    "bmp": lambda: saved(garment(), "BMP"),
    "gif": lambda: saved(garment(), "GIF"),
    "animated gif": lambda: saved(garment(), "GIF", save_all=True, append_images=[Image.new("RGB", (80, 100))]),
    "animated png": lambda: saved(garment(), "PNG", save_all=True, append_images=[Image.new("RGB", (80, 100))]),
    "trailing rubbish": lambda: saved(garment(), "JPEG") + b"rubbish" * 100,
    "small": lambda: saved(garment(12, 16), "PNG"),
    "strip": lambda: saved(garment(40, 400), "PNG"),
}
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "the file is empty"),
    "text": (lambda: b"not a picture at all\n" * 20, "no image that can be read; expected JPEG, PNG"),
    "pdf": (lambda: b"%PDF-1.7\n" + b"0" * 500, "no image that can be read"),
    "svg": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image that can be read"),
    "html": (lambda: b"<!doctype html><img src=x>", "no image that can be read"),
    "tiff": (lambda: saved(garment(), "TIFF"), "no image that can be read"),
    "ico": (lambda: saved(garment(), "ICO"), "no image that can be read"),
    "eps": (lambda: saved(garment(), "EPS"), "no image that can be read"),
    "ppm": (lambda: saved(garment(), "PPM"), "no image that can be read"),
    "half a jpeg": (lambda: saved(garment(), "JPEG")[:900], "damaged"),
    "half a png": (lambda: saved(garment(), "PNG")[:150], "damaged"),
    "half a webp": (lambda: saved(garment(), "WEBP", lossless=True)[:60], "damaged"),
    "half a bmp": (lambda: saved(garment(), "BMP")[:5000], "damaged"),
    "a png without pixels": (lambda: header_only(80, 100), "damaged"),
    "a bomb": (lambda: header_only(65_535, 65_535), "the image is too large"),
    "a large png": (lambda: header_only(5000, 5000), "5,000 x 5,000; expected at most 24"),
    "one pixel": (lambda: saved(Image.new("RGB", (1, 1)), "PNG"), "expected at least 4 pixels a side"),
    "a hair": (lambda: saved(Image.new("RGB", (5, 20_000)), "PNG"), "no side 50 times the other"),
    "blank": (lambda: saved(Image.new("RGB", (90, 90), "white"), "PNG"), "nothing stands out from the background"),
    "black": (lambda: saved(Image.new("RGB", (90, 90)), "JPEG"), "nothing stands out from the background"),
    "too many bytes": (lambda: b"\xff\xd8" + b"0" * MOST_BYTES, "expected at most 20,971,520"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_photo_is_read(name: str) -> None:
    photo = open_photo(GOOD[name]())
    assert photo.dtype == np.uint8
    assert max(photo.shape[:2]) <= LONGEST_SIDE
    dark = photo.mean(axis=2) < 150
    assert 0.1 < dark.mean() < 0.4
    prepared = prepare(GOOD[name]())
    assert prepared.separated
    assert prepared.inverted
    assert prepared.image.shape == (28, 28)
    assert prepared.image.max() > 100


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_photo_is_refused(name: str) -> None:
    make, reason = BAD[name]
    with pytest.raises(PhotoError) as caught:
        prepare(make())
    assert reason in str(caught.value)


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="cannot be read"):
        prepare(tmp_path / "none.png")
    with pytest.raises(PhotoError, match="cannot be read"):
        prepare(tmp_path)
    (tmp_path / "large.png").write_bytes(b"0" * (MOST_BYTES + 1))
    with pytest.raises(PhotoError, match="expected at most"):
        prepare(tmp_path / "large.png")


def test_eight_orientations_are_one_picture() -> None:
    pictures = [prepare(oriented(value)).image for value in range(1, 9)]
    for picture in pictures[1:]:
        assert np.array_equal(picture, pictures[0])


def test_bytes_cut_or_changed_anywhere_are_read_or_refused() -> None:
    random = np.random.RandomState(4)
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF"):
        whole = saved(garment(), kind)
        for _time in range(60):
            spoilt = bytearray(whole[: random.randint(1, len(whole) + 1)])
            for place in random.randint(0, len(spoilt), 5):
                spoilt[place] = random.randint(256)
            try:
                assert prepare(bytes(spoilt)).image.shape == (28, 28)
            except PhotoError:
                continue
