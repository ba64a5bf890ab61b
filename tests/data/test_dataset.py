"""Tensors from files, and a division that is fair, fixed and complete."""

import contextlib
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from idx_files import IMAGES

from modiste.data.dataset import Development, as_image_set, load_development, mean_and_deviation
from modiste.data.idx import idx_source
from modiste.data.split import split_indices
from modiste.errors import DataError
from modiste.recipes import named
from modiste.recipes.recipe import DataRecipe
from modiste.training.setup import describe_task


@pytest.fixture(scope="module")
def fashion(real_files: dict[str, Path]) -> Development:
    return load_development(folder=real_files[IMAGES].parent)


def test_fashion_mnist_is_divided_evenly(fashion: Development) -> None:
    assert torch.bincount(fashion.train.labels).tolist() == [5_000] * 10
    assert torch.bincount(fashion.validation.labels).tolist() == [1_000] * 10
    assert fashion.train.images.shape == (50_000, 1, 28, 28)
    assert fashion.validation.images.shape == (10_000, 1, 28, 28)
    assert fashion.train.images.dtype == torch.uint8
    assert fashion.image_shape == (1, 28, 28)
    assert fashion.class_names[7] == "Sneaker"


def test_the_paper_takes_the_last_ten_thousand(real_files: dict[str, Path]) -> None:
    recipe, folder = DataRecipe(split="last"), real_files[IMAGES].parent
    raw, development = idx_source.load_training("fashion-mnist", folder), load_development(recipe, folder)
    assert np.array_equal(development.train.images.squeeze(1).numpy(), raw.images[:50_000])
    assert np.array_equal(development.validation.images.squeeze(1).numpy(), raw.images[50_000:])
    assert np.array_equal(development.validation.labels.numpy(), raw.labels[50_000:])


def test_mean_and_deviation_of_fashion_mnist(fashion: Development, real_files: dict[str, Path]) -> None:
    raw = idx_source.load_training("fashion-mnist", real_files[IMAGES].parent)
    mean, deviation = mean_and_deviation(as_image_set(raw).images)
    assert (round(mean, 4), round(deviation, 4)) == (0.2860, 0.3530)
    pixels = fashion.train.images.numpy()
    assert mean_and_deviation(fashion.train.images) == pytest.approx(
        (pixels.mean(dtype=np.float64) / 255, pixels.std(dtype=np.float64) / 255), rel=1e-9
    )


def test_mean_and_deviation_of_few_pixels() -> None:
    draw = np.random.default_rng(3).integers(0, 256, (5, 2, 3, 4), dtype=np.uint8)
    expected = (draw.astype(np.float64) / 255).mean(), (draw.astype(np.float64) / 255).std()
    assert mean_and_deviation(torch.from_numpy(draw)) == pytest.approx(expected, rel=1e-12)
    assert mean_and_deviation(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)) == (1.0, 0.0)


LABEL_SETS = {
    "even": torch.arange(600) % 10,
    "skewed": torch.cat([torch.full((size,), label) for label, size in enumerate((500, 60, 7, 2, 1))]),
    "one class": torch.zeros(50, dtype=torch.long),
    "a gap": torch.tensor([0, 2] * 40),
}


@pytest.mark.parametrize("split", ["stratified", "last"])
@pytest.mark.parametrize("fraction", [1 / 6, 0.5, 0.02, 0.97])
@pytest.mark.parametrize("labels", LABEL_SETS.values(), ids=LABEL_SETS)
class TestDivision:
    def test_every_image_lies_on_one_side(self, labels: torch.Tensor, fraction: float, split: str) -> None:
        train, validation = split_indices(labels, DataRecipe(split=split, validation_fraction=fraction))  # type: ignore[arg-type]
        assert len(validation) == round(len(labels) * fraction)
        assert torch.equal(torch.cat([train, validation]).sort().values, torch.arange(len(labels)))
        assert torch.equal(train, train.sort().values)
        assert torch.equal(validation, validation.sort().values)

    def test_shares_are_in_proportion_or_the_end_is_taken(
        self, labels: torch.Tensor, fraction: float, split: str
    ) -> None:
        recipe = DataRecipe(split=split, validation_fraction=fraction)  # type: ignore[arg-type]
        _, validation = split_indices(labels, recipe)
        if split == "last":
            assert torch.equal(validation, torch.arange(len(labels))[-len(validation) :])
            return
        sizes = torch.bincount(labels).double()
        held_out = torch.bincount(labels[validation], minlength=len(sizes))
        exact = sizes * len(validation) / len(labels)
        assert (held_out - exact).abs().max() < 1
        assert (held_out <= sizes).all()


def test_the_split_seed_decides_the_stratified_split_alone() -> None:
    labels = LABEL_SETS["even"]
    one, same, other = (split_indices(labels, DataRecipe(split_seed=seed))[1] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    last = [split_indices(labels, DataRecipe(split="last", split_seed=seed))[1] for seed in (0, 1)]
    assert torch.equal(*last)


def test_a_share_of_no_image_is_refused() -> None:
    for fraction in (0.01, 0.99):
        with pytest.raises(
            DataError, match=r"10 images cannot give a validation share of 0\.\d+; .*validation-fraction"
        ):
            split_indices(torch.arange(10), DataRecipe(validation_fraction=fraction))


def test_small_set_from_a_folder(tiny_folder: Path) -> None:
    recipe = DataRecipe(source="tiny", validation_fraction=1 / 6)
    development = load_development(recipe, tiny_folder)
    assert (len(development.train), len(development.validation)) == (400, 80)
    assert development.class_names == ("0", "1", "2", "3", "4")
    assert development.image_shape == (1, 12, 12)
    raw = idx_source.load_training("tiny", tiny_folder)
    assert development.fingerprint == raw.fingerprint
    train, _ = split_indices(torch.from_numpy(raw.labels.astype(np.int64)), recipe)
    assert np.array_equal(development.train.images.squeeze(1).numpy(), raw.images[train.numpy()])
    assert np.array_equal(development.train.labels.numpy(), raw.labels[train.numpy()])
    assert development.to(torch.device("cpu")).class_names == development.class_names


def test_the_task_is_measured_on_training_images_alone(tiny_folder: Path) -> None:
    development = load_development(DataRecipe(source="tiny"), tiny_folder)
    task = describe_task(development, replace(named.paper(), standardize=True))
    assert (task.mean, task.deviation) == mean_and_deviation(development.train.images)
    assert (task.mean, task.deviation) != mean_and_deviation(development.validation.images)
    plain = describe_task(development, named.paper())
    assert (plain.mean, plain.deviation) == (0.0, 1.0)


def test_few_images_of_each_class_and_fewer_within_more(tiny_folder: Path) -> None:
    whole = load_development(DataRecipe(source="tiny"), tiny_folder)
    more, fewer = (
        load_development(DataRecipe(source="tiny", images_per_class=count), tiny_folder) for count in (20, 5)
    )
    assert torch.bincount(more.train.labels).tolist() == [20] * 5
    assert torch.bincount(fewer.train.labels).tolist() == [5] * 5
    assert torch.equal(more.validation.images, whole.validation.images)

    def images(development: Development) -> set[bytes]:
        return {image.numpy().tobytes() for image in development.train.images}

    assert images(fewer) < images(more) < images(whole)


def test_the_subset_seed_moves_the_few_and_nothing_else(tiny_folder: Path) -> None:
    one, same, other = (
        load_development(DataRecipe(source="tiny", images_per_class=20, subset_seed=seed), tiny_folder)
        for seed in (0, 0, 1)
    )
    assert torch.equal(one.train.images, same.train.images)
    assert not torch.equal(one.train.images, other.train.images)
    assert torch.equal(one.validation.images, other.validation.images)


@pytest.mark.parametrize(("few", "repeats"), [(0, 1), (0, 3), (20, 1), (40, 2)])
def test_every_image_that_is_not_held_out_is_there_without_its_label(few: int, repeats: int, tiny_folder: Path) -> None:
    whole = load_development(DataRecipe(source="tiny"), tiny_folder)
    development = load_development(DataRecipe(source="tiny", images_per_class=few, repeats=repeats), tiny_folder)
    assert torch.equal(development.unlabelled, whole.train.images)
    assert len(development.train) == (few * 5 or 400) * repeats
    assert set(torch.unique(development.train.images, dim=0, return_counts=True)[1].tolist()) == {repeats}
    moved = development.to(torch.device("cpu"))
    assert (moved.unlabelled is moved.train.images) == ((few, repeats) == (0, 1))


def test_more_images_of_a_class_than_there_are(tiny_folder: Path) -> None:
    with pytest.raises(DataError, match=r"expected 999 training images of class 0, found \d+; choose a smaller"):
        load_development(DataRecipe(source="tiny", images_per_class=999), tiny_folder)


def reading_threads(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """Return the threads in which Fashion-MNIST's training files are searched from now on."""
    threads, find = [], idx_source.find_published

    def noted(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return find(*arguments)

    monkeypatch.setattr(idx_source, "find_published", noted)
    return threads


def test_files_are_read_ahead_once(real_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, threads = real_files[IMAGES].parent, reading_threads(monkeypatch)
    with idx_source.reading_ahead("fashion-mnist", folder):
        ahead = idx_source.load_training("fashion-mnist", folder)
        assert [thread is threading.main_thread() for thread in threads] == [False]
        again = idx_source.load_training("fashion-mnist", folder)
    assert [thread is threading.main_thread() for thread in threads] == [False, True]
    assert ahead.fingerprint == again.fingerprint
    assert np.array_equal(ahead.images, again.images)


def test_files_read_ahead_for_nothing_are_forgotten(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = reading_threads(monkeypatch)
    with idx_source.reading_ahead("fashion-mnist", nowhere):
        pass
    with pytest.raises(DataError, match="no Fashion-MNIST in it"):
        idx_source.load_training("fashion-mnist", nowhere)
    assert threads[-1] is threading.main_thread()


def test_a_fault_in_files_read_ahead_is_the_usual_one(nowhere: Path) -> None:
    (nowhere / IMAGES).write_bytes(b"no images")
    faults = []
    for block in (idx_source.reading_ahead("fashion-mnist", nowhere), contextlib.nullcontext()):
        with block, pytest.raises(DataError) as fault:
            idx_source.load_training("fashion-mnist", nowhere)
        faults.append(str(fault.value))
    assert faults[0] == faults[1]


def test_another_set_is_not_read_ahead(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = reading_threads(monkeypatch)
    with idx_source.reading_ahead(str(tiny_folder)):
        assert len(idx_source.load_training(str(tiny_folder)).images)
    assert not threads
