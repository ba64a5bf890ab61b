"""Files as people have them, made by script: each is a photo, or is refused with a reason that helps."""

import json
from pathlib import Path

import numpy as np
import pytest
from pictures import BAD, GOOD, oriented

from faults import Faults
from modiste.errors import PhotoError
from modiste.photo import prepare
from modiste.photo.opening import LONGEST_SIDE, MOST_BYTES, open_photo
from workbench import run_python


def test_there_are_enough_kinds() -> None:
    assert len(GOOD) + len(BAD) >= 100


@pytest.mark.parametrize("name", GOOD)
def test_a_photo_is_read(name: str, faults: Faults) -> None:
    for _ in faults("photos: a kind of file"):
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
def test_what_is_no_photo_is_refused(name: str, faults: Faults) -> None:
    make, reason = BAD[name]
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


MUTANTS = str(Path(__file__).parent / "mutants.py")
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
    bombs = [name for name in BAD if "bomb" in name]
    done = run_python(MUTANTS, *bombs)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    for number in faults("photos: a bomb", few=len(bombs), many=len(bombs)):
        assert told[number]["refused"], bombs[number]
        assert told[number]["bytes"] < 8 * 2**20
