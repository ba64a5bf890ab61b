"""Layers that several networks share, against those of torch."""

import pytest
import torch
from torch import nn

from modiste.models.layers import MaxPool, flatten_maps


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_row_is_what_flatten_gives_and_its_gradient_comes_back_channels_last(layout: torch.memory_format):
    maps = torch.randn(3, 4, 5, 6, generator=generator()).contiguous(memory_format=layout).requires_grad_()
    wanted, weights = maps.flatten(1), torch.randn(3, 120, generator=generator(1))
    assert torch.equal(flatten_maps(maps), wanted)
    with torch.no_grad():
        assert torch.equal(flatten_maps(maps), wanted)
    (found,) = torch.autograd.grad((flatten_maps(maps) * weights).sum(), maps)
    assert torch.equal(found, torch.autograd.grad((wanted * weights).sum(), maps)[0])
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("side", [(28, 28), (7, 7), (6, 5), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pooling_without_a_gradient_gives_what_it_gives_with_one(
    side: tuple[int, int], dtype: torch.dtype, layout: torch.memory_format
) -> None:
    maps = torch.randn(3, 4, *side, generator=generator()).to(dtype).contiguous(memory_format=layout)
    maps[0] = 0.5  # ties
    learnt, frozen = MaxPool()(maps.requires_grad_()), MaxPool()(maps.detach())
    assert torch.equal(learnt, frozen)
    assert torch.equal(frozen, nn.functional.max_pool2d(maps.detach(), 2))
    assert frozen.is_contiguous(memory_format=layout)


def test_pooling_is_exported_as_pooling() -> None:
    program = torch.export.export(MaxPool(), (torch.zeros(1, 3, 8, 8),))
    assert any("max_pool2d" in str(node.target) for node in program.graph.nodes)
