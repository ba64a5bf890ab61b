import gzip
import hashlib
import json
import subprocess
import sys
import zlib
from math import prod
from pathlib import Path

import numpy as np
import pytest
from idx_files import bomb, header, idx, packed

from commands_and_data import PROGRAMS
from fault_counter import Faults
from modiste.data.idx.reader import BLOCK_BYTES, DEFLATE_RATIO, LIMIT_BYTES, IdxFile, read_idx
from modiste.errors import DataError

SPARE_BYTES = 64 * 2**20


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 2), (4, 5, 6), (2, 3, 4, 5)])
@pytest.mark.parametrize("pack", [bytes, packed], ids=["raw", "gzip"])
def test_what_was_written_is_read(tmp_path: Path, shape: tuple[int, ...], pack: type[bytes]) -> None:
    array = np.arange(prod(shape), dtype=np.uint8).reshape(shape)
    path = tmp_path / "any name"
    path.write_bytes(pack(idx(array)))
    file = read_idx(path, dimensions=len(shape))
    np.testing.assert_array_equal(file.array, array)
    assert file.array.flags.writeable  # torch shares its memory
    assert file.sha256 == hashlib.sha256(idx(array)).hexdigest()
    assert file.size_bytes == len(idx(array))


@pytest.mark.parametrize("level", range(10))
def test_every_way_of_packing_is_read(tmp_path: Path, level: int) -> None:
    array = np.random.default_rng(level).integers(0, 3, (300, 28, 28), np.uint8)
    array[100:200] = 0  # long runs, whose output outlives the packed input in zlib's window
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(idx(array), level))
    np.testing.assert_array_equal(read_idx(path).array, array)


def test_highly_packed_end_is_not_taken_for_a_cut(tmp_path: Path) -> None:
    array = np.zeros((5 * 2**20,), np.uint8)
    path = tmp_path / "zeros"
    path.write_bytes(packed(idx(array)))
    assert read_idx(path).array.nbytes == array.nbytes


def test_the_limit_is_met_exactly(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.write_bytes(idx(range(92)))
    assert read_idx(path, limit_bytes=100).size_bytes == 100
    with pytest.raises(DataError, match="too large: expected at most 99 bytes, found 100 bytes announced"):
        read_idx(path, limit_bytes=99)


def test_real_files_fit_their_published_hashes(real_files: dict[str, Path]) -> None:
    images = read_idx(real_files["train-images-idx3-ubyte"], dimensions=3)
    assert images.array.shape == (60_000, 28, 28)
    assert images.sha256 == "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"


def measured_in_child(path: Path) -> dict[str, object]:
    """Read in a process of its own: growth of its peak resident memory, bytes unpacked, what the error said."""
    run = subprocess.run(
        [sys.executable, PROGRAMS / "measure_idx_file.py", path], capture_output=True, text=True, check=True
    )
    return dict(json.loads(run.stdout))


NOISE = np.random.default_rng(0).bytes(2 * 2**20)
BOMBS = {
    "more than announced": (bomb(header(10) + bytes(10), 4096), "bytes left over"),
    "announces 2 GiB, holds little": (bomb(header(2**31 - 8), 1), "cut short or forged"),
    "announces 2 GiB, is long enough, ends early": (
        bomb(header(2**31 - 8), 1) + NOISE,
        "damaged|truncated",
    ),
    "announces 4 GiB and holds them": (bomb(header(2**16, 2**8, 2**8), 4096), "too large"),
    "announces 2^128 bytes": (bomb(header(*[2**32 - 1] * 4), 1), "too large"),
    "raw, announces 2 GiB": (header(2**31 - 8), "truncated"),
}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_once_without_its_memory(tmp_path: Path, name: str, faults: Faults) -> None:
    content, message = BOMBS[name]
    path = tmp_path / "bomb.gz"
    path.write_bytes(content)
    for _ in faults("data: a bomb in an archive"):
        result = measured_in_child(path)
        assert any(part in str(result["said"]) for part in message.split("|")), result
        assert result["bytes"] <= SPARE_BYTES, result  # type: ignore[operator]
        assert result["unpacked"] <= BLOCK_BYTES, result  # type: ignore[operator]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_reading_takes_the_array_and_little_more(real_files: dict[str, Path]) -> None:
    result = measured_in_child(real_files["train-images-idx3-ubyte"])
    assert result["said"] == ""
    assert result["bytes"] <= 47_040_016 + SPARE_BYTES  # type: ignore[operator]


def test_the_limits_are_those_documented() -> None:
    assert LIMIT_BYTES == 2**31
    assert DEFLATE_RATIO == 1032


def is_whole(content: bytes) -> bool:
    """The slow reference: whether ``content`` is exactly one raw IDX file of bytes."""
    if len(content) < 4 or content[:3] != b"\0\0\x08" or not 1 <= content[3] <= 4:
        return False
    end = 4 + 4 * content[3]
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, end, 4)]
    return len(content) >= end and prod(shape) > 0 and len(content) == end + prod(shape)


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """Change, cut or lengthen, in the header, where most decisions fall, as often as in all the rest."""
    changed = bytearray(content)
    for _ in range(random.integers(0, 4)):
        at = int(random.integers(0, min(20, len(changed)) if random.random() < 0.5 else len(changed)))
        match random.integers(0, 5):
            case 0:
                changed[at] ^= 1 << int(random.integers(0, 8))
            case 1:
                changed[at] = int(random.choice([0, 1, 2, 3, 4, 5, 8, 13, 127, 128, 255]))
            case 2:
                del changed[at : at + int(random.integers(1, 9))]
            case 3:
                changed[at:at] = random.bytes(int(random.integers(1, 9)))
            case _:
                changed = changed[: at + 1]
        if not changed:
            break
    return bytes(changed)


def unpacked(content: bytes) -> bytes | None:
    """The slow reference for archives: what one whole member holds, None for anything else."""
    inflate = zlib.decompressobj(wbits=31)
    try:
        plain = inflate.decompress(content)
    except zlib.error:
        return None
    return plain if inflate.eof and not inflate.unused_data else None


def outcome(path: Path) -> IdxFile | DataError:
    try:
        return read_idx(path)
    except DataError as error:
        return error


@pytest.mark.parametrize("pack", [False, True], ids=["raw", "gzip"])
def test_any_input_gives_a_right_array_or_a_data_error(memory_path: Path, pack: bool, faults: Faults) -> None:
    random = np.random.default_rng(20261123 + pack)
    shapes = [(1,), (9,), (2, 3), (3, 4, 2), (1, 2, 2, 2)]
    seeds = [idx(np.arange(prod(shape)).reshape(shape)) for shape in shapes]
    accepted, tried = 0, 0
    for _ in faults("data: a made-up IDX file", few=10_000, many=1_000_000, each=1000):
        for number in range(1000):
            plain = seeds[number % len(seeds)]
            if pack and number % 2:  # half of the archives are sound around damaged content
                content = packed(mutated(plain, random))
            else:
                content = mutated(packed(plain) if pack else plain, random)
            accepted += is_read_or_refused(memory_path / "input", content)
        tried += 1000
    assert tried / 10 < accepted < tried  # the mutations are neither hopeless nor harmless


def is_read_or_refused(path: Path, content: bytes) -> bool:
    """Whether the reader takes what the slow reference takes, and refuses all else in one line."""
    path.write_bytes(content)
    truth = unpacked(content) if content[:2] == b"\x1f\x8b" else content
    result = outcome(path)
    if truth is not None and is_whole(truth):
        assert isinstance(result, IdxFile), content
        assert idx(result.array) == truth
        return True
    assert isinstance(result, DataError), content
    assert str(result).isprintable()
    return False
