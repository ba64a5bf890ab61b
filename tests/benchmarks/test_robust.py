"""Attacks follow their published formulas, and masked gradients are noticed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from modiste import machine
from modiste.benchmarks import robust
from modiste.benchmarks.robust import REACH, _table, fgsm, gradient, pgd, warnings
from modiste.benchmarks.settings import Settings
from modiste.benchmarks.subjects import open_subjects


@pytest.fixture
def linear() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A linear network of 4 x 4 pixels for three classes, twenty images away from black and white, and their labels."""
    numbers = np.random.RandomState(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    with torch.no_grad():
        network[1].weight.copy_(torch.from_numpy(numbers.standard_normal((3, 16))))
        network[1].bias.zero_()
    images = torch.from_numpy(numbers.uniform(0.3, 0.7, (20, 1, 4, 4)))
    return network, images, torch.from_numpy(numbers.randint(0, 3, 20))


def by_hand(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The gradient of the cross-entropy of a linear network: (probabilities - one-hot) times its weights."""
    weight = network[1].weight.detach()  # type: ignore[index]
    away = network(images).detach().softmax(1) - torch.eye(3).double()[labels]
    return (away @ weight).reshape(images.shape)


def test_the_gradient_is_the_formula(linear: tuple[nn.Module, torch.Tensor, torch.Tensor]) -> None:
    network, images, labels = linear
    torch.testing.assert_close(gradient(network, images, labels), by_hand(network, images, labels))


def test_fgsm_is_the_formula(linear: tuple[nn.Module, torch.Tensor, torch.Tensor]) -> None:
    network, images, labels = linear
    expected = images + 0.1 * by_hand(network, images, labels).sign()
    torch.testing.assert_close(fgsm(network, images, labels, 0.1), expected)


def test_pgd_is_the_formula_step_by_step(linear: tuple[nn.Module, torch.Tensor, torch.Tensor]) -> None:
    """Against a second writing of Madry's iteration, one image at a time, with the gradient worked out by hand."""
    network, images, labels = linear
    found = pgd(network, images, labels, 0.1, steps=7, draw=machine.generator(0, "test"))
    start = 2 * torch.rand(images.shape, generator=machine.generator(0, "test")) - 1
    for number, image in enumerate(images):
        moved = image + 0.1 * start[number]
        for _ in range(7):
            step = by_hand(network, moved[None], labels[number : number + 1])[0].sign()
            moved = moved + REACH * 0.1 / 7 * step
            moved = torch.maximum(torch.minimum(moved, image + 0.1), image - 0.1).clamp(0, 1)
        torch.testing.assert_close(found[number], moved)


def test_on_two_classes_the_attack_is_the_best_possible() -> None:
    """For two classes and a linear network the worst image is known: every pixel moved against the label's weights."""
    numbers = np.random.RandomState(1)
    weights = torch.from_numpy(numbers.standard_normal((2, 9)))
    images, labels = (
        torch.from_numpy(numbers.uniform(0.3, 0.7, (30, 1, 3, 3))),
        torch.from_numpy(numbers.randint(0, 2, 30)),
    )

    def network(images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ weights.T

    worst = images + 0.1 * (weights[1 - labels] - weights[labels]).sign().reshape(images.shape)
    torch.testing.assert_close(fgsm(network, images, labels, 0.1), worst)
    torch.testing.assert_close(pgd(network, images, labels, 0.1, steps=10, draw=machine.generator(0, "x")), worst)


@pytest.mark.parametrize("size", robust.SIZES)
def test_changes_stay_within_their_size_and_the_pixels_range(
    linear: tuple[nn.Module, torch.Tensor, torch.Tensor], size: float
) -> None:
    network, images, labels = linear
    extreme = torch.where(images > 0.5, 1.0, 0.0).double()
    for start in (images, extreme):
        for found in (
            fgsm(network, start, labels, size),
            pgd(network, start, labels, size, steps=5, draw=machine.generator(0, "x")),
        ):
            assert (found - start).abs().max() <= size + 1e-12
            assert found.min() >= 0
            assert found.max() <= 1


SOUND = {
    "clean": 95,
    "zero gradient": 0,
    "noise 0.05": 94,
    "FGSM 0.05": 60,
    "PGD 0.05": 40,
    "noise 0.1": 93,
    "FGSM 0.1": 40,
    "PGD 0.1": 10,
    "PGD 0.5": 0,
}


def test_the_table_has_attacks_alone() -> None:
    found = {"correct": {**SOUND, "zero gradient": 50}, "warnings": []}
    rows = _table("tiny", found, 100).rows
    assert [row[0] for row in rows] == [name for name in SOUND if name != "zero gradient"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"zero gradient": 50}, "50 of 100 images have a gradient of zero"),
        ({"FGSM 0.1": 93}, "noise of 0.1 fools the network as often as FGSM"),
        ({"PGD 0.05": 61}, "PGD at 0.05 is weaker than a single step"),
        ({"PGD 0.5": 30}, "PGD at 0.5 leaves 30 images right"),
    ],
)
def test_masked_gradients_are_noticed(change: dict[str, int], message: str) -> None:
    assert warnings(SOUND, 100) == []
    assert [one for one in warnings({**SOUND, **change}, 100) if one.startswith(message)]


def test_a_network_with_rounded_pixels_is_noticed(linear: tuple[nn.Module, torch.Tensor, torch.Tensor]) -> None:
    """Rounding has no gradient: the attack sees nothing, and the check says so."""
    network, images, labels = linear
    flat = gradient(lambda pixels: network((8 * pixels).round() / 8 + 0 * pixels), images, labels)
    assert flat.abs().max() == 0


def test_few_photographs_are_attacked_together(
    finished_run: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The maps of all images of a batch are kept for the gradient."""
    subjects, sizes = open_subjects([finished_run], "validation", device="cpu", data_folder=tiny_folder), set[int]()
    monkeypatch.setattr(robust, "BATCH_PIXELS", 7 * subjects.images.images.shape[2:].numel())
    monkeypatch.setattr(robust, "gradient", lambda _, images, labels: (sizes.add(len(images)), images)[1])
    robust.measure(subjects, Settings(split="validation", attacked=20, steps=1))
    assert max(sizes) == 7
