"""Averages of weights and snapshots against those written out by hand, in float64."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import code_of_others as others
from commands_and_data import epoch_from
from listeners import StopAfterEpoch
from modiste.data.batch import as_floats
from modiste.data.batches import Batches
from modiste.data.dataset import Development, ImageSet, load_development
from modiste.errors import RecipeError, RunError, StoppedError
from modiste.evaluation.assessment import evaluate
from modiste.evaluation.inference import infer
from modiste.evaluation.unfinished import evaluate_unfinished
from modiste.models.registry import build_model
from modiste.recipes import own_code
from modiste.recipes.networks import CNNRecipe, OwnNetworkRecipe
from modiste.recipes.recipe import Recipe, ScheduleRecipe, TransferRecipe
from modiste.runs import checkpoint
from modiste.runs.run_folder import open_run
from modiste.system.processes import Interruption
from modiste.training import averages, trainer
from modiste.training.loop import fit
from modiste.training.setup import Inputs, describe_task
from modiste.training.state import Context, TrainingState, new_training_state
from modiste.training.step import train_step
from modiste.training.tracking import Listener, Timing

NETWORK = CNNRecipe(filters=(4, 8), pools=1, hidden=(16,), dropout=0.25, batch_norm=True)
Weights = dict[str, torch.Tensor]


@pytest.fixture
def development(tiny_recipe: Recipe, tiny_folder: Path) -> Development:
    return load_development(tiny_recipe.data, tiny_folder)


def state_for(recipe: Recipe, development: Development) -> TrainingState:
    return new_training_state(build_model(recipe.model, describe_task(development, recipe), seed=recipe.seed), recipe)


def exact(model: nn.Module) -> Weights:
    return {name: tensor.detach().double().clone() for name, tensor in model.state_dict().items()}


class EndsOfEpochs(Listener):
    """Keeps the weights at the end of every epoch."""

    def __init__(self, state: TrainingState) -> None:
        self.state, self.weights = state, list[Weights]()

    def epoch_done(self, row: object, timing: Timing) -> None:
        self.weights.append(exact(self.state.model))


def test_a_moving_average_with_warm_up_equals_a_slow_one(tiny_recipe: Recipe, development: Development) -> None:
    recipe = replace(tiny_recipe, ema_decay=0.6, ema_warm_up=True)
    state = state_for(recipe, development)
    expected: Weights = {}
    for step, batch in enumerate(epoch_from(Batches(development.train, recipe, 5), 0)):
        train_step(state, batch, recipe)
        decay = min(0.6, (1 + step) / (10 + step)) if step else 0.0
        expected = {
            name: decay * expected.get(name, value) + (1 - decay) * value for name, value in exact(state.model).items()
        }
    for name, tensor in exact(state.evaluated).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6, msg=name)


def test_the_equal_average_is_the_mean_of_the_last_epochs(
    tiny_recipe: Recipe, development: Development, tmp_path: Path
) -> None:
    """Of four epochs from half of the run on: the third and the fourth. The average is what is measured."""
    recipe = replace(tiny_recipe, epochs=4, swa_start=0.5, model=NETWORK, pick="last")
    state = state_for(recipe, development)
    ends = EndsOfEpochs(state)
    fit(state, Context(recipe, development, tmp_path, ends, Interruption()))
    found = exact(state.evaluated)
    for name, _ in state.model.named_parameters():
        mean = (ends.weights[2][name] + ends.weights[3][name]) / 2
        torch.testing.assert_close(found[name], mean, rtol=1e-5, atol=1e-7, msg=name)
    logits = infer(state.evaluated, development.validation.images, recipe)
    accuracy = (logits.argmax(1) == development.validation.labels).double().mean().item()
    assert state.history[-1].validation_accuracy == accuracy
    plain = state_for(replace(recipe, swa_start=0.0), development)
    fit(plain, Context(replace(recipe, swa_start=0.0), development, tmp_path / "plain", Listener(), Interruption()))
    assert plain.history[:2] == state.history[:2]
    assert plain.history[2].validation_loss != state.history[2].validation_loss  # its statistics are measured anew
    assert plain.history[3].train_loss == state.history[3].train_loss
    assert all(torch.equal(value, exact(plain.model)[name]) for name, value in exact(state.model).items())


@pytest.mark.parametrize(("epochs", "start"), [(100, 0.29), (50, 0.58)])
def test_the_equal_average_takes_no_epoch_more_by_rounding(epochs: int, start: float) -> None:
    """0.29 * 100 is a little below 29."""
    recipe = Recipe(name="x", epochs=epochs, swa_start=start)
    taken = [epoch for epoch in range(1, epochs + 1) if averages.takes_epoch(recipe, epoch)]
    assert taken == list(range(30, epochs + 1))


def test_statistics_are_the_equal_mean_over_batches(tiny_recipe: Recipe, development: Development) -> None:
    """A first layer of batch normalisation, so that its input is the images themselves."""
    model = nn.Sequential(build_model(NETWORK, describe_task(development, tiny_recipe)).standardize, nn.BatchNorm2d(1))
    train = ImageSet(development.train.images[:30], development.train.labels[:30])
    norm = model[1]
    norm.running_mean.fill_(7.0)
    averages.measure_statistics(model, train, replace(tiny_recipe, batch_size=30))
    images = as_floats(train.images).double()
    assert norm.running_mean.item() == pytest.approx(images.mean().item(), rel=1e-5)
    assert norm.running_var.item() == pytest.approx(images.var().item(), rel=1e-5)
    averages.measure_statistics(model, train, replace(tiny_recipe, batch_size=10))
    assert norm.num_batches_tracked == 3
    assert norm.running_mean.item() == pytest.approx(images.mean().item(), rel=1e-5)
    assert norm.momentum == 0.1
    assert not norm.training


@pytest.mark.parametrize("kind", ["ours", "torch's"])
def test_every_batch_normalisation_is_measured_from_nothing(
    kind: str, tiny_recipe: Recipe, development: Development
) -> None:
    network = NETWORK if kind == "ours" else OwnNetworkRecipe(code=own_code.register(others.Net))
    model = build_model(network, describe_task(development, tiny_recipe))
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d)]
    found = []
    for start in (0.0, 5.0):
        for norm in norms:
            norm.running_mean.fill_(start)
        averages.measure_statistics(model, development.train, tiny_recipe)
        found.append([norm.running_mean.clone() for norm in norms])
    assert norms
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert not model.training


def test_statistics_that_are_kept_are_not_measured(tiny_recipe: Recipe, development: Development) -> None:
    model = build_model(NETWORK, describe_task(development, tiny_recipe))
    before = exact(model)
    averages.measure_statistics(
        model, development.train, replace(tiny_recipe, transfer=TransferRecipe(keep_statistics=True))
    )
    assert all(torch.equal(value, before[name]) for name, value in exact(model).items())


def test_an_unfinished_run_is_measured_by_its_average_once_that_has_begun(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modiste.training.step.Steps.SECONDS_BETWEEN_STATES", 0)
    recipe = replace(tiny_recipe, swa_start=0.5, model=NETWORK, pick="last")
    for epoch in (1, 2):
        folder = tmp_path / str(epoch)
        with pytest.raises(StoppedError):
            trainer.train(recipe, folder, Inputs(tiny_folder), device="cpu", listeners=[StopAfterEpoch(epoch)])
        found = evaluate_unfinished(folder, device="cpu", data_folder=tiny_folder)
        state = checkpoint.load_state(folder / "checkpoints")
        assert state is not None
        assert found.loss == pytest.approx(state.plain["history"][-1]["validation_loss"], rel=1e-6)
    with pytest.raises(RunError, match="has not finished, and snapshots are for finished runs"):
        evaluate_unfinished(folder, weights="snapshots", device="cpu", data_folder=tiny_folder)


@pytest.fixture(scope="module")
def cyclic_run(tiny_recipe: Recipe, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two cycles of two epochs."""
    folder = tmp_path_factory.mktemp("cyclic") / "run"
    recipe = replace(tiny_recipe, epochs=4, schedule=ScheduleRecipe(shape="cosine", cycles=2))
    trainer.train(recipe, folder, Inputs(tiny_folder), device="cpu")
    return folder


def test_snapshots_are_the_weights_at_the_ends_of_cycles(cyclic_run: Path) -> None:
    run = open_run(cyclic_run)
    assert {"snapshot-1.safetensors", "snapshot-2.safetensors"} <= run.files.keys()
    first, last = (checkpoint.load_model(cyclic_run / f"snapshot-{number}.safetensors") for number in (1, 2))
    assert (first[1].epoch, last[1].epoch) == (2, 4)
    final = exact(run.load_model("last")[0])
    assert all(torch.equal(value, final[name]) for name, value in exact(last[0]).items())
    assert any(not torch.equal(value, final[name]) for name, value in exact(first[0]).items())
    rates = [row.learning_rate for row in run.history]
    assert rates[:2] == pytest.approx(rates[2:])


def test_snapshots_are_evaluated_by_their_mean_probabilities(
    cyclic_run: Path, tiny_folder: Path, development: Development
) -> None:
    found = evaluate(cyclic_run, weights="snapshots", device="cpu", data_folder=tiny_folder)
    run, images = open_run(cyclic_run), development.validation.images
    probabilities = [infer(model, images, run.recipe).double().softmax(1) for model in run.load_models("snapshots")]
    mean = sum(probabilities) / 2
    labels = development.validation.labels
    assert found.loss == pytest.approx(-mean[torch.arange(len(labels)), labels].log().mean().item(), rel=1e-5)
    assert (found.weights, found.epoch, found.images) == ("snapshots", 0, len(labels))
    assert "validation-logits-snapshots.safetensors" in run.files
    assert found == evaluate(cyclic_run, weights="snapshots", device="cpu", data_folder=tiny_folder)


def test_a_run_without_snapshots_says_how_to_get_them(finished_run: Path, tiny_folder: Path) -> None:
    with pytest.raises(RunError, match=r"has no snapshots; train with several cycles .*--schedule\.cycles"):
        evaluate(finished_run, weights="snapshots", device="cpu", data_folder=tiny_folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ema_decay": 0.9, "swa_start": 0.5}, "swa_start: expected 0 with ema_decay"),
        ({"epochs": 5, "schedule": ScheduleRecipe(cycles=2)}, r"schedule\.cycles: expected a divisor of the 5 epochs"),
        (
            {"epochs": 0, "transfer": TransferRecipe(linear_probe=True), "schedule": ScheduleRecipe(cycles=5)},
            r"schedule\.cycles: expected 1 without epochs, found 5",
        ),
        ({"patience": 3, "schedule": ScheduleRecipe(cycles=2)}, r"schedule\.cycles: expected 1 with patience, found 2"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe(name="x", **changes)


def test_a_whole_after_warm_up_and_hold_is_needed() -> None:
    with pytest.raises(RecipeError, match=r"hold: expected with warm_up below 1, found 0\.6"):
        ScheduleRecipe(shape="cosine", warm_up=0.4, hold=0.6)
