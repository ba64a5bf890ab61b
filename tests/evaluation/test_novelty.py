"""The novelty score: distances against a plain reference, the threshold, and the file kept with the run."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import other_things
from fault_counter import slow_case
from modiste import machine
from modiste.data.batch import as_floats
from modiste.data.dataset import Development, ImageSet
from modiste.data.extra_pictures import Extra, ExtraPictures
from modiste.errors import DataError, RunError
from modiste.evaluation.assessment import evaluate
from modiste.evaluation.inference import answer
from modiste.evaluation.out_of_distribution import learning, novelty, run_detector
from modiste.evaluation.out_of_distribution.boundary import Energy
from modiste.evaluation.out_of_distribution.features import features, watched
from modiste.evaluation.out_of_distribution.learning import Changes, allowed_changes, learn
from modiste.evaluation.out_of_distribution.novelty import Layer
from modiste.evaluation.out_of_distribution.run_detector import of_run
from modiste.evaluation.run_images import load_own_development
from modiste.inference.predictor import Predictor
from modiste.models.registry import Task, build_model
from modiste.recipes.networks import CNNRecipe, EfficientNetLiteRecipe, MLPRecipe, ModelRecipe
from modiste.recipes.recipe import AugmentationRecipe, ByClassRecipe, Recipe, Views
from modiste.runs import checkpoint, run_folder, storage
from modiste.runs.run_folder import open_run
from networks import assert_rounded


def test_the_distance_is_mahalanobis_to_the_nearest_class() -> None:
    random = np.random.RandomState(3)
    means, mixing, seen = random.randn(3, 4), random.randn(4, 4), random.randn(5, 4)
    precision = np.linalg.inv(mixing @ mixing.T + np.eye(4))
    layer = Layer("dense", torch.tensor(means), torch.linalg.cholesky(torch.tensor(precision)).float(), 2.0)
    expected = [min((one - mean) @ precision @ (one - mean) for mean in means) / 2 for one in seen]
    assert layer.distances(torch.tensor(seen)).tolist() == pytest.approx(expected)


def test_means_and_covariance_are_those_within_the_classes() -> None:
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(4000) % 2
    spread = torch.tensor([[1.0, 0.5], [0.0, 2.0]])
    seen = torch.randn(4000, 2, generator=generator) @ spread + 10 * labels[:, None]
    layer = learning._layer("dense", seen, labels, seen, seen)
    assert torch.allclose(
        layer.means, torch.tensor([[0.0, 0.0], [10.0, 10.0]], dtype=torch.float64), atol=0.25
    )  # 5 standard errors
    precision = layer.whitening.double() @ layer.whitening.double().T
    assert torch.allclose(torch.linalg.inv(precision), (spread.T @ spread).double(), atol=0.25)
    assert (layer.distances(seen) > 1).double().mean().item() == pytest.approx(1 - learning.KNOWN, abs=0.001)


def test_it_is_learnt_once_and_kept_with_the_run(finished_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    first = of_run(open_run(folder), tiny_folder)
    assert run_folder.is_listed(open_run(folder), run_detector.FILE)
    again = of_run(open_run(folder), tmp_path / "no data here")
    model, _ = open_run(folder).load_model()
    images = load_own_development(open_run(folder), tiny_folder).validation.images
    assert torch.allclose(first.scores(features(model, images)), again.scores(features(model, images)), rtol=1e-9)
    assert (again.threshold, again.false_alarms, again.images) == (first.threshold, first.false_alarms, first.images)


def test_where_it_cannot_be_kept_it_is_used_all_the_same(
    finished_run: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    monkeypatch.setattr(run_folder, "PATIENCE_SECONDS", 0.0)
    with storage.lock(folder):
        assert of_run(open_run(folder), tiny_folder).images > 0
    assert not run_folder.is_listed(open_run(folder), run_detector.FILE)


def test_an_opening_of_the_test_set_meanwhile_is_not_lost(
    finished_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    early = open_run(folder)
    evaluate(folder, split="test", data_folder=tiny_folder)
    of_run(early, tiny_folder)
    found = open_run(folder)
    assert found.test_openings == 1
    assert {run_detector.FILE, run_folder.logits_name("test")} <= set(found.files)


def test_half_of_the_validation_images_sets_the_threshold_and_the_others_measure_it(
    finished_run: Path, tiny_folder: Path
) -> None:
    run = open_run(finished_run)
    model, _ = run.load_model()
    development = load_own_development(run, tiny_folder)
    found = learn(model, development)
    scores = found.scores(features(model, development.validation.images))
    choosing, measuring = learning.halves(development.validation.labels)
    assert sorted([*choosing.tolist(), *measuring.tolist()]) == list(range(len(scores)))
    assert found.images == len(measuring)
    assert (scores[measuring] > 1).double().mean().item() == pytest.approx(found.false_alarms)
    assert (scores[choosing] > 1).double().mean().item() == pytest.approx(1 - learning.KNOWN, abs=0.04)


def test_another_rate_accepts_as_many_as_it_says(finished_run: Path, tiny_folder: Path) -> None:
    run = open_run(finished_run)
    model, _ = run.load_model()
    development = load_own_development(run, tiny_folder)
    usual = learn(model, development)
    seen = features(model, development.validation.images)
    choosing, measuring = learning.halves(development.validation.labels)
    for rate in (0.1, 0.3, 0.5):
        found = usual.accepting(rate)
        alarms = (found.scores(seen) > 1).double()
        assert alarms[choosing].mean().item() == pytest.approx(rate, abs=1 / len(choosing) + 1e-9)
        assert alarms[measuring].mean().item() == pytest.approx(found.false_alarms)
        assert torch.allclose(found.accepting(learning.USUAL_RATE).scores(seen), usual.scores(seen))
    assert torch.equal(usual.accepting(learning.USUAL_RATE).scores(seen), usual.scores(seen))


def wedges(count: int) -> ImageSet:
    """Return images of wedges that all point left, low ones and high ones, with some noise: two classes."""
    random = torch.Generator().manual_seed(4)
    columns, rows = torch.arange(16), torch.arange(16)[:, None]
    labels = torch.arange(count) % 2
    height = (columns + 1) * torch.where(labels == 0, 0.4, 0.8)[:, None]
    images = 200.0 * ((rows - 8).abs() < height[:, None] / 2)
    images += 40 * torch.rand(images.shape, generator=random)
    return ImageSet(images.to(torch.uint8)[:, None], labels)


def development_of_wedges(training: int = 300, held_out: int = 200) -> tuple[Development, torch.nn.Module]:
    """Return the wedges and an untrained network."""
    train, validation = wedges(training), wedges(held_out)
    development = Development("wedges", train, train.images, validation, ("low", "high"), "f" * 64)
    task = Task(image_shape=(1, 16, 16), class_names=("low", "high"), mean=0.3, deviation=0.3)
    return development, build_model(CNNRecipe(filters=(6, 8), pools=1, hidden=(12,)), task, seed=1).eval()


def test_mirror_images_are_of_the_classes_where_training_mirrors() -> None:
    development, model = development_of_wedges()
    validation = development.validation
    mirrored = features(model, validation.images.flip(3))
    changes = Changes(AugmentationRecipe(flip=True))
    assert (learn(model, development).scores(mirrored) > 1).double().mean() > 0.9
    found = learn(model, development, changes)
    assert (found.scores(mirrored) > 1).double().mean() < 0.1
    assert {len(layer.means) for layer in found.layers} == {4}


@pytest.mark.parametrize(
    "changes",
    [slow_case(Changes(), id="as they lie"), pytest.param(Changes(AugmentationRecipe(flip=True)), id="mirrored")],
)
def test_known_logits_save_passes_and_change_no_score(changes: Changes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the network's own features are too wide; mirror images of the training images still pass."""
    development, _ = development_of_wedges(60, 40)
    task = Task(image_shape=(1, 16, 16), class_names=("low", "high"), mean=0.3, deviation=0.3)
    model = build_model(EfficientNetLiteRecipe(), task, seed=1).eval()
    sets = {"train": development.train, "validation": development.validation}
    logits = {split: features(model, one.images)["logits"] for split, one in sets.items()}
    passed = list[int]()

    def counted(model: torch.nn.Module, images: torch.Tensor, *rest: Any) -> dict[str, torch.Tensor]:
        passed.append(len(images))
        return features(model, images, *rest)

    monkeypatch.setattr(learning, "features", counted)
    plain = learn(model, development, changes)
    without = sum(passed)
    found = learn(model, development, changes, logits=logits)
    assert 2 * without - sum(passed) == 40 + (0 if changes.augmentation.flip else 60)
    seen = features(model, development.validation.images)
    torch.testing.assert_close(found.scores(seen), plain.scores(seen), rtol=1e-4, atol=1e-4)


def test_large_images_are_altered_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, those of own photographs took a gigabyte. Of Fashion-MNIST all are altered at once, as ever."""
    counts = list[int]()

    def unaltered(images: torch.Tensor, *_others: Any) -> torch.Tensor:
        counts.append(len(images))
        return images

    monkeypatch.setattr(learning.boundary, "in_distribution_images", unaltered)
    assert learning.MOST_EXPOSED * 28 * 28 <= learning.AT_ONCE
    monkeypatch.setattr(learning, "AT_ONCE", 3 * 16 * 16)
    shades = torch.arange(1, 9, dtype=torch.uint8)[:, None, None, None] * 30
    some = ImageSet(shades.expand(8, 1, 16, 16).contiguous(), torch.arange(8) % 2)
    halves = Changes(by_class=ByClassRecipe(upper=(0,), outliers=0.1))
    inside, outside = learning._examples(some, None, halves, machine.generator(0, "examples"))
    assert counts == [3, 2, 3, 1, 2, 1]
    assert torch.equal(inside, some.images)
    assert len(outside) == 8 + 4


def test_distances_to_many_means_are_computed_for_a_few_images_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """For half of many validation images and a thousand classes, all at once would take gigabytes."""
    compute, counts = Layer.distances, list[int]()

    def counted(layer: Layer, seen: torch.Tensor) -> torch.Tensor:
        counts.append(len(seen) * layer.means.numel())
        return compute(layer, seen)

    monkeypatch.setattr(Layer, "distances", counted)
    development, model = development_of_wedges()
    plain = learn(model, development)
    assert 5_000 * 2 * 10 * learning.WIDEST_LAYER <= novelty.MOST_DIFFERENCES, "all of Fashion-MNIST's, mirrored"
    assert max(counts) > 1_000
    counts.clear()
    monkeypatch.setattr(novelty, "MOST_DIFFERENCES", 1_000)
    found = learn(model, development)
    assert max(counts) <= 1_000
    assert (found.images, found.false_alarms) == (plain.images, plain.false_alarms)
    assert found.threshold == pytest.approx(plain.threshold, rel=1e-9)


def test_what_a_recipe_allows_is_its_augmentation_of_single_images() -> None:
    single = AugmentationRecipe(shift=2, erase=0.5, trivial=0.5, random_ops=2, random_strength=0.3)
    recipe = Recipe(name="any", augmentation=replace(single, mixup=0.2, cutmix=1.0, fmix=1.0))
    assert allowed_changes(recipe) == Changes(single)
    assert allowed_changes(replace(recipe, mirror=True)).augmentation == replace(single, flip=True)


def test_where_training_teaches_no_class_the_energy_stands_for_the_boundary(tmp_path: Path) -> None:
    development, model = development_of_wedges()
    found = learn(model, development, Changes(by_class=ByClassRecipe(outliers=0.1)))
    seen = features(model, development.validation.images)
    logits = seen["logits"].double()
    energy = logits.mean(1) / 2 - logits.exp().sum(1).log()
    assert isinstance(found.boundary, Energy)
    assert found.boundary.centring == 0.5
    assert Energy.of(logits, centring=1.0).heights(logits + 3).mean().abs() < 1e-9, "centred, an offset does not count"
    standard = (energy - found.boundary.mean) / found.boundary.deviation
    expected = learning.largest_distances(found.layers, seen) + Energy.WEIGHT * standard
    assert torch.allclose(found.scores(seen), (expected / found.threshold).clamp(min=0))
    assert found.false_alarms < 0.15
    (tmp_path / "x.safetensors").write_bytes(run_detector.content(found))
    again = run_detector._from_plain(*checkpoint.read(tmp_path / "x.safetensors"))
    run_detector._check(again)
    assert torch.equal(again.scores(seen), found.scores(seen))


def test_extra_pictures_of_classes_are_accepted_and_those_of_none_are_not() -> None:
    """They are bright all over or striped, which no wedge is."""
    development, model = development_of_wedges()
    random = torch.Generator().manual_seed(3)
    bright = (200 + 55 * torch.rand(80, 1, 16, 16, generator=random)).to(torch.uint8)
    striped = bright.clone()
    striped[:, :, ::2] = 0
    even = torch.full((40, 2), 0.5)
    pictures = ExtraPictures(
        torch.cat([bright[:40], striped[:40]]), torch.cat([torch.tensor([[1.0, 0.0]]).expand(40, 2), even])
    )
    held_back = ExtraPictures(bright[40:], torch.tensor([[1.0, 0.0]]).expand(40, 2))
    kinds = [features(model, one) for one in (bright[40:], striped[40:])]
    before = learn(model, development)
    found = learn(model, replace(development, extra=Extra(pictures, held_back, "e" * 64)))
    shares = [(found.scores(kind) > 1).double().mean().item() for kind in kinds]
    assert (before.scores(kinds[0]) > 1).double().mean() > 0.9
    assert shares[0] < 0.06
    inside, outside = (found.boundary.heights(learning.joined(kind, ["dense", "maps"])) for kind in kinds)
    assert inside.max() < outside.min()
    assert {len(layer.means) for layer in found.layers} == {len(before.layers[0].means) + 1}


@pytest.mark.parametrize("labels", [torch.arange(40) // 20, torch.arange(40) % 2], ids=["sorted", "by turns"])
def test_each_half_holds_every_class(labels: torch.Tensor) -> None:
    for half in learning.halves(labels):
        assert labels[half].bincount().tolist() == [10, 10]


def test_every_class_is_learnt_though_the_files_are_sorted_by_class(
    finished_run: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "MOST_IMAGES", 100)
    monkeypatch.setattr(learning, "MOST_EXPOSED", 50)
    run = open_run(finished_run)
    model, _ = run.load_model()
    development = load_own_development(run, tiny_folder)
    train = development.train[development.train.labels.argsort(stable=True)]
    found = learn(model, replace(development, train=train, unlabelled=train.images))
    assert {len(layer.means) for layer in found.layers} == {len(development.class_names)}
    known = found.scores(features(model, train.images)) <= 1
    for label in range(len(development.class_names)):
        assert known[train.labels == label].double().mean() > 0.5


def degenerate(kind: str) -> Development:
    """Return a data set whose classes do not vary, or that leaves nothing to measure by."""
    random = torch.Generator().manual_seed(1)
    pictures = torch.randint(0, 256, (3, 1, 12, 12), generator=random, dtype=torch.uint8)
    labels = torch.arange(12) % 3
    copies = ImageSet(pictures[labels], labels)
    once = ImageSet(pictures, torch.arange(3))
    even = ImageSet(torch.full_like(copies.images, 7), labels)
    train, validation = {
        "copies": (copies, copies),
        "one image a class": (once, once),
        "a single validation image": (once, once[:1]),
        "constant pictures": (even, even),
        "a single image": (once[:1], once[:1]),
    }[kind]
    return Development("x", train, train.images, validation, ("a", "b", "c"), "f" * 64)


@pytest.mark.parametrize(
    "kind", ["copies", "one image a class", "a single validation image", "constant pictures", "a single image"]
)
@pytest.mark.parametrize("network", [MLPRecipe(), CNNRecipe(filters=(4, 6), pools=1, hidden=(8,))], ids=["mlp", "cnn"])
def test_images_that_do_not_vary_are_known_and_others_are_not(kind: str, network: ModelRecipe) -> None:
    development = degenerate(kind)
    task = Task(image_shape=(1, 12, 12), class_names=development.class_names, mean=0.5, deviation=0.3)
    model = build_model(network, task, seed=1).eval()
    found = learn(model, development)
    assert 0 <= found.false_alarms <= 1
    scores = found.scores(features(model, development.validation.images))
    assert scores.isfinite().all()
    assert (scores <= 1).all()
    other = torch.randint(0, 256, (9, 1, 12, 12), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
    others = found.scores(features(model, other))
    assert others.isfinite().all()
    if kind in ("copies", "constant pictures", "a single image"):
        assert (others > 1).all()


@pytest.fixture
def run_with_detector(exported_run: Path, tmp_path: Path) -> Path:
    """Folder of a run whose detector is stored, to be changed."""
    folder = Path(shutil.copytree(exported_run, tmp_path / "run"))
    assert run_detector.stored(open_run(folder))
    return folder


@pytest.fixture
def learned_by(run_with_detector: Path) -> Callable[[str], Path]:
    """Return a function that makes a run whose detector was learned by a method of an earlier version."""

    def make(method: str) -> Path:
        folder = run_with_detector
        tensors, plain = checkpoint.read(folder / run_detector.FILE)
        del plain["acceptance"]
        run_folder.keep(open_run(folder), {run_detector.FILE: checkpoint.to_bytes(tensors, plain | {"method": method})})
        return folder

    return make


@pytest.mark.parametrize("method", [run_detector.UNCHANGED_METHOD, run_detector.FIRST_METHOD])
def test_what_an_earlier_version_learnt_answers_until_its_images_are_at_hand(
    learned_by: Callable[[str], Path], tiny_folder: Path, method: str
) -> None:
    folder = learned_by(method)
    assert run_detector.stored(open_run(folder)) is None
    with pytest.raises(RunError, match=r"earlier version, for one rate only.*--data-folder FOLDER"):
        of_run(open_run(folder)).accepting(0.1)
    assert of_run(open_run(folder), tiny_folder).accepting(0.1)
    assert run_detector.stored(open_run(folder)), "and it is stored"


def test_what_an_earlier_version_learnt_of_sorted_files_does_not_answer(
    learned_by: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = learned_by(run_detector.FIRST_METHOD)
    monkeypatch.setattr(run_detector, "MOST_EXPOSED", 100)
    assert run_detector.stored(open_run(folder), earlier=True) is None
    with pytest.raises(DataError, match="--data-folder FOLDER"):
        of_run(open_run(folder))


def test_what_an_earlier_version_learnt_of_fashion_mnist_answers_where_that_is_missing(
    learned_by: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(learned_by(run_detector.UNCHANGED_METHOD))
    ours = replace(run, recipe=replace(run.recipe, data=replace(run.recipe.data, source="fashion-mnist")))
    asked = []

    def missing(run: Any, data_folder: Any) -> Development:
        asked.append(data_folder)
        raise DataError("not installed")

    monkeypatch.setattr(run_detector, "load_own_development", missing)
    assert of_run(ours).acceptance is None
    assert asked == [None]
    with pytest.raises(DataError, match="not installed"):
        of_run(ours, "elsewhere")


def test_the_recipes_own_folder_is_not_read_unasked(finished_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    run = open_run(finished_run)
    data = replace(run.recipe.data, source=str(tiny_folder))
    stranger = replace(run, recipe=replace(run.recipe, data=data))
    with pytest.raises(DataError, match="--data-folder FOLDER"):
        of_run(stranger)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("dense:whitening", lambda one: one * torch.nan),
        ("dense:whitening", lambda one: one[:5]),
        ("dense:means", lambda one: one[:, :5]),
        ("maps:means", lambda one: one.long()),
        ("boundary:weights", lambda one: one[:3]),
        ("boundary:bias", lambda one: one.repeat(2)),
        ("scales", lambda one: {}),
        ("scales", lambda one: dict.fromkeys(one, 0.0)),
        ("scales", lambda one: {**one, "elsewhere": 1.0}),
        ("threshold", lambda one: "1"),
        ("threshold", lambda one: float("nan")),
        ("false_alarms", lambda one: None),
        ("images", lambda one: 0.5),
        ("acceptance", lambda one: one[::-1]),
        ("acceptance", lambda one: "none"),
    ],
)
def test_a_file_of_other_numbers_is_refused_in_one_line(
    run_with_detector: Path, name: str, change: Callable[[Any], Any]
) -> None:
    folder = run_with_detector
    tensors, plain = checkpoint.read(folder / run_detector.FILE)
    part = tensors if name in tensors else plain
    part[name] = change(part[name])
    run_folder.keep(open_run(folder), {run_detector.FILE: checkpoint.to_bytes(tensors, plain)})
    with pytest.raises(RunError, match="damaged or of another kind"):
        of_run(open_run(folder))


def test_a_file_of_another_network_is_refused(run_with_detector: Path) -> None:
    folder = run_with_detector
    found = of_run(open_run(folder))
    dense = next(layer for layer in found.layers if layer.name == "dense")
    rest = {name: getattr(found.boundary, name)[: len(dense.whitening)] for name in ("centre", "spread", "weights")}
    boundary = replace(found.boundary, **rest)
    for name in ("elsewhere", "logits"):
        other = replace(found, layers=(replace(dense, name=name),), boundary=boundary)
        run_folder.keep(open_run(folder), {run_detector.FILE: run_detector.content(other)})
        with pytest.raises(RunError, match="of another network"):
            of_run(open_run(folder))
        with pytest.raises(RunError, match="of another network"):
            Predictor.load(folder, device="cpu").with_novelty(folder)


def test_a_predictor_loads_no_second_network_for_a_stored_detector(
    run_with_detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_with_detector
    learned = of_run(open_run(folder))
    predictor = Predictor.load(folder, device="cpu")
    monkeypatch.delattr(run_folder.Run, "load_model")
    found = predictor.with_novelty(folder).novelty
    assert found is not None
    assert found.threshold == learned.threshold


def test_features_are_of_each_image(finished_run: Path, tiny_folder: Path) -> None:
    run = open_run(finished_run)
    model, _ = run.load_model()
    images = load_own_development(run, tiny_folder).validation.images
    together = features(model, images)
    assert {place: len(one) for place, one in together.items()} == dict.fromkeys(
        ("maps", "dense", "logits"), len(images)
    )
    alone = features(model, images[5:6])
    for place, whole in together.items():
        assert_rounded(alone[place][0], whole[5], model)


def test_what_is_seen_is_of_the_images_not_of_their_mirror_images(finished_run: Path, tiny_folder: Path) -> None:
    run = open_run(finished_run)
    model, _ = run.load_model()
    images = load_own_development(run, tiny_folder).validation.images[:9]
    plain = features(model, images)
    with torch.inference_mode(), watched(model) as seen:
        answer(model, as_floats(images), Views(mirror=True))
    for place, one in plain.items():
        assert_rounded(seen[place], one, model)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("name", other_things.MAKERS)
def test_other_things_are_pictures_that_differ(name: str) -> None:
    random = np.random.default_rng(0)
    first, second = (other_things.MAKERS[name](random) for _ in range(2))
    assert first.shape == (other_things.SIDE, other_things.SIDE)
    assert not np.array_equal(first, second)


def test_what_is_computed_is_announced_once(finished_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    run = open_run(shutil.copytree(finished_run, tmp_path / "run"))
    lines: list[str] = []
    for _ in range(2):
        of_run(run, tiny_folder, announce=lines.append)
        run = open_run(run.folder)
    (line,) = lines
    assert re.fullmatch(r".*run: computing once how [\d,]+ images look to the network, .*; about [\d,]+ s", line)
