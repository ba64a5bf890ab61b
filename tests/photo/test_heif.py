"""The containers of HEIC and AVIF: the size that is checked is the one that a decoder would meet."""

import sys

import numpy as np
import pytest
from phone_pictures import announced, av1_sequence, avif, content_of, heic, hidden_frames, turned, with_content
from pictures import garment, saved, transparent
from PIL import Image

from modiste.errors import PhotoError
from modiste.photo import codestream, heif, opening
from modiste.photo.heif import AV1, HEVC, read_container
from modiste.photo.opening import MOST_HEIF_PIXELS, open_photo


@pytest.mark.parametrize("make", [heic, avif])
@pytest.mark.parametrize("size", [(80, 100), (64, 64), (321, 123), (1000, 40)])
def test_the_size_in_the_compressed_data_covers_that_of_the_picture(make, size: tuple[int, int]) -> None:
    whole = make(garment(*size))
    found = read_container(whole, MOST_HEIF_PIXELS)
    assert found.codec == (HEVC if make is heic else AV1)
    assert all(
        side <= announced_side <= max(64, side + 1) for side, announced_side in zip(size, found.size, strict=True)
    )
    pixels = size[0] * size[1]
    read_container(whole, 2 * (size[0] + 64) * (size[1] + 64))
    with pytest.raises(PhotoError, match="too large"):
        read_container(whole, pixels - 1)


def test_a_small_header_over_large_data_is_refused_by_the_data() -> None:
    for whole in (heic(garment(640, 480)), avif(garment(640, 480)), heic(garment(640, 480), tile_size=256)):
        with pytest.raises(PhotoError, match="too large"):
            read_container(announced(whole, 80, 100), 60_000)


def test_sizes_of_av1_sequences() -> None:
    whole = avif(garment())
    for side, bits in ((200, 8), (4096, 12), (50_000, 16)):
        data = with_content(whole, av1_sequence(side, bits) + content_of(whole))
        assert codestream.read_av1(av1_sequence(side, bits) + content_of(whole)).pixels == side * side
        with pytest.raises(PhotoError, match="too large"):
            read_container(data, side * side - 1)


def test_the_turn_of_the_container_counts_and_not_that_of_the_notes() -> None:
    upright = open_photo(heic(garment()))
    assert open_photo(turned(heic, 6)).shape == (80, 100, 3)  # pillow-heif writes the turn into the container
    assert open_photo(turned(avif, 6)).shape == (80, 100, 3)
    exif = turned(heic, 6).replace(b"irot", b"free")
    assert open_photo(exif).shape == upright.shape


def test_a_decoder_sees_no_notes() -> None:
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    for make in (heic, avif):
        whole = make(garment(), exif=exif.tobytes())
        picture = read_container(whole, MOST_HEIF_PIXELS).picture
        assert whole.count(b"Exif") > picture.count(b"Exif")


def test_the_size_that_is_left_by_a_crop_is_checked_too() -> None:
    whole = heic(garment(3, 100))
    assert read_container(whole, MOST_HEIF_PIXELS).size[0] > 3
    with pytest.raises(PhotoError, match="3 x 100; expected at least 4 pixels a side"):
        open_photo(whole)


def test_transparent_parts_become_white() -> None:
    for make in (heic, avif):
        assert open_photo(make(transparent())).min() < 120
        assert np.median(open_photo(make(transparent()))) > 250


def test_passes_over_the_pixels_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = hidden_frames(9)
    read_container(whole, MOST_HEIF_PIXELS)
    monkeypatch.setattr(heif, "MOST_CODED_PIXELS", 8 * 1_000_000)
    with pytest.raises(PhotoError, match="too many parts for its size"):
        read_container(whole, MOST_HEIF_PIXELS)


def test_boxes_and_items_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = heic(garment(240, 300), tile_size=64)
    items = heif._read_meta(whole).kinds
    monkeypatch.setattr(heif, "MOST_ITEMS", len(items))
    read_container(whole, MOST_HEIF_PIXELS)
    monkeypatch.setattr(heif, "MOST_ITEMS", len(items) - 1)
    with pytest.raises(PhotoError, match="an item twice, or more than"):
        read_container(whole, MOST_HEIF_PIXELS)


def test_a_box_that_occurs_twice_is_refused() -> None:
    whole = heic(garment())
    at = whole.index(b"meta") - 4
    size = int.from_bytes(whole[at : at + 4])
    with pytest.raises(PhotoError, match="a box occurs twice"):
        read_container(whole + whole[at : at + size], MOST_HEIF_PIXELS)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = heic(garment())
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PhotoError, match=r"needs pillow-heif: pip install 'modiste\[heif\]'"):
        open_photo(whole)
    assert open_photo(saved(garment(), "JPEG")).shape == (100, 80, 3)


def test_a_pillow_without_avif_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.features.check", lambda name: name != "avif")
    with pytest.raises(PhotoError, match=r"needs Pillow 11\.3 or later"):
        open_photo(avif(garment()))


def test_the_version_of_pillow_heif_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert heif.version.__wrapped__().count(".") >= 2

    def missing(name: str) -> str:
        raise heif.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(heif.metadata, "version", missing)
    assert heif.version.__wrapped__() == ""


@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
def test_the_largest_photo_that_a_phone_takes_is_below_the_limit(kind: str) -> None:
    make = heic if kind == "HEIC" else avif
    for size in ((8160, 6144), (8064, 6048), (5712, 4284)):
        assert size[0] * size[1] <= MOST_HEIF_PIXELS
    with pytest.raises(PhotoError, match=r"8,000 x 7,000; expected at most 52 million"):
        opening.open_photo(announced(make(garment()), 8000, 7000))
