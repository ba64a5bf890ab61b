"""Confident learning against a slow reference, and on labels that were changed on purpose."""

import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from modiste.audits import labels as labels_module
from modiste.audits.labels import (
    NEAR,
    Suspicion,
    confident_classes,
    confident_joint,
    fold_development,
    likely_wrong_labels,
    out_of_fold_probabilities,
    suspicious_labels,
)
from modiste.data.dataset import ImageSet, SplitImages
from modiste.data.folds import assign_folds
from modiste.errors import RecipeError
from modiste.recipes.networks import MLPRecipe
from modiste.recipes.recipe import Recipe, TransferRecipe


@pytest.fixture
def noisy() -> tuple[torch.Tensor, torch.Tensor, set[int]]:
    """Probabilities of 600 images by a good network, their labels, and the twelve that were changed."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(600) % 3
    logits = torch.randn(600, 3, generator=generator) + 4 * torch.eye(3)[truth]
    changed = torch.randperm(600, generator=generator)[:12]
    labels = truth.clone()
    labels[changed] = (truth[changed] + 1) % 3
    return logits.softmax(1), labels, set(changed.tolist())


def test_the_counts_are_those_of_the_definition(noisy: tuple[torch.Tensor, torch.Tensor, set[int]]) -> None:
    probabilities, labels, _ = noisy
    thresholds = [probabilities[labels == label, label].mean() for label in range(3)]
    counts = torch.zeros(3, 3)
    for row, label, found in zip(probabilities, labels, confident_classes(probabilities, labels), strict=True):
        reached = [(row[other].item(), other) for other in range(3) if row[other] >= thresholds[other]]
        assert found == (max(reached)[1] if reached else -1)
        if reached:
            counts[label, found] += 1
    expected = counts / counts.sum(1, keepdim=True) * torch.bincount(labels)[:, None]
    assert torch.allclose(confident_joint(probabilities, labels), expected, rtol=1e-5)


def test_changed_labels_come_first(noisy: tuple[torch.Tensor, torch.Tensor, set[int]]) -> None:
    probabilities, labels, changed = noisy
    found = suspicious_labels(probabilities, labels)
    assert len(changed & {one.image for one in found}) >= 11
    assert len(found) <= 30
    assert [one.margin for one in found] == sorted((one.margin for one in found), reverse=True)
    assert len({one.image for one in found}) == len(found)
    for one in found:
        assert 0 < one.margin <= 1
        assert one.looks_like != labels[one.image]


@pytest.mark.parametrize("select", [suspicious_labels, likely_wrong_labels])
@pytest.mark.parametrize("apart", [2.0, 3.0, 5.0])
def test_the_estimate_is_the_share_of_wrong_labels(
    apart: float, select: Callable[[torch.Tensor, torch.Tensor], list[Suspicion]]
) -> None:
    """Points of three classes, more or less apart, with their exact probabilities; one label in twenty is changed."""
    draw = torch.Generator().manual_seed(1)
    count, centres = 12_000, apart * torch.eye(3)
    truth = torch.randint(0, 3, (count,), generator=draw)
    points = centres[truth] + torch.randn(count, 3, generator=draw)
    probabilities = (-torch.cdist(points, centres).square() / 2).softmax(1)
    labels = torch.where(torch.rand(count, generator=draw) < 0.05, (truth + 1) % 3, truth)
    found = select(probabilities, labels)
    share = sum(labels[one.image] != truth[one.image] for one in found) / len(found)
    assert sum(one.wrong for one in found) / len(found) == pytest.approx(float(share), abs=0.05)


def test_labels_that_all_agree_are_not_suspicious() -> None:
    labels = torch.arange(30) % 3
    probabilities = torch.eye(3)[labels] * 0.9 + 0.1 / 3
    assert suspicious_labels(probabilities, labels) == likely_wrong_labels(probabilities, labels) == []


def test_a_class_that_nobody_has_is_nobodys() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    probabilities = torch.tensor([[0.2, 0.1, 0.7], [0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.1, 0.8, 0.1]])
    assert suspicious_labels(probabilities, labels) == []


def test_every_fold_holds_its_share_of_every_class() -> None:
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate((41, 7, 22))])
    fold = assign_folds(labels, 4, seed=1)
    for label in range(3):
        counts = torch.bincount(fold[labels == label], minlength=4)
        assert counts.max() - counts.min() <= 1
    counts = torch.bincount(fold, minlength=4)
    assert counts.max() - counts.min() <= 1
    assert not torch.equal(fold, assign_folds(labels, 4, seed=2))


@pytest.mark.parametrize("count", [9, 64, 65, 8_033, 8_034])
def test_no_batch_holds_a_single_image(count: int) -> None:
    images = ImageSet(torch.zeros(count, 1, 2, 2, dtype=torch.uint8), torch.zeros(count, dtype=torch.long))
    empty = torch.empty(0, dtype=torch.long)
    known = SplitImages("x", images, empty, empty, ("a", "b"), "")
    development = fold_development(known, torch.arange(count), torch.arange(2), Recipe(name="x", batch_size=32))
    assert len(development.train) % 32 != 1
    assert len(development.train) >= 7_999


@pytest.mark.parametrize(
    ("epochs", "transfer"), [(0, TransferRecipe(linear_probe=True)), (2, TransferRecipe(source="0" * 64))]
)
def test_a_recipe_that_does_not_learn_from_nothing_takes_every_image_once(
    epochs: int, transfer: TransferRecipe
) -> None:
    images = ImageSet(torch.zeros(70, 1, 2, 2, dtype=torch.uint8), torch.zeros(70, dtype=torch.long))
    empty = torch.empty(0, dtype=torch.long)
    known = SplitImages("x", images, empty, empty, ("a", "b"), "")
    recipe = Recipe(name="x", epochs=epochs, transfer=transfer)
    assert len(fold_development(known, torch.arange(70), torch.arange(2), recipe).train) == 70


def test_batches_of_one_image_are_refused_as_in_training(tiny_recipe: Recipe) -> None:
    images = ImageSet(torch.arange(32 * 16).remainder(256).to(torch.uint8).view(32, 1, 4, 4), torch.arange(32) % 2)
    every = torch.arange(32)
    known = SplitImages("tiny", images, every, every[:0], ("a", "b"), "f")
    recipe = replace(tiny_recipe, batch_size=1, model=MLPRecipe(hidden=(4,), batch_norm=True))
    with pytest.raises(RecipeError, match="batch_size: expected one that leaves no batch of a single"):
        out_of_fold_probabilities(known, recipe, 2, device="cpu")


def test_of_the_coarse_temperatures_no_posterior_is_kept(
    noisy: tuple[torch.Tensor, torch.Tensor, set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is as large as all probabilities."""
    fitted, made, alive = labels_module._fitted, list[weakref.ref[torch.Tensor]](), list[int]()

    def watched(evidence: torch.Tensor, labels: torch.Tensor) -> tuple[float, torch.Tensor]:
        found = fitted(evidence, labels)
        made.append(weakref.ref(found[1]))
        alive.append(sum(one() is not None for one in made))
        return found

    monkeypatch.setattr(labels_module, "_fitted", watched)
    likely_wrong_labels(*noisy[:2])
    assert len(made) > 2 * len(NEAR)
    assert max(alive) <= len(NEAR) + 1
