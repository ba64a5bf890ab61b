"""Data pruning: which images a pass leaves out, and that nothing else of training changes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from modiste.data.batches import Batches
from modiste.data.dataset import load_development
from modiste.errors import RecipeError
from modiste.recipes.recipe import AugmentationRecipe, ByClassRecipe, DataRecipe, Recipe
from modiste.runs.run_folder import open_run
from modiste.training import trainer
from modiste.training.data_pruning import PrunedOrder, new_order
from modiste.training.distributed import Group
from modiste.training.seeds import train_every_seed, train_seeds
from modiste.training.setup import Inputs, check_group

IMAGES = 10_000


def order_of(share: float, losses: torch.Tensor) -> PrunedOrder:
    return PrunedOrder(share, seed=3, losses=losses)


def take(order: PrunedOrder, count: int) -> torch.Tensor:
    """Return the next images, and go past them; their losses stay as they are."""
    images = order.next_images(count)
    losses = order.losses.clone()
    order.step_done(torch.zeros(count, 2), torch.ones(count, 2))
    order.losses = losses
    return images


def test_without_losses_a_pass_has_every_image_once() -> None:
    order = order_of(0.9, torch.full((IMAGES,), torch.nan))
    assert take(order, IMAGES).sort().values.tolist() == list(range(IMAGES))
    assert (order.passes, len(order.rest)) == (1, 0)


@pytest.mark.parametrize("share", [0.5, 0.75])
def test_a_pass_leaves_out_that_share_of_the_easy_images_and_no_other(share: float) -> None:
    losses = torch.full((IMAGES,), 0.1)
    losses[::5] = 2.0
    losses[7] = torch.nan
    order, easy = order_of(share, losses), 8_000 - 1
    order.next_images(1)
    whole = order.rest
    assert len(set(whole.tolist())) == len(whole)
    assert {7, *range(0, IMAGES, 5)} <= set(whole.tolist())
    left_out = IMAGES - len(whole)
    assert abs(left_out - share * easy) < 6 * (easy * share * (1 - share)) ** 0.5
    following = take(order, len(whole) + 100)[-100:]  # of the next pass
    assert order.passes == 2
    assert following.tolist() != whole[:100].tolist()


def test_losses_are_of_single_images_and_decide_the_next_pass() -> None:
    order = order_of(0.999, torch.full((6,), torch.nan))
    first = order.next_images(6)
    logits = torch.full((6, 3), 0.0)
    logits[:5, 0] = 9.0  # sure of class 0, but for the last
    order.step_done(logits, torch.eye(3)[[0] * 6])
    assert order.losses[first].argmax() == 5
    assert order.losses[first[5]].item() == pytest.approx(torch.tensor(3.0).log().item())
    assert first[5] in order.next_images(3)
    assert order.passes > 2  # the hard image is nearly alone in each


def test_images_stay_the_next_ones_until_their_step_is_done() -> None:
    order = order_of(0.5, torch.full((9,), torch.nan))
    first = order.next_images(4)
    assert order.next_images(4).equal(first)
    assert not take(order, 4).equal(order.next_images(4))


def test_one_epoch_is_that_of_a_run_without_it(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    recipe, weights = replace(tiny_recipe, epochs=1), []
    for share in (0.0, 0.9):
        folder = tmp_path / str(share)
        trainer.train(replace(recipe, data_pruning=share), folder, Inputs(tiny_folder), device="cpu")
        weights.append(open_run(folder).load_model()[0].state_dict())
    assert all(torch.equal(one, weights[1][name]) for name, one in weights[0].items())


def test_the_first_order_is_that_of_a_run_without_it(tiny_recipe: Recipe, tiny_folder: Path) -> None:
    development = load_development(tiny_recipe.data, tiny_folder)
    batches = Batches(development.train, tiny_recipe, len(development.class_names))
    order = new_order(replace(tiny_recipe, data_pruning=0.5), len(development.train))
    assert order is not None
    for chosen in batches.choose(0):
        assert take(order, len(chosen)).equal(chosen)


def test_epochs_keep_their_steps_and_later_ones_differ(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    runs = []
    for share in (0.0, 0.75):
        recipe = replace(tiny_recipe, data_pruning=share, batch_size=24)
        trainer.train(recipe, tmp_path / str(share), Inputs(tiny_folder), device="cpu")
        runs.append(open_run(tmp_path / str(share)))
    plain, pruned = (run.history for run in runs)
    assert [row.step for row in plain] == [row.step for row in pruned]
    assert plain[0].train_loss == pruned[0].train_loss
    assert plain[1].train_loss != pruned[1].train_loss


def test_seeds_are_trained_in_turn(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    recipe = replace(tiny_recipe, epochs=2, data_pruning=0.5)
    with pytest.raises(RecipeError, match=r"data_pruning: not possible with several seeds at once, found 0\.5"):
        train_seeds(recipe, [0, 1], tmp_path / "no", Inputs(tiny_folder), device="cpu")
    runs = train_every_seed(recipe, [0, 1], tmp_path / "yes", Inputs(tiny_folder), device="cpu")
    trainer.train(replace(recipe, seed=1), tmp_path / "alone", Inputs(tiny_folder), device="cpu")
    assert runs[1].history == open_run(tmp_path / "alone").history


def test_it_is_for_one_process() -> None:
    with pytest.raises(RecipeError, match="data_pruning is for one process; found 2 under torchrun"):
        check_group(Recipe(name="x", data_pruning=0.5), Group(rank=0, size=2))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"augmentation": AugmentationRecipe(mixup=0.2)}, "mixup, cutmix or fmix"),
        ({"by_class": ByClassRecipe(outliers=0.1)}, r"by_class\.outliers"),
        ({"data": DataRecipe(extra="clothing", extra_classes=("dress=Dress",), extra_share=0.5)}, r"data\.extra"),
    ],
)
def test_images_that_are_mixed_are_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(RecipeError, match=rf"data_pruning: expected 0 with {named}, found 0\.5"):
        Recipe(name="x", data_pruning=0.5, **changes)  # type: ignore[arg-type]
