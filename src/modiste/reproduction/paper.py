"""The paper as data: its claims, and how each is measured.

Mendez, "Deep Learning Models for Fashion-MNIST Classification". A claim is measured on finished runs of the recipe
``paper``, one per seed. If these were trained for less than in the paper, claims that depend on training are measured
but not judged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Literal

from modiste.evaluation.assessment import Assessment
from modiste.models.registry import Task, build_model, count_parameters
from modiste.recipes import named
from modiste.recipes.claims import (
    PAPER_EPOCHS,
    PAPER_PARAMETERS,
    PAPER_TABLE_2,
    PAPER_TEST_ACCURACY,
    PAPER_TRAIN_ACCURACY,
    PAPER_TRAIN_LOSS,
    PAPER_VALIDATION_ACCURACY,
    PAPER_VALIDATION_LOSS,
)
from modiste.recipes.networks import CNNRecipe
from modiste.runs.run_folder import EpochRow

Shortage = Literal["", "quick", "shortened", "unfinished"]
"""How runs fall short of the paper: not at all; fewer images (and usually epochs); fewer epochs alone; some are not
finished yet."""
Verdict = Literal[
    "holds",
    "does not hold",
    "contradicts itself",
    "cannot be traced",
    "undecided",
    "not judged: quick",
    "not judged: shortened",
    "not judged: unfinished",
]


@dataclass(frozen=True)
class Evidence:
    """One finished run: its history, and its results on test with the selected and with the last weights."""

    history: Sequence[EpochRow]
    picked: Assessment
    last: Assessment


@dataclass(frozen=True)
class Finding:
    """What was measured for a claim, in a sentence or two, and the verdict with its reason, which may be empty."""

    measured: str
    verdict: Verdict
    reason: str = ""

    def with_shortage(self, shortage: Shortage) -> "Finding":
        """Return the finding for runs with this shortage: without a verdict, if there is any."""
        verdicts: dict[Shortage, Verdict] = {
            "quick": "not judged: quick",
            "shortened": "not judged: shortened",
            "unfinished": "not judged: unfinished",
        }
        return replace(self, verdict=verdicts[shortage], reason="") if shortage else self

    @property
    def text(self) -> str:
        """What was measured, and the reason of the verdict."""
        return f"{self.measured}; {self.reason}" if self.reason else self.measured


@dataclass(frozen=True)
class PaperClaim:
    """A statement of the paper.

    Attributes:
        section: Section of the paper.
        statement: The claim.
        measure: Function that returns the finding for finished runs.
        needs_training: Whether the claim depends on those runs; if not, ``measure`` gets none.
    """

    section: str
    statement: str
    measure: Callable[[Sequence[Evidence]], Finding]
    needs_training: bool = False

    def finding(self, runs: Sequence[Evidence], shortage: Shortage = "") -> Finding:
        """Return the finding for runs; it has no verdict if it needs training and the runs have a shortage."""
        if self.needs_training and not runs:
            return Finding("not measured yet", "undecided").with_shortage(shortage or "unfinished")
        return self.measure(runs).with_shortage(shortage) if self.needs_training else self.measure(())


def first_epoch(runs: Sequence[Evidence], reached: Callable[[EpochRow], bool]) -> str:
    """Return when each run first satisfies a condition: ``at epoch 9, 10, never``, or ``never``."""
    epochs = [next((row.epoch for row in run.history if reached(row)), None) for run in runs]
    if not any(epochs):
        return "never"
    return "at epoch " + ", ".join("never" if epoch is None else str(epoch) for epoch in epochs)


def mean_and_spread(values: Sequence[float], form: str = ".2%") -> str:
    """Return a mean and, of several values, their standard deviation: ``91.98% ± 0.16%``."""
    spread = f" ± {stdev(values):{form}}" if len(values) > 1 else ""
    return f"{mean(values):{form}}{spread}"


def _parameters(_runs: Sequence[Evidence]) -> Finding:
    task = Task(image_shape=(1, 28, 28), class_names=tuple(PAPER_TABLE_2))
    listing, prose = (count_parameters(build_model(named.get(name).model, task)) for name in ("paper", "paper-text"))
    verdict: Verdict = "holds" if PAPER_PARAMETERS in (listing, prose) else "does not hold"
    return Finding(f"Listing 1 has {listing:,}, the network of the prose {prose:,}", verdict)


def _listing() -> CNNRecipe:
    model = named.paper().model
    assert isinstance(model, CNNRecipe)
    return model


def _layers(_runs: Sequence[Evidence]) -> Finding:
    model = _listing()
    convolutions = len(model.filters)
    layers = convolutions + model.pools + len(model.hidden) + 3  # and Flatten, Dropout, the output
    verdict: Verdict = "holds" if (layers, convolutions) == (9, 2) else "contradicts itself"
    return Finding(f"Listing 1 has {layers} layers, {convolutions} of them convolutions", verdict)


def _filters(_runs: Sequence[Evidence]) -> Finding:
    model = _listing()
    filters, side = ", ".join(map(str, model.filters)), model.kernel_size
    agrees = (model.filters, side, model.hidden) == ((64, 32), 2, (256,))
    text = f"Listing 1 has {filters} filters, {side}x{side} kernels, {model.hidden[0]} units"
    return Finding(text, "holds" if agrees else "contradicts itself")


def _shares(_runs: Sequence[Evidence]) -> Finding:
    train, test = 60_000 / 70_000, 10_000 / 70_000
    return Finding(f"60,000 and 10,000 of 70,000 are {train:.2%} and {test:.2%}", "does not hold")


def _cross_validation(_runs: Sequence[Evidence]) -> Finding:
    folds, sprint = 10, named.get("sprint")
    passes = folds * sprint.epochs
    return Finding(
        f"{folds} folds of `{sprint.name}` pass over the images {passes} times, where one run of the paper's network "
        f"does {PAPER_EPOCHS} times: `modiste cross-validate {sprint.name} --folds {folds}` (time and interval: "
        "docs/compare.md); for the settings, `modiste search`",
        "does not hold" if passes < PAPER_EPOCHS else "holds",
    )


def _training(runs: Sequence[Evidence]) -> Finding:
    last = [run.history[-1] for run in runs]
    return Finding(
        f"after epoch {last[0].epoch}: {mean_and_spread([row.train_accuracy for row in last])}, "
        f"loss {mean_and_spread([row.train_loss for row in last], '.4f')}; the paper's loss is reached "
        f"{first_epoch(runs, lambda row: row.train_loss <= PAPER_TRAIN_LOSS)}, "
        f"its accuracy {first_epoch(runs, lambda row: row.train_accuracy >= PAPER_TRAIN_ACCURACY)}",
        "holds" if all(abs(row.train_loss - PAPER_TRAIN_LOSS) < 0.01 for row in last) else "does not hold",
    )


def _validation(runs: Sequence[Evidence]) -> Finding:
    last = [run.history[-1] for run in runs]
    best = [max(row.validation_accuracy for row in run.history) for run in runs]
    return Finding(
        f"best epoch {mean_and_spread(best)}; after epoch {last[0].epoch} "
        f"{mean_and_spread([row.validation_accuracy for row in last])}, "
        f"loss {mean_and_spread([row.validation_loss for row in last], '.4f')}; the paper's accuracy is reached "
        f"{first_epoch(runs, lambda row: row.validation_accuracy >= PAPER_VALIDATION_ACCURACY)}, a loss as low "
        f"as the paper's {first_epoch(runs, lambda row: row.validation_loss <= PAPER_VALIDATION_LOSS)}",
        "holds" if all(abs(row.validation_loss - PAPER_VALIDATION_LOSS) < 0.02 for row in last) else "does not hold",
    )


def _test(runs: Sequence[Evidence]) -> Finding:
    selected, last = [run.picked for run in runs], [run.last for run in runs]
    reached = mean(item.accuracy for item in selected) >= PAPER_TEST_ACCURACY
    return Finding(
        f"at the epoch selected on validation ({', '.join(str(item.epoch) for item in selected)}) "
        f"{mean_and_spread([item.accuracy for item in selected])}, "
        f"loss {mean_and_spread([item.loss for item in selected], '.4f')}; after epoch {last[0].epoch} "
        f"{mean_and_spread([item.accuracy for item in last])}, "
        f"loss {mean_and_spread([item.loss for item in last], '.4f')}",
        "holds" if reached else "does not hold",
    )


def _overfitting(runs: Sequence[Evidence]) -> Finding:
    turns = [min(run.history, key=lambda row: row.validation_loss) for run in runs]
    rises = [run.history[-1].validation_loss / turn.validation_loss for run, turn in zip(runs, turns, strict=True)]
    epochs = ", ".join(str(turn.epoch) for turn in turns)
    return Finding(
        f"the validation loss is lowest at epoch {epochs} and then rises to {mean(rises):.1f} times that",
        "does not hold" if mean(rises) > 1.1 else "holds",
    )


def _table_2(runs: Sequence[Evidence]) -> Finding:
    gaps = {
        name: abs(mean(run.picked.per_class[name].f1 or 0.0 for run in runs) - figures[2])
        for name, figures in PAPER_TABLE_2.items()
    }
    widest = max(gaps, key=lambda name: gaps[name])
    return Finding(
        f"F1 differs from the paper's by {mean(gaps.values()):.3f} on average, most for {widest} ({gaps[widest]:.3f})",
        "holds" if gaps[widest] < 0.04 else "does not hold",
    )


def _table_2_f1(_runs: Sequence[Evidence]) -> Finding:
    wrong = [name for name, figures in PAPER_TABLE_2.items() if not f1_is_possible(*figures)]
    if not wrong:
        return Finding("every F1 follows from its precision and recall", "holds")
    return Finding(f"not for {', '.join(wrong)}, whatever the digits lost in rounding", "contradicts itself")


def f1_is_possible(precision: float, recall: float, f1: float, rounding: float = 0.005) -> bool:
    """Return whether an F1 is consistent with precision and recall, all three rounded by up to ``rounding``."""
    lowest, highest = (
        2 * (precision + shift) * (recall + shift) / (precision + recall + 2 * shift) for shift in (-rounding, rounding)
    )
    return lowest - rounding <= f1 <= highest + rounding


def _hardest(runs: Sequence[Evidence]) -> Finding:
    means = {name: mean(run.picked.per_class[name].recall or 0.0 for run in runs) for name in PAPER_TABLE_2}
    better = min(means[name] for name in ("Trouser", "Sandal", "Bag", "Ankle boot"))
    worse = max(means[name] for name in ("Shirt", "Pullover"))
    order = sorted(means, key=lambda name: means[name])
    return Finding(
        f"the lowest recall of the four is {better:.3f}, the higher of the two {worse:.3f}; lowest of all "
        f"{order[0]} ({means[order[0]]:.3f}) and {order[1]} ({means[order[1]]:.3f})",
        "holds" if better > worse else "does not hold",
    )


CLAIMS = (
    PaperClaim("4", "85.71 % of the images train and 14.26 % test", _shares),
    PaperClaim(
        "4", 'k-fold cross-validation is "not practical", optimizing settings "a total overkill"', _cross_validation
    ),
    PaperClaim("5", "nine layers, two of them convolutions", _layers),
    PaperClaim("5", "64 and 32 filters, 2x2 kernels, 256 units", _filters),
    PaperClaim("5", "406,270 trainable parameters", _parameters),
    PaperClaim("7", "training accuracy 95.03 %, loss 0.1345, after 50 epochs", _training, needs_training=True),
    PaperClaim("7", "validation accuracy 91.41 %, loss 0.2348, after 50 epochs", _validation, needs_training=True),
    PaperClaim("7", "test accuracy 91.32 %, loss 0.2506", _test, needs_training=True),
    PaperClaim("7", "no overfitting", _overfitting, needs_training=True),
    PaperClaim("Table 2", "precision, recall and F1 of each class", _table_2, needs_training=True),
    PaperClaim("Table 2", "each F1 is the harmonic mean of its precision and recall", _table_2_f1),
    PaperClaim(
        "7", "Trouser, Sandal, Bag, Ankle boot do better than Shirt and Pullover", _hardest, needs_training=True
    ),
)


def _untraceable(measured: str) -> Callable[[Sequence[Evidence]], Finding]:
    return lambda _runs: Finding(f"{measured}; ours: records/systems", "cannot be traced")


RELATED_WORK = (
    PaperClaim(
        "2",
        "a deep belief network, Wan et al. 2013, has 90.6 %",
        _untraceable("that work is DropConnect, four years before the data set"),
    ),
    PaperClaim(
        "2",
        "a capsule network, Sabour et al. 2017, has 94.6 %",
        _untraceable("that work does not report Fashion-MNIST"),
    ),
    PaperClaim(
        "2",
        "FashionNet, Zhang et al. 2018, has 94.5 %",
        _untraceable("no such work was found; a FashionNet is that of Liu et al. 2016"),
    ),
    PaperClaim("2", "FashGraphs, Wang et al. 2019, has 94.8 %", _untraceable("no such work was found")),
)
