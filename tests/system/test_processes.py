"""Cores that others hold, held by real processes."""

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch

from commands_and_data import child_environment
from modiste import machine
from modiste.runs import run_folder, storage
from modiste.runs.run_folder import open_run
from modiste.system import processes
from modiste.system.processes import CoreWatch, Interruption, available_cores, idle_seconds, importing_torch
from modiste.training import setup

WORK = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); print('at work', flush=True)\nwhile True: pass"
needs_stat = pytest.mark.skipif(not processes.STAT.exists(), reason="this system does not tell how busy its cores are")


def idle_percent(cores: set[int]) -> float:
    """Return how idle these cores are now by psutil's measure, summed over them, in percent of one core."""
    busy = dict(enumerate(psutil.cpu_percent(0.3, percpu=True)))
    return sum(100 - busy.get(core, 0) for core in cores)


@contextmanager
def every_core_busy() -> Iterator[None]:
    """Run a process on each core that does nothing but work; skip the test where they may not keep the cores busy."""
    cores = available_cores()
    commands = [[sys.executable, "-c", WORK, str(core)] for core in cores]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "at work\n"
        if (idle := idle_percent(cores)) > 50:
            pytest.skip(f"a worker on each of {len(cores)} cores leaves {idle:.0f} % of one idle: a quota limits them")
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


@needs_stat
def test_cores_that_others_hold_are_not_free() -> None:
    with every_core_busy():
        watch = CoreWatch()
        time.sleep(0.5)
        assert watch.free() == 1


def test_idle_time_is_that_of_the_given_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    monkeypatch.setattr(processes, "STAT", stat)
    assert idle_seconds({0}) is None
    stat.write_text("cpu  9 9 9 900 90 9\ncpu0 1 2 3 400 20 7\ncpu1 5 5 5 500 70 2\ncpu11 1 1 1 7000 1 1\nintr 5\n\n")
    ticks = os.sysconf("SC_CLK_TCK")
    assert idle_seconds({0}) == 420 / ticks
    assert idle_seconds({0, 1}) == 990 / ticks


def test_all_cores_are_free_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "STAT", tmp_path / "missing")
    assert CoreWatch().free() == len(available_cores())


@pytest.mark.slow
@needs_stat
def test_training_takes_the_threads_that_are_free_(tiny_folder: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in child_environment().items() if name != "OMP_NUM_THREADS"}
    run = tmp_path / "run"
    words = ("train", "mlp", "--epochs", "1", "--data.source", tiny_folder, "--out", run)
    command = [sys.executable, "-m", "modiste", *map(str, words)]
    with every_core_busy():
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert open_run(run).facts()[0]["threads"] == 1
    if len(available_cores()) > 1:
        assert "other processes are busy: training with 1 of" in done.stderr


def test_a_run_goes_on_with_the_threads_that_it_began_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    count = len(available_cores())
    for began, allowed in ((1, count), (count, 1)):
        storage.write_hashed_json(tmp_path / run_folder.FACTS, {"starts": [{"threads": began}, {"threads": allowed}]})
        with machine.threads_restored():
            torch.set_num_threads(allowed)
            setup.settle_threads(tmp_path, CoreWatch())
            assert torch.get_num_threads() == began


def test_a_machine_with_fewer_cores_takes_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    storage.write_hashed_json(tmp_path / run_folder.FACTS, {"starts": [{"threads": 10_000}]})
    before = torch.get_num_threads()
    setup.settle_threads(tmp_path, CoreWatch())
    assert torch.get_num_threads() == before


def test_a_handler_that_python_cannot_restore_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that embeds Python has handlers of its own; Python returns None for them."""
    installed = list[int]()
    monkeypatch.setattr(processes.signal, "getsignal", lambda _number: None)
    monkeypatch.setattr(processes.signal, "signal", lambda number, _handler: installed.append(number))
    with Interruption() as interruption:
        assert not interruption.requested
    assert not installed


@pytest.fixture
def nothing_frozen() -> Iterator[None]:
    """Let the collector look at everything; tests/conftest.py keeps from it what was there before the first test."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.mark.usefixtures("nothing_frozen")
def test_the_collector_rests_while_torch_is_imported_and_works_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    with importing_torch():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count()


@pytest.mark.usefixtures("nothing_frozen")
def test_the_collector_works_after_an_import_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    with pytest.raises(ImportError), importing_torch():
        raise ImportError
    assert gc.isenabled()
    assert not gc.get_freeze_count()


@pytest.mark.usefixtures("nothing_frozen")
def test_the_collector_stays_as_it_is_where_torch_is_there() -> None:
    with importing_torch():
        assert gc.isenabled()
    assert not gc.get_freeze_count()
