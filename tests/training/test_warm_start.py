"""Warm starts against what they say."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from modiste.data.batch import as_floats
from modiste.data.dataset import Development, ImageSet, load_development
from modiste.errors import DivergedError, RecipeError
from modiste.models.dbn import DBN, RBM
from modiste.models.hooks import captured
from modiste.models.registry import Task, build_model
from modiste.recipes.networks import CapsNetRecipe, CNNRecipe, DBNRecipe, MLPRecipe, SprintRecipe
from modiste.recipes.recipe import DataRecipe, PretrainingRecipe, Recipe
from modiste.runs.run_folder import PretrainingRow
from modiste.system.processes import Interruption
from modiste.training.tracking import Listener
from modiste.training.warm_start.progress import Progress, biased_head, linear_head
from modiste.training.warm_start.warm_starts import PATCH_PIXELS, WARM_STARTS, patches, sample

TASK = Task(image_shape=(1, 4, 4), class_names=("a", "b", "c"))


class Witness(Listener):
    """Keeps what a warm start tells."""

    def __init__(self) -> None:
        self.steps, self.told, self.rows = 0, 0, list[PretrainingRow]()

    def pretraining_started(self, _name: str, steps: int) -> None:
        self.steps = steps

    def pretraining_step_done(self, step: int) -> None:
        self.told = step

    def pretraining_epoch_done(self, row: PretrainingRow) -> None:
        self.rows.append(row)


def warm(model: nn.Module, development: Development, recipe: Recipe, listener: Listener | None = None) -> None:
    progress = Progress(recipe.warm_start, listener or Listener(), Interruption())
    WARM_STARTS[recipe.warm_start](model, development, recipe, progress)


def recipe_of(warm_start: str, **fields: object) -> Recipe:
    return Recipe(name="x", warm_start=warm_start, **fields)  # type: ignore[arg-type]


def skewed() -> Development:
    labels = torch.tensor([0] * 12 + [1] * 4)
    train = ImageSet(torch.zeros(16, 1, 4, 4, dtype=torch.uint8), labels)
    return Development("skewed", train, train.images, train, ("a", "b", "c"), "")


@pytest.mark.parametrize("recipe", [CNNRecipe(filters=(2,), pools=0, hidden=(3,)), MLPRecipe(hidden=(3,))])
def test_warm_starts(recipe: CNNRecipe | MLPRecipe) -> None:
    fresh, same, prior = (build_model(recipe, TASK) for _ in range(3))
    warm(same, skewed(), recipe_of("none"))
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), same.parameters(), strict=True))
    warm(prior, skewed(), recipe_of("class-prior"))
    changed = [
        name for (name, a), b in zip(fresh.named_parameters(), prior.parameters(), strict=True) if not torch.equal(a, b)
    ]
    assert changed == ["network.head.bias"]
    blank = prior.eval()(torch.zeros(1, 1, 4, 4)).softmax(1)
    torch.testing.assert_close(blank, torch.tensor([[12, 4, 1]]) / 17)


def test_class_prior_of_balanced_data_changes_no_answer(tiny_folder: Path) -> None:
    development = load_development(DataRecipe(source="tiny"), tiny_folder)
    task = Task(image_shape=(1, 12, 12), class_names=tuple("01234"))
    model = build_model(MLPRecipe(), task)
    images = torch.rand(3, 1, 12, 12)
    before = model(images).softmax(1)
    warm(model, development, recipe_of("class-prior"))
    torch.testing.assert_close(model(images).softmax(1), before)


def test_class_prior_needs_a_readout() -> None:
    task = Task(image_shape=(1, 20, 20), class_names=("a", "b"))
    model = build_model(CapsNetRecipe(filters=8), task)
    with pytest.raises(RecipeError, match="class-prior needs a network that ends in a linear layer"):
        warm(model, skewed(), recipe_of("class-prior"))


@pytest.mark.parametrize(
    ("field", "need"),
    [
        ("warm_start: class-prior", biased_head),
        ("transfer.linear_probe", biased_head),
        ("warm_start: simclr", linear_head),
    ],
)
def test_a_last_layer_that_does_not_do_is_said_with_the_field(field: str, need: Callable[..., nn.Linear]) -> None:
    with pytest.raises(RecipeError, match=f"^{field} needs a network that ends in a linear layer, called head$"):
        need(nn.Sequential(nn.Flatten()), field)
    unbiased = nn.Sequential(OrderedDict(head=nn.Linear(4, 2, bias=False)))
    if need is biased_head:
        with pytest.raises(RecipeError, match=f"^{field} needs a last layer with a bias"):
            need(unbiased, field)
    else:
        assert need(unbiased, field) is unbiased.head


def test_the_last_layer_is_the_one_called_head_and_no_other() -> None:
    """Layers whose names end alike may be registered before it."""
    layers = OrderedDict(aux_head=nn.Linear(4, 3), attention_head=nn.Sequential(), head=nn.Linear(4, 2))
    assert linear_head(nn.Sequential(OrderedDict(network=nn.Sequential(layers))), "test") is layers["head"]
    twice = nn.Sequential(OrderedDict(block=nn.Sequential(OrderedDict(head=nn.Linear(4, 4))), head=nn.Linear(4, 2)))
    with pytest.raises(
        RecipeError, match=r"^test needs .* with one layer called head, found block\.head, head; rename the others$"
    ):
        linear_head(twice, "test")


def test_contrastive_divergence_trains_the_stack_alone_and_follows_the_seed(tiny_folder: Path) -> None:
    development = load_development(DataRecipe(source="tiny"), tiny_folder)
    task = Task(image_shape=(1, 12, 12), class_names=tuple("01234"))
    settings = PretrainingRecipe(epochs=3)
    recipe = recipe_of("contrastive-divergence", model=DBNRecipe(hidden=(20, 10)), pretraining=settings)
    witness = Witness()
    fresh, one, same = (build_model(recipe.model, task) for _ in range(3))
    for model in (one, same):
        warm(model, development, recipe, witness)
    before, after = fresh.state_dict(), one.state_dict()
    assert all(torch.equal(weight, same.state_dict()[name]) for name, weight in after.items())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"network.stack.{depth}.{part}" for depth in (0, 1) for part in ("weight", "bias")}
    assert witness.told == witness.steps == 2 * 3 * 4
    assert [(row.part, row.epoch) for row in witness.rows[:6]] == [(f"layer {n}", e) for n in (1, 2) for e in (1, 2, 3)]
    assert all(row.quantity == "reconstruction error" and row.value > 0 for row in witness.rows)


def test_contrastive_divergence_learns_to_reconstruct(tiny_folder: Path) -> None:
    development = load_development(DataRecipe(source="tiny"), tiny_folder)
    images = development.train.images.flatten(1) / 255
    errors = []
    for epochs in (1, 40):
        torch.manual_seed(0)
        layer = torch.nn.Linear(144, 30)
        stack = torch.nn.ModuleList([layer])
        model = DBN(DBNRecipe(hidden=(30,)), image_shape=(1, 12, 12), classes=5)
        model.stack = stack
        settings = PretrainingRecipe(epochs=epochs, batch_size=20)
        warm(model, development, recipe_of("contrastive-divergence", pretraining=settings))
        machine = RBM(layer)
        machine.visible_bias.copy_(images.mean(0).logit())
        errors.append((images - machine.visible(machine.hidden(images))).square().sum(1).mean().item())
    assert errors[1] < 0.8 * errors[0]


def test_contrastive_divergence_that_diverges_names_its_step(tiny_folder: Path) -> None:
    development = load_development(DataRecipe(source="tiny"), tiny_folder)
    task, settings = Task(image_shape=(1, 12, 12), class_names=tuple("01234")), PretrainingRecipe(weight_decay=1e6)
    recipe = recipe_of("contrastive-divergence", model=DBNRecipe(hidden=(20,)), pretraining=settings)
    with pytest.raises(
        DivergedError, match=r"^step \d of the warm start contrastive-divergence: .*--pretraining\.learning-rate"
    ):
        warm(build_model(recipe.model, task), development, recipe)


def test_contrastive_divergence_needs_a_stack() -> None:
    with pytest.raises(RecipeError, match="needs a model of kind 'dbn'"):
        warm(build_model(MLPRecipe(), TASK), skewed(), recipe_of("contrastive-divergence"))


def test_contrastive_divergence_refuses_standardised_images() -> None:
    recipe = recipe_of("contrastive-divergence", model=DBNRecipe(hidden=(4,)), standardize=True)
    with pytest.raises(
        RecipeError, match="standardize: expected off with warm_start contrastive-divergence, found True"
    ):
        warm(build_model(recipe.model, TASK), skewed(), recipe)


def photographs() -> Development:
    """Images whose neighbouring pixels go together, so that there is something to whiten."""
    noise = torch.rand(300, 2, 9, 12, generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.avg_pool2d(noise, 3, stride=1, padding=1)
    train = ImageSet((smooth * 255).byte(), torch.arange(300) % 2)
    return Development("smooth", train, train.images, train, ("a", "b"), "")


def test_whitening_makes_the_first_convolution_answer_without_correlation() -> None:
    development = photographs()
    task = Task(image_shape=(2, 9, 12), class_names=("a", "b"), mean=0.5, deviation=0.1)
    fresh, model = (build_model(SprintRecipe(filters=(40, 4), hidden=3), task) for _ in range(2))
    warm(model, development, recipe_of("whitening"))
    changed = [
        name for (name, a), b in zip(fresh.named_parameters(), model.parameters(), strict=True) if not torch.equal(a, b)
    ]
    assert changed == ["network.convolutions.0.weight"]
    filters = model.get_parameter("network.convolutions.0.weight")
    assert torch.equal(filters[:18], -filters[18:36])
    assert torch.equal(filters[36:], fresh.get_parameter("network.convolutions.0.weight")[36:])
    answers = model[0](as_floats(development.train.images))
    covariance = torch.cov(nn.functional.conv2d(answers, filters[:18], padding=1).transpose(0, 1).flatten(1))
    variances = covariance.diag()
    assert (covariance - variances.diag()).abs().max() < 1e-3
    assert (variances.diff() < 1e-4).all()  # the largest directions come first
    assert (variances[:9] > 0.9).all()
    assert (variances < 1).all()


def test_whitening_takes_the_largest_directions_where_filters_are_few() -> None:
    task = Task(image_shape=(2, 9, 12), class_names=("a", "b"))
    many, few = (build_model(SprintRecipe(filters=(size, 4)), task) for size in (36, 8))
    for model in (many, few):
        warm(model, photographs(), recipe_of("whitening"))
    name = "network.convolutions.0.weight"
    torch.testing.assert_close(few.get_parameter(name)[:4], many.get_parameter(name)[:4])


def test_whitening_computes_nothing_behind_the_convolution() -> None:
    task = Task(image_shape=(2, 9, 12), class_names=("a", "b"))
    model = build_model(SprintRecipe(filters=(8, 4)), task).train()
    with captured(model.network.convolutions) as behind:
        warm(model, photographs(), recipe_of("whitening"))
    assert not behind
    assert model.network.convolutions.training


@pytest.mark.parametrize("count", [1, 999, 1000, 1999, 2000, 2999, 60_000])
def test_patches_come_from_fewer_images_where_these_are_large(count: int) -> None:
    """Up to 28 x 28 pixels the images are those of all versions."""
    pixel = torch.zeros(1, dtype=torch.uint8)
    for side in (12, 28):
        assert len(sample(pixel.expand(count, 1, side, side))) == len(range(0, count, max(1, count // 1000)))
    for side in (64, 224, 1024):
        found = sample(pixel.expand(count, 3, side, side))
        assert 1 <= len(found) <= PATCH_PIXELS // side**2
        assert len(found) == count or 2 * len(found) * side**2 > PATCH_PIXELS


class Padded(nn.Module):
    """A network of the user's own, whose first convolution may go unused."""

    def __init__(self, convolution: nn.Conv2d, *, is_used: bool = True) -> None:
        super().__init__()
        self.convolution, self.is_used = convolution, is_used
        self.head = nn.Linear(convolution.in_channels, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.is_used:
            self.convolution(images)
        logits: torch.Tensor = self.head(images.mean((2, 3)))
        return logits


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "same"},
        {"padding": "same", "dilation": 2},
        {"padding": "valid"},
        {"padding": (1, 2), "stride": 2},
        {"padding": 1, "padding_mode": "reflect"},
        {"padding": "same", "padding_mode": "circular"},
    ],
    ids=str,
)
def test_patches_are_what_the_convolution_sees_however_it_pads(options: dict[str, Any]) -> None:
    convolution = nn.Conv2d(2, 4, (3, 5), bias=False, **options)
    images = torch.rand(5, 2, 9, 12, generator=torch.Generator().manual_seed(0))
    found = patches(Padded(convolution), convolution, images) @ convolution.weight.flatten(1).T
    expected = convolution(images).flatten(2).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(found, expected)


def test_whitening_needs_a_first_convolution_that_is_used_and_has_room() -> None:
    unused = Padded(nn.Conv2d(2, 8, 3), is_used=False)
    with pytest.raises(RecipeError, match=r"whitening needs a network that uses its first convolution$"):
        warm(unused, photographs(), recipe_of("whitening"))
    with pytest.raises(RecipeError, match=r"whitening needs a first convolution with at least 2 filters, found 1$"):
        warm(build_model(SprintRecipe(filters=(32,), early_blocks=1), TASK), skewed(), recipe_of("whitening"))


def test_whitening_needs_a_convolution() -> None:
    model = build_model(MLPRecipe(), TASK)
    with pytest.raises(RecipeError, match="whitening needs a network whose first convolution"):
        warm(model, skewed(), recipe_of("whitening"))
