"""Every limit that SECURITY.md names, at the limit and one past it; those of serving are tried in tests/serving."""

import io
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from PIL import Image

from modiste.data.idx import files, reader
from modiste.data.idx.files import read_class_names
from modiste.data.pictures import listing
from modiste.errors import MOST_LETTERS, DataError, PhotoError, RecipeError, RunError
from modiste.inference import onnx_model
from modiste.inference.onnx_model import OnnxModel
from modiste.photo import colour, heif, opening, tiff
from modiste.photo.jpeg import MOST_SCANNED_PIXELS, MOST_SCANS, MOST_SEGMENTS
from modiste.photo.opening import open_photo
from modiste.recipes import recipe
from modiste.recipes.networks import (
    MOST_BLOCKS,
    MOST_REGIONS,
    MOST_ROUNDS,
    CapsNetRecipe,
    ResNetRecipe,
    SprintRecipe,
    SuperpixelGraphRecipe,
)
from modiste.recipes.recipe import Recipe
from modiste.searches import space
from modiste.searches.plan import Plan
from modiste.serving.settings import Limits

ROOT = Path(__file__).parents[1]


def padded(size: int) -> str:
    text = '{"name": "x"}'
    return text + " " * (size - len(text))


def test_a_recipes_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(padded(recipe.MOST_BYTES), encoding="utf-8")
    assert recipe.load(path).name == "x"
    path.write_text(padded(recipe.MOST_BYTES + 1), encoding="utf-8")
    with pytest.raises(RecipeError, match="more than 65,536 bytes"):
        recipe.load(path)


def test_layers_of_a_network() -> None:
    assert SprintRecipe(blocks=MOST_BLOCKS).blocks == ResNetRecipe(depth=6 * MOST_BLOCKS + 4).depth // 6
    with pytest.raises(RecipeError, match="expected at most 1000, found 1001"):
        SprintRecipe(blocks=MOST_BLOCKS + 1)
    with pytest.raises(RecipeError, match="6004"):
        ResNetRecipe(depth=6 * MOST_BLOCKS + 10)


def test_rounds_and_regions_of_a_network() -> None:
    assert CapsNetRecipe(iterations=MOST_ROUNDS).iterations == 100
    assert SuperpixelGraphRecipe(iterations=MOST_ROUNDS, regions=MOST_REGIONS).regions == 1000
    with pytest.raises(RecipeError, match="iterations: expected at most 100, found 101"):
        CapsNetRecipe(iterations=MOST_ROUNDS + 1)
    with pytest.raises(RecipeError, match="iterations: expected at most 100, found 101"):
        SuperpixelGraphRecipe(iterations=MOST_ROUNDS + 1)
    with pytest.raises(RecipeError, match="regions: expected at most 1000, found 1001"):
        SuperpixelGraphRecipe(regions=MOST_REGIONS + 1)


def test_points_of_a_grid() -> None:
    plan = Plan(recipe=Recipe(name="x"), space=(f"epochs=integer(1,{space.LARGEST_GRID})",), sampler="grid", trials=1)
    with pytest.raises(RecipeError, match="expected at most 100,000"):
        replace(plan, space=(f"epochs=integer(1,{space.LARGEST_GRID + 1})",))


def test_a_message() -> None:
    assert str(RunError("x" * MOST_LETTERS)) == "x" * MOST_LETTERS
    cut = str(RunError("a" + "x" * MOST_LETTERS + "z"))
    assert len(cut) == MOST_LETTERS + len(" ... ")
    assert (cut[0], cut[-1]) == ("a", "z")
    assert str(RunError("a\n\x1b[2J\u202eb")) == "a\\n\\x1b[2J\\u202eb"


def test_names_of_classes(tmp_path: Path) -> None:
    path = tmp_path / files.CLASS_NAMES_FILE
    names = [f"class {number}" for number in range(files.MOST_CLASSES)]
    path.write_text("\n".join(names), encoding="utf-8")
    assert read_class_names(tmp_path) == tuple(names)
    path.write_text("\n".join([*names, "one more"]), encoding="utf-8")
    with pytest.raises(DataError, match="2 to 256 names"):
        read_class_names(tmp_path)
    path.write_bytes(b"a\nb" + b"\n" * (files.CLASS_NAMES_BYTES - 3))
    assert read_class_names(tmp_path) == ("a", "b")
    path.write_bytes(b"a\nb" + b"\n" * (files.CLASS_NAMES_BYTES - 2))
    with pytest.raises(DataError, match="at most 65,536 bytes"):
        read_class_names(tmp_path)


def test_an_exported_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(onnx.ModelProto(ir_version=10).SerializeToString() + b"\0" * 20)
    for most, reason in ((22, "no ONNX file|expected a file that modiste export wrote"), (21, "expected at most 21")):
        monkeypatch.setattr(onnx_model, "MOST_BYTES", most)
        with pytest.raises(RunError, match=reason):
            OnnxModel.load(path)


def png(width: int, height: int) -> bytes:
    """A picture that has its header, and nothing more."""
    chunks = (b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0), b"IDAT")
    written = [struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one)) for one in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def jpeg(width: int, height: int) -> bytes:
    """A small picture that says to be another size."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG")
    content = bytearray(file.getvalue())
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">2H", height, width)
    return bytes(content)


@pytest.mark.parametrize(
    ("within", "past", "reason"),
    [
        (png(6000, 4000), png(6001, 4000), "at most 24 million pixels"),
        (jpeg(8000, 8000), jpeg(8001, 8000), "at most 64 million pixels"),
        (png(4, 4), png(4, 3), "at least 4 pixels a side"),
        (png(200, 4), png(201, 4), "no side 50 times the other"),
    ],
    ids=["pixels", "pixels of a JPEG", "sides", "a strip"],
)
def test_pixels_of_a_photo(within: bytes, past: bytes, reason: str) -> None:
    assert reason in complaint(past)
    assert complaint(within) == "" or "damaged" in complaint(within)  # most have no pixels, but those would be read


def complaint(content: bytes) -> str:
    try:
        open_photo(content)
    except PhotoError as error:
        return str(error)
    return ""


def test_bytes_of_a_photo() -> None:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG")
    whole = file.getvalue()
    assert open_photo(whole + bytes(opening.MOST_BYTES - len(whole))).shape == (16, 16, 3)
    with pytest.raises(PhotoError, match="expected at most 20,971,520"):
        open_photo(whole + bytes(opening.MOST_BYTES - len(whole) + 1))


def test_the_table_says_what_is_so() -> None:
    """Each number that the table names is that of the code."""
    table = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("## Limits")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", table, re.MULTILINE))
    limits = Limits()
    assert rows["file of a recipe or a search's space"] == f"{recipe.MOST_BYTES // 1024} KiB"
    assert rows["blocks of one kind in a network"] == f"{MOST_BLOCKS:,}"
    assert rows["rounds of routing in a network, or of moving its superpixels"] == f"{MOST_ROUNDS}"
    assert rows["superpixels of an image"] == f"{MOST_REGIONS:,}"
    assert rows["points of a grid"] == f"{space.LARGEST_GRID:,}"
    assert rows["letters of a message"] == f"{MOST_LETTERS:,}"
    assert rows["IDX file, unpacked"] == f"{reader.LIMIT_BYTES // 2**30} GiB"
    names = f"{files.MOST_CLASSES}, or {listing.MOST_CLASSES:,} class folders; {files.CLASS_NAMES_BYTES // 1024} KiB"
    assert rows["names of classes"] == names
    assert rows["exported ONNX file"] == f"{onnx_model.MOST_BYTES // 2**20} MiB"
    assert rows["photo, file"] == f"{opening.MOST_BYTES // 2**20} MiB"
    pixels = (opening.MOST_PIXELS, opening.MOST_HEIF_PIXELS, opening.MOST_JPEG_PIXELS)
    assert rows["photo, pixels"] == "{} million; HEIC and AVIF {}; JPEG {}".format(*(one // 10**6 for one in pixels))
    assert rows["photo, boxes and items of a HEIC or AVIF"] == f"{heif.MOST_BOXES:,}; {heif.MOST_ITEMS:,}"
    passes = rows["photo, pixels in all pictures of a HEIC or AVIF, times the passes"]
    assert passes == f"{heif.MOST_CODED_PIXELS // 10**6} million"
    assert rows["photo, values of a TIFF's tag"] == f"{tiff.MOST_PIECES:,} strips or tiles; {tiff.MOST_VALUES:,}"
    assert rows["photo, pixels in the tiles of a TIFF"].startswith(f"{tiff.MOST_OVERHANG} times its own")
    assert rows["photo, colour profile that is used"] == f"{colour.MOST_PROFILE_BYTES // 2**20} MiB"
    assert rows["photo, pixels of a BMP in runs"] == f"{opening.MOST_RUN_PIXELS // 10**6} million"
    scanned = f"{MOST_SCANNED_PIXELS // 10**6:,} million pixels in all scans"
    assert rows["photo, scans of a JPEG"] == f"{MOST_SCANS}; {scanned}"
    assert rows["photo, segments of a JPEG"] == f"{MOST_SEGMENTS:,}"
    assert rows["photo, compressed notes of a PNG"] == str(opening.MOST_PACKED_NOTES)
    reads = f"{opening.HEADER_READS:,} for the header, {opening.PIXEL_READS:,} for the rest"
    assert rows["photo, reads of its decoder"] == reads
    assert rows["photo, processor time of its decoder"] == f"{opening.MOST_SECONDS:g} s"
    assert rows["photo, sides"] == f"{opening.LEAST_SIDE} pixels or more; 1 to {opening.MOST_ASPECT} at most"
    assert rows["request, head"] == f"{limits.head_bytes // 1024} KiB, {limits.receive_seconds:g} s"
    assert rows["request, body, compressed or not"] == f"{limits.body_bytes // 2**20} MiB, {limits.receive_seconds:g} s"
    assert rows["request, pictures"] == str(limits.pictures)
    assert rows["requests at work or waiting"] == f"{limits.requests}; {limits.waiting_bytes // 2**20} MiB of bodies"
    assert rows["answer"] == f"{limits.send_seconds:g} s"
