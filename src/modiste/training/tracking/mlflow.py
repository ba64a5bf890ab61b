"""Runs in MLflow: in the store that ``MLFLOW_TRACKING_URI`` names, or in MLflow's own default, a file."""

import logging
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modiste.errors import extra_for
from modiste.recipes.recipe import Recipe
from modiste.runs import storage
from modiste.runs.run_folder import EpochRow, Run
from modiste.system import posix
from modiste.training.tracking.listener import Listener, Timing
from modiste.training.tracking.tracked_run import figures, files, identify, parameters, summary

EXPERIMENT = "modiste"
"""Name of the experiment, unless ``MLFLOW_EXPERIMENT_NAME`` gives another."""
TAG = "modiste.run"
"""Tag with the run's identity, by which a resumed run is found."""
WITNESS = "validation_accuracy"
"""Figure whose history shows which epochs the store has."""

LOCK_SECONDS = 25.0
"""How long to wait for another process that creates the database."""
MOST_PARAMS = 100
"""Most parameters that MLflow takes at once."""


class MLflowTracker(Listener):
    """Records a run through MLflow's client, which has no global state: several runs at once do not meet.

    Args:
        folder: Folder of the run; its name becomes the run's name.
    """

    def __init__(self, folder: Path, _recipe: Recipe) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing goes where the user did not send it
        with extra_for("--track mlflow", "MLflow", "mlflow"):
            import mlflow
            import mlflow.entities
        for name in ("mlflow", "alembic"):  # a new database is announced table by table
            logging.getLogger(name).setLevel(logging.WARNING)
        self._make_client, self._entities = mlflow.MlflowClient, mlflow.entities
        self._folder = folder
        self._client: Any = None
        self._run = ""
        self._known: set[int] = set()

    def started(self, recipe: Recipe, steps_per_epoch: int, history: Sequence[EpochRow], step: int) -> None:
        """Create the run, or find it again, with its parameters and the epochs that it lacks."""
        self._run = self._find_or_create(self._open())
        self._known = {metric.step for metric in self._client.get_metric_history(self._run, WITNESS)}
        params = [self._entities.Param(name, str(value)) for name, value in parameters(recipe).items()]
        for first in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self._run, params=params[first : first + MOST_PARAMS])
        for row in history:
            if row.epoch not in self._known:
                self._log_figures(figures(row), row.epoch)

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        """Record the epoch, unless it was recorded before the process was killed, and is trained again."""
        if row.epoch not in self._known:
            self._log_figures(figures(row, timing), row.epoch)

    def stopped(self) -> None:
        """Mark the run as ended early, which ``finished`` corrects."""
        if self._run:
            self._client.set_terminated(self._run, "KILLED")

    def finished(self, run: Run) -> None:
        """Record the selected epoch, keep the files, and mark the run as finished."""
        self._log_figures(summary(run), run.picked.epoch)
        for path in files(run):
            self._client.log_artifact(self._run, str(path))
        self._client.set_terminated(self._run, "FINISHED")

    def _open(self) -> str:
        """Connect to the store, and return the number of the experiment.

        Processes that create the tables of a new database at once, as the workers of a search would, break it. So one
        process of this machine opens a store at a time.
        """
        lock = Path(tempfile.gettempdir()) / f"modiste-mlflow-{posix.user_number()}"
        with storage.lock(lock, LOCK_SECONDS):
            self._client = self._make_client()
            return self._experiment()

    def _find_or_create(self, experiment: str) -> str:
        """Return MLflow's number of the run."""
        identity = identify(self._folder)
        found = self._client.search_runs([experiment], f"tags.`{TAG}` = '{identity}'", max_results=1)
        if found:
            self._client.update_run(found[0].info.run_id, "RUNNING")
            return str(found[0].info.run_id)
        return str(self._client.create_run(experiment, tags={TAG: identity}, run_name=self._folder.name).info.run_id)

    def _experiment(self) -> str:
        """Return the experiment's number; where several processes create it at once, one succeeds."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except Exception:
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _log_figures(self, known: Mapping[str, int | float], epoch: int) -> None:
        now, metric = int(1000 * time.time()), self._entities.Metric
        metrics = [metric(name, float(value), now, epoch) for name, value in known.items()]
        self._client.log_batch(self._run, metrics=metrics)
