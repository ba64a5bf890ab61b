"""The results of an experiment: each variant over seeds, compared with the variant that the paper chose."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from modiste.evaluation.comparison import LEVEL, Comparison, compare
from modiste.evaluation.statistics import CrossedDifference, Difference, PairedDifference, mean_interval, spread
from modiste.evaluation.two_samples import holm
from modiste.reproduction.experiments import Experiment
from modiste.runs.run_folder import Run, open_run

Interval = tuple[float, float] | None


@dataclass(frozen=True)
class EpochDifference:
    """The difference in validation accuracy between a variant and the paper's choice after one epoch.

    Attributes:
        difference: Accuracy of the variant minus accuracy of the choice, mean over the seeds that both have.
        interval: Student's 95 % interval over these seeds, on these images; None for a single seed.
    """

    difference: float
    interval: Interval


@dataclass(frozen=True)
class Point:
    """The results of a variant on validation.

    Attributes:
        label: Label of the variant.
        accuracies: Accuracy of each finished run, with the weights selected on validation.
        losses: Loss of each finished run, with the same weights.
        interval: 95 % interval of the mean accuracy over seeds, clipped to [0, 1]; None for a single run.
        loss_interval: 95 % interval of the mean loss over seeds; None for a single run.
        curve: Accuracy after each epoch, averaged over the runs.
        against_chosen: Difference in accuracy to the paper's choice; None for the choice itself.
        adjusted_p_value: P-value of this difference after Holm's correction over the variants.
        failures: Reasons of missing runs.
        trend: Difference to the paper's choice after each epoch; empty for the choice itself.
        gaps: Training accuracy minus validation accuracy after the last epoch, of each finished run.
    """

    label: str
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    interval: Interval
    loss_interval: Interval
    curve: tuple[float, ...]
    against_chosen: Difference | None = None
    adjusted_p_value: float | None = None
    failures: tuple[str, ...] = ()
    trend: tuple[EpochDifference, ...] = ()
    gaps: tuple[float, ...] = ()

    @property
    def accuracy(self) -> float:
        """Mean accuracy over the runs."""
        return mean(self.accuracies)

    @property
    def over_seeds(self) -> CrossedDifference | None:
        """The difference to the paper's choice, if it was measured with several seeds."""
        return self.against_chosen if isinstance(self.against_chosen, CrossedDifference) else None

    @property
    def differs(self) -> bool:
        """Whether the variant is significantly better or worse than the paper's choice, over seeds."""
        return self.over_seeds is not None and self.adjusted_p_value is not None and self.adjusted_p_value < LEVEL


@dataclass(frozen=True)
class Study:
    """An experiment with the results of every variant that has a finished run.

    Attributes:
        experiment: The experiment.
        points: One for each of these variants, in the experiment's order.
        images: Number of validation images; 0 if no variant could be compared.
        machine: Facts of the machine that trained the paper's choice; empty if it has no finished run.
        is_finished: Whether no run is still to be trained.
    """

    experiment: Experiment
    points: tuple[Point, ...]
    images: int = 0
    machine: Mapping[str, Any] = field(default_factory=dict)
    is_finished: bool = True

    @property
    def chosen(self) -> Point | None:
        """The point of the paper's choice; None if it has no finished run."""
        return self.point(self.experiment.chosen)

    @property
    def others(self) -> tuple[Point, ...]:
        """The points that were compared with the paper's choice."""
        return tuple(point for point in self.points if point.against_chosen is not None)

    @property
    def is_ordered(self) -> bool:
        """Whether the variants are numbers, which the experiment lists in ascending order."""
        return all(variant.label.replace(".", "", 1).isdigit() for variant in self.experiment.variants)

    def name(self, label: str) -> str:
        """Return the label of a variant as a sentence shows it: in quotation marks unless it is a number."""
        return label if self.is_ordered else f"“{label}”"

    def point(self, label: str) -> Point | None:
        """Return the point of a variant; None if it has no finished run."""
        return next((point for point in self.points if point.label == label), None)

    @property
    def runs(self) -> int:
        """Number of finished runs of all variants."""
        return sum(len(point.accuracies) for point in self.points)

    def as_plain(self) -> dict[str, Any]:
        """Return the results as plain data, which ``recorded`` reads."""
        return {
            "name": self.experiment.name,
            "images": self.images,
            "machine": dict(self.machine),
            "finished": self.is_finished,
            "points": [asdict(point) for point in self.points],
        }


def study(
    experiment: Experiment,
    folders: Sequence[Sequence[Path]],
    failures: Sequence[Sequence[str]],
    data_folder: Path | None = None,
) -> Study:
    """Return the results of an experiment from its finished runs.

    A variant is compared with the paper's choice over the seeds that both have; without one, it is not compared.

    Args:
        experiment: The experiment.
        folders: For each variant, the folders of its finished runs.
        failures: For each variant, the reasons of missing runs.
        data_folder: Folder of the images, if they are not where ``load_dataset`` looks for them.
    """
    runs = {
        variant.label: [open_run(folder) for folder in where]
        for variant, where in zip(experiment.variants, folders, strict=True)
    }
    chosen = runs[experiment.chosen]
    comparisons = {
        label: _compare(own, chosen, data_folder)
        for label, own in runs.items()
        if label != experiment.chosen and _pairs(own, chosen)
    }
    contrasts = {label: found.contrasts[0].difference for label, found in comparisons.items()}
    adjusted = dict(zip(contrasts, holm([one.p_value for one in contrasts.values()]), strict=True))
    points = [
        _point(label, own, chosen, contrasts.get(label), adjusted.get(label), tuple(reasons))
        for (label, own), reasons in zip(runs.items(), failures, strict=True)
        if own
    ]
    images = {found.images for found in comparisons.values()}
    machine = chosen[0].facts()[-1] if chosen else {}
    return Study(experiment, tuple(points), max(images, default=0), machine)


def recorded(experiment: Experiment, plain: Mapping[str, Any]) -> Study:
    """Return the results of an experiment from the plain data of ``Study.as_plain``, also after a turn as JSON.

    Raises:
        KeyError, TypeError, AttributeError: The data are none of ``as_plain``.
    """
    points = tuple(_recorded_point(point) for point in plain["points"])
    return Study(experiment, points, plain["images"], plain["machine"], plain["finished"])


def _recorded_point(plain: Mapping[str, Any]) -> Point:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
    if against := plain["against_chosen"]:
        kind = CrossedDifference if "seeds" in against else PairedDifference
        values["against_chosen"] = kind(**{**against, "interval": tuple(against["interval"])})
    trend = ((one["difference"], one["interval"]) for one in plain["trend"])
    values["trend"] = tuple(EpochDifference(value, interval and tuple(interval)) for value, interval in trend)
    return Point(**values)


def _compare(own: Sequence[Run], chosen: Sequence[Run], data_folder: Path | None) -> Comparison:
    return compare([run.folder for run in (*own, *chosen)], data_folder=data_folder)


def _pairs(own: Sequence[Run], chosen: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Return the runs of a variant and of the paper's choice that have the same seed."""
    by_seed = {run.recipe.seed: run for run in chosen}
    return [(run, by_seed[run.recipe.seed]) for run in own if run.recipe.seed in by_seed]


def _point(
    label: str,
    runs: Sequence[Run],
    chosen: Sequence[Run],
    against: Difference | None,
    adjusted: float | None,
    failures: tuple[str, ...],
) -> Point:
    accuracies = tuple(run.picked.validation_accuracy for run in runs)
    losses = tuple(run.picked.validation_loss for run in runs)
    epochs = zip(*([row.validation_accuracy for row in run.history] for run in runs), strict=True)
    last = [run.history[-1] for run in runs]
    return Point(
        label=label,
        accuracies=accuracies,
        losses=losses,
        interval=spread(accuracies).interval,
        loss_interval=mean_interval(losses),
        curve=tuple(mean(epoch) for epoch in epochs),
        against_chosen=against,
        adjusted_p_value=adjusted,
        failures=failures,
        trend=() if against is None else _trend(_pairs(runs, chosen)),
        gaps=tuple(row.train_accuracy - row.validation_accuracy for row in last),
    )


def _trend(pairs: Sequence[tuple[Run, Run]]) -> tuple[EpochDifference, ...]:
    """Return the difference after each epoch between paired runs of the same length."""
    by_seed = [
        [one.validation_accuracy - other.validation_accuracy for one, other in zip(own, chosen, strict=True)]
        for own, chosen in ((run.history, twin.history) for run, twin in pairs)
    ]
    return tuple(EpochDifference(mean(epoch), mean_interval(epoch)) for epoch in zip(*by_seed, strict=True))
