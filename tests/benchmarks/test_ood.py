"""Detection of out-of-distribution images: the measures agree with scikit-learn's, and the scores tell what is odd."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from idx_files import IMAGES, LABELS, TEST_IMAGES, TEST_LABELS, idx, write
from PIL import Image

import modiste
from commands_and_data import SIDE, TEST_COUNT, tiny_files
from modiste.benchmarks import ood
from modiste.benchmarks.ood import (
    auroc,
    auroc_interval,
    average_precision,
    false_positive_rate,
)
from modiste.benchmarks.result import Benchmark
from modiste.benchmarks.subjects import open_subjects
from modiste.errors import DataError
from modiste.evaluation.out_of_distribution import novelty
from modiste.evaluation.out_of_distribution.novelty import Layer
from modiste.evaluation.statistics import wilson_interval
from modiste.recipes.recipe import DataRecipe

every_draw = pytest.mark.parametrize("levels", [4, 50, 10**9], ids=["many ties", "some ties", "no ties"])


def draws(levels: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = np.random.RandomState(seed)
    inside, outside = numbers.randint(0, levels, 300), numbers.randint(levels // 4, levels, 170)
    return torch.from_numpy(inside).double(), torch.from_numpy(outside).double()


@every_draw
def test_the_areas_are_those_of_scikit_learn(levels: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    inside, outside = draws(levels)
    truth, scores = np.repeat([0, 1], [300, 170]), torch.cat([inside, outside]).numpy()
    assert auroc(inside, outside) == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-12)
    assert average_precision(inside, outside) == pytest.approx(
        metrics.average_precision_score(truth, scores), abs=1e-12
    )


@every_draw
def test_the_rate_is_read_from_scikit_learns_curve(levels: int) -> None:
    """The images of the classes are what is accepted: their scores turned round, they are the positive ones."""
    metrics = pytest.importorskip("sklearn.metrics")
    inside, outside = draws(levels)
    truth, scores = np.repeat([1, 0], [300, 170]), -torch.cat([inside, outside]).numpy()
    false, true, _ = metrics.roc_curve(truth, scores, drop_intermediate=False)
    assert false_positive_rate(inside, outside) == pytest.approx(false[true >= 0.95][0], abs=1e-12)


def test_the_interval_covers_the_area_of_normal_scores() -> None:
    """Two normal laws a deviation of the square root of two apart have the area of one deviation, 84.13 %."""
    hits = 0
    for seed in range(200):
        numbers = np.random.RandomState(seed)
        inside, outside = numbers.standard_normal(150), numbers.standard_normal(100) + 2**0.5
        low, high = auroc_interval(torch.from_numpy(inside), torch.from_numpy(outside))
        hits += low <= 0.8413447 <= high
    assert 183 <= hits <= 197  # 190 expected, with a standard deviation of 3


@pytest.mark.parametrize(("below", "above"), [(3, 20), (20, 3), (1, 1), (9, 1)])
def test_sets_that_are_apart_leave_doubt_the_more_the_fewer_they_are(below: int, above: int) -> None:
    """The variance is 0 then: it once said that three images show an area of 100 % to 100 %."""
    inside, outside = torch.arange(below).double(), 100 + torch.arange(above).double()
    assert ood.auroc_interval(inside, outside) == wilson_interval(min(below, above), min(below, above))
    low, high = ood.auroc_interval(torch.zeros(below), torch.zeros(above))  # all scores are equal
    assert low <= 0.5 <= high
    low, high = ood.auroc_interval(torch.tensor([0.0, 2.0, 3.0]), torch.tensor([1.0]))
    assert low <= 1 / 3 <= high


def test_sets_that_are_made_here_are_the_same_again_and_differ() -> None:
    like = torch.zeros(5, 3, 12, 10, dtype=torch.uint8)
    found = ood.other_images(like, (), DataRecipe())
    assert list(found) == ["noise", "textures", "checks"]
    again = ood.other_images(like[:3], (), DataRecipe())
    for name, images in found.items():
        assert images.shape == like.shape
        assert images[:3].equal(again[name])
        assert images.float().std() > 10
        assert not images[0].equal(images[1])


def test_sets_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [str(write(tmp_path / name, tiny_files(seed=8))) for name in ("one/data", "other/data")]
    like = torch.zeros(2, 1, SIDE, SIDE, dtype=torch.uint8)
    assert list(ood.other_images(like, tuple(paths), DataRecipe())) == [*paths, *ood.MADE]
    assert list(ood.other_images(like, tuple(paths[:1]), DataRecipe())) == ["data", *ood.MADE]


def test_a_set_that_is_called_as_one_made_here_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The noise made here once took the place of a folder of that name."""
    write(tmp_path / "noise", tiny_files(seed=8))
    monkeypatch.chdir(tmp_path)
    like = torch.zeros(2, 1, SIDE, SIDE, dtype=torch.uint8)
    found = ood.other_images(like, ("noise",), DataRecipe())
    assert list(found) == ["./noise", *ood.MADE]
    assert len(found["./noise"]) == TEST_COUNT


def layouts(folder: Path, images: np.ndarray) -> dict[str, str]:
    """The same images in the layouts of MNIST (IDX), KMNIST (.npz), notMNIST (pictures), EMNIST (IDX) and as CSV."""
    labels, letters = np.arange(len(images)) % 3, folder / "notmnist"
    both = {IMAGES: idx(images), LABELS: idx(labels), TEST_IMAGES: idx(images), TEST_LABELS: idx(labels)}
    write(folder / "mnist", both)
    stem = "emnist-letters-"
    turned, numbered = idx(images.swapaxes(1, 2)), idx(labels + 1)  # rows and columns exchanged, classes from 1
    for part in ("train", "test"):
        write(
            folder / "emnist", {f"{stem}{part}-images-idx3-ubyte": turned, f"{stem}{part}-labels-idx1-ubyte": numbered}
        )
        np.savez(folder / f"kmnist-{part}-imgs.npz", images)
        np.savez(folder / f"kmnist-{part}-labels.npz", labels)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = letters / "ABC"[label] / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    rows = np.column_stack([labels, images.reshape(len(images), -1)])
    first = ",".join(["label", *(f"pixel{number}" for number in range(images[0].size))])
    np.savetxt(folder / "pixels.csv", rows, "%d", delimiter=",", header=first, comments="")
    short = {"kmnist": "kmnist-test-imgs.npz", "csv": "pixels.csv"}
    return {name: str(folder / short.get(name, name)) for name in ("mnist", "kmnist", "notmnist", "emnist", "csv")}


def test_sets_of_the_usual_layouts_are_read_as_they_are(tmp_path: Path) -> None:
    images = np.random.RandomState(0).randint(0, 256, (30, 28, 28)).astype(np.uint8)
    like = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    expected = {image.tobytes() for image in images}
    for name, path in layouts(tmp_path, images).items():
        found = next(iter(ood.other_images(like, (path,), ood.whole_pictures(like)).values()))[:, 0].numpy()
        upright = found.swapaxes(1, 2) if name == "emnist" else found
        assert {np.ascontiguousarray(image).tobytes() for image in upright} == expected, name


def test_baselines_find_features_far_away() -> None:
    numbers = torch.from_numpy(np.random.RandomState(0).standard_normal((300, 6))).float()
    labels = torch.arange(200) % 2
    known = {"logits": numbers[:200, :2], "dense": numbers[:200] + 4 * labels[:, None]}
    near = {"logits": numbers[200:, :2], "dense": numbers[200:]}
    far = {"logits": numbers[200:, :2] * 0.01, "dense": numbers[200:] * torch.tensor([1, 1, -1, 1, 1, 1]) - 9}
    inside, outside = (ood.baselines(one, known, labels) for one in (near, far))
    for name in inside:
        assert auroc(inside[name], outside[name]) > 0.55, name
    assert auroc(inside["Mahalanobis"], outside["Mahalanobis"]) > 0.99


def test_mahalanobis_is_the_formula() -> None:
    numbers = torch.from_numpy(np.random.RandomState(1).standard_normal((60, 3)))
    labels, seen = torch.arange(60) % 3, numbers[:5] * 2
    means = torch.stack([numbers[labels == label].mean(0) for label in range(3)])
    away = numbers - means[labels]
    covariance = away.T @ away / 60
    covariance += ood.SHRINKAGE * covariance.diagonal().mean() * torch.eye(3)
    expected = [min(float((x - m) @ torch.linalg.inv(covariance) @ (x - m)) for m in means) for x in seen]
    assert ood._mahalanobis(seen, numbers, labels).tolist() == pytest.approx(expected, rel=1e-9)


def test_a_run_against_a_set_of_ones_own(finished_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "others", tiny_files(seed=8))
    run = shutil.copytree(finished_run, tmp_path / "run")  # it gets a detector
    found = modiste.benchmark(
        "ood", run, split="validation", against=(str(other),), data_folder=tiny_folder, device="cpu"
    )
    assert set(found.settings) == {"others", "noise", "textures", "checks"}
    [row] = found.runs
    for scores in row.details["by_set"].values():
        assert list(scores) == ["in use", "largest probability", "energy", "Mahalanobis", "nearest neighbours"]
        for one in scores.values():
            assert all(0 <= value <= 1 for value in one.values())
            assert one["auroc_low"] <= one["auroc"] <= one["auroc_high"]
    assert row.figures["AUROC, noise"].value == row.details["by_set"]["noise"]["in use"]["auroc"] > 0.7


def test_distances_are_from_each_training_image_once(
    finished_run: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that an epoch shows several times once took the places of others, and were their own neighbours."""
    subjects = open_subjects([finished_run], "validation", device="cpu", data_folder=tiny_folder)
    [run] = subjects.found.runs
    often = replace(run, recipe=replace(run.recipe, data=replace(run.recipe.data, repeats=3)))
    layer = Layer("logits", torch.zeros(1, 5), torch.eye(5), 1.0)
    detector = SimpleNamespace(scores=lambda seen: torch.zeros(len(seen["logits"])), layers=[layer])
    seen = list[torch.Tensor]()
    monkeypatch.setattr(ood.run_detector, "of_run", lambda *_: detector)
    monkeypatch.setattr(ood, "baselines", lambda _, known, labels: seen.append(known["logits"]) or {})
    for one in (run, often):
        ood._of_run(replace(subjects, found=replace(subjects.found, runs=(one,))), 0, {})
    assert seen[0].equal(seen[1])


def test_distances_of_a_set_are_computed_for_a_few_images_at_a_time(
    finished_run: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For ten thousand images and a thousand classes, all at once took many gigabytes."""
    run, compute, counts = shutil.copytree(finished_run, tmp_path / "run"), Layer.distances, list[int]()

    def counted(layer: Layer, seen: torch.Tensor) -> torch.Tensor:
        counts.append(len(seen) * layer.means.numel())
        return compute(layer, seen)

    def measure() -> Benchmark:
        return modiste.benchmark("ood", run, split="validation", data_folder=tiny_folder, device="cpu")

    whole, most = measure(), 2_000
    monkeypatch.setattr(novelty, "MOST_DIFFERENCES", most)
    monkeypatch.setattr(Layer, "distances", counted)
    found = measure()
    assert max(counts) <= most
    for name, figure in whole.runs[0].figures.items():
        assert found.runs[0].figures[name].value == pytest.approx(figure.value, abs=0.01)


def test_a_set_is_loaded_once(
    finished_run: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(write(tmp_path / name, tiny_files(seed=8))) for name in ("one", "other")]
    run, load, loaded = shutil.copytree(finished_run, tmp_path / "run"), ood.load_images, list[str]()

    def noted(path: str, recipe: DataRecipe) -> torch.Tensor:
        loaded.append(path)
        return load(path, recipe)

    monkeypatch.setattr(ood, "load_images", noted)
    keywords = {"split": "validation", "against": paths, "data_folder": tiny_folder, "device": "cpu"}
    found = modiste.benchmark("ood", run, **keywords)  # type: ignore[arg-type]
    assert loaded == paths
    assert set(found.settings) == {"one", "other", *ood.MADE}


def test_another_size_is_refused(finished_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    files = {IMAGES: idx(np.zeros((60, 9, 9))), LABELS: idx(np.arange(60) % 2)}
    tests = {TEST_IMAGES: files[IMAGES], TEST_LABELS: files[LABELS]}
    other = write(tmp_path / "small", {**files, **tests})
    run = shutil.copytree(finished_run, tmp_path / "run")
    with pytest.raises(DataError, match=rf"small: expected images of \(1, {SIDE}, {SIDE}\).*found \(1, 9, 9\)"):
        modiste.benchmark("ood", run, split="validation", against=(str(other),), data_folder=tiny_folder, device="cpu")
