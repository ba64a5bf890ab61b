"""Every operation on a file fails in its turn, below Python: what can be read afterwards is the old or the new, always.

SQLite's method: the first operation fails, then in another run the second, and so on, each in every way: the process
dies before it, after it, halfway through a write; the power goes, and half of what was not synced is lost; a write is
short; the device reports EIO; it is full (ENOSPC) and stays so.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import pytest
from run_equality import LONG, assert_same, words_for

import forked_tasks
from fault_counter import Faults
from fork_server import COMMAND, Disk, Ended, ForkServer
from modiste.errors import RunError, StorageError
from modiste.recipes.networks import MLPRecipe
from modiste.recipes.plain import to_plain
from modiste.runs import checkpoint, run_folder

ANYWHERE = ("die before", "die after", "power cut", "EIO")
IN_A_WRITE = (*ANYWHERE, "ENOSPC", "die halfway", "short")
NEED_SPACE = ("mkdir", "create", "fsync", "close", "rename")
DEADLY = ("die before", "die after", "die halfway", "power cut")
TOO_SMALL = 10
"""So many disks, each by 4 KB larger than the one before, cannot hold the run."""
Point = tuple[int, str, str]
"""Number of an operation, its name, what happens."""


def points(operations: list[str]) -> list[Point]:
    """Everything that can go wrong, in an order that begins with a fair sample of it."""
    names = [operation.split()[0] for operation in operations]
    found = [(number, name, fault) for number, name in enumerate(names, start=1) for fault in faults_of(name)]
    random.Random(7).shuffle(found)
    return found


def faults_of(operation: str) -> tuple[str, ...]:
    if operation == "write":
        return IN_A_WRITE
    return (*ANYWHERE, "ENOSPC") if operation in NEED_SPACE else ANYWHERE


def assert_told(ended: Ended, point: Point) -> None:
    """A process dies, or names the fault in one line and leaves with the code of its kind, or was not hindered."""
    assert "Traceback" not in ended.said, (point, ended.said)
    if point[2] in DEADLY:
        assert ended.code == -signal.SIGKILL, (point, ended)
    else:
        assert ended.code in (0, StorageError.exit_code, RunError.exit_code), (point, ended)
        assert ended.said.count("\n") == (ended.code != 0), (point, ended.said)


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "short.json"
    path.write_text(json.dumps(to_plain(replace(LONG, epochs=2, batch_size=200, model=MLPRecipe(hidden=(4,))))))
    return path


@pytest.fixture(scope="module")
def calm_run(
    fork_server: ForkServer, recipe_file: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """A run that nothing hinders, and its operations on files, of every kind."""
    run = tmp_path_factory.mktemp("calm") / "run"
    ended = fork_server.run(COMMAND, words_for(recipe_file, tiny_folder, run), disk=Disk(run))
    assert ended.code == 0, ended.said
    found = fork_server.operations()
    kinds = {operation.split()[0] for operation in found}
    assert kinds == {"mkdir", "create", "open", "read", "write", "fsync", "close", "rename", "unlink"}
    return run, found


@pytest.fixture(scope="module")
def calm(calm_run: tuple[Path, list[str]]) -> Path:
    return calm_run[0]


@pytest.fixture(scope="module")
def operations(calm_run: tuple[Path, list[str]]) -> list[str]:
    return calm_run[1]


def test_whatever_fails_in_a_run_the_newest_state_is_whole_and_the_run_goes_on(
    fork_server: ForkServer,
    recipe_file: Path,
    tiny_folder: Path,
    calm: Path,
    operations: list[str],
    memory_path: Path,
    faults: Faults,
) -> None:
    run, every = memory_path / "run", points(operations)
    states = {Path(line.split()[1]).name for line in operations if line.startswith("rename") and "/step-" in line}
    words = words_for(recipe_file, tiny_folder, run)
    for number in faults("saving: a file operation of a run fails", few=30, many=len(every)):
        at, _, fault = every[number]
        assert_told(fork_server.run(COMMAND, words, disk=Disk(run, at, fault)), every[number])
        state = checkpoint.load_state(run / "checkpoints")
        assert state is None or not state.complaints, every[number]
        assert {path.name for path in run.glob("checkpoints/step-*")} <= states
        ended = fork_server.run(COMMAND, words)
        assert (ended.code, ended.said) == (0, ""), every[number]
        assert_same(run, calm)
        shutil.rmtree(run)


def test_whatever_fails_in_saving_a_state_the_old_or_the_new_is_loaded(
    fork_server: ForkServer, memory_path: Path, faults: Faults
) -> None:
    """The third state goes beside the second, and the first goes."""
    before, folder = memory_path / "before", memory_path / "states"
    for step in (1, 2):
        forked_tasks.state(str(before), step)
    shutil.copytree(before, folder)
    fork_server.run("forked_tasks:state", folder, 3, disk=Disk(folder))
    every = points(fork_server.operations())
    assert len(every) >= 40
    for number in faults("saving: a file operation of a checkpoint fails", few=len(every), many=len(every)):
        at, _, fault = every[number]
        shutil.rmtree(folder)
        shutil.copytree(before, folder)
        fork_server.run("forked_tasks:state", folder, 3, disk=Disk(folder, at, fault))
        for steps in ((2, 3), (3,)):
            state = checkpoint.load_state(folder)
            assert state is not None
            assert state.plain["step"] in steps, every[number]
            assert not state.complaints
            assert (state.tensors["weights"] == state.plain["step"]).all()
            forked_tasks.state(str(folder), 3)


def test_whatever_fails_in_writing_a_manifest_the_run_stays_whole(
    fork_server: ForkServer, calm: Path, memory_path: Path, faults: Faults
) -> None:
    run = Path(shutil.copytree(calm, memory_path / "run"))
    fork_server.run("forked_tasks:manifest", run, disk=Disk(run))
    every = points([line for line in fork_server.operations() if not line.startswith("read")])
    counted = run_folder.open_run(run).test_openings
    assert counted == 1
    for number in faults("saving: a file operation of a manifest fails", few=50, many=len(every)):
        at, _, fault = every[number]
        fork_server.run("forked_tasks:manifest", run, disk=Disk(run, at, fault))
        found = run_folder.open_run(run).test_openings
        assert found in (counted, counted + 1), every[number]
        counted = found


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Processes that may mount a disk of their own, which goes when they go."""
    if os.geteuid() or subprocess.run(["unshare", "--mount", "true"], check=False, timeout=20).returncode:
        pytest.skip("needs root, and unshare, to mount a small disk")
    fork_server = ForkServer(tmp_path_factory.mktemp("fork_server"), within=("unshare", "--mount"))
    yield fork_server
    fork_server.close()


@pytest.mark.slow
def test_a_disk_that_is_really_full_is_told_and_the_run_goes_on_when_there_is_room(
    small_disk: ForkServer, recipe_file: Path, tiny_folder: Path, calm: Path, tmp_path: Path, faults: Faults
) -> None:
    run = tmp_path / "run"
    words = words_for(recipe_file, tiny_folder, run)
    for number in faults("saving: a small disk is full", few=12, many=40):
        assert small_disk.run("forked_tasks:mount", tmp_path, f"size={4 + 4 * number}k").code == 0
        ended = small_disk.run(COMMAND, words)
        assert ended.code or number >= TOO_SMALL
        if ended.code:
            assert ended.code == StorageError.exit_code, ended
            assert "(No space left on device)" in ended.said
            assert ended.said.count("\n") == 1
        assert small_disk.run("forked_tasks:mount", tmp_path, "remount,size=8m").code == 0
        assert small_disk.run(COMMAND, words) == Ended(0, ANY, "")
        assert small_disk.run("forked_tasks:same", run, calm) == Ended(0, ANY, "")


def test_a_folder_that_is_really_read_only_is_refused_and_left_as_it_was(
    small_disk: ForkServer, recipe_file: Path, tiny_folder: Path, calm: Path, tmp_path: Path, faults: Faults
) -> None:
    run, draw = tmp_path / "run", random.Random(30)
    words = words_for(recipe_file, tiny_folder, run)
    for _ in faults("saving: the folder is read-only", few=5, many=100):
        assert small_disk.run("forked_tasks:mount", tmp_path, "size=8m").code == 0
        small_disk.kill_after(small_disk.start(COMMAND, words), draw.uniform(0, 0.1))
        small_disk.wait()
        finished_before = small_disk.run("forked_tasks:same", run, calm).code == 0  # on a fast machine
        assert small_disk.run("forked_tasks:mount", tmp_path, "remount,ro").code == 0
        ended = small_disk.run(COMMAND, words)
        refusal = rf"modiste: {run}\S*: cannot be (used as a run folder|written|deleted) \(Read-only file system\)"
        assert ended.code == (0 if finished_before else StorageError.exit_code)
        assert re.match("" if finished_before else refusal, ended.said)
        assert small_disk.run("forked_tasks:mount", tmp_path, "remount,rw").code == 0
        assert small_disk.run(COMMAND, words) == Ended(0, ANY, "")
        assert small_disk.run("forked_tasks:same", run, calm) == Ended(0, ANY, "")
