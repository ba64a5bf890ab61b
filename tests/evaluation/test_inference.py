"""Logits outside training: the same in one piece or many, and without a trace on the model."""

from dataclasses import replace

import pytest
import torch

from modiste.data.batch import as_floats
from modiste.errors import RecipeError
from modiste.evaluation import inference
from modiste.evaluation.inference import averaged, infer, moved
from modiste.models.registry import Task, build_model
from modiste.recipes.networks import CNNRecipe
from modiste.recipes.recipe import Precision, Recipe, Views
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


@pytest.mark.parametrize(("side", "most"), [(28, 250), (64, 98), (224, 8), (260, 5), (1024, 1)])
def test_a_processor_answers_fewer_large_images_at_once(side: int, most: int) -> None:
    images = torch.zeros(1, dtype=torch.uint8).expand(300, 1, side, side)
    some = inference.parts(images, torch.device("cpu"), "float32")
    assert max(map(len, some)) == most
    assert sum(map(len, some)) == 300


def test_bfloat16_gives_float32_logits_near_those_of_float32(model: torch.nn.Module) -> None:
    full, half = (infer(model, IMAGES, replace(RECIPE, precision=each)) for each in ("float32", "bfloat16"))
    assert half.dtype == full.dtype == torch.float32
    assert not torch.equal(full, half)
    torch.testing.assert_close(half, full, rtol=0.05, atol=0.05)


def test_mirrored_images_are_averaged_in_where_the_recipe_says_so(model: torch.nn.Module) -> None:
    plain, flipped = infer(model, IMAGES, RECIPE), infer(model, IMAGES.flip(3), RECIPE)
    assert not torch.allclose(plain, flipped)
    assert_rounded(infer(model, IMAGES, replace(RECIPE, mirror=True)), (plain + flipped) / 2, model)


@pytest.mark.parametrize("mirror", [False, True])
def test_views_and_their_weights_are_those_of_a_slow_reference(mirror: bool) -> None:
    images, shifts, seen = as_floats(IMAGES), 2, list[torch.Tensor]()
    expected = torch.zeros(IMAGES.shape)
    unmoved = [images, images.flip(3)] if mirror else [images]
    for one in unmoved:
        framed = torch.nn.functional.pad(one, (shifts,) * 4)
        for weight, down, right in [(4, 0, 0), (1, shifts, 0), (1, -shifts, 0), (1, 0, shifts), (1, 0, -shifts)]:
            view = framed[:, :, shifts - down :, shifts - right :][:, :, :12, :12]
            expected += weight / 8 / len(unmoved) * view.square()

    def squared(view: torch.Tensor) -> torch.Tensor:
        seen.append(view)
        return view.square().flatten(1)

    found = averaged(squared, images, Views(mirror=mirror, shifts=shifts))
    torch.testing.assert_close(found, expected.flatten(1))
    assert len(seen) == Views(mirror=mirror, shifts=shifts).passes
    assert torch.equal(seen[0], images)


def test_what_is_moved_out_of_the_frame_is_gone() -> None:
    for pixels in (12, -12, 40):
        assert torch.equal(moved(as_floats(IMAGES), 2, pixels), torch.zeros(IMAGES.shape))


@pytest.mark.parametrize("mirror", [False, True])
def test_logits_of_all_views_are_averaged_where_the_recipe_says_so(model: torch.nn.Module, mirror: bool) -> None:
    recipe = replace(RECIPE, mirror=mirror, shifts=1)

    def alone(view: torch.Tensor) -> torch.Tensor:
        return infer(model, (view * 255).round().byte(), RECIPE)

    expected = averaged(alone, as_floats(IMAGES), recipe.views)
    assert not torch.allclose(expected, alone(as_floats(IMAGES)))
    assert_rounded(infer(model, IMAGES, recipe), expected, model)


@pytest.mark.parametrize("shifts", [-1, 9])
def test_shifts_are_a_few_pixels(shifts: int) -> None:
    with pytest.raises(RecipeError, match=f"shifts: expected from 0 to 8 pixels, found {shifts}"):
        replace(RECIPE, shifts=shifts)
