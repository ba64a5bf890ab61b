"""Verdicts on histories whose fit is known because they were made so."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from modiste.model_recipe import CNNRecipe, MLPRecipe
from modiste.recipe import AugmentationRecipe, Recipe
from modiste.report.reading import Reading, handicaps, read_fit
from modiste.run_folder import EpochRow

PLAIN = Recipe(name="plain", model=MLPRecipe())
WITH_DROPOUT = Recipe(name="dropout", model=CNNRecipe(dropout=0.5))


def history(
    validation_losses: Sequence[float],
    *,
    gap: float = 0.02,
    validation_accuracies: Sequence[float] | None = None,
    train_losses: Sequence[float] | None = None,
) -> list[EpochRow]:
    """Rows of these losses; training accuracy lies ``gap`` above validation accuracy at every epoch."""
    accuracies = validation_accuracies or [0.9 - loss / 10 for loss in validation_losses]
    return [
        EpochRow(
            epoch=number,
            step=10 * number,
            learning_rate=1e-3,
            train_loss=(train_losses or validation_losses)[number - 1],
            train_accuracy=accuracy + gap,
            validation_loss=loss,
            validation_accuracy=accuracy,
        )
        for number, (loss, accuracy) in enumerate(zip(validation_losses, accuracies, strict=True), start=1)
    ]


def text(reading: Reading) -> str:
    return " ".join(reading.sentences).replace("\N{NO-BREAK SPACE}", " ")


FALLING = [1.0 * 0.8**epoch for epoch in range(10)]
LEVEL = [0.5, 0.4, 0.35, 0.32, 0.31, 0.305, 0.302, 0.301, 0.301, 0.302]
TURNED = [0.5, 0.4, 0.3, 0.32, 0.34, 0.36, 0.38, 0.4, 0.42, 0.45]


def test_one_epoch_is_too_short_to_tell() -> None:
    reading = read_fit(history([0.5]), PLAIN)
    assert reading.verdict == "too short to tell"
    assert "still" not in reading.sentences[1]


def test_a_loss_that_turned_is_overfitted_and_the_turn_is_named() -> None:
    reading = read_fit(history(TURNED), PLAIN)
    assert reading.verdict == "overfitted"
    assert reading.lowest.epoch == 3
    assert reading.rise == pytest.approx(0.5)
    assert "lowest at epoch 3 (0.3000); at the last epoch it was 0.4500, 50 % higher" in text(reading)


def test_a_rise_of_one_unlucky_epoch_among_many_is_not_a_turn() -> None:
    losses = [0.5, 0.4, *[0.3] * 37, 0.4]  # the last alone is a third higher; the mean of the last tenth is not
    assert read_fit(history(losses), PLAIN).verdict == "well fitted"


def test_a_wide_gap_is_overfitted_only_when_validation_no_longer_improves() -> None:
    assert read_fit(history(LEVEL, gap=0.06), PLAIN).verdict == "overfitted"
    assert read_fit(history(FALLING, gap=0.06), PLAIN).verdict == "underfitted"


def test_a_loss_still_falling_is_underfitted() -> None:
    reading = read_fit(history(FALLING), PLAIN)
    assert reading.verdict == "underfitted"
    assert reading.improving
    assert "more epochs may help" in text(reading)


def test_training_no_better_than_validation_is_underfitted_unless_dropout_explains_it() -> None:
    assert read_fit(history(LEVEL, gap=0.001), PLAIN).verdict == "underfitted"
    assert read_fit(history(LEVEL, gap=-0.02), WITH_DROPOUT).verdict == "well fitted"


def test_learning_nothing_is_underfitted_whatever_explains_it() -> None:
    stuck = history([2.3] * 10, validation_accuracies=[0.1] * 10, gap=0)
    assert read_fit(stuck, WITH_DROPOUT).verdict == "underfitted"


def test_a_level_loss_with_a_modest_gap_is_well_fitted() -> None:
    reading = read_fit(history(LEVEL), PLAIN)
    assert reading.verdict == "well fitted"
    assert "no longer improved" in text(reading)


def test_the_gap_is_told_at_the_picked_and_at_the_last_epoch() -> None:
    rows = history(TURNED, validation_accuracies=[0.8, 0.82, 0.84, 0.85, 0.9, 0.88, 0.87, 0.87, 0.87, 0.86])
    told = text(read_fit(rows, PLAIN))
    assert "At epoch 5, picked, training accuracy was 92.00 % and validation accuracy 90.00 %" in told
    assert "At epoch 10, last, training accuracy was 88.00 % and validation accuracy 86.00 %" in told
    assert "accuracy is 6.00 points higher there, but so is the loss, by 0.0400" in told


def test_the_reader_is_warned_of_figures_that_cannot_be_compared() -> None:
    assert "taken with dropout" in text(read_fit(history(LEVEL), WITH_DROPOUT))
    smoothed = replace(PLAIN, label_smoothing=0.1)
    assert "with smoothed labels" in text(read_fit(history(LEVEL), smoothed))
    assert "not their levels" not in text(read_fit(history(LEVEL), PLAIN))


def test_every_handicap_is_found() -> None:
    everything = replace(WITH_DROPOUT, augmentation=AugmentationRecipe(flip=True), ema_decay=0.99)
    assert handicaps(everything) == ("dropout", "augmentation", "weights not yet averaged")
    assert handicaps(PLAIN) == ()


def test_a_loss_of_zero_divides_nothing() -> None:
    assert read_fit(history([0.0, 0.0]), PLAIN).rise == 0
