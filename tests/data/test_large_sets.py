"""Pictures that are too large for memory: mapped from one file, with the same result as in memory."""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from commands_and_data import PROGRAMS, write_pictures
from modiste.audits.audit import audit
from modiste.data import dataset
from modiste.data.batch import read_floats
from modiste.data.dataset import load_development, mean_and_deviation
from modiste.data.pictures import picture_cache, picture_source
from modiste.data.pictures.picture_cache import Decoded, cache_file, decode, decode_cached
from modiste.errors import RecipeError, StorageError
from modiste.photo.preparation import Preparation
from modiste.recipes.networks import MLPRecipe
from modiste.recipes.recipe import DataRecipe, Recipe
from modiste.training.trainer import train

pytestmark = pytest.mark.usefixtures("cache")
WHOLE = Preparation("whole", 12, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "own", {"a": 30, "b": 25})
    (tmp_path / "own" / "a" / "002.png").write_bytes(b"damaged")
    return tmp_path / "own"


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (picture_source, dataset):
        monkeypatch.setattr(module, "LIMIT_BYTES", 10_000)


def recipe_of(folder: Path, **changes: object) -> Recipe:
    data = DataRecipe(source=str(folder), pictures="whole", side=12, colour=True, **changes)  # type: ignore[arg-type]
    return Recipe(name="own", model=MLPRecipe(hidden=(8,)), data=data, epochs=2, batch_size=16, standardize=True)


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


def mapped(folder: Path) -> Decoded:
    return decode_cached(folder, names_in(folder), WHOLE, "development", mapped=True)


def same(one: Decoded, other: Decoded) -> bool:
    plain = [(each.names, each.digests, each.faults) for each in (one, other)]
    return plain[0] == plain[1] and np.array_equal(one.images, other.images)


def test_a_mapped_set_is_that_in_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(folder).data
    inside = load_development(recipe)
    for module in (picture_source, dataset):
        monkeypatch.setattr(module, "LIMIT_BYTES", 10_000)
    outside = load_development(recipe)
    for one, other in ((inside.train, outside.train), (inside.validation, outside.validation)):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert one.identity() == other.identity()
    assert inside.fingerprint == outside.fingerprint
    assert outside.notes[1:] == inside.notes
    assert "more than the 1e-05 GB that are kept in memory: they are read from the disk" in outside.notes[0]
    assert mean_and_deviation(inside.train.images) == mean_and_deviation(outside.train.images)
    addresses = [one.images.untyped_storage().data_ptr() for one in (outside.train, outside.validation)]
    assert addresses[0] == addresses[1], "both are views of the file"
    assert outside.unlabelled is outside.train.images


def test_training_gives_the_same_bytes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(recipe_of(folder), tmp_path / "inside", device="cpu")
    for module in (picture_source, dataset):
        monkeypatch.setattr(module, "LIMIT_BYTES", 10_000)
    train(recipe_of(folder), tmp_path / "outside", device="cpu")
    digests = [
        {name: hashlib.sha256((tmp_path / run / name).read_bytes()).hexdigest() for name in ("last.safetensors",)}
        for run in ("inside", "outside")
    ]
    assert digests[0] == digests[1]


def test_pictures_cannot_be_changed(folder: Path) -> None:
    assert not mapped(folder).images.flags.writeable


def test_only_what_has_changed_is_decoded_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert same(mapped(folder), decode(folder, names_in(folder), WHOLE))
    read, opened = picture_cache.read_file, list[str]()
    monkeypatch.setattr(picture_cache, "read_file", lambda path: (opened.append(path.name), read(path))[1])
    assert same(mapped(folder), mapped(folder))
    assert opened == []
    shutil.copy(folder / "b" / "000.png", folder / "b" / "099.png")
    (folder / "a" / "001.png").unlink()
    found = mapped(folder)
    assert opened == ["099.png"]
    (folder / "a" / "003.png").unlink()
    fewer = mapped(folder)
    assert opened == ["099.png"]
    assert len(fewer.images) == len(found.images) - 1, "the file that was replaced can still be read"
    assert same(fewer, decode(folder, names_in(folder), WHOLE))


def test_a_damaged_file_is_reported_and_made_anew(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, path = mapped(folder), cache_file(folder, WHOLE, "development")
    sound = path.read_bytes()
    copies = sound[:-1], sound[: len(first.images.tobytes())], b"", sound[:100] + b"?" + sound[101:]
    for number, content in enumerate(copies, 1):
        path.unlink()  # the old one is mapped
        path.write_bytes(content)
        assert same(mapped(folder), first)
        assert caplog.text.count("damaged (") == number
        assert path.read_bytes() == sound


def test_memory_holds_few_pictures_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large, names = Preparation("whole", 64, 3), [f"{number}.png" for number in range(1_000)]
    monkeypatch.setattr(picture_cache, "_decode_one", lambda _path, way: ("0" * 64, np.zeros(way.shape, np.uint8), ""))
    tracemalloc.start()
    try:
        found = decode_cached(folder, names, large, "development", mapped=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.images.nbytes == 1_000 * 3 * 64 * 64
    assert peak < found.images.nbytes / 3


def resident_kilobytes(path: Path) -> int:
    """The memory of this process that holds pages of a mapped file."""
    blocks = re.split(
        r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    own = [block for block in blocks if str(path) in block]
    assert own
    return sum(int(number) for block in own for number in re.findall(r"^Rss: +(\d+) kB", block, re.MULTILINE))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not say")
@pytest.mark.usefixtures("small_memory")
def test_pages_that_were_read_are_released(folder: Path) -> None:
    development, path = load_development(recipe_of(folder).data), cache_file(folder, WHOLE, "development")
    assert resident_kilobytes(path) == 0, "comparing the pictures leaves none"
    images = development.train.images
    assert images.sum() > 0
    assert resident_kilobytes(path) > 0
    read_floats(images[:1])
    assert resident_kilobytes(path) == 0
    mean_and_deviation(images)
    assert resident_kilobytes(path) == 0


def test_a_kill_leaves_nothing_that_is_taken_for_whole(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, str(PROGRAMS / "decode_until_killed.py"), str(folder), str(cache), "20"]
    done = subprocess.run(command, check=False)
    assert done.returncode == -signal.SIGKILL
    (part,) = cache.iterdir()
    assert part.suffix == ".part"
    assert part.stat().st_size == 20 * 3 * 12 * 12
    monkeypatch.setattr("modiste.runs.storage.ABANDONED_SECONDS", -1.0)
    assert same(mapped(folder), decode(folder, names_in(folder), WHOLE))
    assert list(cache.iterdir()) == [cache_file(folder, WHOLE, "development")]


def test_two_threads_do_not_decode_the_same(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, opened, read = names_in(folder), list[str](), picture_cache.read_file
    monkeypatch.setattr(picture_cache, "read_file", lambda path: (opened.append(path.name), read(path))[1])
    cache.mkdir(mode=0o700)
    descriptor = os.open(cache, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    threads = [threading.Thread(target=mapped, args=(folder,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    threads[0].join(0.2)
    assert opened == []
    os.close(descriptor)
    for thread in threads:
        thread.join()
    assert len(opened) == len(names)


def test_a_disk_with_too_little_space_is_refused_before(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(folder)._replace(free=23_759)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    expected = rf"^{cache}: 55 pictures of 12 x 12 need 2.38e-05 GB of this disk, 2.38e-05 GB are free; free space"
    with pytest.raises(StorageError, match=expected):
        mapped(folder)
    assert list(cache.iterdir()) == []
    usage = usage._replace(free=23_760)
    assert len(mapped(folder).images) == 54


def test_a_folder_that_cannot_be_written_is_refused(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system refuses root too, who may write everywhere."""
    real = os.open

    def refuse(path: Path, flags: int, *others: int) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, flags, *others)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match=r"cannot be written \(Permission denied\); check its permissions"):
        mapped(folder)
    assert list(cache.iterdir()) == []


@pytest.mark.usefixtures("small_memory")
def test_what_would_copy_everything_is_refused(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"too large to be copied, 76 of 45 images chosen with .* data.repeats 2"):
        load_development(recipe_of(folder, repeats=2).data)
    with pytest.raises(RecipeError, match=r"an audit: keeps all images in memory, .* found 19,440; choose a smaller"):
        audit(recipe_of(folder), folds=0)
    few = load_development(recipe_of(folder, images_per_class=5).data)
    assert len(few.train) == 10
    assert len(few.unlabelled) == 38


def test_the_notes_of_sets_in_memory_say_nothing_of_the_disk(folder: Path) -> None:
    assert not any("disk" in note for note in load_development(replace(recipe_of(folder).data)).notes)
