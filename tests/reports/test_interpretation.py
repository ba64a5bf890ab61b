"""Verdicts on histories whose fit is known because they were made so."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch

from modiste.models.layers import share_generator
from modiste.models.registry import Task, build_model
from modiste.recipes.networks import CapsNetRecipe, CNNRecipe, MLPRecipe, ModelRecipe
from modiste.recipes.recipe import AugmentationRecipe, Recipe, TransferRecipe
from modiste.reports.augmentations import EXAMPLES
from modiste.reports.interpretation import Reading, handicaps, read_fit
from modiste.runs.run_folder import EpochRow
from networks import SMALL

PLAIN = Recipe(name="plain", model=MLPRecipe())
PROBE = TransferRecipe(linear_probe=True)
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


def dropping() -> Iterator[ModelRecipe]:
    """Every small network that can drop something, so that it drops half, and so that it drops nothing."""
    for one in SMALL:
        for name in {"dropout", "rate"} & set(vars(one)):
            yield replace(one, **{name: 0.5})  # type: ignore[call-overload]
            yield replace(one, **{name: 0.0})  # type: ignore[call-overload]


FALLING = [1.0 * 0.8**epoch for epoch in range(10)]
LEVEL = [0.5, 0.4, 0.35, 0.32, 0.31, 0.305, 0.302, 0.301, 0.301, 0.302]
TURNED = [0.5, 0.4, 0.3, 0.32, 0.34, 0.36, 0.38, 0.4, 0.42, 0.45]


def test_one_epoch_is_too_short_to_tell() -> None:
    reading = read_fit(history([0.5]), PLAIN)
    assert reading.verdict == "too short to tell"
    assert "still" not in reading.sentences[1]


def test_a_network_that_was_fitted_at_once_is_told_nothing_about_epochs() -> None:
    (row,) = history([0.5], gap=0.1)
    reading = read_fit([replace(row, epoch=0, step=0)], Recipe(name="fitted", epochs=0, transfer=PROBE, mirror=True))
    assert reading.verdict == "too short to tell"
    assert "After the fit, training accuracy was 95.00 % and validation accuracy 85.00 %: training is 10.00 points" in (
        text(reading)
    )
    for wrong in ("More epochs", "epoch 0", "averaged during the epoch", "mirror"):
        assert wrong not in text(reading)


@pytest.mark.parametrize(("gap", "about_as_many"), [(0.005, True), (0.04, False)])
def test_fewer_than_half_right_is_not_called_as_many_mistakes_as_on_new_ones(gap: float, about_as_many: bool) -> None:
    reading = read_fit(history(LEVEL, gap=gap, validation_accuracies=[0.4] * len(LEVEL)), PLAIN)
    assert reading.verdict == "underfitted"
    assert ("about as many mistakes" in text(reading)) == about_as_many
    assert ("fewer than half of its training images" in text(reading)) == (not about_as_many)


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


def test_the_gap_is_stated_at_the_selected_and_at_the_last_epoch() -> None:
    rows = history(TURNED, validation_accuracies=[0.8, 0.82, 0.84, 0.85, 0.9, 0.88, 0.87, 0.87, 0.87, 0.86])
    shown = text(read_fit(rows, PLAIN))
    assert "At epoch 5 (selected), training accuracy was 92.00 % and validation accuracy 90.00 %" in shown
    assert "At epoch 10 (last), training accuracy was 88.00 % and validation accuracy 86.00 %" in shown
    assert "accuracy is 6.00 points higher, but its loss is higher too, by 0.0400" in shown


def test_the_reader_is_warned_of_figures_that_cannot_be_compared() -> None:
    assert "measured with dropout" in text(read_fit(history(LEVEL), WITH_DROPOUT))
    smoothed = replace(PLAIN, label_smoothing=0.1)
    assert "with smoothed labels" in text(read_fit(history(LEVEL), smoothed))
    assert "not their levels" not in text(read_fit(history(LEVEL), PLAIN))


def test_every_handicap_is_found() -> None:
    everything = replace(
        WITH_DROPOUT,
        augmentation=AugmentationRecipe(flip=True),
        data_pruning=0.5,
        ema_decay=0.99,
        mirror=True,
        shifts=1,
    )
    names = (
        "with dropout",
        "with augmentation",
        "mostly on images that are hard",
        "without averaged weights",
        "without mirror images",
        "without moved images",
    )
    assert handicaps(everything) == names
    assert f"measured {', '.join(names[:5])} and {names[5]}. All" in text(read_fit(history(LEVEL), everything))
    assert handicaps(PLAIN) == ()


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_augmentation_explains_training_no_better_than_validation(name: str) -> None:
    augmented = replace(PLAIN, augmentation=EXAMPLES[name][0])
    assert handicaps(augmented) == ("with augmentation",)
    assert read_fit(history(LEVEL, gap=0.001), augmented).verdict == "well fitted"


@pytest.mark.parametrize("model", [*SMALL, *dropping()])
def test_a_network_that_draws_in_training_is_known_by_its_recipe(model: ModelRecipe) -> None:
    """A network draws random numbers in training where, and only where, its recipe says that it drops something."""
    network = build_model(model, Task(image_shape=(1, 12, 12), class_names=("a", "b"))).train()
    generator = torch.Generator().manual_seed(0)
    share_generator(network, generator)
    before = generator.get_state()
    network(torch.rand(3, 1, 12, 12))
    assert torch.equal(generator.get_state(), before) == (model.dropped() == 0)
    assert bool(handicaps(replace(PLAIN, model=model))) == (model.dropped() > 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"augmentation": AugmentationRecipe(mixup=0.4)}, "cross-entropy with mixed images,"),
        (
            {"augmentation": AugmentationRecipe(cutmix=1.0), "balance": 0.5},
            "with mixed images and with weighted classes,",
        ),
        ({"model": CapsNetRecipe(), "objective": "margin"}, "margin with the error of a reconstruction,"),
        ({"objective": "squared-error"}, "Training loss is squared-error, validation loss is plain cross-entropy:"),
    ],
)
def test_losses_that_are_no_plain_cross_entropy_are_named(changes: dict[str, object], words: str) -> None:
    assert words in text(read_fit(history(LEVEL), replace(PLAIN, **changes)))  # type: ignore[arg-type]


def test_a_loss_of_zero_divides_nothing() -> None:
    assert read_fit(history([0.0, 0.0]), PLAIN).rise == 0
