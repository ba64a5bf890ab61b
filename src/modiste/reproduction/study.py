"""The results of an experiment: each variant over seeds, compared with the variant that the paper chose."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from modiste.evaluation.comparison import LEVEL, compare
from modiste.evaluation.statistics import Difference, mean_interval
from modiste.evaluation.two_samples import holm
from modiste.reproduction.experiments import Experiment
from modiste.reproduction.paper import Finding, Shortage, Verdict
from modiste.runs.run_folder import Run, open_run


@dataclass(frozen=True)
class Point:
    """The results of a variant on validation.

    Attributes:
        label: label of the variant.
        accuracies: accuracy of each finished run, with the weights selected on validation.
        losses: loss of each finished run, with the same weights.
        interval: 95 % interval of the mean accuracy over seeds, clipped to [0, 1]; None for a single run.
        loss_interval: 95 % interval of the mean loss over seeds; None for a single run.
        curve: accuracy after each epoch, averaged over the runs.
        against_chosen: difference in accuracy to the paper's choice; None for the choice itself.
        adjusted_p_value: p-value of this difference after Holm's correction over the variants.
        failures: reasons of missing runs.
    """

    label: str
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    interval: tuple[float, float] | None
    loss_interval: tuple[float, float] | None
    curve: tuple[float, ...]
    against_chosen: Difference | None = None
    adjusted_p_value: float | None = None
    failures: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float:
        """Mean accuracy over the runs."""
        return mean(self.accuracies)

    @property
    def differs(self) -> bool:
        """Whether the variant is significantly better or worse than the paper's choice."""
        return self.adjusted_p_value is not None and self.adjusted_p_value < LEVEL


@dataclass(frozen=True)
class Study:
    """An experiment with the results of every variant that has a finished run."""

    experiment: Experiment
    points: tuple[Point, ...]

    def finding(self, shortage: Shortage = "") -> Finding:
        """Return the finding on the paper's statement; it has no verdict if the runs have a shortage."""
        measured = "; ".join(self._words(point) for point in self.points)
        return Finding(measured, self._verdict()).with_shortage(shortage)

    def _verdict(self) -> Verdict:
        better = [p for p in self.points if p.differs and p.against_chosen and p.against_chosen.difference > 0]
        if not self.experiment.expected_worse:
            return "does not hold" if better else "holds"
        named = next((p for p in self.points if p.label == self.experiment.expected_worse), None)
        if named is None or not named.differs:
            return "cannot be traced"
        return "does not hold" if named in better else "holds"

    def _words(self, point: Point) -> str:
        spread = f" ± {stdev(point.accuracies):.2%}" if len(point.accuracies) > 1 else ""
        against = point.against_chosen
        if against is None:
            return f"{point.label}: {point.accuracy:.2%}{spread}"
        shown = "" if point.differs else ", no difference shown"
        return f"{point.label}: {point.accuracy:.2%}{spread} ({100 * against.difference:+.2f}{shown})"


def study(
    experiment: Experiment,
    folders: Sequence[Sequence[Path]],
    failures: Sequence[Sequence[str]],
    data_folder: Path | None = None,
) -> Study:
    """Return the results of an experiment from its finished runs.

    Args:
        experiment: the experiment.
        folders: for each variant, the folders of its finished runs.
        failures: for each variant, the reasons of missing runs.
        data_folder: folder of the images, if they are not where ``load_dataset`` looks for them.
    """
    rows = list(zip(experiment.variants, folders, failures, strict=True))
    chosen = next(where for variant, where, _ in rows if variant.label == experiment.chosen)
    contrasts = {
        variant.label: compare([*where, *chosen], data_folder=data_folder).contrasts[0].difference
        for variant, where, _ in rows
        if where and chosen and variant.label != experiment.chosen
    }
    adjusted = dict(zip(contrasts, holm([one.p_value for one in contrasts.values()]), strict=True))
    points = []
    for variant, where, reasons in rows:
        if where:
            runs = [open_run(folder) for folder in where]
            label = variant.label
            points.append(_point(label, runs, contrasts.get(label), adjusted.get(label), tuple(reasons)))
    return Study(experiment, tuple(points))


def _point(
    label: str, runs: Sequence[Run], against: Difference | None, adjusted: float | None, failures: tuple[str, ...]
) -> Point:
    accuracies = tuple(run.picked.validation_accuracy for run in runs)
    losses = tuple(run.picked.validation_loss for run in runs)
    interval = mean_interval(accuracies)
    within = None if interval is None else (max(0.0, interval[0]), min(1.0, interval[1]))
    epochs = zip(*([row.validation_accuracy for row in run.history] for run in runs), strict=True)
    curve = tuple(mean(epoch) for epoch in epochs)
    return Point(label, accuracies, losses, within, mean_interval(losses), curve, against, adjusted, failures)
