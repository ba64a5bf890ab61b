"""The table of trackers: listeners that record runs in another tool, by the names that ``--track`` takes.

Each is on a thread of its own, so that whatever it does cannot stop, slow or change the run.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from modiste.errors import RecipeError, printable
from modiste.recipes import own_code
from modiste.recipes.plain import nearest
from modiste.recipes.recipe import Recipe
from modiste.training.tracking.listener import Forwarder, Listener
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
PATIENCE_SECONDS = 30.0
"""How long a run waits at its very end for a tracker that has not done all its work."""
MOST_WAITING = 10_000
"""Most events that wait for a tracker; one that leaves more has stopped working."""
BY_STEP = ("step_done", "pretraining_step_done")
"""Events that come thousands of times; they are passed on only to a listener that overrides them."""


def make(names: Sequence[str | Listener], folder: Path, recipe: Recipe) -> list[Listener]:
    """Return the trackers of a run, each on a thread of its own: none can stop, slow or change the run.

    Args:
        names: Names of trackers in the table or of entry points; one text may hold several, separated by commas. A
            listener is taken as it is.
        folder: Folder of the run.
        recipe: Recipe of the run.

    Raises:
        RecipeError: A name is unknown, or a tracker cannot be loaded or made.
        MissingExtraError: A tracker's package is not installed.

    >>> make(["tensorbord"], Path("runs/x"), Recipe(name="x"))
    Traceback (most recent call last):
    ...
    modiste.errors.RecipeError: track: no tracker 'tensorbord'; did you mean 'tensorboard'?
    """
    by_name = [Background(name, _made(name, folder, recipe)) for name in _split(names)]
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


def _made(name: str, folder: Path, recipe: Recipe) -> Listener:
    """Return the tracker of this name for a run; RecipeError if the code of its package fails."""
    with own_code.faults_named(f"track: {name}", "this tracker cannot be used"):
        return _maker(name)(folder, recipe)


def _maker(name: str) -> MakeTracker:
    """Return the function that makes the tracker of this name."""
    if name in TRACKERS:
        return TRACKERS[name]
    installed = {point.name: point for point in entry_points(group=GROUP)}
    if name not in installed:
        raise RecipeError(f"track: no tracker {name!r}; {nearest(name, [*TRACKERS, *installed])}")
    made: MakeTracker = installed[name].load()
    return made


class Background(Forwarder):
    """Passes events to a tracker on a thread of its own.

    The first error of the tracker is reported as one warning, and the tracker is called no more. So is a tracker that
    lets events pile up, or that has not ended ``patience`` seconds after the run.

    Args:
        name: Name of the tracker, for the warning.
        tracker: Receives the events, in their order.
        patience: How long ``closed`` waits, in seconds; PATIENCE_SECONDS by default.
    """

    def __init__(self, name: str, tracker: Listener, patience: float | None = None) -> None:
        self._name, self._tracker = name, tracker
        self._patience = PATIENCE_SECONDS if patience is None else patience
        self._ignored = {event for event in BY_STEP if getattr(type(tracker), event, None) is getattr(Listener, event)}
        self._events: queue.Queue[tuple[str, tuple[Any, ...]]] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._lock, self._is_lost = threading.Lock(), False

    def forward(self, event: str, *arguments: Any) -> None:
        """Add the event to the queue; what the run goes on to change is copied."""
        if self._is_lost or event in self._ignored:
            return
        copied = tuple(tuple(item) if isinstance(item, list) else item for item in arguments)
        try:
            self._events.put_nowait((event, copied))
        except queue.Full:
            self._give_up(f"has not answered for {MOST_WAITING:,} events")
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"tracker {self._name}", daemon=True)
            self._thread.start()

    def closed(self) -> None:
        """Let the tracker end its work, and wait for that at most ``patience`` seconds."""
        self.forward("closed")
        if self._thread is None:
            return
        deadline = time.monotonic() + self._patience
        while self._thread.is_alive() and not self._is_lost and time.monotonic() < deadline:
            self._thread.join(0.1)
        if self._thread.is_alive():
            self._give_up(f"had not ended {self._patience:g} seconds after the run")

    def _work(self) -> None:
        """Call the tracker until its last event, or until it fails."""
        event = ""
        while event != "closed" and not self._is_lost:
            event, arguments = self._events.get()
            try:
                getattr(self._tracker, event)(*arguments)
            except BaseException as error:  # also SystemExit: a library's way out of its own thread
                self._give_up(f"{type(error).__name__}: {error}")

    def _give_up(self, reason: str) -> None:
        """Report once why the tracker is called no more."""
        with self._lock:
            if self._is_lost:
                return
            self._is_lost = True
        first = printable(reason.strip().partition("\n")[0], 300)
        logging.getLogger(__name__).warning("tracking with %s: %s; the run goes on without it", self._name, first)
