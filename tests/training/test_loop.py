"""The loop: golden numbers, a naive loop that must agree, averages, clipping, stopping, divergence, picking."""

import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

from commands_and_data import epoch_from, run_modiste
from modiste.data import batches
from modiste.data.augment import augment
from modiste.data.batch import Batch, as_floats
from modiste.data.batches import Batches
from modiste.data.dataset import Development, ImageSet, load_development
from modiste.errors import DivergedError, RecipeError
from modiste.evaluation.inference import infer
from modiste.models.layers import share_generator
from modiste.models.registry import Task, build_model
from modiste.recipes.networks import CNNRecipe, MLPRecipe, ModelRecipe
from modiste.recipes.recipe import AugmentationRecipe, OptimizerRecipe, Recipe, ScheduleRecipe, TransferRecipe
from modiste.reports import report
from modiste.runs import checkpoint, manifest, run_folder
from modiste.runs.run_folder import EpochRow
from modiste.system.processes import Interruption
from modiste.training import trainer
from modiste.training.distributed import ALONE
from modiste.training.loop import fit, out_of_patience
from modiste.training.schedules import learning_rate
from modiste.training.seeds import train_seeds
from modiste.training.setup import Inputs, check_batches, describe_task
from modiste.training.state import Context, TrainingState, new_training_state
from modiste.training.step import train_step
from modiste.training.tracking import Listener, Timing
from networks import SMALL

GOLDEN = {
    "train_loss": [1.611862, 1.579969, 1.533218],
    "validation_loss": [1.592932, 1.560869, 1.487192],
    "validation_accuracy": [0.175, 0.3, 0.4375],
}
ROUNDING = {"train_loss": 1e-3, "validation_loss": 1e-3, "validation_accuracy": 1.5 / 80}
"""How far another processor's rounding may lead: it grows over the steps, and may turn one of the 80 answers."""


@pytest.fixture
def development(tiny_recipe: Recipe, tiny_folder: Path) -> Development:
    return load_development(tiny_recipe.data, tiny_folder)


def learner_for(recipe: Recipe, development: Development) -> TrainingState:
    return new_training_state(build_model(recipe.model, describe_task(development, recipe), seed=recipe.seed), recipe)


def setting_for(recipe: Recipe, development: Development, folder: Path, listener: Listener | None = None) -> Context:
    return Context(recipe, development, folder, listener or Listener(), Interruption())


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def test_golden_numbers(finished_run: Path) -> None:
    history = run_folder.open_run(finished_run).history
    for name, expected in GOLDEN.items():
        found = [getattr(row, name) for row in history]
        assert found == pytest.approx(expected, abs=ROUNDING[name]), (
            f"{name} of the small run is {found}, not {expected}: seeds, order, initialisation, dropout or arithmetic "
            "have changed, so that runs are no longer those of earlier versions. If that is meant, say so in the "
            "changelog and put the new figures here; if not, find out why."
        )


def test_a_naive_loop_comes_to_the_same(tmp_path: Path, tiny_recipe: Recipe, development: Development) -> None:
    """Without dropout: torch's SGD, the mean loss weighted by images, a last batch that is smaller."""
    recipe = replace(
        tiny_recipe,
        batch_size=64,
        model=replace(tiny_recipe.model, dropout=0.0),
        optimizer=OptimizerRecipe(name="sgd", learning_rate=0.05),
        schedule=ScheduleRecipe(shape="cosine", warm_up=0.2),
        label_smoothing=0.1,
    )
    learner = learner_for(recipe, development)
    fit(learner, setting_for(recipe, development, tmp_path))
    model = build_model(recipe.model, describe_task(development, recipe), seed=recipe.seed)
    optimizer = torch.optim.SGD(model.parameters(), 1.0, momentum=0.9, nesterov=True)
    step = 0
    for row in learner.history:
        losses, hits = 0.0, 0
        for batch in epoch_from(Batches(development.train, recipe, 5), step):
            optimizer.param_groups[0]["lr"] = learning_rate(recipe, step, 7)
            logits = model(batch.images)
            loss = -(batch.targets * logits.log_softmax(1)).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses, step = losses + loss.item() * len(logits), step + 1
            hits += int((logits.argmax(1) == batch.targets.argmax(1)).sum())
        assert row.train_loss == pytest.approx(losses / 400, rel=1e-4)
        assert row.train_accuracy == pytest.approx(hits / 400, abs=0.003)
    for (name, ours), theirs in zip(learner.model.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4, msg=name)


def test_the_average_equals_a_slow_one(tiny_recipe: Recipe, development: Development) -> None:
    decay = 0.8
    recipe = replace(tiny_recipe, ema_decay=decay, model=replace(tiny_recipe.model, batch_norm=True))
    learner = learner_for(recipe, development)
    expected: dict[str, torch.Tensor] = {}
    for batch in epoch_from(Batches(development.train, recipe, 5), 0):
        learner.model.train()
        train_step(learner, batch, recipe)
        for name, weight in weights_of(learner.model).items():
            value, averaged = weight.double(), weight.is_floating_point() and name in expected
            expected[name] = decay * expected[name] + (1 - decay) * value if averaged else value
    for name, tensor in learner.evaluated.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6, msg=name)
        else:  # a count, which has no average
            assert tensor == expected[name] == learner.step, name
    assert learner.evaluated is not learner.model
    plain = learner_for(tiny_recipe, development)
    assert plain.evaluated is plain.model


def test_the_average_is_what_is_measured_and_kept(
    tmp_path: Path, tiny_recipe: Recipe, development: Development
) -> None:
    recipe = replace(tiny_recipe, ema_decay=0.95, pick="last", epochs=2)
    learner = learner_for(recipe, development)
    fit(learner, setting_for(recipe, development, tmp_path))
    logits = infer(learner.evaluated, development.validation.images, recipe)
    accuracy = (logits.argmax(1) == development.validation.labels).double().mean().item()
    assert learner.history[-1].validation_accuracy == accuracy
    average = weights_of(learner.evaluated)
    assert learner.chosen.keys() == average.keys()
    assert all(torch.equal(learner.chosen[name], average[name]) for name in average)
    assert any(not torch.equal(average[name], weight) for name, weight in learner.model.state_dict().items())


@pytest.mark.parametrize("clip_norm", [0.0, 1e-3, 1e6])
def test_the_update_is_clipped_to_the_norm(clip_norm: float, tiny_recipe: Recipe, development: Development) -> None:
    optimizer = OptimizerRecipe(name="sgd", learning_rate=1.0, momentum=0.0, nesterov=False, clip_norm=clip_norm)
    recipe = replace(tiny_recipe, optimizer=optimizer, model=MLPRecipe(hidden=(8,)))
    learner, free = (
        learner_for(item, development)
        for item in (recipe, replace(recipe, optimizer=replace(optimizer, clip_norm=0.0)))
    )
    before = torch.cat([item.detach().flatten() for item in learner.model.parameters()])
    batch = next(epoch_from(Batches(development.train, recipe, 5), 0))
    for one in (learner, free):
        train_step(
            one, batch, recipe if one is learner else replace(recipe, optimizer=replace(optimizer, clip_norm=0.0))
        )
    update, whole = (
        before - torch.cat([item.detach().flatten() for item in one.model.parameters()]) for one in (learner, free)
    )
    if clip_norm == 1e-3:
        assert update.norm().item() == pytest.approx(clip_norm, rel=1e-3)
        torch.testing.assert_close(update / update.norm(), whole / whole.norm(), rtol=1e-3, atol=1e-4)
    else:
        torch.testing.assert_close(update, whole)


def rows(accuracies: Sequence[float]) -> list[EpochRow]:
    return [
        EpochRow(
            epoch=number,
            step=number,
            learning_rate=0.1,
            train_loss=1.0,
            train_accuracy=0.5,
            validation_loss=1.0,
            validation_accuracy=accuracy,
        )
        for number, accuracy in enumerate(accuracies, start=1)
    ]


@pytest.mark.parametrize(
    ("accuracies", "patience", "over"),
    [
        ([], 1, False),
        ([0.5], 1, False),
        ([0.5, 0.5], 1, True),
        ([0.5, 0.6], 1, False),
        ([0.5, 0.4, 0.4], 3, False),
        ([0.5, 0.4, 0.4, 0.5], 3, True),
        ([0.5, 0.4, 0.4, 0.6], 3, False),
        ([0.5] * 100, 0, False),
    ],
)
def test_patience(accuracies: list[float], patience: int, over: bool) -> None:
    assert out_of_patience(rows(accuracies), Recipe(name="x", patience=patience)) is over


def test_training_stops_early_and_is_then_finished(tmp_path: Path, tiny_recipe: Recipe, tiny_folder: Path) -> None:
    """At a learning rate of nothing, the first epoch stays the best."""
    recipe = replace(
        tiny_recipe, epochs=50, patience=2, optimizer=OptimizerRecipe(learning_rate=1e-12), schedule=ScheduleRecipe()
    )
    outcome = trainer.train(recipe, tmp_path / "run", Inputs(tiny_folder))
    assert outcome.picked.epoch == 1
    assert [row.epoch for row in run_folder.open_run(tmp_path / "run").history] == [1, 2, 3]
    again = trainer.train(recipe, tmp_path / "run", Inputs(tiny_folder))
    assert again.picked == outcome.picked


@pytest.mark.parametrize("pick", ["best-accuracy", "best-loss", "last"])
def test_the_model_is_that_of_the_epoch_which_the_rule_picks(
    pick: str, tmp_path: Path, tiny_recipe: Recipe, tiny_folder: Path, development: Development
) -> None:
    """At a learning rate that spoils what was learned, the rules pick different epochs."""
    recipe = replace(tiny_recipe, epochs=5, pick=pick, optimizer=OptimizerRecipe(learning_rate=0.05))  # type: ignore[arg-type]
    trainer.train(recipe, tmp_path / "run", Inputs(tiny_folder), device="cpu")
    history = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    best = history[0]
    for row in history[1:]:
        better = {
            "best-accuracy": row["validation_accuracy"] > best["validation_accuracy"],
            "best-loss": row["validation_loss"] < best["validation_loss"],
            "last": True,
        }[pick]
        best = row if better else best
    model, info = run_folder.open_run(tmp_path / "run").load_model()
    assert info.epoch == best["epoch"]
    logits = infer(model, development.validation.images, info.recipe)
    labels = development.validation.labels
    assert torch.nn.functional.cross_entropy(logits.double(), labels).item() == pytest.approx(
        best["validation_loss"], rel=1e-6
    )


class Saboteur(Listener):
    """Multiplies a weight after the first epoch so that the next step cannot be computed."""

    def __init__(self, learner: TrainingState, factor: float, name: str) -> None:
        self.learner, self.factor, self.name = learner, factor, name
        self.weights: dict[str, torch.Tensor] = {}

    def epoch_done(self, row: EpochRow, timing: Timing) -> None:
        with torch.no_grad():
            dict(self.learner.model.named_parameters())[self.name].mul_(self.factor)
        self.weights = weights_of(self.learner.model)


@pytest.mark.parametrize(
    ("factor", "name", "what"),
    [
        (float("inf"), "network.head.weight", r"the loss is (nan|inf)"),
        (1e38, "network.dense.0.weight", r"the (loss|gradient's norm) is (nan|inf)"),
        (1e25, "network.head.weight", r"the gradient's norm is inf"),
    ],
)
def test_a_step_that_is_not_finite_is_not_taken(
    factor: float, name: str, what: str, tmp_path: Path, tiny_recipe: Recipe, development: Development
) -> None:
    learner = learner_for(tiny_recipe, development)
    saboteur = Saboteur(learner, factor, name)
    with pytest.raises(DivergedError, match=rf"^step 26: {what}; the step was not applied; try a smaller"):
        fit(learner, setting_for(tiny_recipe, development, tmp_path, saboteur))
    assert learner.step == 25
    for key, weight in learner.model.state_dict().items():
        assert torch.equal(weight.nan_to_num(), saboteur.weights[key].nan_to_num()), f"{key} moved"
    state = checkpoint.load_state(tmp_path / run_folder.STATES)
    assert state is not None
    assert state.plain["step"] == 25
    assert all(tensor.isfinite().all() for tensor in state.tensors.values())
    fresh = learner_for(tiny_recipe, development)
    fresh.restore(state)
    fit(fresh, setting_for(tiny_recipe, development, tmp_path))
    assert len(fresh.history) == 3


def test_a_validation_logit_that_is_not_finite_ends_it_though_the_loss_is(
    tmp_path: Path, tiny_recipe: Recipe, development: Development
) -> None:
    """The logits of a class without images, of which the loss knows nothing."""
    validation = replace(development.validation, labels=development.validation.labels.clamp(max=3))
    development, learner = replace(development, validation=validation), learner_for(tiny_recipe, development)

    class Poison(Listener):
        def step_done(self, step: int) -> None:
            if step == 25:
                learner.evaluated.state_dict()["network.head.bias"][4] = -float("inf")

    with pytest.raises(DivergedError, match="a validation logit after epoch 1 is not finite; try a smaller"):
        fit(learner, setting_for(tiny_recipe, development, tmp_path, Poison()))


def test_a_validation_loss_that_is_not_finite_ends_it_too(
    tmp_path: Path, tiny_recipe: Recipe, development: Development
) -> None:
    recipe = replace(tiny_recipe, ema_decay=0.9)
    learner = learner_for(recipe, development)

    class Poison(Listener):
        def step_done(self, step: int) -> None:
            if step == 30:
                learner.evaluated.state_dict()["network.head.bias"].fill_(float("nan"))

    with pytest.raises(DivergedError, match="the validation loss after epoch 2 is nan; try a smaller"):
        fit(learner, setting_for(recipe, development, tmp_path, Poison()))
    state = checkpoint.load_state(tmp_path / run_folder.STATES)
    assert state is not None
    assert state.plain["step"] == 25


def test_a_huge_learning_rate_leaves_the_command_with_6(tmp_path: Path, tiny_folder: Path) -> None:
    words = ["--optimizer.name", "sgd", "--optimizer.learning-rate", "1e30", "--epochs", "2", "--batch-size", "50"]
    done = run_modiste("train", "mlp", "--out", tmp_path / "run", "--data.source", tiny_folder, *words)
    assert done.returncode == DivergedError.exit_code == 6
    fault = done.stderr.splitlines()[-1]
    assert fault.startswith("modiste: step ")
    assert "was not applied; try a smaller --optimizer.learning-rate" in fault
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / manifest.NAME).exists()


def test_the_log_holds_what_happened(finished_run: Path, tiny_recipe: Recipe) -> None:
    history = run_folder.open_run(finished_run).history
    for row in history:
        assert row.step == row.epoch * 25
        assert row.learning_rate == tiny_recipe.optimizer.learning_rate
        assert 0 <= row.validation_accuracy <= 1
        assert row.validation_accuracy * 80 == pytest.approx(round(row.validation_accuracy * 80))
    assert history[-1].train_loss < history[0].train_loss
    assert history[-1].validation_accuracy > 0.3, "the small network learns nothing"


NETWORKS = [*SMALL, MLPRecipe(hidden=(8,), batch_norm=True), CNNRecipe(filters=(4,), pools=1, batch_norm=True)]
FITTING = [(one, side) for one in NETWORKS for side in (12, 4) if one.smallest_side() <= side]


@pytest.mark.parametrize(("network", "side"), FITTING)
def test_a_last_batch_of_one_is_refused_where_the_network_cannot_take_it(network: ModelRecipe, side: int) -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (9, 1, side, side), generator=draw, dtype=torch.uint8)
    train = ImageSet(images, torch.arange(9) % 3)
    recipe = Recipe(name="x", batch_size=4, model=network)
    task = Task(image_shape=(1, side, side), class_names=("a", "b", "c"))
    model = build_model(network, task)
    before, drawn = {name: value.clone() for name, value in model.state_dict().items()}, torch.random.get_rng_state()
    try:
        check_batches(model, train, recipe, ALONE)
        refused = False
    except RecipeError as error:
        refused = "no batch of a single of the 9 training images" in str(error)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert model.training
    check_batches(model, train, replace(recipe, batch_size=5), ALONE)

    learner, batches = new_training_state(model, recipe), Batches(train, recipe, 3)
    share_generator(model, draw)
    alone = batches.make(torch.tensor([0]))
    if refused:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            train_step(learner, alone, recipe)
    else:
        train_step(learner, alone, recipe)
        assert learner.step == 1


def test_with_frozen_normalisation_a_batch_of_one_will_do(development: Development) -> None:
    network = MLPRecipe(hidden=(8,), batch_norm=True)
    recipe = Recipe(name="x", batch_size=1, model=network)
    model = build_model(network, Task(image_shape=(1, 12, 12), class_names=tuple("abcde")))
    with pytest.raises(RecipeError, match="a single of the 400"):
        check_batches(model, development.train, recipe, ALONE)
    check_batches(model, development.train, replace(recipe, transfer=TransferRecipe(freeze=("network.hidden",))), ALONE)
    assert all(parameter.requires_grad for parameter in model.parameters())


def process_settings() -> dict[str, object]:
    """What a library call could change for the rest of the process, and for whoever called it."""
    return {
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "module path": list(sys.path),
        "threads": torch.get_num_threads(),
        "precision": torch.get_float32_matmul_precision(),
        "kernels": (torch.backends.cudnn.deterministic, torch.are_deterministic_algorithms_enabled()),
        "gradients": torch.is_grad_enabled(),
        "type": torch.get_default_dtype(),
        "generators": (torch.random.get_rng_state().tolist(), repr(np.random.get_state())),  # tests draw from random
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)],
        "warnings": list(warnings.filters),
        "logging": (logging.getLogger().level, logging.getLogger("modiste").level, logging.root.manager.disable),
        "figures": dict(matplotlib.rcParams),
    }


def test_augmentation_sees_training_images_alone(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with every random change measures the validation images as they are."""
    shown = list[Batch]()

    def note(batch: Batch, recipe: AugmentationRecipe, generator: torch.Generator) -> Batch:
        shown.append(batch)
        return augment(batch, recipe, generator)

    monkeypatch.setattr(batches, "augment", note)
    changes = AugmentationRecipe(trivial=1.0, random_ops=1, random_strength=1.0, fmix=1.0)
    recipe = replace(tiny_recipe, epochs=1, augmentation=changes)
    trainer.train(recipe, tmp_path / "run", Inputs(tiny_folder), device="cpu")
    development = load_development(recipe.data, tiny_folder)
    train, validation = (
        {image.numpy().tobytes() for image in as_floats(one.images)}
        for one in (development.train, development.validation)
    )
    assert {image.numpy().tobytes() for batch in shown for image in batch.images} == train
    assert train.isdisjoint(validation)
    stored = run_folder.read_logits(tmp_path / "run" / run_folder.VALIDATION_LOGITS)[0]
    model = run_folder.open_run(tmp_path / "run").load_model()[0]
    torch.testing.assert_close(stored, infer(model, development.validation.images, recipe))


def test_training_and_a_report_leave_the_process_as_it_was(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    recipe = replace(tiny_recipe, epochs=1, augmentation=AugmentationRecipe(erase=0.5, mixup=0.5))
    before = process_settings()
    trainer.train(recipe, tmp_path / "run", Inputs(tiny_folder), device="cpu")
    train_seeds(recipe, [0, 1], tmp_path, Inputs(tiny_folder), device="cpu")
    report.write_report(tmp_path / "run", data_folder=tiny_folder)
    after = process_settings()
    for name, value in before.items():
        assert after[name] == value, name
