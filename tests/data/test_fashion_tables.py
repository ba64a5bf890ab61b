"""Fashion-MNIST in the layouts of others is recognised by its content, and keeps its split and its test images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from table_files import write_keras

from modiste.data import held_out
from modiste.data.dataset import Development, development_of, load_development
from modiste.data.idx import idx_source
from modiste.evaluation.assessment import evaluate
from modiste.recipes import named
from modiste.recipes.recipe import DataRecipe
from modiste.runs import checkpoint
from modiste.runs.run_folder import open_run
from modiste.training import trainer

HUGGING_FACE = ("T - shirt / top", *idx_source.CLASS_NAMES[1:])
Parts = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def real() -> Parts:
    train, test = idx_source.load_training("fashion-mnist"), held_out.load_held_out("fashion-mnist")
    return (train.images, train.labels), (test.images, test.labels)


@pytest.fixture(scope="module")
def published() -> Development:
    return load_development(DataRecipe())


def check(found: Development, published: Development) -> None:
    assert found.name == "fashion-mnist"
    assert found.class_names == idx_source.CLASS_NAMES
    assert found.fingerprint == published.fingerprint
    for part in ("train", "validation"):
        assert torch.equal(getattr(found, part).images, getattr(published, part).images)
        assert torch.equal(getattr(found, part).labels, getattr(published, part).labels)


def test_keras(real: Parts, published: Development, tmp_path: Path) -> None:
    path = write_keras(tmp_path, *real)
    recipe = DataRecipe(source=str(path))
    check(load_development(recipe), published)
    assert held_out.load_test(recipe).identity() == held_out.load_test(DataRecipe()).identity()


def write_numpy(folder: Path, real: Parts) -> Path:
    """The file of Keras, which has no writer of its own: its published .npz files are NumPy's."""
    return write_keras(folder, *real)


def write_pandas(folder: Path, real: Parts) -> Path:
    """The two CSV files of Kaggle, by pandas."""
    names = [f"pixel{number}" for number in range(1, 785)]
    for part, (images, labels) in zip(("train", "test"), real, strict=True):
        frame = pandas.DataFrame(images.reshape(len(images), -1), columns=names)
        frame.insert(0, "label", labels)
        frame.to_csv(folder / f"fashion-mnist_{part}.csv", index=False)
    return folder


def write_hugging_face(folder: Path, real: Parts) -> Path:
    """Two parquet files, by Hugging Face's own library."""
    import datasets  # takes seconds

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=HUGGING_FACE)})
    for part, (images, labels) in zip(("train", "test"), real, strict=True):
        columns = {"image": [Image.fromarray(image) for image in images], "label": labels.tolist()}
        table = datasets.Dataset.from_dict(columns, features=features)
        table.to_parquet(folder / f"{part}-00000-of-00001.parquet")
    return folder


WRITERS = {"NumPy": write_numpy, "pandas": write_pandas, "Hugging Face": write_hugging_face}


def result_of(source: str, out: Path) -> tuple[str, float, dict[str, torch.Tensor]]:
    """Train ``sprint`` for five steps: return the fingerprint of the data, the test accuracy, and all logits."""
    sprint = named.get("sprint")
    recipe = replace(sprint, data=replace(sprint.data, source=source, images_per_class=32))
    trainer.train(recipe, out, device="cpu")
    accuracy = evaluate(out, split="test", device="cpu").accuracy
    files = {split: out / f"{split}-logits.safetensors" for split in ("validation", "test")}
    logits = {split: checkpoint.read(path)[0]["logits"] for split, path in files.items()}
    return open_run(out).load_info().fingerprint, accuracy, logits


@pytest.fixture(scope="module")
def published_result(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float, dict[str, torch.Tensor]]:
    """That of the published IDX files."""
    return result_of("fashion-mnist", tmp_path_factory.mktemp("published") / "run")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("library", WRITERS)
def test_files_of_other_libraries_give_the_same_logits(
    library: str, real: Parts, published_result: tuple[str, float, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    """The published split and test images, and the same accuracy to the last bit."""
    (tmp_path / "data").mkdir()
    source = WRITERS[library](tmp_path / "data", real)
    fingerprint, accuracy, logits = result_of(str(source), tmp_path / "run")
    assert (fingerprint, accuracy) == published_result[:2]
    for split, published in published_result[2].items():
        assert len(published) == 10_000
        assert torch.equal(logits[split], published), split


def test_arrays_in_every_disguise(real: Parts, published: Development) -> None:
    (images, labels), test = real
    names = np.array(HUGGING_FACE)
    check(development_of((images.reshape(60_000, 784), names[labels])), published)
    check(development_of((images, labels.astype(str).astype(object))), published)
    check(development_of((images[..., None], labels + 1)), published)
    everything = np.concatenate([images, test[0]]), np.concatenate([labels, test[1]])
    check(development_of(everything), published)
    for data in (everything, (images, labels), ((images, labels), test)):
        assert held_out.test_of(data).identity() == held_out.load_test(DataRecipe()).identity()


def test_another_order_is_put_right_where_this_machine_has_a_copy(
    real: Parts, published: Development, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images, labels), _ = real
    order = np.random.default_rng(0).permutation(60_000)
    found = development_of((images[order], labels[order]))
    check(found, published)
    assert any("another order" in note for note in found.notes)
    monkeypatch.setattr("modiste.data.tables.contents.find_published", lambda _: (None, ()))
    alone = development_of((images[order], labels[order]))
    assert alone.name == "arrays"
    assert any("Fashion-MNIST" in note for note in alone.notes)


def test_a_changed_pixel_or_label_is_other_data(real: Parts) -> None:
    (images, labels), test = real
    other = images.copy()
    other[7, 7, 7] ^= 1
    swapped = labels.copy()
    swapped[:2] = swapped[1::-1]
    for data in (((other, labels), test), ((images, swapped), test)):
        found = development_of(data)
        assert found.name == "arrays"
        assert len(found.train) == 50_000
