"""A finished run, as Python programs and notebooks hold it."""

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modiste.display import Displayed, Table, interval, percent, times
from modiste.evaluation.assessment import Assessment, assess_stored
from modiste.runs import run_folder

if TYPE_CHECKING:
    from modiste.inference.predictor import Predictor

RunLike = str | os.PathLike[str]
"""A ``Run``, or the path of a run's folder."""
CURVES = ("train_accuracy", "validation_accuracy")
COLOURS = ("#888888", "#3d85c6")
"""Readable on white and on black."""


class Run(run_folder.Run, Displayed, os.PathLike[str]):
    """A finished run. Every function that takes a run's folder takes this as well.

    Attributes:
        folder, recipe, history, files, test_openings: See ``runs.run_folder.Run``.

    Example::

        run = modiste.Run.open("runs/sprint")
        run                     # a table: accuracy with its interval, recipe, epochs
        run.validation.per_class["Shirt"].recall
        run.history_frame()     # a row for each epoch, for pandas
    """

    __repr__ = Displayed.__repr__

    @classmethod
    def open(cls, folder: "Path | str | os.PathLike[str]") -> "Run":
        """Open a finished run and verify its files.

        Raises:
            RunError: The run is missing, unfinished, or a file does not match its hash.
            StorageError: A file cannot be read.
        """
        found = run_folder.open_run(Path(folder))
        return cls(found.folder, found.recipe, found.history, found.files, found.test_openings)

    def __fspath__(self) -> str:
        return str(self.folder)

    @cached_property
    def validation(self) -> Assessment:
        """All measures on the validation images, with the selected weights."""
        return assess_stored(self)

    @property
    def accuracy(self) -> float:
        """Validation accuracy of the selected weights, 0 to 1."""
        return self.validation.accuracy

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of ``accuracy``."""
        return self.validation.accuracy_interval

    def predictor(self, device: str = "auto") -> "Predictor":
        """Return the trained model, ready to classify images; see ``Predictor``."""
        from modiste.inference.predictor import Predictor

        return Predictor.load(self.folder, device=device)

    def history_frame(self) -> Any:  # pandas has no types of its own
        """Return a pandas frame with a row for each epoch; ModuleNotFoundError without pandas."""
        import pandas  # type: ignore[import-untyped]

        return pandas.DataFrame([vars(row) for row in self.history]).set_index("epoch")

    def table(self) -> Table:
        """Return the accuracy with its interval, the epoch, the recipe and the time of training."""
        seconds = sum(row["seconds"] for row in self.timing())
        rows = [
            ["validation", f"{percent(self.accuracy)} ({interval(self.accuracy_interval)})"],
            ["epoch", self._epoch()],
            ["network", f"{self.recipe.model.KIND}, seed {self.recipe.seed}"],
            ["data", self.recipe.data.source],
            ["training", f"{seconds:.0f} s"],
            ["test", f"opened {times(self.test_openings)}" if self.test_openings else "not opened"],
            ["folder", str(self.folder)],
        ]
        return Table(f"run {self.recipe.name}", rows, figure=_curves(self))

    def _epoch(self) -> str:
        if not self.recipe.epochs:
            return "none; the last layer was fitted"
        return f"{self.picked.epoch} of {len(self.history)}, selected by {self.recipe.pick}"


def _curves(run: Run) -> str:
    """Return accuracy by epoch as a small SVG document; empty for fewer than two epochs."""
    if len(run.history) < 2:
        return ""
    values = {name: [getattr(row, name) for row in run.history] for name in CURVES}
    low, high = min(map(min, values.values())), max(map(max, values.values()))
    place = _scale(len(run.history), low, max(high - low, 1e-9))
    lines = "".join(
        f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{" ".join(map(place, enumerate(curve)))}"/>'
        for colour, curve in zip(COLOURS, values.values(), strict=True)
    )
    bounds = "".join(
        f'<text x="44" y="{y}" text-anchor="end" fill="{COLOURS[0]}">{value:.1%}</text>'
        for y, value in ((12, high), (100, low))
    )
    words = [f"{name.replace('_', ' ')} by epoch, last {percent(curve[-1])}" for name, curve in values.items()]
    legend = "".join(
        f'<text x="52" y="{118 + 14 * number}" fill="{colour}">{line}</text>'
        for number, (colour, line) in enumerate(zip(COLOURS, words, strict=True))
    )
    size = 'width="320" height="140" font-size="11" font-family="sans-serif"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{lines}{bounds}{legend}</svg>'


def _scale(epochs: int, low: float, span: float) -> Callable[[tuple[int, float]], str]:
    def place(point: tuple[int, float]) -> str:
        epoch, value = point
        return f"{52 + 260 * epoch / (epochs - 1):.1f},{96 - 88 * (value - low) / span:.1f}"

    return place


def folder_of(run: Any) -> Path:
    """Return the folder of a run that is given as ``Run`` or as a path."""
    return Path(os.fspath(run))


def folders_of(runs: RunLike | Sequence[RunLike]) -> list[Path]:
    """Return the folders of several runs; a run by itself counts as a list of one."""
    return [folder_of(run) for run in ([runs] if isinstance(runs, str | os.PathLike) else runs)]
