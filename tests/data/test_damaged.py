"""Every way in which a data set can be wrong, in one table, read through the functions that training calls.

Each case starts from a sound folder and changes what it names. Every message is one line, names the file, and
says what was expected and what was found.
"""
# ruff: noqa: E501 (the table has one case a line)

import json
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from idx_files import (
    GOOD,
    GOOD_IMAGES,
    GOOD_LABELS,
    GOOD_TEST,
    IMAGES,
    LABELS,
    TEST_IMAGES,
    TEST_LABELS,
    bomb,
    header,
    idx,
    packed,
    write,
)

from commands_and_data import PROGRAMS, run_python
from fault_counter import Faults
from modiste.data import held_out
from modiste.data.idx import idx_source
from modiste.errors import DataError

Content = bytes | Callable[[Path], object] | None
"""What to put at a path: bytes, an action on the path, or nothing at all."""


@dataclass(frozen=True)
class Case:
    name: str
    change: dict[str, Content]
    """By file name; the first is the one that the message must name."""
    message: str
    """A regular expression."""
    source: str = "folder"
    """``folder``: the folder is the source. ``fashion-mnist``: it is where Fashion-MNIST is said to lie."""
    part: str = "train"
    blames: str = ""
    """The name that the message must hold, if not the first one changed."""


def other_crc(content: bytes) -> bytes:
    return content[:-8] + bytes([content[-8] ^ 1]) + content[-7:]


def other_length(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def folder_there(path: Path) -> None:
    path.mkdir()


def pipe_there(path: Path) -> None:
    os.mkfifo(path)


def link_to_nothing(path: Path) -> None:
    path.symlink_to("absent")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


GZ_IMAGES, GZ_LABELS = packed(GOOD_IMAGES), packed(GOOD_LABELS)
IMAGES_GZ, LABELS_GZ = f"{IMAGES}.gz", f"{LABELS}.gz"
NO_IMAGES: dict[str, Content] = {IMAGES: None}
NO_LABELS: dict[str, Content] = {LABELS: None}
BODY = GOOD_IMAGES[16:]
FASHION = "fashion-mnist"

CASES = [
    # the header
    Case("images empty", {IMAGES: b""}, "empty: expected training images, found 0 bytes"),
    Case("labels empty", {LABELS: b""}, "empty: expected training labels, found 0 bytes"),
    Case("one byte", {IMAGES: b"\0"}, "truncated: expected its first 4 bytes, found 1 bytes"),
    Case("three bytes", {IMAGES: b"\0\0\x08"}, "truncated: expected its first 4 bytes, found 3 bytes"),
    Case("magic only", {IMAGES: b"\0\0\x08\x03"}, "truncated: expected a header of 16 bytes, found 0 bytes"),
    Case("header cut", {IMAGES: GOOD_IMAGES[:15]}, "truncated: expected a header of 16 bytes, found 11 bytes"),
    Case("label header cut", {LABELS: GOOD_LABELS[:7]}, "truncated: expected a header of 8 bytes, found 3 bytes"),
    Case("first byte not zero", {IMAGES: b"\1" + GOOD_IMAGES[1:]}, "expected two zero bytes first, found 0x01000803"),
    Case("second byte not zero", {LABELS: b"\0\7" + GOOD_LABELS[2:]}, "two zero bytes first, found 0x00070801"),
    Case("the other byte order", {IMAGES: b"\3\x08\0\0" + GOOD_IMAGES[4:]}, "not an IDX file: .* found 0x03080000"),
    Case("signed bytes", {IMAGES: header(6, 4, 5, kind=9) + BODY}, r"expected type 0x08 .*, found 0x09"),
    Case("short integers", {IMAGES: header(6, 4, 5, kind=11) + BODY * 2}, "expected type 0x08 .*, found 0x0b"),
    Case("integers", {LABELS: header(6, kind=12) + bytes(24)}, "expected type 0x08 .*, found 0x0c"),
    Case("floats", {IMAGES: header(6, 4, 5, kind=13) + BODY * 4}, "expected type 0x08 .*, found 0x0d"),
    Case("doubles", {IMAGES: header(6, 4, 5, kind=14) + BODY * 8}, "expected type 0x08 .*, found 0x0e"),
    Case("type zero", {IMAGES: header(6, 4, 5, kind=0) + BODY}, "expected type 0x08 .*, found 0x00"),
    Case("no dimension", {LABELS: header()}, "wrong dimension count: expected 1 to 4, found 0"),
    Case("five dimensions", {IMAGES: header(6, 4, 5, 1, 1) + BODY}, "dimension count: expected 1 to 4, found 5"),
    Case("255 dimensions", {IMAGES: b"\0\0\x08\xff" + bytes(1020)}, "count: expected 1 to 4, found 255"),
    Case("images of two dimensions", {IMAGES: header(6, 20) + BODY}, "expected 3 dimensions.*, found 2 dimensions"),
    Case("images of four dimensions", {IMAGES: header(6, 1, 4, 5) + BODY}, "expected 3 dim.*, found 4 dimensions"),
    Case("labels of two dimensions", {LABELS: idx([[0, 1, 2]] * 2)}, "expected 1 dimension.*, found 2 dimensions"),
    Case("labels for images", {IMAGES: GOOD_LABELS}, "does not hold training images: .* are images and labels swapped"),
    Case("images for labels", {LABELS: GOOD_IMAGES}, "does not hold training labels: .* are images and labels swapped"),
    Case("swapped", {LABELS: GOOD_IMAGES, IMAGES: GOOD_LABELS}, "expected 1 dimension, as labels have, found 3"),
    Case("swapped archives", {LABELS: GZ_IMAGES, IMAGES: GZ_LABELS}, "found 3 dimensions, as images have; are images"),
    Case("no image", {IMAGES: header(0, 4, 5)}, "an empty array: expected sizes of 1 or more, found 0 x 4 x 5"),
    Case("images without height", {IMAGES: header(6, 0, 5)}, "expected sizes of 1 or more, found 6 x 0 x 5"),
    Case("images without width", {IMAGES: header(6, 4, 0)}, "expected sizes of 1 or more, found 6 x 4 x 0"),
    Case("no label", {LABELS: header(0)}, "an empty array: expected sizes of 1 or more, found 0"),
    # the size
    Case("last byte missing", {IMAGES: GOOD_IMAGES[:-1]}, r"expected 136 bytes .*\(6 x 4 x 5\), found 135 bytes"),
    Case("last label missing", {LABELS: GOOD_LABELS[:-1]}, r"truncated: expected 14 bytes .*, found 13 bytes"),
    Case("half missing", {IMAGES: GOOD_IMAGES[:70]}, "truncated: expected 136 bytes .*, found 70 bytes"),
    Case("header alone", {IMAGES: header(6, 4, 5)}, "truncated: expected 136 bytes .*, found 16 bytes"),
    Case("one byte more", {IMAGES: GOOD_IMAGES + b"\0"}, "left over: expected 136 bytes .*, found 137 bytes"),
    Case("a line end more", {LABELS: GOOD_LABELS + b"\r\n"}, "left over: expected 14 bytes .*, found 16 bytes"),
    Case("twice the file", {LABELS: GOOD_LABELS * 2}, "left over: expected 14 bytes .*, found 28 bytes"),
    Case("announces one more image", {IMAGES: header(7, 4, 5) + BODY}, "truncated: expected 156 bytes .*, found 136"),
    Case("announces one image less", {IMAGES: header(5, 4, 5) + BODY}, "left over: expected 116 bytes .*, found 136"),
    Case("announces 2 GiB", {LABELS: header(2**31 - 8)}, "truncated: expected 2,147,483,648 bytes .*, found 8 bytes"),
    Case("one past the limit", {LABELS: header(2**31 - 7)}, "too large: expected at most 2,147,483,648 bytes, found 2"),
    Case("largest sizes", {IMAGES: header(*[2**32 - 1] * 3)}, "too large: expected at most .* found 79,228,162,458"),
    Case("product wraps to zero", {IMAGES: header(2**16, 2**16, 2**32 - 1)}, "too large: expected at most"),
    # gzip
    Case("gzip magic alone", {IMAGES: b"\x1f\x8b"}, "damaged: expected a whole gzip archive, found .*too early"),
    Case("gzip header cut", {IMAGES: GZ_IMAGES[:9]}, "expected a whole gzip archive, found the archive ends too early"),
    Case("gzip cut in IDX header", {IMAGES: GZ_IMAGES[:14]}, "whole gzip archive, found the archive ends too early"),
    Case("gzip cut in the middle", {IMAGES: GZ_IMAGES[:60]}, "expected a whole gzip archive, found .* ends too early"),
    Case("gzip without its end", {LABELS: GZ_LABELS[:-8]}, "expected a whole gzip archive, found .* ends too early"),
    Case("gzip less a byte", {IMAGES: GZ_IMAGES[:-1]}, "expected a whole gzip archive, found .* ends too early"),
    Case("wrong checksum", {IMAGES: other_crc(GZ_IMAGES)}, "whole gzip archive, found .*incorrect data check"),
    Case("wrong checksum of labels", {LABELS: other_crc(GZ_LABELS)}, "gzip archive, found .*incorrect data check"),
    Case("wrong length", {IMAGES: other_length(GZ_IMAGES)}, "whole gzip archive, found .*incorrect length check"),
    Case("unknown packing", {IMAGES: b"\x1f\x8b\7" + GZ_IMAGES[3:]}, "found .*unknown compression method"),
    Case("noise after magic", {IMAGES: b"\x1f\x8b" + b"\xff" * 90}, "damaged: expected a whole gzip archive, found"),
    Case("second member", {IMAGES: GZ_IMAGES * 2}, "expected one gzip member and no more, found a second gzip member"),
    Case("empty second member", {LABELS: GZ_LABELS + packed(b"")}, "no more, found a second gzip member"),
    Case("garbage after gzip", {IMAGES: GZ_IMAGES + b"garbage"}, "no more, found other bytes after its end"),
    Case("zeros after gzip", {LABELS: GZ_LABELS + bytes(512)}, "no more, found other bytes after its end"),
    Case("packed nothing", {IMAGES: packed(b"")}, "truncated: expected its first 4 bytes, found 0 bytes"),
    Case("packed header cut", {IMAGES: packed(GOOD_IMAGES[:10])}, "expected a header of 16 bytes, found 6 bytes"),
    Case("packed body cut", {IMAGES: packed(GOOD_IMAGES[:-1])}, "expected 120 bytes after the header .*, found 119"),
    Case("packed a byte more", {IMAGES: packed(GOOD_IMAGES + b"\0")}, "expected its end after 136 bytes .*, found more"),
    Case("packed twice", {IMAGES: packed(GZ_IMAGES)}, "two zero bytes first, found another gzip archive"),
    Case("packed page", {IMAGES: packed(b"<html>")}, r"two zero bytes first, found a web page \(HTML or XML\)"),
    Case("bomb behind sound labels", {LABELS: bomb(GOOD_LABELS, 4096)}, "its end after 14 bytes .*, found more"),
    Case("bomb announces 3 GiB", {IMAGES: bomb(header(3, 2**15, 2**15), 3072)}, "too large: expected at most 2,147"),
    Case("forged size", {LABELS: packed(header(10**6))}, r"expected at most [\d,]+ bytes in an archive .* 1,000,008 b"),
    Case("zlib, not gzip", {IMAGES: zlib.compress(GOOD_IMAGES)}, "not an IDX file: expected two zero bytes first"),
    Case("cut archive by its name", NO_IMAGES | {IMAGES_GZ: GZ_IMAGES[:60]}, "ends too early", blames=IMAGES_GZ),
    # something else under the name
    Case("web page", {IMAGES: b"<!DOCTYPE html>"}, "expected two zero bytes first, found a web page"),
    Case("PNG picture", {IMAGES: b"\x89PNG\r\n\x1a\n"}, "expected two zero bytes first, found a PNG picture"),
    Case("JPEG picture", {IMAGES: b"\xff\xd8\xff\xe0"}, "expected two zero bytes first, found a JPEG picture"),
    Case("ZIP archive", {IMAGES: b"PK\x03\x04"}, "expected two zero bytes first, found a ZIP archive"),
    Case("NumPy file", {IMAGES: b"\x93NUMPY\1\0"}, "expected two zero bytes first, found a NumPy file"),
    Case("LFS pointer", {LABELS: b"version https://git-lfs"}, "expected two zero bytes first, found a Git LFS pointer"),
    Case("text", {LABELS: b"0,1,2\n"}, "expected two zero bytes first, found 0x302c312c"),
    Case("folder for images", {IMAGES: folder_there}, "not a file: expected training images, found a folder"),
    Case("folder for labels", {LABELS: folder_there}, "not a file: expected training labels, found a folder"),
    Case("pipe", {IMAGES: pipe_there}, "not a file: expected training images, found a pipe or device"),
    Case("link to nothing", {IMAGES: link_to_nothing}, "missing: expected training images, found nothing"),
    Case("link to itself", {LABELS: link_to_itself}, "unreadable: expected training labels, found Too many levels"),
    # the folder
    Case("images missing", NO_IMAGES, r"expected one \*train-images\*idx3-ubyte, raw or .gz, found none", blames="."),
    Case("labels missing", NO_LABELS, r"expected one \*train-labels\*idx1-ubyte, raw or .gz, found none", blames="."),
    Case("both missing", NO_IMAGES | NO_LABELS, "no such file: expected one .*, found none", blames="."),
    Case("two sets", {f"a-{IMAGES}": GOOD_IMAGES}, f"expected one .*, found a-{IMAGES}, {IMAGES}; name a folder", blames="."),
    Case("two sets of labels", {f"b-{LABELS}": GOOD_LABELS}, f"expected one .*, found b-{LABELS}, {LABELS}; name a", blames="."),
    # images and labels together
    Case("a label short", {LABELS: idx([0, 1, 2, 0, 1])}, f"expected 6 labels, one for each image of {IMAGES}, found 5"),
    Case("a label more", {LABELS: idx([0, 1, 2] * 3)}, "counts differ: expected 6 labels, .*, found 9; take both files"),
    Case("one class", {LABELS: idx([0] * 6)}, "too few classes: expected 2 classes or more, found 1"),
    Case("a class of one", {LABELS: idx([0, 0, 0, 1, 1, 2])}, "expected 2 or more of each class, found 1 of class 2"),
    Case("a gap", {LABELS: idx([0, 2] * 3)}, "expected 2 or more of each class, found 0 of class 1; number the"),
    Case("labels from two", {LABELS: idx([2, 3] * 3)}, "found 0 of class 0; number the classes from 0 or 1 without gaps"),
    Case("label 255", {LABELS: idx([0, 1, 255] * 2)}, "too few images: .*, found 0 of class 2"),
    Case("beyond the names", {"classes.txt": b"a\nb"}, r"expected 0 to 1 \(2 classes\), found 2 at .* 2;", blames=LABELS),
    # the names
    Case("one name", {"classes.txt": b"only"}, "wrong number of classes: expected 2 to 256 names, found 1"),
    Case("no names", {"classes.txt": b"\n\n"}, "wrong number of classes: expected 2 to 256 names, found 0"),
    Case("257 names", {"classes.txt": "\n".join(map(str, range(257))).encode()}, "2 to 256 names, found 257"),
    Case("a gap in the names", {"classes.txt": b"a\n\nb"}, "expected a name on every line, found '' on line 2"),
    Case("a name twice", {"classes.txt": b"a\nb\na"}, "expected different names, found 'a' again on line 3"),
    Case("an escape in a name", {"classes.txt": b"a\nb\x1b[2J\nc"}, r"a name on every line, found 'b\\x1b\[2J' on"),
    Case("names not in UTF-8", {"classes.txt": b"a\nb\xff\nc"}, "not text: expected UTF-8, found byte 3 that is not"),
    Case("names without end", {"classes.txt": b"a\n" * 40_000}, "too large: expected at most 65,536 bytes, found more"),
    Case("folder for names", {"classes.txt": folder_there}, "not a file: expected a text file, found a folder"),
    Case("pipe for names", {"classes.txt": pipe_there}, "not a file: expected a text file, found a folder, pipe"),
    # the test files
    Case("test images empty", {TEST_IMAGES: b""}, "empty: expected test images, found 0 bytes", part="test"),
    Case("test labels cut", {TEST_LABELS: GOOD_LABELS[:-1]}, "truncated: expected 14 .*, found 13", part="test"),
    Case("test swapped", {TEST_LABELS: GOOD_IMAGES}, "does not hold test labels: .*swapped", part="test"),
    Case("a class unseen", {TEST_LABELS: idx([0, 1, 2, 3, 0, 1])}, "expected 0 to 2 .*, found 3 at", part="test"),
    Case("test count", {TEST_LABELS: idx([0, 1])}, "counts differ: expected 6 labels, .*, found 2", part="test"),
    Case("two test sets", {"test-images-idx3-ubyte": GOOD_IMAGES}, "expected one .*, found t10k.*", part="test", blames="."),
    # Fashion-MNIST itself, in a folder that the person named
    Case("other labels", {LABELS: GOOD_LABELS}, "expected 60,008 bytes with SHA-256 bad3.*, found 14 bytes", FASHION),
    Case("right size", {LABELS: idx([0, 1] * 30_000)}, "not the published file: expected 60,008 b", FASHION),
    Case("too many labels", {LABELS: idx([0] * 60_001)}, "expected at most 60,008 bytes, found 60,009", FASHION),
    Case("absurd labels", {LABELS: header(2**31 - 8)}, "too large: expected at most 60,008 bytes, found 2,147", FASHION),
    Case("damaged labels", {LABELS: GOOD_LABELS[:-1]}, "truncated: expected 14 bytes .*, found 13 bytes", FASHION),
    Case("no labels", NO_LABELS, f"missing: expected {LABELS} or {LABELS}.gz, found only {IMAGES}", FASHION),
    Case("no images", NO_IMAGES, f"missing: expected {IMAGES} or {IMAGES}.gz, found only {LABELS}", FASHION),
    Case("neither", NO_IMAGES | NO_LABELS, f"expected {IMAGES} and {LABELS}, .*, found neither", FASHION, blames="."),
    Case("other test labels", {TEST_LABELS: GOOD_LABELS}, "expected 10,008 bytes .*, found 14", FASHION, part="test"),
    Case("no test images", {TEST_IMAGES: None}, f"{TEST_IMAGES}.gz, found only {TEST_LABELS}", FASHION, part="test"),
]  # fmt: skip


def make(folder: Path, change: dict[str, Content]) -> Path:
    write(folder, GOOD | GOOD_TEST)
    for name, content in change.items():
        (folder / name).unlink(missing_ok=True)
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif content is not None:
            content(folder / name)
    return folder


def load(case: Case, folder: Path) -> object:
    function = idx_source.load_training if case.part == "train" else held_out.load_held_out
    return function(str(folder)) if case.source == "folder" else function(case.source, folder)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_fault_is_told(case: Case, tmp_path: Path, faults: Faults) -> None:
    folder = make(tmp_path / "set", case.change)
    for _ in faults("data: a damaged file"):
        assert_told(case, folder)


def assert_told(case: Case, folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(case, folder)
    message = str(caught.value)
    assert type(caught.value) is DataError
    assert caught.value.exit_code == 3
    assert re.search(case.message, message), message
    assert message.isprintable()
    assert str(folder / (case.blames or next(iter(case.change)))) in message
    assert re.search(r": expected .+, found .+; .+", message), message


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_no_fault_takes_more_memory_than_the_file_and_a_little(tmp_path: Path, faults: Faults) -> None:
    here = Path(__file__).parent
    done = run_python(PROGRAMS / "measure_damaged_sets.py", tmp_path, here, here.parent)
    assert done.returncode == 0, done.stderr
    taken = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(taken) == len(CASES)
    count = len(CASES)
    for _ in faults("data: a damaged file's memory", few=count, many=count, each=count):
        for name, grown_bytes, file_bytes in taken:
            assert grown_bytes <= file_bytes + 64 * 2**20, name


def test_there_are_enough_cases_and_none_twice() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_sound_folder_is_sound(tmp_path: Path) -> None:
    folder = str(make(tmp_path / "set", {}))
    assert np.array_equal(idx_source.load_training(folder).images, held_out.load_held_out(folder).images)


@pytest.mark.parametrize("part", ["train", "test"])
def test_the_version_of_before_2017_08_31_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """No copy of it is at hand: another archive is declared to be the old one."""
    import hashlib
    from dataclasses import replace

    module, name = (idx_source, "TRAIN") if part == "train" else (held_out, "TEST")
    pair = getattr(module, name)
    md5 = hashlib.md5(GZ_LABELS, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(module, name, replace(pair, labels=replace(pair.labels, old_archive_md5=md5)))
    path = tmp_path / pair.labels.archive_name
    write(tmp_path, {path.name: GZ_LABELS, pair.images.archive_name: GZ_IMAGES})
    with pytest.raises(DataError, match=r"the old Fashion-MNIST, replaced on 2017-08-31 .*expected .*, found " + md5):
        load(Case("old", {}, "", FASHION, part), tmp_path)


def test_the_old_archives_are_those_known() -> None:
    assert idx_source.TRAIN.labels.old_archive_md5 == "c25fcebcfee76fc70679a885c08e7783"
    assert held_out.TEST.labels.old_archive_md5 == "db06173b3df7891d78edf9cae5fe8f8a"


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("fashion-minst", 'did you mean "fashion-mnist"'),
        ("Fashion_MNIST", 'did you mean "fashion-mnist"'),
        ("fashion", 'did you mean "fashion-mnist"'),
        ("cifar10", "check the path"),
        ("/no/such/folder", "check the path"),
        ("", "check the path"),
        ("nul\0byte", "check the path"),
        ("new\nline", "check the path"),
        ("x" * 5000, "check the path"),
        ("~nobody-of-this-name/data", "check the path"),
    ],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_an_unknown_source_is_told(source: str, remedy: str, part: str) -> None:
    function = idx_source.load_training if part == "train" else held_out.load_held_out
    with pytest.raises(DataError, match=r"no such data set or folder: expected .*, found ") as caught:
        function(source)
    assert remedy in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("place", ["absent", "file"])
def test_a_folder_that_is_none_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    for source in (FASHION, "elsewhere"):
        with pytest.raises(DataError, match=f"{place}: no such .*expected .*, found "):
            idx_source.load_training(source, tmp_path / place)


def test_a_file_without_permission_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    folder = make(tmp_path / "set", {})
    monkeypatch.setattr(Path, "open", refuse)  # root, as in a container, may read everything
    with pytest.raises(DataError, match=f"{LABELS}: unreadable: expected training labels, found Permission denied"):
        idx_source.load_training(str(folder))


def test_a_name_that_would_break_the_line_is_escaped(tmp_path: Path) -> None:
    folder = make(tmp_path / "two\nlines\x1b[2J", {IMAGES: b""})
    with pytest.raises(DataError) as caught:
        idx_source.load_training(str(folder))
    assert str(caught.value).isprintable()
    assert r"two\nlines\x1b[2J" in str(caught.value)
