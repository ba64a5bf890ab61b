"""The table of trackers: listeners that record runs in another tool, by the names that ``--track`` takes."""

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

from modiste.errors import RecipeError
from modiste.recipes.plain import nearest
from modiste.recipes.recipe import Recipe
from modiste.training.tracking.background import Background
from modiste.training.tracking.listener import Listener
from modiste.training.tracking.mlflow import MLflowTracker
from modiste.training.tracking.tensorboard import TensorBoardTracker
from modiste.training.tracking.wandb import WandbTracker

MakeTracker = Callable[[Path, Recipe], Listener]
"""Returns a tracker for the run of a recipe in a folder. It writes nothing, and raises MissingExtraError."""
TRACKERS: dict[str, MakeTracker] = {
    "tensorboard": TensorBoardTracker,
    "mlflow": MLflowTracker,
    "wandb": WandbTracker,
}
"""Every tracker by name. Add your own here, or as an entry point of an installed package in GROUP."""
BUILT_IN = frozenset(TRACKERS)
GROUP = "modiste.trackers"
"""Group of the entry points of installed packages; one is loaded only if its name is asked for."""


def make(names: Sequence[str | Listener], folder: Path, recipe: Recipe) -> list[Listener]:
    """Return the trackers of a run, each on a thread of its own: none can stop, slow or change the run.

    Args:
        names: Names of trackers in the table or of entry points; one text may hold several, separated by commas. A
            listener is taken as it is.
        folder: Folder of the run.
        recipe: Recipe of the run.

    Raises:
        RecipeError: A name is unknown.
        MissingExtraError: A tracker's package is not installed.

    >>> make(["tensorbord"], Path("runs/x"), Recipe(name="x"))
    Traceback (most recent call last):
    ...
    modiste.errors.RecipeError: track: no tracker 'tensorbord'; did you mean 'tensorboard'?
    """
    by_name = [Background(name, _maker(name)(folder, recipe)) for name in _split(names)]
    return [*by_name, *(Background(type(item).__name__, item) for item in names if isinstance(item, Listener))]


def common_names(names: Sequence[str | Listener]) -> tuple[str, ...]:
    """Return the names among trackers, each once; RecipeError for a tracker that other processes do not know."""
    here = [type(item).__name__ for item in names if isinstance(item, Listener)]
    here += [name for name in _split(names) if name in TRACKERS and name not in BUILT_IN]
    if here:
        raise RecipeError(
            f"track: trials run in other processes, which do not know {here[0]}; offer it as an entry point of an "
            f"installed package, in the group {GROUP}"
        )
    return tuple(_split(names))


def _split(names: Sequence[str | Listener]) -> list[str]:
    """Return the names among trackers, each once."""
    texts = (item for item in names if isinstance(item, str))
    return list(dict.fromkeys(name.strip() for text in texts for name in text.split(",")))


def _maker(name: str) -> MakeTracker:
    """Return the function that makes the tracker of this name."""
    if name in TRACKERS:
        return TRACKERS[name]
    installed = {point.name: point for point in entry_points(group=GROUP)}
    if name not in installed:
        raise RecipeError(f"track: no tracker {name!r}; {nearest(name, [*TRACKERS, *installed])}")
    made: MakeTracker = installed[name].load()
    return made
