"""Seeds trained at once against the same seeds trained alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from modiste import recipes, training
from modiste.errors import DivergedError, RecipeError
from modiste.model_recipe import CapsNetRecipe, DropConnectRecipe, SprintRecipe
from modiste.recipe import AugmentationRecipe, OptimizerRecipe, Precision, Recipe, TransferRecipe
from modiste.run_folder import open_run
from modiste.training.seeds import run_seeds


@pytest.fixture
def sprint(tiny_recipe: Recipe) -> Recipe:
    """Batch normalisation, a whitened frozen layer, augmentation."""
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


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"balance": 1.0, "ema_decay": 0.9},
        {"optimizer": OptimizerRecipe(name="sgd", learning_rate=0.1, clip_norm=0.1)},
        {"model": DropConnectRecipe(filters=(4, 4), hidden=8, samples=4)},
        {"model": CapsNetRecipe(filters=8, kernel_size=3), "objective": "margin"},
    ],
    ids=["dropout", "weighed classes, average", "clipping", "dropconnect", "capsules"],
)
def test_every_seed_comes_to_what_it_comes_to_alone(
    changes: dict[str, object], tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    for together, alone in both(replace(tiny_recipe, epochs=2, **changes), tmp_path, tiny_folder):  # type: ignore[arg-type]
        assert_same(together, alone)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_so_it_does_with_normalisation_and_augmentation(
    precision: Precision, sprint: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    pairs = both(replace(sprint, precision=precision), tmp_path, tiny_folder)
    for together, alone in pairs:
        assert_same(together, alone)
    losses = [open_run(together).history[-1].train_loss for together, _ in pairs]
    assert max(losses) - min(losses) > 0.005, "the seeds are not alike"


def assert_same(together: Path, alone: Path) -> None:
    """The figures up to the rounding of sums over images, the weights to the last bit."""
    one, other = open_run(together), open_run(alone)
    assert one.recipe == other.recipe
    for mine, its in zip(one.history, other.history, strict=True):
        assert mine.train_loss == pytest.approx(its.train_loss, rel=1e-6)
        assert replace(mine, train_loss=its.train_loss) == its
    weights, its_weights = (run.load_model()[0].state_dict() for run in (one, other))
    assert weights.keys() == its_weights.keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, its_weights[name]), name


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
        ({"patience": 2}, "patience: not possible with several seeds at once, found 2"),
        ({"transfer": TransferRecipe(source="0" * 64)}, "transfer.source"),
    ],
)
def test_what_is_done_for_one_network_alone_is_refused(
    changes: dict[str, object], complaint: str, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=complaint):
        run_seeds(replace(tiny_recipe, **changes), [0, 1], tmp_path, data_folder=tiny_folder)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_ends_all(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    wild = replace(tiny_recipe, optimizer=OptimizerRecipe(name="sgd", learning_rate=1e30))
    with pytest.raises(DivergedError):
        run_seeds(wild, [0, 1], tmp_path, device="cpu", data_folder=tiny_folder)
