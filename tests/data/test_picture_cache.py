"""The second start reads no picture; whatever changes is read again, whatever is damaged is made anew."""

import logging
import os
import shutil
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from commands_and_data import write_pictures
from fault_counter import Faults
from modiste.data.pictures import picture_cache
from modiste.data.pictures.picture_cache import Decoded, cache_file, decode, decode_cached
from modiste.errors import MissingExtraError, PhotoError, StorageError
from modiste.photo.preparation import Preparation

pytestmark = pytest.mark.usefixtures("cache")
WHOLE = Preparation("whole", 12, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "own", {"a": 5, "b": 4})
    (tmp_path / "own" / "a" / "002.png").write_bytes(b"damaged")
    return tmp_path / "own"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read, in no order."""
    read, names = picture_cache.read_file, []

    def noted(path: Path) -> bytes:
        names.append(f"{path.parent.name}/{path.name}")
        return read(path)

    monkeypatch.setattr(picture_cache, "read_file", noted)
    return names


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


def same(one: Decoded, other: Decoded) -> bool:
    plain = [(each.names, each.digests, each.faults) for each in (one, other)]
    return plain[0] == plain[1] and np.array_equal(one.images, other.images)


def load(folder: Path, preparation: Preparation = WHOLE, part: str = "development") -> Decoded:
    return decode_cached(folder, names_in(folder), preparation, part)


def test_the_second_start_reads_no_picture_and_keeps_the_reasons(folder: Path, opened: list[str]) -> None:
    first = load(folder)
    assert len(opened) == 9
    opened.clear()
    assert same(load(folder), first)
    assert opened == []
    assert [bool(reason) for reason in first.faults] == [False, False, True] + [False] * 6
    assert len(first.images) == 8
    assert same(first, decode(folder, names_in(folder), WHOLE))


def test_threads_that_decode_leave_the_filters_of_warnings_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode_one, before, seen = picture_cache._decode_one, list(warnings.filters), set[object]()

    def noted(path: Path, preparation: Preparation) -> picture_cache.Result:
        seen.add(warnings.filters[0])
        result = decode_one(path, preparation)
        seen.add(warnings.filters[0])
        return result

    monkeypatch.setattr(picture_cache, "_decode_one", noted)
    load(folder)
    assert len(seen - set(before)) == len(seen) == 1
    assert warnings.filters == before


def test_what_was_changed_added_or_replaced_unseen_is_read_again(folder: Path, opened: list[str]) -> None:
    load(folder)
    opened.clear()
    facts = (folder / "a" / "000.png").stat()
    shutil.copy(folder / "b" / "000.png", folder / "b" / "004.png")
    shutil.copy(folder / "b" / "001.png", folder / "a" / "002.png")
    content = (folder / "a" / "000.png").read_bytes()
    time.sleep(0.02)
    (folder / "a" / "000.png").write_bytes(content[:-1] + b"\0")  # of the same size, with the same times
    os.utime(folder / "a" / "000.png", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    found = load(folder)
    assert sorted(opened) == ["a/000.png", "a/002.png", "b/004.png"]
    assert same(found, decode(folder, names_in(folder), WHOLE))


def test_a_file_that_could_not_be_opened_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = picture_cache.read_file

    def refused(path: Path) -> bytes:
        if path.name == "001.png":
            raise PhotoError("cannot be read (Too many open files)")
        return read(path)

    with monkeypatch.context() as patched:
        patched.setattr(picture_cache, "read_file", refused)
        assert len(load(folder).images) == len(load(folder).images) == 6
    assert same(load(folder), decode(folder, names_in(folder), WHOLE))


def test_what_was_taken_away_is_gone(folder: Path, opened: list[str]) -> None:
    load(folder)
    opened.clear()
    (folder / "a" / "001.png").unlink()
    (folder / "b" / "003.png").unlink()
    assert same(load(folder), decode(folder, names_in(folder), WHOLE))


def test_each_preparation_part_and_folder_has_its_own(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "other")
    places = [
        cache_file(folder, WHOLE, "development"),
        cache_file(folder, WHOLE, "sealed"),
        cache_file(tmp_path / "other", WHOLE, "development"),
        *(
            cache_file(folder, replace(WHOLE, **change), "development")
            for change in ({"side": 13}, {"channels": 1}, {"way": "stretched"})
        ),
    ]
    assert len(set(places)) == len(places)


def test_a_damaged_cache_is_told_and_made_anew(
    folder: Path, faults: Faults, caplog: pytest.LogCaptureFixture, opened: list[str]
) -> None:
    first, path = load(folder), cache_file(folder, WHOLE, "development")
    sound, random = path.read_bytes(), np.random.RandomState(0)
    for number in faults("picture cache: a damaged file", few=60, many=5_000):
        place = random.randint(len(sound))
        spoilt = bytearray(sound)
        spoilt[place] ^= 1 << random.randint(8)
        path.write_bytes(sound[:place] if number % 3 == 0 else bytes(spoilt))
        caplog.clear()
        opened.clear()
        assert same(load(folder), first)
        assert f"{path}: damaged" in caplog.text
        assert len(opened) == 9
        assert path.read_bytes() == sound


def test_a_cache_that_cannot_be_written_costs_time_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path) -> None:
        raise StorageError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr(picture_cache, "new_picture_file", refuse)
    caplog.set_level(logging.WARNING)
    assert same(load(folder), decode(folder, names_in(folder), WHOLE))
    assert "pictures will be read again next time" in caplog.text


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_what_is_kept_is_for_its_owner_alone(folder: Path, cache: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        load(folder)
    finally:
        os.umask(before)
    assert cache.stat().st_mode & 0o777 == 0o700


def test_a_cache_that_others_may_enter_is_closed(folder: Path, cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o755)
    load(folder)
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("missing", "way"), [("PIL", "whole"), ("PIL", "garment")])
def test_a_missing_extra_is_named(folder: Path, missing: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == missing or name.startswith(f"{missing}.")] or [missing]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=r"pictures need Pillow: pip install 'modiste\[photo\]'"):
        load(folder, Preparation(way))
