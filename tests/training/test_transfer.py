"""Weights taken from another run: what fits is taken, what does not starts afresh, what is frozen stays."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from commands_and_data import run_modiste
from modiste.errors import RecipeError, RunError
from modiste.models.registry import Task, build_model
from modiste.recipes.networks import CNNRecipe, MLPRecipe
from modiste.recipes.recipe import OptimizerRecipe, Recipe, TransferRecipe
from modiste.runs import checkpoint
from modiste.runs.run_folder import open_run
from modiste.training import trainer
from modiste.training.optimizers import build_optimizer
from modiste.training.setup import Inputs
from modiste.training.state import new_training_state
from modiste.training.tracking import Listener
from modiste.training.transfer.transfer import freeze, read_report, source_hash, transfer
from modiste.training.warm_start.warm_starts import WARM_STARTS
from networks import assert_rounded


class Killed(Exception):
    pass


class Killer(Listener):
    def epoch_done(self, *_: object) -> None:
        raise Killed


@pytest.fixture
def tuned(tiny_recipe: Recipe, finished_run: Path) -> Recipe:
    """The tiny recipe from another seed, its convolutions taken and frozen."""
    part = TransferRecipe(source=source_hash(finished_run), freeze=("network.convolutions",))
    return replace(tiny_recipe, name="tuned", seed=9, epochs=1, transfer=part)


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return open_run(run).load_model()[0].state_dict()


def test_frozen_weights_are_the_sources_and_the_rest_learns(
    tuned: Recipe, finished_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    trainer.train(tuned, tmp_path / "t", Inputs(tiny_folder, transfer_from=finished_run), device="cpu")
    before, after = weights_of(finished_run), weights_of(tmp_path / "t")
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if "convolutions" in name} <= same
    assert not any("head" in name for name in same)
    assert set(read_report(tmp_path / "t").fates.values()) == {"taken"}


def test_it_goes_on_after_a_kill_without_the_source(
    tuned: Recipe, finished_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    two = replace(tuned, epochs=2, transfer=replace(tuned.transfer, learning_rate_factor=0.1))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    trainer.train(two, whole, Inputs(tiny_folder, transfer_from=finished_run), device="cpu")
    with pytest.raises(Killed):
        trainer.train(two, cut, Inputs(tiny_folder, transfer_from=finished_run), device="cpu", listeners=[Killer()])
    trainer.train(two, cut, Inputs(tiny_folder), device="cpu")
    assert (cut / "last.safetensors").read_bytes() == (whole / "last.safetensors").read_bytes()


def test_other_classes_and_channels(finished_run: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    model = build_model(tiny_recipe.model, Task(image_shape=(3, 12, 12), class_names=("a", "b")))
    report = transfer(model, finished_run, TransferRecipe(source=source_hash(finished_run)), tmp_path)
    assert report.fates["network.convolutions.0.weight"] == "reshaped"
    assert report.fates["network.head.weight"] == report.fates["network.head.bias"] == "of another shape"
    assert report.fates["network.dense.0.weight"] == "taken"
    assert "fresh: network.head.weight, network.head.bias" in str(report)
    grey = torch.rand(2, 1, 12, 12)
    source = open_run(finished_run).load_model()[0]
    first = [net.get_submodule("network.convolutions.0") for net in (source, model)]
    assert_rounded(first[1](grey.expand(-1, 3, -1, -1)), first[0](grey), first[1])


def test_what_shall_be_fresh_is_not_taken(finished_run: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    task = Task(image_shape=(1, 12, 12), class_names=tuple("vwxyz"))
    model = build_model(tiny_recipe.model, task, seed=4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    part = TransferRecipe(source=source_hash(finished_run), fresh=("network.head",))
    report = transfer(model, finished_run, part, tmp_path)
    assert report.fates["network.head.weight"] == report.fates["network.head.bias"] == "left out"
    same = {name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])}
    assert "network.head.weight" in same
    assert "network.dense.0.weight" not in same
    with pytest.raises(RecipeError, match=r"no tensor begins with 'network.heads'; known: network.conv"):
        transfer(model, finished_run, replace(part, fresh=("network.heads",)), tmp_path)


def test_another_file_is_refused(tuned: Recipe, finished_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.safetensors"
    model, info = checkpoint.load_model(finished_run / "last.safetensors")
    checkpoint.save_model(changed, {name: tensor + 1 for name, tensor in model.state_dict().items()}, info)
    for source in (None, changed):
        with pytest.raises(
            RecipeError,
            match=r"expected the model file with SHA-256 .* name it: --transfer-from, in Python transfer_from=",
        ):
            trainer.train(tuned, tmp_path / "t", Inputs(tiny_folder, transfer_from=source), device="cpu")
    with pytest.raises(RunError, match="no model file to transfer from"):
        source_hash(tmp_path / "nowhere")


def test_a_network_of_another_kind_takes_nothing(finished_run: Path, tmp_path: Path) -> None:
    model = build_model(MLPRecipe(hidden=(7,)), Task(image_shape=(1, 5, 5), class_names=("a", "b", "c")))
    with pytest.raises(RecipeError, match="none of its tensors fits"):
        transfer(model, finished_run, TransferRecipe(source=source_hash(finished_run)), tmp_path)


def test_a_command_put_right_takes_the_place_of_the_one_refused(
    tuned: Recipe, finished_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    wrong = replace(tuned, transfer=replace(tuned.transfer, freeze=("network.nowhere",)))
    for recipe in (wrong, tuned):
        with pytest.raises(RecipeError) if recipe is wrong else nullcontext():
            trainer.train(recipe, tmp_path / "t", Inputs(tiny_folder, transfer_from=finished_run), device="cpu")
    assert open_run(tmp_path / "t").recipe == tuned
    assert len(open_run(tmp_path / "t").facts()) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze": ("network.stemm",)}, "transfer.freeze: no tensor begins with 'network.stemm'"),
        ({"fresh": ("network.heads",)}, "transfer.fresh: no tensor begins with 'network.heads'"),
        ({"rename": ("conv1=network.stem",)}, "transfer.rename: 'conv1=network.stem' fits no name"),
        ({"rename": ("network=trunk",)}, "none of its tensors fits this network"),
        ({"source": 64 * "0"}, "transfer.source: expected the model file with SHA-256 0000"),
    ],
)
def test_a_mistake_is_found_before_the_warm_start(
    changes: dict[str, Any],
    message: str,
    tuned: Recipe,
    finished_run: Path,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = list[str]()
    monkeypatch.setitem(WARM_STARTS, "class-prior", lambda *_: begun.append("warm start"))
    recipe = replace(tuned, warm_start="class-prior", transfer=replace(tuned.transfer, **changes))
    with pytest.raises(RecipeError, match=message):
        trainer.train(recipe, tmp_path / "t", Inputs(tiny_folder, transfer_from=finished_run), device="cpu")
    assert not begun


def test_a_refused_command_is_not_replaced_where_something_else_lies(
    tuned: Recipe, finished_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    wrong = replace(tuned, transfer=replace(tuned.transfer, freeze=("network.nowhere",)))
    with pytest.raises(RecipeError):
        trainer.train(wrong, tmp_path / "t", Inputs(tiny_folder, transfer_from=finished_run), device="cpu")
    (tmp_path / "t" / ".facts.json-killed.part").touch()
    (tmp_path / "t" / "tensorboard").mkdir()
    with pytest.raises(RunError, match="another recipe"):
        trainer.train(tuned, tmp_path / "t", Inputs(tiny_folder, transfer_from=finished_run), device="cpu")
    assert (tmp_path / "t" / "recipe.json").exists()
    (tmp_path / "t" / "tensorboard").rmdir()
    trainer.train(tuned, tmp_path / "t", Inputs(tiny_folder, transfer_from=finished_run), device="cpu")
    assert open_run(tmp_path / "t").recipe == tuned


def test_frozen_normalisation_keeps_its_running_means(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    source, frozen = replace(tiny_recipe, epochs=1, model=replace(tiny_recipe.model, batch_norm=True)), tmp_path / "f"
    trainer.train(source, tmp_path / "s", Inputs(tiny_folder), device="cpu")
    part = TransferRecipe(source=source_hash(tmp_path / "s"), freeze=("network.convolutions",))
    recipe = replace(source, seed=4, transfer=part)
    trainer.train(recipe, frozen, Inputs(tiny_folder, transfer_from=tmp_path / "s"), device="cpu")
    before, after = weights_of(tmp_path / "s"), weights_of(frozen)
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(before[name], after[name]) for name in before if "convolutions" in name)
    assert not torch.equal(before["network.head.weight"], after["network.head.weight"])


def test_kept_statistics_stay_while_the_weights_learn(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    source = replace(tiny_recipe, epochs=1, model=replace(tiny_recipe.model, batch_norm=True))
    trainer.train(source, tmp_path / "s", Inputs(tiny_folder), device="cpu")
    part = TransferRecipe(source=source_hash(tmp_path / "s"), keep_statistics=True)
    recipe = replace(source, seed=4, batch_size=1, transfer=part)
    trainer.train(recipe, tmp_path / "f", Inputs(tiny_folder, transfer_from=tmp_path / "s"), device="cpu")
    before, after = weights_of(tmp_path / "s"), weights_of(tmp_path / "f")
    statistics = {name for name in before if "running" in name or "num_batches" in name}
    assert statistics
    for name in before:
        if not name.startswith("standardize."):
            assert torch.equal(before[name], after[name]) == (name in statistics), name


def test_freezing_by_name() -> None:
    task = Task(image_shape=(1, 4, 4), class_names=("a", "b"))
    model = build_model(CNNRecipe(filters=(2,), pools=0, hidden=(3,)), task)
    freeze(model, ("network.dense", "network.convolutions.0.bias"))
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["network.convolutions.0.bias", "network.dense.0.weight", "network.dense.0.bias"]
    with pytest.raises(RecipeError, match=r"no tensor begins with 'network.dens_'; known: network.conv"):
        freeze(model, ("network.dens_",))
    with pytest.raises(RecipeError, match="leave nothing to learn"):
        freeze(model, ("network",))


def test_what_was_taken_learns_at_its_own_rate() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    optimizer = build_optimizer(model, OptimizerRecipe(name="sgd", weight_decay=0.1), {"0.weight": 0.25})
    optimizer.set_learning_rate(0.4)
    rates = {id(item): group["lr"] for group in optimizer.param_groups for item in group["params"]}
    assert [rates[id(item)] for item in model.parameters()] == [0.1, 0.4, 0.4, 0.4]


def test_a_fresh_learner_needs_no_transfer(tiny_recipe: Recipe) -> None:
    model = build_model(tiny_recipe.model, Task(image_shape=(1, 12, 12), class_names=("a", "b")))
    groups = new_training_state(model, tiny_recipe).optimizer.param_groups
    assert [group["factor"] for group in groups] == [1.0, 1.0]


def test_the_command(finished_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    words = ["train", "paper", "--model.filters", 4, 8, "--model.pools", 1, "--model.hidden", 16, "--epochs", 1]
    words += ["--data.source", tiny_folder, "--out", tmp_path / "t", "--transfer-from", finished_run]
    done = run_modiste(*words, "--transfer.learning-rate-factor", "0.5")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("transfer: 8 taken\n")
    assert open_run(tmp_path / "t").recipe.transfer.source == source_hash(finished_run)
    quiet = run_modiste(*words, "--out", tmp_path / "q", "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
