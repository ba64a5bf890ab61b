"""A run that has not finished, read from its newest training state. Nothing is written into its folder."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from modiste import machine
from modiste.data.dataset import Development
from modiste.errors import RunError
from modiste.evaluation.assessment import Assessment, Split, Weights, assess
from modiste.evaluation.inference import infer
from modiste.evaluation.run_images import load_same_development
from modiste.models.registry import Task, build_model
from modiste.runs import checkpoint, manifest, run_folder, storage
from modiste.runs.checkpoint import ModelInfo, State, Tensors
from modiste.runs.run_folder import EpochRow, Measured, Run

GROUPS = ("picked", "average", "model")
"""Prefixes of weights in a training state: of the selected epoch, of the running average, of the model."""


@dataclass(frozen=True)
class UnfinishedRun(Run):
    """A run as its newest training state has it. It can stand for a finished run that is not evaluated on test.

    Attributes:
        step: Number of steps that the run has taken.
        chosen: The weights that are measured; ``info.epoch`` is their epoch, or the number of whole epochs.
        info: Their description.
        validation: Their logits on the validation images.
        is_selected: Whether validation selected these weights among the epochs so far; else they are the newest.
    """

    step: int
    chosen: Tensors
    info: ModelInfo
    validation: Measured
    is_selected: bool

    def load_model(self, weights: str = "picked") -> tuple[nn.Module, ModelInfo]:
        """Return the network with the weights that are measured, whatever ``weights`` says, and its description."""
        return _network(self.folder, self.chosen, self.info), self.info

    def load_info(self) -> ModelInfo:
        """Return the description of the weights that are measured."""
        return self.info

    def measured(self, split: str = "validation", weights: str = "picked") -> Measured:
        """Return the logits on validation; RunError for another split."""
        if split != "validation":
            raise RunError(f"{self.folder}: has not finished, and {split} is for finished runs; continue its training")
        return self.validation

    def timing(self) -> list[dict[str, Any]]:
        """Return the entries of the epochs in ``history``; see ``Run.timing``."""
        return [row for row in super().timing() if row["epoch"] <= len(self.history)]

    def assess(self, weights: Weights) -> Assessment:
        """Return the measures on validation; ``weights`` says which were chosen."""
        return assess(
            self.validation.logits,
            self.validation.labels,
            self.info.task.class_names,
            split="validation",
            weights=weights,
            epoch=self.info.epoch,
            test_openings=0,
            unfinished_step=self.step,
        )


def is_unfinished(folder: Path) -> bool:
    """Return whether a folder holds a run that has begun and not finished."""
    run_folder.require_inside(folder, (run_folder.RECIPE, manifest.NAME))
    return (folder / run_folder.RECIPE).is_file() and not (folder / manifest.NAME).exists()


def check_possible(folder: Path, split: Split, predictions: object, data: Any) -> None:
    """Raise RunError if a run that has not finished is asked for more than measures on its own validation images."""
    run_folder.check_split(split)
    wanted = {
        "--split test": split != "validation",
        "--predictions": predictions is not None,
        "--data": isinstance(data, str | os.PathLike),
    }
    for flag in (flag for flag, is_wanted in wanted.items() if is_wanted):
        raise RunError(f"{flag}: is for finished runs, and {folder} has not finished; continue its training first")


def evaluate_unfinished(
    folder: Path | str,
    *,
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
    data: Any = None,
) -> Assessment:
    """Evaluate a run that was stopped, or that still trains, on validation. A warning says so. The folder stays as is.

    Example::

        print(evaluate_unfinished("runs/paper").unfinished_step)

    Args:
        folder: The run folder.
        weights: ``picked`` for those of the best epoch so far, if the recipe selects one; ``last`` for the newest.
        device: Where the logits are computed.
        data_folder: See ``evaluate``.
        data: The data in memory that the run trains on, as ``modiste.train`` takes them.

    Returns:
        The measures. Their ``unfinished_step`` is the number of steps that the run has taken. Their ``epoch`` is the
        number of whole epochs, or the best of them for selected weights.

    Raises:
        RunError: The folder has no training state yet, the state is damaged, or the data are not those of the run.
        DataError: The images are missing or damaged.
    """
    run, _ = open_unfinished(folder, weights=weights, device=device, data_folder=data_folder, data=data)
    logging.getLogger(__name__).warning(
        "%s has not finished: this is its newest saved state, after %s steps; nothing is stored in the run",
        run.folder,
        f"{run.step:,}",
    )
    return run.assess(weights)


def open_unfinished(
    folder: Path | str,
    *,
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
    data: Any = None,
) -> tuple[UnfinishedRun, Development]:
    """Return a run that has not finished, measured on validation, and its images; see ``evaluate_unfinished``."""
    folder = Path(folder)
    run_folder.check_weights(weights)
    if weights == run_folder.SNAPSHOTS:
        raise RunError(f"{folder}: has not finished, and snapshots are for finished runs; continue its training first")
    recipe = run_folder.read_recipe(folder)
    run_folder.require_inside(folder, run_folder.WRITTEN)
    state = checkpoint.load_state(folder / run_folder.STATES)
    if state is None:
        raise RunError(
            f"{folder}: has not finished, and no training state is saved yet; try again after its next epoch"
        )
    development = load_same_development(recipe, state.plain["fingerprint"], folder, data_folder, data)
    history = tuple(EpochRow(**row) for row in state.plain["history"])
    chosen, is_selected = _weights(state, weights)
    task = _task(chosen, development)
    epoch = run_folder.picked(history, recipe).epoch if is_selected else len(history)
    info = ModelInfo(recipe, task, epoch, state.plain["fingerprint"])
    place, images = machine.choose_device(device), development.validation
    logits = infer(_network(folder, chosen, info).to(place), images.images.to(place), recipe)
    run = UnfinishedRun(
        folder=folder,
        recipe=recipe,
        history=history,
        files=_logs(folder),
        test_openings=0,
        step=state.plain["step"],
        chosen=chosen,
        info=info,
        validation=Measured(logits, images.labels, images.identity()),
        is_selected=is_selected,
    )
    return run, development


def _logs(folder: Path) -> dict[str, str]:
    """Return the hashes of the logs and facts in a run folder, by name, as a manifest would list them."""
    names = (*run_folder.BEFORE_TRAINING, run_folder.LOG, run_folder.TIMING)
    return {name: storage.sha256(folder / name) for name in names if (folder / name).is_file()}


def _weights(state: State, weights: Weights) -> tuple[Tensors, bool]:
    """Return the weights in a training state, and whether validation selected them; else they are the newest."""
    groups: dict[str, Tensors] = {name: {} for name in GROUPS}
    for path, tensor in state.tensors.items():
        group, _, name = path.partition(":")
        if group in groups:
            groups[group][name] = tensor
    if weights == "picked" and groups["picked"] and state.plain["history"]:
        return groups["picked"], True
    if not groups["average"].get("n_averaged", 0):  # an average that has not begun holds the initial weights
        return groups["model"], False
    begin = "module."
    return {
        name.removeprefix(begin): tensor for name, tensor in groups["average"].items() if name.startswith(begin)
    }, False


def _task(chosen: Tensors, development: Development) -> Task:
    """Return what the network knows of the images; mean and deviation are among its weights."""
    return Task(
        image_shape=development.image_shape,
        class_names=development.class_names,
        mean=_statistic(chosen["standardize.mean"]),
        deviation=_statistic(chosen["standardize.deviation"]),
    )


def _network(folder: Path, chosen: Tensors, info: ModelInfo) -> nn.Module:
    """Return the recipe's network in evaluation mode with these weights; RunError if they do not fit it."""
    model = build_model(info.recipe.model, info.task)
    try:
        model.load_state_dict(chosen)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"{folder}: its training state does not fit its recipe ({reason}); train the run again"
        ) from error
    return model.eval()


def _statistic(stored: Tensor) -> float | tuple[float, ...]:
    """Return a mean or deviation as a task has it: a number, or one for each channel."""
    return float(stored) if stored.ndim == 0 else tuple(stored.flatten().tolist())
