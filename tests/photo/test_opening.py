"""Files as people have them, made by script: each is a photo, or is refused with a reason that helps."""

import io
import json
import threading
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from phone_pictures import PHONE_BAD, PHONE_GOOD
from pictures import BAD, GOOD, garment, oriented, saved, with_exif, with_preview
from pictures import segments as segments_of_notes
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from commands_and_data import run_python
from fault_counter import Faults
from modiste.errors import PhotoError
from modiste.photo import opening
from modiste.photo.garment import prepare
from modiste.photo.jpeg import segments
from modiste.photo.opening import LONGEST_SIDE, MOST_BYTES, WEB_FORMATS, open_photo, photo_of

ALL_GOOD, ALL_BAD = GOOD | PHONE_GOOD, BAD | PHONE_BAD


def test_there_are_enough_kinds() -> None:
    assert len(ALL_GOOD) + len(ALL_BAD) >= 200


@pytest.mark.parametrize("name", ALL_GOOD)
def test_a_photo_is_read(name: str, faults: Faults) -> None:
    for _ in faults("photos: a kind of file"):
        photo = open_photo(ALL_GOOD[name]())
        assert photo.dtype == np.uint8
        assert max(photo.shape[:2]) <= LONGEST_SIDE
        dark = photo.mean(axis=2) < 150
        assert 0.1 < dark.mean() < 0.4
        prepared = prepare(ALL_GOOD[name]())
        assert prepared.separated
        assert prepared.inverted
        assert prepared.image.shape == (28, 28)
        assert prepared.image.max() > 100


@pytest.mark.parametrize("name", ALL_BAD)
def test_what_is_no_photo_is_refused(name: str, faults: Faults) -> None:
    make, reason = ALL_BAD[name]
    for _ in faults("photos: a kind of file"):
        with pytest.raises(PhotoError) as caught:
            prepare(make())
        assert reason in str(caught.value)
        assert str(caught.value).isprintable()


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


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 1}, {"optimize": True}]
)
def test_a_jpeg_may_lack_its_end_but_no_pixel(options: dict[str, object]) -> None:
    whole = saved(garment(), "JPEG", **options)
    photo = open_photo(whole)
    for lost in (1, 2):
        assert np.array_equal(open_photo(whole[:-lost]), photo)
    for lost in range(3, 60):
        with pytest.raises(PhotoError, match="damaged"):
            open_photo(whole[:-lost])


def test_a_progressive_jpeg_cut_between_two_scans_is_refused() -> None:
    """All that is there can be read, but the picture is coarser than it was."""
    whole = saved(garment(), "JPEG", progressive=True)
    cuts = [start for marker, start, _ in segments(whole) if marker == 0xDA][1:]
    for cut in cuts:
        with pytest.raises(PhotoError, match="its end is missing"):
            open_photo(whole[:cut])
    assert len(cuts) > 5


def test_the_first_of_two_pictures_counts() -> None:
    assert np.array_equal(open_photo(with_preview(80, 100)), open_photo(saved(garment(), "JPEG")))


def test_photos_that_are_decoded_at_the_same_time_leave_the_filters_of_warnings_as_they_were() -> None:
    """The first of two begins before the second, and ends before it."""
    begun, ended = (threading.Event(), threading.Event()), (threading.Event(), threading.Event())

    def slowly(number: int) -> opening._Loaded:
        begun[number].set()
        assert ended[number].wait(60)
        warnings.warn_explicit("slightly wrong metadata", UserWarning, "TiffImagePlugin.py", 1, "PIL.TiffImagePlugin")
        return opening._Loaded(Image.new("RGB", (8, 8)))

    before = list(warnings.filters)
    with ThreadPoolExecutor(2) as pool:
        decoded = list[Future[np.ndarray]]()
        for number in range(2):
            decoded.append(pool.submit(opening._as_photo, partial(slowly, number), 3))
            assert begun[number].wait(60)
        for number in range(2):
            ended[number].set()
            assert decoded[number].result(60).shape == (8, 8, 3)
    assert warnings.filters == before


def test_a_decoder_that_computes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is read before each piece."""
    times = iter(range(0, 1000, 5))
    monkeypatch.setattr("modiste.photo.opening.time.thread_time", lambda: float(next(times)))
    with pytest.raises(PhotoError, match="takes more than 20 s to decode"):
        open_photo(saved(garment(), "PNG"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_camera_is_held_as_its_notes_say(kind: str, turn: int) -> None:
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(with_exif(kind, turn)))).convert("RGB")
    assert np.array_equal(open_photo(with_exif(kind, turn)), np.asarray(expected))


def test_xmp_says_it_where_exif_does_not() -> None:
    note = b'<rdf:Description tiff:Orientation="6"/>'
    assert open_photo(segments_of_notes(1, b"http://ns.adobe.com/xap/1.0/\0" + note)).shape == (80, 100, 3)
    assert open_photo(saved(garment(), "WEBP", xmp=note)).shape == (80, 100, 3)


def test_older_programs_write_exif_as_text() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    notes = PngInfo()
    notes.add_text("Raw profile type exif", f"\nexif\n  40\n{exif.tobytes().hex()}\n", zip=True)
    assert open_photo(saved(garment(), "PNG", pnginfo=notes)).shape == (80, 100, 3)


MUTANTS = str(Path(__file__).parent / "mutated_pictures.py")
EACH = 2_500


def test_changed_anywhere_it_is_read_or_refused_within_limits(faults: Faults) -> None:
    """In processes of their own, with a gigabyte of memory and ten seconds for a picture."""
    for number in faults("photos: a made-up file", few=5_000, many=500_000, each=EACH):
        done = run_python(MUTANTS, number * EACH, EACH, timeout=600)
        assert done.returncode == 0, f"from {number * EACH}: left with {done.returncode}, {done.stderr[-3000:]}"
        told = json.loads(done.stdout)
        assert told["photos"] + told["refused"] == EACH
        assert min(told["photos"], told["refused"]) > EACH / 20  # the changes are neither hopeless nor harmless


def test_a_bomb_is_refused_from_its_header(faults: Faults) -> None:
    bombs = [name for name in ALL_BAD if "bomb" in name]
    done = run_python(MUTANTS, *bombs)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    for _ in faults("photos: a bomb", few=len(bombs), many=len(bombs), each=len(bombs)):
        for name, result in zip(bombs, told, strict=True):
            assert result["refused"], name
            assert result["bytes"] < 8 * 2**20, name


@pytest.mark.parametrize(
    ("size", "side", "decoded"),
    [
        ((4032, 3024), 28, (504, 378)),
        ((1080, 1440), 28, (540, 720)),
        ((959, 400), 28, (959, 400)),
        ((960, 400), 28, (480, 200)),
        ((1080, 1440), 224, (768, 1024)),
        ((4032, 3024), 224, (1008, 756)),
        ((48, 2000), 28, (12, 500)),
    ],
)
def test_a_large_jpeg_is_decoded_small(size: tuple[int, int], side: int, decoded: tuple[int, int]) -> None:
    file = saved(garment().resize(size), "JPEG")
    photo = open_photo(file, side=side)
    assert photo.shape[1::-1] == decoded
    whole = np.asarray(Image.open(io.BytesIO(file)).resize(decoded, Image.Resampling.BOX), dtype=np.int16)
    assert np.abs(whole - photo).mean() < 2
    earlier = open_photo(file, decoder=2, side=side)
    assert max(earlier.shape) == min(max(size), LONGEST_SIDE)


def test_other_formats_are_decoded_whole() -> None:
    file = saved(garment().resize((900, 1000)), "PNG")
    assert np.array_equal(open_photo(file, side=28), open_photo(file, decoder=2))


WITHOUT_LOSS = [name for name, make in GOOD.items() if make().startswith((b"\x89PNG", b"RIFF", b"BM", b"GIF8"))]


def test_there_are_enough_kinds_without_loss() -> None:
    assert len(WITHOUT_LOSS) >= 30


@pytest.mark.parametrize("name", WITHOUT_LOSS)
def test_an_image_in_memory_is_the_photo_of_its_file(name: str) -> None:
    """Transparent, of sixteen bits, of a palette, turned by its notes, large: whatever a file can be."""
    image = Image.open(io.BytesIO(GOOD[name]()), formats=WEB_FORMATS)
    before = image.copy()
    assert np.array_equal(photo_of(image), open_photo(GOOD[name]()))
    assert (image.mode, image.size, image.tobytes()) == (before.mode, before.size, before.tobytes())


def test_an_image_in_memory_that_is_no_photo_is_refused() -> None:
    cut = Image.open(io.BytesIO(saved(garment(), "PNG")[:-80]))
    for image, reason in ((cut, "damaged"), (Image.new("L", (200, 3)), "at least 4 pixels a side")):
        with pytest.raises(PhotoError, match=reason):
            photo_of(image)
