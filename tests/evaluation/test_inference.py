"""Logits outside training: the same in one piece or many, and without a trace on the model."""

from dataclasses import replace

import pytest
import torch

from modiste.data.batch import as_floats
from modiste.evaluation import inference
from modiste.evaluation.inference import infer
from modiste.models.registry import Task, build_model
from modiste.recipes.networks import CNNRecipe
from modiste.recipes.recipe import Precision, Recipe
from networks import assert_rounded

RECIPE = Recipe(name="tested", precision="float32")
TASK = Task(image_shape=(1, 12, 12), class_names=tuple("abcde"))
IMAGES = torch.randint(0, 256, (23, 1, 12, 12), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.fixture
def model() -> torch.nn.Module:
    return build_model(CNNRecipe(filters=(4, 8), pools=1, hidden=(16,), dropout=0.5, batch_norm=True), TASK)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(model: torch.nn.Module, training: bool) -> None:
    model.train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    logits = infer(model, IMAGES, RECIPE)
    assert model.training is training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert_rounded(logits, model.eval()(as_floats(IMAGES)), model)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("part", [1, 7, 22, 23, 1000])
def test_parts_are_joined_in_order(model: torch.nn.Module, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = infer(model, IMAGES, RECIPE)
    monkeypatch.setattr(inference, "BATCH_IMAGES", part)
    assert_rounded(infer(model, IMAGES, RECIPE), whole, model)


def test_a_gpu_answers_more_images_at_once_and_a_processor_as_many_bytes() -> None:
    images = torch.zeros(2500, 1, 1, 1, dtype=torch.uint8)

    def sizes(device: str, precision: Precision) -> list[int]:
        return [len(part) for part in inference.parts(images, torch.device(device), precision)]

    assert sizes("cpu", "float32") == [250] * 10
    assert sizes("cpu", "bfloat16") == [500] * 5
    assert sizes("cuda", "float32") == sizes("cuda", "bfloat16") == [1000, 1000, 500]


def test_bfloat16_gives_float32_logits_near_those_of_float32(model: torch.nn.Module) -> None:
    full, half = (infer(model, IMAGES, replace(RECIPE, precision=each)) for each in ("float32", "bfloat16"))
    assert half.dtype == full.dtype == torch.float32
    assert not torch.equal(full, half)
    torch.testing.assert_close(half, full, rtol=0.05, atol=0.05)


def test_mirrored_images_are_averaged_in_where_the_recipe_says_so(model: torch.nn.Module) -> None:
    plain, flipped = infer(model, IMAGES, RECIPE), infer(model, IMAGES.flip(3), RECIPE)
    assert not torch.allclose(plain, flipped)
    assert_rounded(infer(model, IMAGES, replace(RECIPE, mirror=True)), (plain + flipped) / 2, model)
