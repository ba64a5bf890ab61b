"""Seeds trained at once against the same seeds trained alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from modiste import recipes, training
from modiste.errors import DivergedError, RecipeError
from modiste.model_recipe import CapsNetRecipe, DropConnectRecipe, ModelRecipe, SprintRecipe
from modiste.recipe import AugmentationRecipe, OptimizerRecipe, Precision, Recipe
from modiste.run_folder import open_run
from modiste.training.seeds import run_seeds


@pytest.fixture
def sprint(tiny_recipe: Recipe) -> Recipe:
    """Batch normalisation, a whitened frozen layer, augmentation; SGD, for Adam makes steps of rounding errors."""
    return replace(
        recipes.get("sprint"),
        epochs=2,
        batch_size=16,
        precision="float32",
        data=tiny_recipe.data,
        model=SprintRecipe(filters=(18, 8), blocks=1, hidden=16),
        augmentation=AugmentationRecipe(flip=True, shift=1),
        optimizer=OptimizerRecipe(name="sgd", learning_rate=0.05, weight_decay=0.01),
    )


def both(recipe: Recipe, folder: Path, source: Path) -> list[tuple[Path, Path]]:
    """Train three seeds at once and alone; return the pairs of run folders."""
    seeds = (3, 0, 7)
    together = run_seeds(recipe, seeds, folder / "together", device="cpu", data_folder=source)
    for seed in seeds:
        training.run(replace(recipe, seed=seed), folder / f"alone-{seed}", device="cpu", data_folder=source)
    return [(path, folder / f"alone-{seed}") for path, seed in zip(together, seeds, strict=True)]


def test_with_dropout_every_weight_is_as_alone(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    for together, alone in both(tiny_recipe, tmp_path, tiny_folder):
        one, other = open_run(together), open_run(alone)
        assert one.recipe == other.recipe
        for mine, its in zip(one.history, other.history, strict=True):
            assert (mine.epoch, mine.step, mine.learning_rate) == (its.epoch, its.step, its.learning_rate)
            assert mine.train_loss == pytest.approx(its.train_loss, abs=1e-4)
        weights, its_weights = (run.load_model()[0].state_dict() for run in (one, other))
        assert weights.keys() == its_weights.keys()
        for name, tensor in weights.items():
            torch.testing.assert_close(tensor, its_weights[name], atol=1e-3, rtol=1e-3, msg=name)


def test_weighed_classes_weigh_alike(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    recipe = replace(tiny_recipe, epochs=1, balance=1.0)
    for together, alone in both(recipe, tmp_path, tiny_folder):
        one, other = (open_run(path).history[-1] for path in (together, alone))
        assert one.train_loss == pytest.approx(other.train_loss, abs=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_with_normalisation_and_augmentation_losses_are_as_alone(
    precision: Precision, sprint: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    losses = []
    for together, alone in both(replace(sprint, precision=precision), tmp_path, tiny_folder):
        one, other = (open_run(path).history[-1] for path in (together, alone))
        assert one.train_loss == pytest.approx(other.train_loss, rel=0.02)
        assert one.validation_loss == pytest.approx(other.validation_loss, rel=0.05)
        losses.append(one.train_loss)
    assert max(losses) - min(losses) > 0.005, "the seeds are not alike"


def test_a_frozen_layer_stays_and_running_means_move(sprint: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    weights = []
    for epochs in (1, 2):
        (folder,) = run_seeds(replace(sprint, epochs=epochs), [0], tmp_path / f"{epochs}", data_folder=tiny_folder)
        weights.append(open_run(folder).load_model()[0].state_dict())
    once, twice = weights
    still = {name for name in once if torch.equal(once[name], twice[name])}
    assert still == {"standardize.mean", "standardize.deviation", "network.convolutions.0.weight"}


def test_finished_seeds_are_left_as_they_are(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    recipe = replace(tiny_recipe, epochs=1)
    training.run(replace(recipe, seed=1), tmp_path / "tiny-1", device="cpu", data_folder=tiny_folder)
    before = (tmp_path / "tiny-1" / "model.safetensors").stat().st_mtime_ns
    for _ in range(2):
        folders = run_seeds(recipe, [0, 1], tmp_path, device="cpu", data_folder=tiny_folder)
    assert [open_run(folder).recipe.seed for folder in folders] == [0, 1]
    assert (tmp_path / "tiny-1" / "model.safetensors").stat().st_mtime_ns == before
    assert len(open_run(folders[0]).facts()) == 1


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"ema_decay": 0.9}, "ema_decay: not possible with several seeds at once, found 0.9"),
        ({"patience": 2}, "patience"),
        ({"optimizer": OptimizerRecipe(clip_norm=1.0)}, "optimizer.clip_norm"),
    ],
)
def test_what_is_done_for_one_network_alone_is_refused(
    changes: dict[str, object], complaint: str, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=complaint):
        run_seeds(replace(tiny_recipe, **changes), [0, 1], tmp_path, data_folder=tiny_folder)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "model", [DropConnectRecipe(filters=(4, 4), hidden=8, samples=4), CapsNetRecipe(filters=8, kernel_size=3)]
)
def test_layers_that_cannot_be_stacked_are_refused(
    model: ModelRecipe, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=f"{model.KIND} has a layer that cannot be trained with several seeds"):
        run_seeds(replace(tiny_recipe, model=model), [0], tmp_path, data_folder=tiny_folder)


def test_a_loss_that_is_not_finite_ends_all(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    wild = replace(tiny_recipe, optimizer=OptimizerRecipe(name="sgd", learning_rate=1e30))
    with pytest.raises(DivergedError):
        run_seeds(wild, [0, 1], tmp_path, device="cpu", data_folder=tiny_folder)
