"""What follows from a normalisation's fixed means is the same when the layer before it does it."""

import copy

import pytest
import torch
from torch import nn

from modiste.models.layers import MaxPool
from modiste.models.onednn import fold
from modiste.models.registry import Task, build_model
from modiste.recipes import own_code
from modiste.recipes.networks import OwnNetworkRecipe
from networks import assert_rounded


def settled(norm: nn.BatchNorm1d | nn.BatchNorm2d, *, lowest: float = 0.5) -> nn.Module:
    """A normalisation that has seen data, with scales from ``lowest`` on."""
    draw = torch.Generator().manual_seed(2)
    norm.weight.data.uniform_(lowest, 2, generator=draw)
    norm.bias.data.normal_(generator=draw)
    norm.running_mean.normal_(generator=draw)  # type: ignore[union-attr]
    norm.running_var.uniform_(0.3, 3, generator=draw)  # type: ignore[union-attr]
    return norm


def maps() -> torch.Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))


FOLDED = {
    "behind a convolution": [nn.Conv2d(3, 5, 3), settled(nn.BatchNorm2d(5), lowest=-2), nn.ReLU()],
    "behind a convolution without bias": [nn.Conv2d(3, 5, 3, bias=False), settled(nn.BatchNorm2d(5)), MaxPool()],
    "behind its pooling": [nn.Conv2d(3, 5, 3), MaxPool(), settled(nn.BatchNorm2d(5)), nn.ReLU()],
    "behind a dense layer": [nn.Flatten(), nn.Linear(192, 7, bias=False), settled(nn.BatchNorm1d(7), lowest=-2)],
    "in a row inside a row": [nn.Sequential(nn.Conv2d(3, 5, 3), settled(nn.BatchNorm2d(5))), nn.ReLU()],
}
KEPT = {
    "behind pooling, with a scale below zero": [
        nn.Conv2d(3, 5, 3),
        MaxPool(),
        settled(nn.BatchNorm2d(5), lowest=-2),
        nn.ReLU(),
    ],
    "first": [settled(nn.BatchNorm2d(3)), nn.Conv2d(3, 5, 3)],
    "behind an activation": [nn.Conv2d(3, 5, 3), nn.ReLU(), settled(nn.BatchNorm2d(5))],
    "without running statistics": [nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, track_running_stats=False)],
    "without scales": [nn.Flatten(), nn.Linear(192, 7), nn.BatchNorm1d(7, affine=False)],
    "behind pooling alone": [MaxPool(), settled(nn.BatchNorm2d(3))],
}


def normalisations(model: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in model.modules())


@pytest.mark.parametrize(
    ("row", "left"),
    [*((row, 0) for row in FOLDED.values()), *((row, 1) for row in KEPT.values())],
    ids=[*FOLDED, *KEPT],
)
def test_answers_stay(row: list[nn.Module], left: int) -> None:
    model = nn.Sequential(*row).eval()
    plain = copy.deepcopy(model)
    with torch.inference_mode():
        before = model(maps())
        fold(model)
        assert_rounded(model(maps()), before, plain)
    assert normalisations(model) == left


class Backwards(nn.Module):
    """Not Modiste's: its layers stand in one order and work in another."""

    def __init__(self) -> None:
        super().__init__()
        self.row = nn.Sequential(nn.Conv2d(3, 3, 3), settled(nn.BatchNorm2d(3)))
        self.head = nn.Linear(108, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        answers: torch.Tensor = self.head(self.row[0](self.row[1](images)).flatten(1))
        return answers


def test_a_network_that_is_not_modistes_stays_as_it_is() -> None:
    task = Task(image_shape=(3, 8, 8), class_names=("a", "b"))
    model = build_model(OwnNetworkRecipe(code=own_code.register(Backwards)), task, seed=1).eval()
    with torch.inference_mode():
        before = model(maps())
        fold(model)
        assert torch.equal(model(maps()), before)
    assert normalisations(model) == 1
