"""The last layer by logistic regression: scikit-learn's answer, and a run of it that goes on after a kill."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from run_equality import assert_same
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression

from fault_counter import slow_case
from modiste import machine
from modiste.data.batch import as_targets
from modiste.data.dataset import load_development
from modiste.errors import MissingExtraError, RecipeError, StoppedError
from modiste.evaluation.inference import infer
from modiste.models.registry import Task, build_model
from modiste.recipes import named
from modiste.recipes.networks import CapsNetRecipe, CNNRecipe, EfficientNetLiteRecipe
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import (
    AugmentationRecipe,
    DataRecipe,
    OwnCodeRecipe,
    Precision,
    Recipe,
    TransferRecipe,
    from_stored,
)
from modiste.runs import run_folder
from modiste.runs.run_folder import open_run
from modiste.system.processes import Interruption
from modiste.training import loop, trainer
from modiste.training.setup import Inputs
from modiste.training.tracking import Listener
from modiste.training.transfer import linear_probe
from modiste.training.transfer.linear_probe import logistic_regression, standardized
from modiste.training.transfer.transfer import source_hash
from modiste.training.warm_start.progress import Progress
from modiste.training.warm_start.warm_starts import WARM_STARTS

PROBE = TransferRecipe(freeze=("network.convolutions",), linear_probe=True)


@pytest.fixture
def probe(tiny_recipe: Recipe) -> Recipe:
    return replace(tiny_recipe, epochs=0, model=CNNRecipe(filters=(4, 6), hidden=()), transfer=PROBE)


def test_it_finds_what_scikit_learn_finds() -> None:
    draw = machine.generator(0, "features")
    features, labels = torch.randn(300, 12, generator=draw), torch.randint(0, 3, (300,), generator=draw)
    features[:, 0] += labels
    penalty, start = 0.05, torch.zeros(3, 13)
    ours = logistic_regression(features, as_targets(labels, 3, 0.0), torch.ones(300), penalty, start)
    theirs = LogisticRegression(C=1 / (penalty * 300), tol=1e-8, max_iter=2000).fit(features, labels)
    found = features @ ours[:, :-1].T + ours[:, -1]
    expected = torch.from_numpy(theirs.decision_function(features.numpy())).float()
    torch.testing.assert_close(found.softmax(1), expected.softmax(1), rtol=0, atol=2e-3)


def test_a_weight_counts_as_many_images() -> None:
    draw = machine.generator(0, "features")
    features, labels = torch.randn(60, 4, generator=draw), torch.randint(0, 2, (60,), generator=draw)
    targets, start = as_targets(labels, 2, 0.0), torch.zeros(2, 5)
    twice = torch.arange(60) < 20
    weights = torch.where(twice, 1.5, 0.75)  # twice as much, with mean 1
    doubled = torch.cat([features, features[twice]]), torch.cat([targets, targets[twice]])
    one = logistic_regression(features, targets, weights, 0.1, start)
    other = logistic_regression(*doubled, torch.ones(80), 0.1, start)
    torch.testing.assert_close(one, other, rtol=0, atol=2e-3)


def test_a_feature_that_never_changes_stays_at_zero() -> None:
    train = torch.tensor([[1.0, 7.0], [3.0, 7.0]])
    found = standardized(train, torch.tensor([[2.0, 7.0]]))
    assert found.train.tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert found.validation.tolist() == [[0.0, 0.0]]


def test_a_run_without_epochs_is_the_fitted_layer(probe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    outcome = trainer.train(probe, tmp_path / "run", Inputs(tiny_folder), device="cpu")
    run, development = open_run(tmp_path / "run"), load_development(probe.data, tiny_folder)
    model, _ = run.load_model()
    labels = development.train.labels
    correct = (infer(model, development.train.images, probe).argmax(1) == labels).sum().item()
    assert [row.epoch for row in run.history] == [0]
    assert outcome.picked.train_accuracy == correct / len(labels)
    assert outcome.picked.validation_accuracy > 0.3, "no better than a guess"
    untouched = build_model(probe.model, run.load_info().task, seed=probe.seed).network
    assert torch.equal(model.network.convolutions[0].weight, untouched.convolutions[0].weight)  # type: ignore[index, union-attr]
    assert next(row.quantity for row in run.pretraining()) == "validation loss"
    (timing,) = run.timing()
    assert 0 < timing["train_seconds"] <= timing["seconds"]
    assert timing["images_per_second"] == pytest.approx(len(labels) / timing["train_seconds"])


def test_a_feature_that_hardly_changes_outweighs_no_other() -> None:
    """One image of each class: half of the features hardly differ between these, and differ between others."""
    draw = machine.generator(0, "few")
    means = torch.randn(5, 40, generator=draw)
    scale = torch.ones(40).index_fill(0, torch.arange(20), 1e-5)
    found = standardized(means * scale, means.repeat(20, 1) * scale + 0.5 * torch.randn(100, 40, generator=draw))
    labels = torch.arange(5)
    fitted = logistic_regression(found.train, as_targets(labels, 5, 0.0), torch.ones(5), 0.1, torch.zeros(5, 41))
    logits = found.validation @ fitted[:, :-1].T + fitted[:, -1]
    assert (logits.argmax(1) == labels.repeat(20)).double().mean() > 0.8
    assert torch.nn.functional.cross_entropy(logits, labels.repeat(20)) < 1.0


@pytest.mark.parametrize("precision", ["float32", slow_case("bfloat16")])
def test_logits_from_the_features_are_those_of_the_network(
    precision: Precision, probe: Recipe, tiny_folder: Path
) -> None:
    """To the last bit: the last batch of a pass is smaller, and mirror images follow."""
    development = load_development(probe.data, tiny_folder)
    task = Task(image_shape=development.image_shape, class_names=development.class_names)
    model = build_model(EfficientNetLiteRecipe(), task)
    recipe = replace(probe, precision=precision, augmentation=AugmentationRecipe(flip=True))
    found = linear_probe.fit_head(model, development, recipe, Progress("linear-probe", Listener(), Interruption()))
    assert torch.equal(found.logits["train"], infer(model, development.train.images, recipe))
    assert torch.equal(found.logits["validation"], infer(model, development.validation.images, recipe))
    for averaged in (replace(recipe, mirror=True), replace(recipe, shifts=1)):
        progress = Progress("linear-probe", Listener(), Interruption())
        found = linear_probe.fit_head(model, development, averaged, progress)
        assert not found.logits, "the mean of rounded logits is not the logit of a mean"


@pytest.mark.parametrize("epochs", [0, 3])
def test_validation_images_pass_once_for_each_epoch(
    epochs: int, probe: Recipe, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[int]()

    def counted(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        return infer(*arguments)

    monkeypatch.setattr(loop, "infer", counted)
    monkeypatch.setattr(trainer, "infer", counted)
    recipe = replace(probe, epochs=epochs, pick="best-accuracy")
    trainer.train(recipe, tmp_path / "run", Inputs(tiny_folder), device="cpu")
    assert len(calls) == epochs
    model, _ = open_run(tmp_path / "run").load_model()
    logits, _ = run_folder.read_logits(tmp_path / "run" / run_folder.logits_name("validation"))
    assert torch.equal(logits, infer(model, load_development(probe.data, tiny_folder).validation.images, recipe))


class Stop(Listener):
    """Asks to stop after the first batch of features."""

    def pretraining_step_done(self, step: int) -> None:
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def test_stopped_while_features_are_computed_it_ends_in_the_same_bytes(
    probe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    calm, run = tmp_path / "calm", tmp_path / "run"
    trainer.train(probe, calm, Inputs(tiny_folder), device="cpu")
    with pytest.raises(StoppedError, match="linear-probe"):
        trainer.train(probe, run, Inputs(tiny_folder), device="cpu", listeners=[Stop()])
    trainer.train(probe, run, Inputs(tiny_folder), device="cpu")
    for name in ("model.safetensors", "log.jsonl"):
        assert (calm / name).read_bytes() == (run / name).read_bytes()


@pytest.mark.slow
def test_a_tuned_backbone_goes_on_after_a_stop_in_the_same_bytes(tiny_folder: Path, tmp_path: Path) -> None:
    """A frozen beginning in one pass, late blocks that learn, an average, after the last layer was fitted."""
    network = EfficientNetLiteRecipe()
    task = Task(image_shape=(1, 12, 12), class_names=tuple("abcde"))
    save_file(build_model(network, task, seed=3).state_dict(), tmp_path / "weights.safetensors")
    tuned = named.get("backbone-tuned")
    recipe = replace(
        tuned,
        epochs=2,
        precision="float32",
        data=DataRecipe(source="tiny", images_per_class=40),
        transfer=replace(tuned.transfer, source=source_hash(tmp_path / "weights.safetensors")),
    )
    inputs = Inputs(tiny_folder, transfer_from=tmp_path / "weights.safetensors")
    calm, run = tmp_path / "calm", tmp_path / "run"
    trainer.train(recipe, calm, inputs, device="cpu")
    with pytest.raises(StoppedError, match="after step 3"):
        trainer.train(recipe, run, inputs, device="cpu", listeners=[StopInTraining()])
    trainer.train(recipe, run, inputs, device="cpu")
    assert_same(run, calm)
    before, after = load_file(tmp_path / "weights.safetensors"), load_file(run / "last.safetensors")
    moved = {name for name in before if name in after and not torch.equal(before[name], after[name])}
    assert not [name for name in moved if name.startswith(("network.stem", "network.blocks.10."))]
    assert {"network.blocks.11.widen.convolution.weight", "network.head.weight"} <= moved
    assert "network.blocks.12.filter.convolution.weight" not in moved


class StopInTraining(Listener):
    """Asks to stop after the third step."""

    def step_done(self, step: int) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)


def test_mirror_images_count_as_images_of_their_own(probe: Recipe, tiny_folder: Path) -> None:
    """Pictures that are their own mirror images, twice over, are what they are once."""
    development = load_development(probe.data, tiny_folder)
    half = development.train.images[..., : development.image_shape[2] // 2]
    whole = torch.cat([half, half.flip(3)], dim=3)
    alike = replace(development, train=replace(development.train, images=whole))
    task = Task(image_shape=development.image_shape, class_names=development.class_names)
    found = []
    for flip in (False, True):
        model = build_model(probe.model, task)
        recipe = replace(probe, augmentation=AugmentationRecipe(flip=flip))
        linear_probe.fit_head(model, alike, recipe, Progress("linear-probe", Listener(), Interruption()))
        found.append(infer(model, whole, recipe).softmax(1))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=2e-2)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_images_of_weight_zero_teach_nothing(balance: float, flip: bool, probe: Recipe, tiny_folder: Path) -> None:
    development = load_development(probe.data, tiny_folder)
    labels = development.train.labels
    counts = (labels != 0).float()
    weighted = replace(development, train=replace(development.train, weights=counts / counts.mean()))
    recipe = replace(probe, balance=balance, augmentation=AugmentationRecipe(flip=flip))
    answers = []
    for images in (development, weighted):
        model = build_model(probe.model, Task(image_shape=images.image_shape, class_names=images.class_names))
        found = linear_probe.fit_head(model, images, recipe, Progress("linear-probe", Listener(), Interruption()))
        answers.append(found.logits["train"].argmax(1))
    assert (answers[0] == 0).any()
    assert not (answers[1] == 0).any()


def test_the_last_class_may_have_no_training_image(probe: Recipe, tiny_folder: Path) -> None:
    development = load_development(probe.data, tiny_folder)
    last = len(development.class_names) - 1
    few = replace(development, train=development.train[(development.train.labels < last).nonzero().squeeze(1)])
    assert last in few.validation.labels
    model = build_model(probe.model, Task(image_shape=few.image_shape, class_names=few.class_names))
    for balance in (0.0, 1.0):
        recipe = replace(probe, balance=balance)
        found = linear_probe.fit_head(model, few, recipe, Progress("linear-probe", Listener(), Interruption()))
        assert found.logits["validation"].isfinite().all()
        assert found.correct > 0.8 * len(few.train)
        assert last not in found.logits["train"].argmax(1)


def test_without_scipy_the_error_comes_before_the_features(
    probe: Recipe, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = list[object]()
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    monkeypatch.setattr(linear_probe, "head_inputs", lambda *arguments, **_: computed.append(arguments))
    monkeypatch.setitem(WARM_STARTS, "class-prior", lambda *arguments: computed.append(arguments))
    for recipe in (probe, replace(probe, warm_start="class-prior")):
        with pytest.raises(
            MissingExtraError, match=r"a linear probe: needs SciPy: pip install 'modiste\[evaluation\]'"
        ):
            trainer.train(recipe, tmp_path / recipe.warm_start, Inputs(tiny_folder), device="cpu")
    assert not computed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "squared-error"}, "^objective: expected cross-entropy without epochs, .*found 'squared-error'"),
        ({"own": OwnCodeRecipe(loss=f"a:b@{16 * '0'}")}, "^own.loss: expected none without epochs, .*found 'a:b'"),
    ],
)
def test_another_loss_is_refused_where_the_last_layer_is_all_that_is_fitted(
    changes: dict[str, Any], message: str, probe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    """The recipe alone is no error: earlier versions trained it, by cross-entropy, and their runs are still read."""
    recipe = replace(probe, **changes)
    assert from_stored(to_plain(recipe)) == recipe
    with pytest.raises(RecipeError, match=message):
        trainer.train(recipe, tmp_path / "run", Inputs(tiny_folder), device="cpu")


def test_a_network_without_a_linear_end_is_refused_before_its_warm_start(
    probe: Recipe, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WARM_STARTS, "class-prior", lambda *_: pytest.fail("began"))
    capsules = replace(probe, model=CapsNetRecipe(filters=8, kernel_size=3), transfer=TransferRecipe(linear_probe=True))
    for recipe in (capsules, replace(capsules, warm_start="class-prior")):
        with pytest.raises(RecipeError, match=r"transfer\.linear_probe needs a network that ends in"):
            trainer.train(recipe, tmp_path / recipe.warm_start, Inputs(tiny_folder), device="cpu")
