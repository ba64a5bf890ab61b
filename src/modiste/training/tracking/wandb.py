"""Runs in Weights & Biases: online where there is a login, otherwise offline, to be sent by ``wandb sync``."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modiste.errors import extra_for
from modiste.recipes.recipe import Recipe
from modiste.runs.run_folder import EpochRow, Run
from modiste.training.tracking.listener import Listener, Timing
from modiste.training.tracking.tracked_run import figures, files, identify, parameters, summary

PROJECT = "modiste"
"""Name of the project, unless ``WANDB_PROJECT`` gives another."""


class WandbTracker(Listener):
    """Records a run. W&B captures nothing else: no terminal output, no source code, no statistics of the machine.

    Args:
        folder: Folder of the run; its name becomes the run's name.
    """

    def __init__(self, folder: Path, _recipe: Recipe) -> None:
        with extra_for("--track wandb", "Weights & Biases", "wandb"):
            import wandb
        self._wandb, self._folder = wandb, folder
        self._run: Any = None
        self._is_finished = False

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        """Begin the run, or take it up again; W&B drops the epochs that it has."""
        wandb = self._wandb
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=self._folder.name,
            id=identify(self._folder),
            resume="allow",
            reinit="create_new",  # several runs at once do not meet
            config=parameters(recipe),
            mode=self._mode(),
            settings=wandb.Settings(
                console="off", silent=True, disable_git=True, save_code=False, disable_code=True, x_disable_stats=True
            ),
        )
        for row in history:
            self._run.log({"epoch": row.epoch, **figures(row)}, step=row.epoch)

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """Record the epoch."""
        self._run.log({"epoch": row.epoch, **figures(row, timing)}, step=row.epoch)

    def finished(self, run: Run) -> None:
        """Record the selected epoch, and keep the files as an artifact."""
        self._run.summary.update(summary(run))
        artifact = self._wandb.Artifact(f"run-{self._run.id}", type="run")
        for path in files(run):
            artifact.add_file(str(path))
        self._run.log_artifact(artifact)
        self._is_finished = True

    def closed(self) -> None:
        """Write what is pending, and end the run; it counts as failed unless it has finished."""
        if self._run is not None:
            self._run.finish(exit_code=0 if self._is_finished else 1)

    def _mode(self) -> str | None:
        """Return ``offline`` where nobody is logged in, so that W&B does not ask; None where it is to decide."""
        if os.environ.get("WANDB_MODE") or self._wandb.login(prompt=False):
            return None
        logging.getLogger(__name__).warning(
            "tracking with wandb: not logged in, so the run is written offline; send it with: wandb sync"
        )
        return "offline"
