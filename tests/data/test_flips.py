"""A byte changed anywhere in the four real files, packed or not, is noticed before anything is trained."""

import gzip
import random
from pathlib import Path

import pytest
from idx_files import IMAGES, LABELS, TEST_IMAGES, TEST_LABELS, flip

from fault_counter import Faults
from modiste.data import held_out
from modiste.data.idx import idx_source
from modiste.errors import DataError

PLAN = [*[LABELS, TEST_LABELS] * 3, *[TEST_IMAGES] * 2, IMAGES]
"""The large file is the fewest times damaged: each of its readings takes a part of a second."""


@pytest.fixture
def copies(real_files: dict[str, Path], memory_path: Path) -> Path:
    """Two folders that may be damaged: ``raw`` and ``gz``."""
    for name, path in real_files.items():
        found = path.read_bytes()
        plain = gzip.decompress(found) if path.suffix == ".gz" else found
        for folder, ending, content in (("raw", "", plain), ("gz", ".gz", gzip.compress(plain, 1))):
            (memory_path / folder).mkdir(exist_ok=True)
            (memory_path / folder / f"{name}{ending}").write_bytes(content)
    return memory_path


def test_a_changed_byte_is_noticed(copies: Path, faults: Faults) -> None:
    draw = random.Random(47)
    for number in faults("data: a byte changed in a real file", few=200, many=5_000):
        name, folder = PLAN[number % len(PLAN)], ("raw", "gz")[number % 2]
        path = copies / folder / (name + (".gz" if folder == "gz" else ""))
        position = draw.randrange(path.stat().st_size)
        flip(path, position, mask := draw.randint(1, 255))
        fault = fault_of(path, training=name in (IMAGES, LABELS))
        assert fault.isprintable()
        assert str(path) in fault or (folder == "gz" and unpacked_alike(path, copies / "raw" / name)), position
        flip(path, position, mask)


def unpacked_alike(packed: Path, plain: Path) -> bool:
    """Tell whether an archive still holds the same: a date in its header may differ, or a bit that nothing reads."""
    return gzip.decompress(packed.read_bytes()) == plain.read_bytes()


def fault_of(path: Path, training: bool) -> str:
    """What is said against a pair; nothing only where its content is what was published, though packed otherwise."""
    load = idx_source.load_training if training else held_out.load_held_out
    try:
        files = load("fashion-mnist", path.parent).files
    except DataError as error:
        return str(error)
    assert all(file.published for file in files)
    return ""
