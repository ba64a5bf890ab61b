"""Evaluation of a run that has not finished, from its newest training state. Nothing is written into its folder."""

from pathlib import Path

from torch import Tensor, nn

from modiste import machine
from modiste.data.dataset import ImageSet
from modiste.errors import RunError
from modiste.evaluation.assessment import Assessment, Weights, assess
from modiste.evaluation.inference import infer
from modiste.evaluation.run_images import load_same_development
from modiste.models.registry import Task, build_model
from modiste.recipes.recipe import Recipe, from_stored
from modiste.runs import checkpoint, manifest, run_folder, storage
from modiste.runs.checkpoint import State, Tensors
from modiste.runs.run_folder import EpochRow

GROUPS = ("picked", "average", "model")
"""Prefixes of weights in a training state: of the selected epoch, of the running average, of the model."""


def is_unfinished(folder: Path) -> bool:
    """Return whether a folder holds a run that has begun and not finished."""
    run_folder.require_inside(folder, (run_folder.RECIPE, manifest.NAME))
    return (folder / run_folder.RECIPE).is_file() and not (folder / manifest.NAME).exists()


def evaluate_unfinished(
    folder: Path | str,
    *,
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
) -> Assessment:
    """Evaluate a run that was stopped, or that still trains, on validation. The folder stays as it is.

    Example::

        print(evaluate_unfinished("runs/paper").unfinished_step)

    Args:
        folder: the run folder.
        weights: ``picked`` for those of the best epoch so far, if the recipe selects one; ``last`` for the newest.
        device: where the logits are computed.
        data_folder: see ``evaluate``.

    Returns:
        The measures. Their ``unfinished_step`` is the number of steps that the run has taken. Their ``epoch`` is the
        number of whole epochs, or the best of them for selected weights.

    Raises:
        RunError: the folder has no training state yet, the state is damaged, or the data are not those of the run.
        DataError: the images are missing or damaged.
    """
    folder = Path(folder)
    recipe = from_stored(storage.read_json(folder / run_folder.RECIPE))
    run_folder.require_inside(folder, (run_folder.STATES,))
    state = checkpoint.load_state(folder / run_folder.STATES)
    if state is None:
        raise RunError(
            f"{folder}: has not finished, and no training state is saved yet; try again after its next epoch"
        )
    development = load_same_development(recipe, state.plain["fingerprint"], folder, data_folder)
    chosen, epoch = _weights(state, recipe, weights)
    model = _network(folder, recipe, chosen, development.validation, development.class_names)
    place = machine.choose_device(device)
    logits = infer(model.to(place).eval(), development.validation.images.to(place), recipe)
    return assess(
        logits,
        development.validation.labels,
        development.class_names,
        split="validation",
        weights=weights,
        epoch=epoch,
        test_openings=0,
        unfinished_step=state.plain["step"],
    )


def _weights(state: State, recipe: Recipe, weights: Weights) -> tuple[Tensors, int]:
    """Return the weights in a training state, and their epoch: the best so far, or the number of whole epochs."""
    groups: dict[str, Tensors] = {name: {} for name in GROUPS}
    for path, tensor in state.tensors.items():
        group, _, name = path.partition(":")
        if group in groups:
            groups[group][name] = tensor
    history = [EpochRow(**row) for row in state.plain["history"]]
    if weights == "picked" and groups["picked"] and history:
        return groups["picked"], run_folder.picked(history, recipe).epoch
    averaged = {
        name.removeprefix("module."): tensor for name, tensor in groups["average"].items() if name.startswith("module.")
    }
    return averaged or groups["model"], len(history)


def _network(folder: Path, recipe: Recipe, chosen: Tensors, images: ImageSet, names: tuple[str, ...]) -> nn.Module:
    """Return the recipe's network with these weights; RunError if they do not fit it."""
    _, *shape = images.images.shape
    task = Task(
        image_shape=(shape[0], shape[1], shape[2]),
        class_names=names,
        mean=_statistic(chosen["standardize.mean"]),
        deviation=_statistic(chosen["standardize.deviation"]),
    )
    model = build_model(recipe.model, task)
    try:
        model.load_state_dict(chosen)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"{folder}: its training state does not fit its recipe ({reason}); train the run again"
        ) from error
    return model


def _statistic(stored: Tensor) -> float | tuple[float, ...]:
    """Return a mean or deviation as a task has it: a number, or one for each channel."""
    return float(stored) if stored.ndim == 0 else tuple(stored.flatten().tolist())
