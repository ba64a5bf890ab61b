"""Fashion-MNIST in the layouts of others is recognised by its content, and keeps its split and its test images."""

from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from table_files import picture_table, write_keras

from modiste.data import held_out
from modiste.data.dataset import Development, development_of, load_development
from modiste.data.idx import idx_source
from modiste.recipes.recipe import DataRecipe

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


@pytest.mark.slow
def test_kaggle(real: Parts, published: Development, tmp_path: Path) -> None:
    names = ",".join(["label", *(f"pixel{number}" for number in range(1, 785))])
    for part, (images, labels) in zip(("train", "test"), real, strict=True):
        rows = np.column_stack([labels, images.reshape(len(images), -1)])
        text = "\n".join([names, *(",".join(map(str, row)) for row in rows.tolist())]) + "\n"
        (tmp_path / f"fashion-mnist_{part}.csv").write_text(text)
    recipe = DataRecipe(source=str(tmp_path))
    check(load_development(recipe), published)
    assert held_out.load_test(recipe).identity() == held_out.load_test(DataRecipe()).identity()


@pytest.mark.slow
def test_hugging_face(real: Parts, published: Development, tmp_path: Path) -> None:
    for part, both in zip(("train", "test"), real, strict=True):
        table = picture_table(both, HUGGING_FACE)
        pyarrow.parquet.write_table(table, tmp_path / f"{part}-00000-of-00001.parquet")
    recipe = DataRecipe(source=str(tmp_path))
    check(load_development(recipe), published)
    assert held_out.load_test(recipe).identity() == held_out.load_test(DataRecipe()).identity()


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
