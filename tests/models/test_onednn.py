"""Rows of layers in oneDNN's layout: the same answers, where torch has oneDNN, and for as many images as it is for."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from modiste import compat, machine
from modiste.evaluation.inference import answer, ready
from modiste.evaluation.out_of_distribution.features import watched
from modiste.models import layers
from modiste.models.efficientnet_lite import SamePadding
from modiste.models.onednn import (
    FEW_IMAGES,
    MOST_LAYOUTS,
    FusedConvolution,
    OneDNNConvolution,
    computes_in,
    fuse_beginning,
)
from modiste.models.registry import Task, build_model
from modiste.recipes import named
from modiste.recipes.networks import EfficientNetLiteRecipe
from modiste.recipes.recipe import Recipe, Views
from modiste.training.transfer.transfer import freeze
from networks import assert_rounded

TASK = Task(image_shape=(1, 28, 28), class_names=tuple("abcdefghij"), mean=0.3, deviation=0.35)
HANDED_OVER = {"paper": 3, "sprint": 2, "sprint-94": 4, "sprint-95": 7, "dropconnect": 3}
"""Recipes whose networks oneDNN takes, and their convolutions."""


def images(count: int) -> Tensor:
    generator = machine.generator(0, "test images")
    return torch.randint(0, 256, (count, *TASK.image_shape), generator=generator, dtype=torch.uint8)


def trained(recipe: Recipe) -> nn.Module:
    """A network whose normalisations have seen data."""
    model = build_model(recipe.model, TASK)
    for _ in range(3):
        model(images(64) / 255)
    return model.eval()


def packed(model: nn.Module) -> list[OneDNNConvolution]:
    return [layer for layer in model.modules() if isinstance(layer, OneDNNConvolution)]


@pytest.mark.parametrize("name", HANDED_OVER)
@pytest.mark.parametrize("count", [FEW_IMAGES - 1, FEW_IMAGES])
def test_the_answers_are_the_networks_own(name: str, count: int) -> None:
    recipe = named.get(name)
    model = trained(recipe)
    quick = ready(model, Recipe(name="x", model=recipe.model, precision="float32"), images(1))
    assert len(packed(quick)) == HANDED_OVER[name]
    laid_out = []
    for layer in packed(quick):
        layer.register_forward_pre_hook(lambda _layer, inputs: laid_out.append(inputs[0].is_mkldnn))
    with torch.inference_mode(), watched(model) as seen, watched(quick) as seen_quickly:
        plain, quickly = (answer(one, images(count) / 255, Views()) for one in (model, quick))
    assert_rounded(quickly, plain, model)
    assert seen.keys() == seen_quickly.keys()
    for place, one in seen.items():
        assert_rounded(seen_quickly[place], one, model)
    assert laid_out == [True] * (HANDED_OVER[name] if count == FEW_IMAGES else 0)


@pytest.mark.parametrize("side", [33, 64])
def test_activations_in_the_same_pass_change_nothing(side: int) -> None:
    recipe = Recipe(name="x", model=EfficientNetLiteRecipe())
    model = build_model(recipe.model, Task(image_shape=(3, side, side), class_names=("a", "b", "c")))
    pictures = torch.rand(4, 3, side, side, generator=machine.generator(0, "pictures"))
    for _ in range(3):
        model(pictures)
    quick = ready(model.eval(), recipe, torch.zeros(1, 3, side, side, dtype=torch.uint8))
    assert len([layer for layer in quick.modules() if isinstance(layer, FusedConvolution)]) == 49
    with torch.inference_mode(), watched(model) as seen, watched(quick) as seen_quickly:
        expected, found = (answer(one, pictures, Views()) for one in (model, quick))
        assert torch.equal(answer(copy.deepcopy(quick), pictures, Views()), found)
    assert_rounded(found, expected, model)
    assert seen.keys() == seen_quickly.keys()


def test_a_frozen_beginning_is_fused_and_the_rest_learns_as_before() -> None:
    """The gradients themselves are not compared: at this depth rounding alone changes them by a hundredth."""
    model = build_model(EfficientNetLiteRecipe(dropout=0.0), Task(image_shape=(3, 32, 32), class_names=("a", "b", "c")))
    pictures = torch.rand(8, 3, 32, 32, generator=machine.generator(0, "pictures"))
    for _ in range(3):
        model(pictures)
    freeze(model, ("network.stem", "network.blocks.0", "network.blocks.2", "network.blocks.3.filter"))
    layers.to_training(model)
    view = fuse_beginning(model, torch.float32)
    assert [type(layer) for layer in view.network.blocks] == [type(layer) for layer in model.network.blocks]
    fused = [name for name, layer in view.named_modules() if isinstance(layer, FusedConvolution)]
    assert fused == [
        "network.stem.convolution",
        *(f"network.blocks.0.{part}.convolution" for part in ("filter", "narrow")),
    ]
    shared = [name for name, layer in view.named_modules() if layer is dict(model.named_modules()).get(name)]
    assert {f"network.blocks.{number}" for number in range(1, 16)} < set(shared)
    assert_rounded(view(pictures), model(pictures), model)
    view(pictures).square().mean().backward()
    learning = {name for name, one in model.named_parameters() if one.requires_grad}
    assert {name for name, one in model.named_parameters() if one.grad is not None} == learning


def test_without_a_frozen_beginning_it_is_the_model_itself() -> None:
    model = build_model(EfficientNetLiteRecipe(), Task(image_shape=(3, 32, 32), class_names=("a", "b")))
    freeze(model, ("network.blocks.0",))
    assert fuse_beginning(model, torch.float32) is model
    other = build_model(named.get("sprint").model, TASK)
    assert fuse_beginning(other, torch.float32) is other


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("groups", [1, 8])
def test_a_fused_convolution_is_the_two_layers(precision: torch.dtype, active: bool, groups: int) -> None:
    layer = nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=groups).to(precision)
    if not computes_in(layer):
        pytest.skip("oneDNN does not compute in this precision on this machine")
    maps = 9 * torch.randn(2, 8, 9, 7, generator=machine.generator(0, "maps"))
    with torch.inference_mode():
        found = FusedConvolution(layer, has_activation=active)(maps)
        expected = layer.float()(maps.to(precision).float())
    expected = expected.clamp(0, 6) if active else expected
    assert found.dtype == precision
    rounding = 80 * torch.finfo(torch.float32).eps if precision == torch.float32 else 4 * torch.finfo(precision).eps
    apart = rounding * expected.abs().max().item()
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=apart)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 9), (8, 9), (9, 8), (2, 1)])
def test_a_fused_convolution_pads_as_the_layer_before_it(kernel: int, height: int, width: int) -> None:
    layer, padding = nn.Conv2d(3, 8, kernel, stride=2), SamePadding(kernel, 2)
    maps = torch.randn(2, 3, height, width, generator=machine.generator(0, "maps"))
    with torch.inference_mode():
        found = FusedConvolution(layer, padding, has_activation=False)(maps)
        expected = layer(padding(maps))
    assert found.shape == expected.shape == (2, 8, (height + 1) // 2, (width + 1) // 2)
    apart = 80 * torch.finfo(torch.float32).eps * expected.abs().max().item()
    torch.testing.assert_close(found, expected, rtol=0, atol=apart)


def test_weights_are_laid_out_once_for_batches_of_about_a_size_and_a_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Weights that are laid out for other batches would be converted in each call: Lite0 took 45 ms in place of 9."""
    pack, laid_out = compat.pack_convolution, list[tuple[int, int]]()

    def recorded(weight: Tensor, *options: Any) -> Tensor:
        laid_out.append((options[-1][0], torch.get_num_threads()))
        packed: Tensor = pack(weight, *options)
        return packed

    monkeypatch.setattr(compat, "pack_convolution", recorded, raising=False)
    layer = FusedConvolution(nn.Conv2d(8, 16, 3), has_activation=False)
    with torch.inference_mode(), machine.threads_restored():
        for threads, count in ((1, 6), (1, 7), (1, 1), (2, 6), (1, 5), (2, 8)):
            torch.set_num_threads(threads)
            layer(torch.zeros(count, 8, 9, 9))
        assert laid_out == [(8, 1), (1, 1), (8, 2)]
        for power in range(MOST_LAYOUTS + 2):
            layer(torch.zeros(2**power, 8, 9, 9))
            assert len(layer.packed) <= MOST_LAYOUTS


def test_without_onednn_a_network_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    recipe = named.get("sprint")
    assert not packed(ready(trained(recipe), recipe, images(1)))


def test_layers_that_onednn_does_not_know_stay_with_torch() -> None:
    recipe = named.get("sprint")
    model = trained(recipe)
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    norms[0].weight.data[3] = -1  # it cannot be folded behind the maximum
    whole = Recipe(name="x", model=recipe.model, precision="float32")
    quick = ready(model, whole, images(1))
    assert not packed(quick)
    with torch.inference_mode():
        assert_rounded(quick(images(20) / 255), model(images(20) / 255), model)
