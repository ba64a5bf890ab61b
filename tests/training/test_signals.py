"""One owner of a folder, and signals: a request to stop saves and leaves with 75, a second one leaves at once."""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from run_equality import LONG, assert_same, newest_step, words_for

from fault_counter import Faults
from fork_server import COMMAND, ForkServer
from modiste.cli.main import INTERRUPTED
from modiste.errors import FolderInUseError, StoppedError
from modiste.recipes.plain import to_plain
from modiste.runs import manifest, run_folder

IN_USE, STOPPED = FolderInUseError.exit_code, StoppedError.exit_code
STEPS_PER_EPOCH = 20


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "signals.json"
    path.write_text(json.dumps(to_plain(replace(LONG, epochs=5, batch_size=20))))
    return path


@pytest.fixture(scope="module")
def calm(
    fork_server: ForkServer, recipe_file: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    run = tmp_path_factory.mktemp("calm") / "run"
    ended = fork_server.run(COMMAND, words_for(recipe_file, tiny_folder, run))
    assert ended.code == 0, ended.said
    return run


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def test_of_several_processes_one_owns_the_folder(
    fork_server: ForkServer, recipe_file: Path, tiny_folder: Path, memory_path: Path, faults: Faults
) -> None:
    """The others leave with 7; the owner is killed, and leaves no lock behind."""
    run = memory_path / "run"
    words = [*words_for(recipe_file, tiny_folder, run), "--epochs", "1000"]
    refusal = f"modiste: {run}: another process is working in this folder; wait until it has ended"
    for number in faults("locks: several processes on one folder", few=12, many=500):
        rivals = 2 + number % 3
        ended = fork_server.run("forked_tasks:race", words, rivals)
        lines = ended.said.replace(refusal, "\n").splitlines()  # a code may come before the end of another's line
        codes = sorted(int(line) for line in lines if line.removeprefix("-").isdecimal())
        assert codes == sorted([IN_USE] * (rivals - 1) + [-signal.SIGKILL]), ended
        assert ended.said.count(refusal) == rivals - 1, ended
        assert "Traceback" not in ended.said, ended
        if number % 2:  # the next find the folder new, or begun and left
            shutil.rmtree(run)


def test_asked_to_stop_at_any_moment_it_saves_the_step_and_goes_on_from_there(
    fork_server: ForkServer, recipe_file: Path, tiny_folder: Path, calm: Path, memory_path: Path, faults: Faults
) -> None:
    run, draw = memory_path / "run", random.Random(75)
    words = words_for(recipe_file, tiny_folder, run)
    for number in faults("signals: asked to stop", few=12, many=500):
        while stopped_after(fork_server, words, run, draw, (signal.SIGTERM, signal.SIGINT)[number % 2]) is None:
            assert_same(run, calm)  # it was done before
            shutil.rmtree(run)
        assert not (run / manifest.NAME).exists()
    assert fork_server.run(COMMAND, words).code == 0
    assert_same(run, calm)


def stopped_after(
    fork_server: ForkServer, words: list[str], run: Path, draw: random.Random, number: signal.Signals
) -> int | None:
    """Ask a run that has begun to stop; return the step that it stopped after, None if it came to its end."""
    before, facts = newest_step(run), run / run_folder.FACTS
    facts.unlink(missing_ok=True)  # so that its return tells that training begins
    child = fork_server.start(COMMAND, words)
    wait_for(lambda: facts.exists() or fork_server.has_ended())
    time.sleep(draw.uniform(0, 0.1))
    os.kill(child, number)
    ended = fork_server.wait()
    if (run / manifest.NAME).exists():  # nothing is left to save, a signal ends it as any other
        assert ended.code in (0, -signal.SIGTERM, INTERRUPTED), ended
        return None
    assert ended.code == STOPPED, ended
    step = newest_step(run)
    assert step >= before
    assert f"stopped on request after step {step}; everything is saved in {run}" in ended.said
    return step


def test_asked_twice_it_leaves_at_once_in_the_middle_of_a_step(
    fork_server: ForkServer, recipe_file: Path, tiny_folder: Path, calm: Path, memory_path: Path, faults: Faults
) -> None:
    run, draw, said = memory_path / "run", random.Random(2), fork_server.folder / "said"
    for _ in faults("signals: asked twice", few=3, many=200):
        at = draw.randint(1, 5 * STEPS_PER_EPOCH)
        child = fork_server.start("forked_tasks:deaf", recipe_file, run, tiny_folder, at)
        for word in ("slow", "asked"):
            wait_for(lambda word=word: word in said.read_text())
            os.kill(child, signal.SIGINT)
        assert fork_server.wait().code == -signal.SIGINT  # at the step's end it would have saved, and left with 75
        assert newest_step(run) == (at - 1) // STEPS_PER_EPOCH * STEPS_PER_EPOCH
        assert fork_server.run(COMMAND, words_for(recipe_file, tiny_folder, run)).code == 0
        assert_same(run, calm)
        shutil.rmtree(run)
