"""What the learning curves say, in plain sentences: underfitted, overfitted or well fitted, and by which figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from modiste.recipes.networks import CapsNetRecipe
from modiste.recipes.recipe import AugmentationRecipe, Recipe
from modiste.report.style import percent
from modiste.runs.run_folder import EpochRow, picked

Verdict = Literal["underfitted", "overfitted", "well fitted", "too short to tell"]

RISE = 0.10
"""Share by which validation loss must have risen above its lowest to count as turned."""
WIDE_GAP = 0.05
"""Training accuracy this far above validation accuracy counts as overfitted."""
NARROW_GAP = 0.01
"""Training accuracy no further than this above validation accuracy counts as underfitted."""
PROGRESS = 0.01
"""Share by which validation loss must have fallen in the last fifth of the epochs to count as still improving."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A verdict on the fit, what it rests on, and what to do.

    Attributes:
        verdict: the fit at the end of training.
        sentences: the reading, to be shown as paragraphs.
        lowest: the epoch where validation loss was lowest.
        rise: share by which validation loss had risen above its lowest by the end.
        improving: whether validation loss still fell at the end.
    """

    verdict: Verdict
    sentences: tuple[str, ...]
    lowest: EpochRow
    rise: float
    improving: bool


def read_fit(history: Sequence[EpochRow], recipe: Recipe) -> Reading:
    """Judge the fit from the log of a run; the first of these rules that holds decides.

    1. Too short to tell: a single epoch.
    2. Overfitted: at the end, the mean of the last tenth of the epochs, validation loss lies 10 % or more above its
       lowest; or it no longer improves and training accuracy ends 5 points or more above validation accuracy.
    3. Underfitted: validation loss still improves, that is, in the last fifth of the epochs it fell by more than 1 %
       below its lowest before; or fewer than half of the training images are classified rightly; or training accuracy
       ends less than 1 point above validation accuracy, below 99 %, and nothing makes it look worse than it is.
    4. Well fitted: everything else.

    Dropout and augmentation make training figures look worse than the network is, and they are means over an epoch
    in which the network still learnt; so a true gap is at least as wide as the one seen.
    """
    lowest = min(history, key=lambda row: row.validation_loss)
    rise = _final_loss(history) / lowest.validation_loss - 1 if lowest.validation_loss > 0 else 0.0
    improving = _improving(history)
    verdict = _verdict(history, rise, improving, handicaps(recipe))
    sentences = (
        _opening(verdict, rise, improving),
        _turn(history, lowest, rise),
        *_gaps(history, picked(history, recipe)),
        _ending(improving, len(history)),
        _after_the_turn(picked(history, recipe), lowest),
        _caution(handicaps(recipe)),
        _incomparable(recipe),
    )
    kept = tuple(sentence for sentence in sentences if sentence)
    return Reading(verdict=verdict, sentences=kept, lowest=lowest, rise=rise, improving=improving)


def handicaps(recipe: Recipe) -> tuple[str, ...]:
    """Name what makes the recipe's training figures look worse than the network is; any augmentation counts."""
    found = {
        "with dropout": recipe.model.dropped() > 0,
        "with augmentation": recipe.augmentation != AugmentationRecipe(),
        "with weights not yet averaged": recipe.ema_decay > 0,
        "without mirror images": recipe.mirror,
    }
    return tuple(name for name, present in found.items() if present)


def _final_loss(history: Sequence[EpochRow]) -> float:
    """Mean over the last tenth, so that one lucky or unlucky epoch does not decide."""
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
    gap = last.train_accuracy - last.validation_accuracy
    if len(history) == 1:
        return "too short to tell"
    if rise >= RISE or (gap >= WIDE_GAP and not improving):
        return "overfitted"
    level = gap < NARROW_GAP and last.train_accuracy < 0.99 and not handicaps
    if improving or level or last.train_accuracy < 0.5:
        return "underfitted"
    return "well fitted"


def _opening(verdict: Verdict, rise: float, improving: bool) -> str:
    if verdict == "too short to tell":
        return "Too short to tell. One epoch shows no course; train for more."
    if verdict == "overfitted" and rise >= RISE:
        return "Overfitted by the end. Validation loss turned and rose while training went on."
    if verdict == "overfitted":
        return "Overfitted by the end. The network knows its training images much better than new ones."
    if verdict == "underfitted" and improving:
        return "Underfitted. Training ended while the network was still improving; more epochs may help."
    if verdict == "underfitted":
        return (
            "Underfitted. The network errs on the images it learns from about as often as on new ones; "
            "a larger network or other settings may help."
        )
    return "Well fitted. Validation loss levelled off without turning, and the gap to training is modest."


def _turn(history: Sequence[EpochRow], lowest: EpochRow, rise: float) -> str:
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


def _gaps(history: Sequence[EpochRow], picked_row: EpochRow) -> list[str]:
    last = history[-1]
    if picked_row.epoch == last.epoch:
        return [_gap("picked and last", last)]
    return [_gap("picked", picked_row), _gap("last", last)]


def _gap(what: str, row: EpochRow) -> str:
    points = 100 * (row.train_accuracy - row.validation_accuracy)
    side = "above" if points >= 0 else "below"
    return (
        f"At epoch {row.epoch}, {what}, training accuracy was {percent(row.train_accuracy)} and validation accuracy "
        f"{percent(row.validation_accuracy)}: training lies {abs(points):.2f} points {side}. "
        f"Training loss was {row.train_loss:.4f}, validation loss {row.validation_loss:.4f}."
    )


def _ending(improving: bool, epochs: int) -> str:
    if epochs == 1:
        return ""
    recent = max(1, epochs // 5)
    span = f"the last {recent} epochs" if recent > 1 else "the last epoch"
    return f"In {span} validation loss {'still reached new lows' if improving else 'no longer improved'}."


def _after_the_turn(picked_row: EpochRow, lowest: EpochRow) -> str:
    gained = 100 * (picked_row.validation_accuracy - lowest.validation_accuracy)
    if picked_row.epoch <= lowest.epoch or gained <= 0:
        return ""
    return (
        f"The picked epoch lies after that of the lowest loss: accuracy is {gained:.2f} points higher there, but so is "
        f"the loss, by {picked_row.validation_loss - lowest.validation_loss:.4f}. Its mistakes are surer."
    )


def _caution(handicaps: tuple[str, ...]) -> str:
    means = "Training figures are means over an epoch in which the network still learns, validation is its end"
    if not handicaps:
        return f"{means}; so early on training can look the worse of the two."
    return (
        f"{means}; and training figures are taken {_listed(handicaps)}. "
        "All of this makes training look worse than it is: a gap is wider than shown."
    )


def _incomparable(recipe: Recipe) -> str:
    found = {
        "with smoothed labels": recipe.label_smoothing > 0,
        "with mixed images": recipe.augmentation.mixup > 0 or recipe.augmentation.cutmix > 0,
        "with weighted classes": recipe.balance > 0,
        "with the error of a reconstruction": isinstance(recipe.model, CapsNetRecipe),
    }
    changes = tuple(name for name, present in found.items() if present)
    if recipe.objective == "cross-entropy" and not changes:
        return ""
    return (
        f"Training loss is {' '.join([recipe.objective, _listed(changes)]).strip()}, validation loss plain "
        "cross-entropy: compare their courses, not their levels."
    )


def _listed(names: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
