"""Linear classifiers on fixed features: who judges which image, the mean over divisions, and planted wrong labels."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from modiste.audits import probe
from modiste.audits.audit import audit
from modiste.audits.labels import LEAST_WRONG, likely_wrong_labels
from modiste.audits.probe import Examples, fold_logits, has_fixed_features, mean_probabilities, probe_probabilities
from modiste.data.dataset import ImageSet, SplitImages
from modiste.data.folds import assign_folds
from modiste.errors import RecipeError, StoppedError
from modiste.recipes import named
from modiste.recipes.networks import MLPRecipe
from modiste.recipes.recipe import Recipe, TransferRecipe
from modiste.system.processes import Interruption
from modiste.training.transfer import linear_probe

pytest.importorskip("scipy")
RECIPE = Recipe(
    name="fixed",
    epochs=0,
    model=MLPRecipe(hidden=(16,)),
    transfer=TransferRecipe(linear_probe=True),
    precision="float32",
)


def clouds(count: int, planted: int, apart: float) -> tuple[Examples, Tensor]:
    """Return points of three classes as features, ``planted`` of them with a wrong label, and their true classes."""
    draw = torch.Generator().manual_seed(0)
    truth = torch.arange(count) % 3
    features = torch.randn(count, 8, generator=draw) + apart * torch.eye(3, 8)[truth]
    labels = truth.clone()
    chosen = torch.randperm(count, generator=draw)[:planted]
    labels[chosen] = (truth[chosen] + 1) % 3
    return Examples(features, labels, 3), truth


def test_no_image_is_judged_by_its_own_label() -> None:
    examples, _ = clouds(60, 0, 2.0)
    fold = assign_folds(examples.labels, 3, 0)
    before, _ = fold_logits(examples, fold, 0.1, [torch.zeros(3, 9)] * 3)
    labels = examples.labels.clone()
    labels[7] = (labels[7] + 1) % 3
    after, _ = fold_logits(Examples(examples.features, labels, 3), fold, 0.1, [torch.zeros(3, 9)] * 3)
    own = fold == fold[7]
    assert torch.equal(before[own], after[own])
    assert not torch.equal(before[~own], after[~own])


def test_probabilities_are_the_mean_over_the_divisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "DIVISIONS", 3)
    monkeypatch.setattr(linear_probe, "PENALTIES", (0.1,))
    examples, _ = clouds(60, 3, 2.0)
    expected = torch.zeros(60, 3)
    for seed in (5, 6, 7):
        fold = assign_folds(examples.labels, 4, seed)
        logits, _ = fold_logits(examples, fold, 0.1, [torch.zeros(3, 9)] * 4)
        expected += logits.softmax(1) / 3
    lines = list[str]()
    found = mean_probabilities(examples, 4, 5, report=lines.append)
    assert torch.allclose(found, expected, atol=1e-6)
    assert [line.partition(":")[0] for line in lines] == [f"division {number} of 3" for number in (1, 2, 3)]


@pytest.mark.parametrize("apart", [3.0, 5.0])
def test_planted_labels_come_first_and_the_estimate_is_their_share(
    apart: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "DIVISIONS", 3)
    examples, truth = clouds(1_500, 75, apart)
    found = likely_wrong_labels(mean_probabilities(examples, 4, 0, report=lambda _: None), examples.labels)
    wrong = [bool(examples.labels[one.image] != truth[one.image]) for one in found]
    assert sum(wrong[:20]) >= 18
    assert sum(wrong) >= 0.8 * 75
    assert sum(one.wrong for one in found) / len(found) == pytest.approx(sum(wrong) / len(wrong), abs=0.1)
    assert all(found[place].wrong >= found[place + 1].wrong >= LEAST_WRONG for place in range(len(found) - 1))
    right = [one.looks_like == truth[one.image] for one, is_wrong in zip(found, wrong, strict=True) if is_wrong]
    assert sum(right) >= 0.95 * len(right)


def test_recipes_with_fixed_features() -> None:
    assert has_fixed_features(named.get("backbone-linear"))
    assert not any(has_fixed_features(named.get(name)) for name in ("backbone-tuned", "sprint", "sprint-94"))


@pytest.fixture
def known() -> SplitImages:
    """48 images of two classes, one bright above and one bright below; the label of image 10 is wrong."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(48) % 2
    images = torch.randint(0, 100, (48, 1, 8, 8), generator=draw)
    images[labels == 0, :, :4] += 120
    images[labels == 1, :, 4:] += 120
    labels[10] = 1
    every = torch.arange(48)
    return SplitImages("two", ImageSet(images.to(torch.uint8), labels), every[:40], every[40:], ("above", "below"), "f")


def test_an_audit_computes_features_once_and_finds_the_wrong_label(
    known: SplitImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, compute = list[int](), linear_probe.head_inputs

    def counted(*arguments: object, **options: object) -> Tensor:
        calls.append(1)
        return compute(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(linear_probe, "head_inputs", counted)
    monkeypatch.setattr("modiste.audits.audit.load_split_images", lambda *_: known)
    found = audit(RECIPE, folds=4, device="cpu", report=lambda _: None)
    assert len(calls) == 1
    assert found.suspicious[0].image == 10
    assert found.suspicious[0].looks_like == 0
    assert found.suspicious[0].wrong > 0.5
    assert found.notes == known.notes


@pytest.mark.parametrize("folds", [2.5, "4", None, 1, 49, -1])
def test_folds_that_cannot_be_are_told(
    known: SplitImages, folds: Any, monkeypatch: pytest.MonkeyPatch, without_type_checks: None
) -> None:
    monkeypatch.setattr("modiste.audits.audit.load_split_images", lambda *_: known)
    with pytest.raises(RecipeError, match=r"^folds: expected 0, or from 2 to 48, .*, found "):
        audit(RECIPE, folds=folds, device="cpu", report=lambda _: None)


def test_networks_that_know_only_the_largest_class_are_named(
    known: SplitImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every label of the small class is called wrong then, for certain."""
    labels = (torch.arange(48) % 6 == 0).long()
    blank = replace(known, images=ImageSet(torch.zeros_like(known.images.images), labels))
    monkeypatch.setattr("modiste.audits.audit.load_split_images", lambda *_: blank)
    found = audit(RECIPE, folds=4, device="cpu", report=lambda _: None)
    assert len(found.notes) == 1
    assert found.notes[0].startswith(
        "the networks agree with 83.3% of the labels, and the largest class alone has 83.3%"
    )
    assert not audit(RECIPE, folds=0, device="cpu", report=lambda _: None).notes


def test_an_audit_stops_on_request(known: SplitImages, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask_to_stop(interruption: Interruption) -> Interruption:
        interruption.requested = True
        return interruption

    monkeypatch.setattr(Interruption, "__enter__", ask_to_stop)
    with pytest.raises(StoppedError, match="stopped on request"):
        probe_probabilities(known, RECIPE, 4, device="cpu", report=lambda _: None)
