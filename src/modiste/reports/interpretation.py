"""A verdict on the learning curves in plain sentences: underfitted, overfitted or well fitted, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from modiste.recipes.networks import CapsNetRecipe
from modiste.recipes.recipe import AugmentationRecipe, Recipe
from modiste.reports.style import percent
from modiste.runs.run_folder import EpochRow, picked

Verdict = Literal["underfitted", "overfitted", "well fitted", "too short to tell"]

RISE = 0.10
"""Validation loss that ends this share above its minimum counts as overfitted."""
WIDE_GAP = 0.05
"""Training accuracy this far above validation accuracy counts as overfitted."""
NARROW_GAP = 0.01
"""Training accuracy less than this above validation accuracy counts as underfitted."""
PROGRESS = 0.01
"""Validation loss that fell by more than this share in the last fifth of the epochs counts as still improving."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A verdict on the fit, with its reasons and advice.

    Attributes:
        verdict: The fit at the end of training.
        sentences: Reasons and advice, a paragraph each.
        lowest: The epoch with the lowest validation loss.
        rise: Share by which validation loss ended above its minimum.
        improving: Whether validation loss was still falling at the end.
    """

    verdict: Verdict
    sentences: tuple[str, ...]
    lowest: EpochRow
    rise: float
    improving: bool


def read_fit(history: Sequence[EpochRow], recipe: Recipe) -> Reading:
    """Return a verdict on the fit; the first of these rules that applies decides.

    1. Too short to tell: there is a single epoch; or none, because the last layer was fitted at once.
    2. Overfitted: validation loss ends 10 % or more above its minimum (the end is the mean over the last tenth of the
       epochs). Or it no longer improves, and training accuracy ends 5 points or more above validation accuracy.
    3. Underfitted: validation loss still improves: in the last fifth of the epochs it fell more than 1 % below its
       earlier minimum. Or training accuracy ends below 50 %. Or it ends less than 1 point above validation accuracy
       and below 99 %, and the recipe has no handicap.
    4. Well fitted: everything else.

    Dropout and augmentation make training values look worse than the network is. Training values are also averaged
    over an epoch in which the network still learns. The true gap is therefore at least as wide as the one shown.

    Args:
        history: One row per epoch.
        recipe: The recipe of the run.
    """
    if not recipe.epochs:
        (row,) = history
        return Reading(verdict="too short to tell", sentences=_of_fit(row), lowest=row, rise=0.0, improving=False)
    lowest = min(history, key=lambda row: row.validation_loss)
    rise = _final_loss(history) / lowest.validation_loss - 1 if lowest.validation_loss > 0 else 0.0
    improving = _improving(history)
    verdict = _verdict(history, rise, improving, handicaps(recipe))
    sentences = (
        _opening(verdict, rise, improving, is_level=_is_level(history[-1], handicaps(recipe))),
        _minimum(history, lowest, rise),
        *_gaps(history, picked(history, recipe)),
        _ending(improving, len(history)),
        _after_the_minimum(picked(history, recipe), lowest),
        _caution(handicaps(recipe)),
        _incomparable(recipe),
    )
    kept = tuple(sentence for sentence in sentences if sentence)
    return Reading(verdict=verdict, sentences=kept, lowest=lowest, rise=rise, improving=improving)


def handicaps(recipe: Recipe) -> tuple[str, ...]:
    """Return what makes training values look worse than the network is; any augmentation counts."""
    found = {
        "with dropout": recipe.model.dropped() > 0,
        "with augmentation": recipe.augmentation != AugmentationRecipe(),
        "mostly on images that are hard": recipe.data_pruning > 0,
        "without averaged weights": recipe.ema_decay > 0 or recipe.swa_start > 0,
        "without mirror images": recipe.mirror,
        "without moved images": recipe.shifts > 0,
    }
    return tuple(name for name, present in found.items() if present)


def _final_loss(history: Sequence[EpochRow]) -> float:
    """Return the mean over the last tenth of the epochs, so that no single epoch decides."""
    tail = history[-max(1, len(history) // 10) :]
    return sum(row.validation_loss for row in tail) / len(tail)


def _improving(history: Sequence[EpochRow]) -> bool:
    if len(history) < 2:
        return False
    recent = max(1, len(history) // 5)
    before = min(row.validation_loss for row in history[:-recent])
    return min(row.validation_loss for row in history[-recent:]) < before * (1 - PROGRESS)


def _verdict(history: Sequence[EpochRow], rise: float, improving: bool, handicaps: tuple[str, ...]) -> Verdict:
    last = history[-1]
    if len(history) == 1:
        return "too short to tell"
    if rise >= RISE or (_gap(last) >= WIDE_GAP and not improving):
        return "overfitted"
    if improving or _is_level(last, handicaps) or last.train_accuracy < 0.5:
        return "underfitted"
    return "well fitted"


def _gap(row: EpochRow) -> float:
    return row.train_accuracy - row.validation_accuracy


def _is_level(last: EpochRow, handicaps: tuple[str, ...]) -> bool:
    """Return whether the network makes about as many mistakes on its training images as on new ones."""
    return _gap(last) < NARROW_GAP and last.train_accuracy < 0.99 and not handicaps


def _of_fit(row: EpochRow) -> tuple[str, ...]:
    """Return the sentences on a network whose last layer was fitted at once."""
    return (
        "The last layer was fitted at once, without epochs. So there are no learning curves that would show a trend.",
        _values("After the fit", row),
        "All of these are of the fitted network, on images without augmentation.",
    )


def _opening(verdict: Verdict, rise: float, improving: bool, *, is_level: bool) -> str:
    if verdict == "too short to tell":
        return "One epoch shows no trend. More epochs would show whether the network learns too little or too much."
    if verdict == "overfitted" and rise >= RISE:
        return "Overfitted by the end. Validation loss reached its minimum and then rose while training continued."
    if verdict == "overfitted":
        return "Overfitted by the end. The network classifies its training images much better than new ones."
    if verdict == "underfitted" and improving:
        return "Underfitted. Training ended while the network was still improving; more epochs may help."
    if verdict == "underfitted" and not is_level:
        return (
            "Underfitted. The network classifies fewer than half of its training images correctly; "
            "a larger network or other settings may help."
        )
    if verdict == "underfitted":
        return (
            "Underfitted. The network makes about as many mistakes on its training images as on new ones; "
            "a larger network or other settings may help."
        )
    return "Well fitted. Validation loss levelled off without rising, and the gap to training is modest."


def _minimum(history: Sequence[EpochRow], lowest: EpochRow, rise: float) -> str:
    if len(history) == 1:
        return ""
    if lowest.epoch == history[-1].epoch:
        return f"Validation loss was lowest at the last epoch, {lowest.epoch} ({lowest.validation_loss:.4f})."
    tail = max(1, len(history) // 10)
    end = f"over the last {tail} epochs" if tail > 1 else "at the last epoch"
    return (
        f"Validation loss was lowest at epoch {lowest.epoch} ({lowest.validation_loss:.4f}); "
        f"{end} it was {lowest.validation_loss * (1 + rise):.4f}, {percent(rise, 0)} higher."
    )


def _gaps(history: Sequence[EpochRow], selected: EpochRow) -> list[str]:
    last = history[-1]
    if selected.epoch == last.epoch:
        return [_at_epoch("selected and last", last)]
    return [_at_epoch("selected", selected), _at_epoch("last", last)]


def _at_epoch(what: str, row: EpochRow) -> str:
    return _values(f"At epoch {row.epoch} ({what})", row)


def _values(when: str, row: EpochRow) -> str:
    points = 100 * _gap(row)
    side = "above" if points >= 0 else "below"
    return (
        f"{when}, training accuracy was {percent(row.train_accuracy)} and validation accuracy "
        f"{percent(row.validation_accuracy)}: training is {abs(points):.2f} points {side}. "
        f"Training loss was {row.train_loss:.4f}, validation loss {row.validation_loss:.4f}."
    )


def _ending(improving: bool, epochs: int) -> str:
    if epochs == 1:
        return ""
    recent = max(1, epochs // 5)
    span = f"the last {recent} epochs" if recent > 1 else "the last epoch"
    return f"In {span} validation loss {'still improved' if improving else 'no longer improved'}."


def _after_the_minimum(selected: EpochRow, lowest: EpochRow) -> str:
    gained = 100 * (selected.validation_accuracy - lowest.validation_accuracy)
    if selected.epoch <= lowest.epoch or gained <= 0:
        return ""
    return (
        f"The selected epoch comes after the epoch of the lowest loss. Its accuracy is {gained:.2f} points higher, but "
        f"its loss is higher too, by {selected.validation_loss - lowest.validation_loss:.4f}: its mistakes are more "
        "confident."
    )


def _caution(handicaps: tuple[str, ...]) -> str:
    averaged = "Training values are averaged during the epoch; validation is measured after it."
    if not handicaps:
        return f"{averaged} Early on, training can therefore look worse than validation."
    return (
        f"{averaged} Training values are also measured {_listed(handicaps)}. "
        "All of this makes training look worse than it is: the true gap is wider than shown."
    )


def _incomparable(recipe: Recipe) -> str:
    found = {
        "with smoothed labels": recipe.label_smoothing > 0,
        "with mixed images": recipe.augmentation.mixes_images,
        "with weighted classes": recipe.balance > 0,
        "with the error of a reconstruction": isinstance(recipe.model, CapsNetRecipe),
    }
    changes = tuple(name for name, present in found.items() if present)
    if recipe.loss_name == "cross-entropy" and not changes:
        return ""
    return (
        f"Training loss is {' '.join([recipe.loss_name, _listed(changes)]).strip()}, validation loss is plain "
        "cross-entropy: compare the shapes of the curves, not their levels."
    )


def _listed(names: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
