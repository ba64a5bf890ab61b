"""Functions that processes of the fork server run, beside the real command: mostly on a disk that fails."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from fork_server import end_with_parent
from modiste.cli.main import main
from modiste.recipes.recipe import load
from modiste.runs import checkpoint, run_folder
from modiste.training import trainer
from modiste.training.setup import Inputs
from modiste.training.tracking import Listener


def state(folder: str, step: int) -> None:
    """Save a training state that holds its step."""
    checkpoint.save_state(Path(folder), step, {"weights": torch.full((2000,), float(step))}, {"step": step})


def manifest(run: str) -> None:
    """Count an opening of the test set, and replace a file of which a finished run's manifest tells."""
    run_folder.keep(run_folder.open_run(Path(run)), {"test-logits.safetensors": os.urandom(1000)}, openings=1)


class Deaf(Listener):
    """Stands still at a step for a minute, and hears a signal only to say so."""

    def __init__(self, at: int) -> None:
        self.at = at

    def step_done(self, step: int) -> None:
        if step == self.at:
            print("slow", flush=True)
            while not signal.getsignal(signal.SIGINT).__self__.requested:  # type: ignore[union-attr]
                time.sleep(0.001)
            print("asked", flush=True)
            time.sleep(60)


def deaf(recipe: str, out: str, data: str, at: int) -> None:
    """Train, and stand still."""
    trainer.train(load(Path(recipe)), out, Inputs(data), device="cpu", listeners=[Deaf(at)])


def race(words: list[str], rivals: int) -> None:
    """Let so many processes give one command at once; when all but one have left, kill that; print how each left."""
    racers = {begin(words) for _ in range(rivals)}
    while len(racers) > 1:
        loser, status = os.wait()
        racers.remove(loser)
        print(os.waitstatus_to_exitcode(status), flush=True)
    (owner,) = racers
    os.kill(owner, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)


def begin(words: list[str]) -> int:
    """Fork a process that runs the command."""
    if child := os.fork():
        return child
    end_with_parent()
    try:
        main(words)
    except SystemExit as leaving:
        sys.stderr.flush()
        os._exit(int(leaving.code or 0))
    os._exit(0)


def mount(folder: str, options: str) -> None:
    """Let ``folder`` be a disk of its own, or change the one that is there."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True, timeout=20)


def same(run: str, calm: str) -> None:
    """Compare two runs where only this process sees both."""
    from run_equality import assert_same

    assert_same(Path(run), Path(calm))
