"""Samples hold every class alike, in whatever order the files came."""

import pytest
import torch

from modiste.data.dataset import balanced_order, balanced_sample

SORTED = torch.arange(4).repeat_interleave(torch.tensor([50, 3, 50, 20]))
MIXED = SORTED[torch.randperm(123, generator=torch.Generator().manual_seed(0))]


@pytest.mark.parametrize("labels", [SORTED, SORTED.flip(0), MIXED], ids=["sorted", "back", "any"])
def test_classes_take_turns_until_they_have_no_more(labels: torch.Tensor) -> None:
    order = balanced_order(labels, "test")
    assert sorted(order.tolist()) == list(range(123))
    for count, expected in {4: [1, 1, 1, 1], 12: [3, 3, 3, 3], 27: [8, 3, 8, 8], 123: [50, 3, 50, 20]}.items():
        assert labels[order[:count]].bincount().tolist() == expected


def test_the_same_purpose_draws_the_same_and_another_others() -> None:
    assert torch.equal(balanced_order(SORTED, "test"), balanced_order(SORTED, "test"))
    assert not torch.equal(balanced_order(SORTED, "test"), balanced_order(SORTED, "another"))


def test_a_sample_is_in_the_order_of_the_files() -> None:
    assert balanced_sample(SORTED, 10, "test").tolist() == sorted(balanced_order(SORTED, "test")[:10].tolist())
    assert balanced_sample(SORTED, 999, "test").tolist() == list(range(123))
    assert balanced_sample(SORTED[:0], 10, "test").tolist() == []
