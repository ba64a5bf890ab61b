"""Hooks see every call of a layer inside the block, and none after it."""

import pytest
import torch
from torch import nn

from modiste.models.hooks import Call, captured, hooked


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_calls_are_collected_in_order_with_their_input_and_output() -> None:
    model, images = network(), torch.ones(5, 3)
    with captured([model[2], model[0]]) as seen:
        logits = model(images)
        model(images)
    assert [call.layer for call in seen] == [model[0], model[2], model[0], model[2]]
    assert seen[0].input is images
    assert seen[1].output is logits
    assert torch.equal(seen[1].input, seen[0].output.relu())


def test_before_a_layer_runs_it_has_no_output() -> None:
    model = network()
    with captured([model[1]], where="input") as seen:
        model(torch.ones(5, 3))
    assert seen[0].input.shape == (5, 4)
    assert seen[0].output is None


@pytest.mark.parametrize("where", ["input", "output"])
def test_nothing_is_left_behind_even_by_an_error(where: str) -> None:
    model = network()
    with captured(model, where=where) as seen:
        model(torch.ones(1, 3))
    with pytest.raises(RuntimeError), captured(model, where=where):
        model(torch.ones(1, 7))
    model(torch.ones(1, 3))
    assert len(seen) == 3
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.modules())


def test_each_call_is_handed_on_and_none_need_be_kept() -> None:
    model, names = network(), []

    def note(call: Call) -> None:
        names.append(type(call.layer).__name__)

    with hooked(model, note):
        model(torch.ones(5, 3))
    assert names == ["Linear", "ReLU", "Linear"]


def test_a_layer_without_arguments_has_no_input() -> None:
    class Constant(nn.Module):
        def forward(self) -> torch.Tensor:
            return torch.ones(2)

    layer = Constant()
    with captured([layer]) as seen:
        layer()
    assert seen[0].input is None
