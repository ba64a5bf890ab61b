"""What children of the nursery do on a disk that fails, beside the real command."""

import subprocess
from pathlib import Path

import torch

from modiste import checkpoint, run_folder


def state(folder: str, step: int) -> None:
    """Save a training state that holds its step."""
    checkpoint.save_state(Path(folder), step, {"weights": torch.full((2000,), float(step))}, {"step": step})


def manifest(run: str, test_openings: int) -> None:
    """Write another manifest over a finished run's."""
    run_folder.add_files(run_folder.open_run(Path(run)), [], test_openings=test_openings)


def mount(folder: str, options: str) -> None:
    """Let ``folder`` be a disk of its own, or change the one that is there."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True, timeout=20)


def same(run: str, calm: str) -> None:
    """Compare two runs where only this process sees both."""
    from disturbed import assert_same

    assert_same(Path(run), Path(calm))
