"""Contrastive learning without labels: its loss against a loop, its views, and what its features are worth."""

from dataclasses import replace
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from idx_files import LABELS, idx
from torch import Tensor, nn

from modiste import machine
from modiste.data.batch import as_floats
from modiste.data.dataset import Development, ImageSet, load_development
from modiste.data.idx import idx_source
from modiste.errors import DivergedError, RecipeError, StoppedError
from modiste.models.registry import Task, build_model
from modiste.recipes.networks import (
    CapsNetRecipe,
    CNNRecipe,
    DBNRecipe,
    DropConnectRecipe,
    FashionNetRecipe,
    InceptionRecipe,
    MLPRecipe,
    ModelRecipe,
    PatchGraphRecipe,
    ResNetRecipe,
)
from modiste.recipes.recipe import DataRecipe, Recipe, SelfSupervisedRecipe
from modiste.runs import run_folder
from modiste.runs.checkpoint import load_model
from modiste.runs.run_folder import PretrainingRow
from modiste.system.processes import Interruption
from modiste.training import trainer
from modiste.training.setup import Inputs
from modiste.training.tracking import Listener, make_progress
from modiste.training.warm_start.progress import Progress, features, linear_head
from modiste.training.warm_start.simclr import nt_xent, pretrain, two_views

QUICK = SelfSupervisedRecipe(epochs=2, batch_size=40, projection=8, crop=0.2)
CNN = CNNRecipe(filters=(4, 6), pools=1, hidden=(8,), dropout=0.4)
BASE = Recipe(name="x", warm_start="simclr", self_supervised=QUICK, model=CNN, standardize=True)
TASK = Task(image_shape=(1, 12, 12), class_names=tuple("01234"), mean=0.4, deviation=0.3)


@pytest.fixture(scope="module")
def development(tiny_folder: Path) -> Development:
    return load_development(DataRecipe(source="tiny"), tiny_folder)


class Witness(Listener):
    """Keeps what it is told, and may ask to stop."""

    def __init__(self, interruption: Interruption | None = None, stop: int = 0) -> None:
        self.interruption, self.stop = interruption, stop
        self.steps, self.step, self.rows = 0, 0, list[PretrainingRow]()

    def pretraining_started(self, _name: str, steps: int) -> None:
        self.steps = steps

    def pretraining_step_done(self, step: int) -> None:
        self.step = step
        if self.interruption is not None and step == self.stop:
            self.interruption.requested = True

    def pretraining_epoch_done(self, row: PretrainingRow) -> None:
        self.rows.append(row)


def pretrained(recipe: Recipe, images: Tensor, witness: Witness | None = None, task: Task = TASK) -> nn.Module:
    model = build_model(recipe.model, task, seed=recipe.seed)
    witness = witness or Witness()
    pretrain(model, images, recipe, Progress("simclr", witness, witness.interruption or Interruption()))
    return model


def slow_nt_xent(embeddings: Tensor, temperature: float) -> float:
    """Equation 1 of Chen et al., term by term."""
    unit = [row / row.norm() for row in embeddings]
    count, total = len(unit), 0.0
    for i in range(count):
        j = i + count // 2 if i < count // 2 else i - count // 2
        others = sum((unit[i] @ unit[k] / temperature).exp() for k in range(count) if k != i)
        total -= ((unit[i] @ unit[j] / temperature).exp() / others).log().item()
    return total / count


@pytest.mark.parametrize("count", [2, 6, 10])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_the_loss_is_the_papers_sum(count: int, temperature: float) -> None:
    embeddings = torch.randn(count, 4, generator=torch.Generator().manual_seed(count)).double()
    assert nt_xent(embeddings, temperature).item() == pytest.approx(slow_nt_xent(embeddings, temperature), rel=1e-12)
    longer = embeddings * torch.arange(1, count + 1)[:, None]
    assert nt_xent(longer, temperature).item() == pytest.approx(nt_xent(embeddings, temperature).item(), rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: nt_xent(x, temperature), embeddings.requires_grad_())


def test_the_loss_of_telling_nothing_and_everything_apart() -> None:
    assert nt_xent(torch.ones(8, 3), 0.5).item() == pytest.approx(log(7))
    assert nt_xent(torch.eye(4).repeat(2, 1), 0.01).item() == pytest.approx(0, abs=1e-6)


def test_two_views_of_an_image_differ_and_follow_the_generator(development: Development) -> None:
    images = development.unlabelled[:6]
    one, same, other = (two_views(images, BASE, machine.generator(0, "views", step)) for step in (1, 1, 2))
    assert torch.equal(one, same)
    first, second = one.chunk(2)
    for index in range(6):
        assert not torch.equal(first[index], second[index])
        assert not torch.equal(first[index], other[index])
    still = replace(BASE, self_supervised=replace(QUICK, flip=False, crop=0, rotate=0, photo=0, erase=0))
    plain = two_views(images, still, machine.generator(0, "views"))
    assert torch.equal(plain, as_floats(images).repeat(2, 1, 1, 1))


def test_the_features_are_what_the_head_turns_into_logits() -> None:
    model = build_model(CNN, TASK).eval()
    images = torch.rand(5, 1, 12, 12)
    head = linear_head(model, "test")
    found = features(model, head, images)
    assert found.shape == (5, 8)
    assert torch.equal(head(found), model(images))
    assert not head._forward_pre_hooks


def test_the_loss_falls_and_every_step_is_told(development: Development) -> None:
    witness = Witness()
    recipe = replace(BASE, self_supervised=replace(QUICK, epochs=6, learning_rate=5e-3, erase=0.0, rotate=0.0))
    pretrained(recipe, development.unlabelled, witness)
    assert witness.steps == witness.step == 6 * 10
    losses = [row.value for row in witness.rows]
    assert [row.epoch for row in witness.rows] == [1, 2, 3, 4, 5, 6]
    assert losses[-1] < 0.85 * losses[0]


def marks(count: int, seed: int) -> ImageSet:
    """A bright bar at one of three heights, anywhere along it, under noise: position matters, brightness does not."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=draw)
    images = torch.randint(0, 90, (count, 1, 12, 12), generator=draw)
    starts, heights = (torch.randint(0, most, (count,), generator=draw) for most in (8, 2))
    for image, label, start, height in zip(images, labels, starts, heights, strict=True):
        image[0, 1 + 4 * label + height : 3 + 4 * label + height, start : start + 4] += 150
    return ImageSet(images.to(torch.uint8), labels)


def linear_accuracy(model: nn.Module, few: ImageSet, many: ImageSet) -> float:
    """Accuracy on ``many`` of a ridge regression from features to the classes of ``few``."""
    head = linear_head(model.eval(), "test")
    with torch.no_grad():
        known, asked = (features(model, head, as_floats(part.images)).double() for part in (few, many))
    mean, deviation = known.mean(0), known.std(0) + 1e-6
    known, asked = (
        torch.cat([(part - mean) / deviation, torch.ones(len(part), 1)], 1).double() for part in (known, asked)
    )
    targets = nn.functional.one_hot(few.labels).double()
    weight = torch.linalg.solve(known.T @ known + torch.eye(known.shape[1]), known.T @ targets)
    return ((asked @ weight).argmax(1) == many.labels).double().mean().item()


def test_features_learnt_without_labels_part_the_classes_better_than_random_ones() -> None:
    unlabelled, few, many = marks(600, 1), marks(30, 2), marks(500, 3)
    settings = SelfSupervisedRecipe(epochs=8, batch_size=60, projection=16, learning_rate=5e-3, rotate=0, crop=0.3)
    recipe = replace(BASE, model=replace(CNN, dropout=0.0), self_supervised=settings)
    task = replace(TASK, class_names=("top", "middle", "bottom"))
    fresh = build_model(recipe.model, task, seed=recipe.seed)
    learnt = pretrained(recipe, unlabelled.images, task=task)
    before, after = (linear_accuracy(model, few, many) for model in (fresh, learnt))
    assert after > before + 0.1, (before, after)


NETWORKS: list[ModelRecipe] = [
    CNN,
    CNNRecipe(filters=(4,), pools=1, hidden=(), batch_norm=True),
    MLPRecipe(hidden=(9,), batch_norm=True),
    InceptionRecipe(width=8),
    ResNetRecipe(depth=10, dropout=0.1),
    DropConnectRecipe(filters=(4, 4), hidden=8),
    FashionNetRecipe(width=4, keypoints=3, hidden=8),
    PatchGraphRecipe(channels=8, blocks=1, neighbours=3),
    DBNRecipe(hidden=(10,)),
]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda recipe: recipe.KIND)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_network_learns_before_its_head_alone_and_follows_the_seed(
    network: ModelRecipe, precision: str, development: Development
) -> None:
    recipe = replace(BASE, model=network, precision=precision, self_supervised=replace(QUICK, epochs=1))
    images = development.unlabelled[:90]
    fresh = build_model(network, TASK, seed=recipe.seed).state_dict()
    torch.manual_seed(1)
    one = pretrained(recipe, images).state_dict()
    torch.manual_seed(2)
    same = pretrained(recipe, images).state_dict()
    other = pretrained(replace(recipe, seed=1), images).state_dict()
    changed = {name for name in fresh if not torch.equal(fresh[name], one[name])}
    assert changed
    assert not any("head" in name or name.startswith("standardize") for name in changed)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in changed)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (CapsNetRecipe(filters=8, kernel_size=3), "simclr needs a network that ends in a linear layer"),
        (MLPRecipe(), "simclr needs a network with layers that learn before the last"),
        (DBNRecipe(hidden=(4,), frozen=True), "simclr needs a network with layers that learn before the last"),
    ],
)
def test_a_network_without_features_to_learn_is_refused(
    network: ModelRecipe, message: str, development: Development
) -> None:
    with pytest.raises(RecipeError, match=message):
        pretrained(replace(BASE, model=network), development.unlabelled)


def test_a_single_image_is_refused_and_few_make_one_batch(development: Development) -> None:
    with pytest.raises(RecipeError, match="at least 2 images to tell apart, found 1"):
        pretrained(BASE, development.unlabelled[:1])
    witness = Witness()
    pretrained(BASE, development.unlabelled[:7], witness)
    assert witness.steps == 2


def test_a_loss_that_is_not_finite_moves_no_weight(development: Development) -> None:
    model = build_model(CNN, TASK)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(DivergedError, match="step 1 of the warm start simclr: the loss is nan"):
        pretrain(model, development.unlabelled, BASE, Progress("simclr", Listener(), Interruption()))
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)


def test_a_request_to_stop_is_heard(development: Development) -> None:
    witness = Witness(Interruption(), stop=3)
    with pytest.raises(StoppedError, match="after step 3 of the warm start simclr; the same command begins it again"):
        pretrained(BASE, development.unlabelled, witness)
    assert witness.step == 3


def test_the_labels_change_nothing_but_what_is_learnt_from_them(tiny_folder: Path, tmp_path: Path) -> None:
    """The same images under labels drawn by lot, the features frozen: every weight but the head's is the same."""
    other = tmp_path / "other"
    other.mkdir()
    for path in tiny_folder.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    labels = idx_source.load_training("tiny", tiny_folder).labels
    (other / LABELS).write_bytes(idx(np.random.RandomState(3).permutation(labels)))
    part = replace(BASE.transfer, freeze=("network.convolutions", "network.dense"))
    network, data = replace(CNN, batch_norm=True), DataRecipe(source="tiny", split="last")
    recipe = replace(BASE, epochs=1, transfer=part, data=data, model=network)
    weights = []
    for name, data in (("one", tiny_folder), ("two", other)):
        trainer.train(recipe, tmp_path / name, Inputs(data), device="cpu")
        weights.append(load_model(tmp_path / name / "model.safetensors")[0].state_dict())
    differing = {name for name in weights[0] if not torch.equal(weights[0][name], weights[1][name])}
    assert differing == {"network.head.weight", "network.head.bias"}


def test_few_labels_leave_every_image_to_the_warm_start(tiny_folder: Path, tmp_path: Path) -> None:
    """With frozen features the folder's network is that of all images, though the head saw five of each class."""
    part = replace(BASE.transfer, freeze=("network.convolutions", "network.dense"))
    data = DataRecipe(source="tiny", images_per_class=5)
    recipe = replace(BASE, standardize=False, epochs=1, transfer=part, data=data)
    trainer.train(recipe, tmp_path / "run", Inputs(tiny_folder), device="cpu")
    found = load_model(tmp_path / "run" / "model.safetensors")[0].state_dict()
    whole = load_development(DataRecipe(source="tiny"), tiny_folder)
    task = Task(image_shape=(1, 12, 12), class_names=whole.class_names)
    expected = pretrained(recipe, whole.train.images, task=task).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected if "head" not in name)


def test_a_person_sees_how_far_it_is(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = replace(BASE, epochs=1, data=DataRecipe(source="tiny"))
    trainer.train(recipe, tmp_path / "run", Inputs(tiny_folder), device="cpu", listeners=[make_progress()])
    told = capsys.readouterr().err
    assert "simclr: 20 steps before the first epoch\nfeatures, epoch 1: NT-Xent loss " in told
    rows = run_folder.open_run(tmp_path / "run").pretraining()
    assert [(row.part, row.epoch, row.quantity) for row in rows] == [
        ("features", epoch, "NT-Xent loss") for epoch in (1, 2)
    ]
    assert f"features, epoch 2: NT-Xent loss {rows[1].value:.4f}\n" in told
