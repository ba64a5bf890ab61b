"""Sets of EMNIST's kind, from the file to the exported model: 26 and 62 classes, labels from 1, transposed images."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from idx_files import idx, packed, write
from table_files import Part, write_keras

import modiste
from commands_and_data import write_pictures
from fault_counter import slow_case
from modiste.cli.main import main
from modiste.data import held_out
from modiste.data.dataset import as_image_set, load_development
from modiste.errors import DataError
from modiste.inference.answers import answers, find_pictures
from modiste.inference.onnx_model import OnnxModel
from modiste.recipes.recipe import DataRecipe

LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def made(classes: int, shape: tuple[int, ...], each: int, seed: int) -> Part:
    """Upright images, ``each`` of every class: a pattern of its own under noise; and labels from 0."""
    patterns = np.random.RandomState(classes).randint(0, 200, (classes, *shape))
    labels = np.arange(each * classes) % classes
    noise = np.random.RandomState(seed).randint(0, 56, (len(labels), *shape))
    return (patterns[labels] + noise).astype(np.uint8), labels


def as_stored(part: Part) -> Part:
    """Images and labels as EMNIST's letters are stored: transposed, from 1."""
    return part[0].swapaxes(-1, -2), part[1] + 1


def write_letters(folder: Path, train: Part, test: Part) -> Path:
    """The IDX files of EMNIST's letters, compressed, and the names of the classes."""
    write(folder, {"classes.txt": "\n".join(LETTERS).encode()})
    for name, (images, labels) in (("train", as_stored(train)), ("test", as_stored(test))):
        files = {"images-idx3": images, "labels-idx1": labels}
        write(folder, {f"emnist-letters-{name}-{key}-ubyte.gz": packed(idx(array)) for key, array in files.items()})
    return folder


def write_arrays(folder: Path, train: Part, test: Part) -> Path:
    return write_keras(folder, as_stored(train), as_stored(test))


CASES = [
    pytest.param(write_letters, 26, (28, 28), LETTERS, id="letters"),
    slow_case(write_arrays, 26, (14, 14), tuple(map(str, range(1, 27))), id="14 x 14"),
    slow_case(write_arrays, 62, (3, 64, 64), tuple(map(str, range(1, 63))), id="62 classes, 64 x 64, colour"),
]


@pytest.mark.parametrize(("store", "classes", "shape", "names"), CASES)
def test_from_the_file_to_the_exported_model(
    store: Callable[[Path, Part, Part], Path],
    classes: int,
    shape: tuple[int, ...],
    names: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    train, test = made(classes, shape, 18, seed=1), made(classes, shape, 2, seed=2)
    (tmp_path / "data").mkdir()
    source, folder = store(tmp_path / "data", train, test), tmp_path / "run"
    flags = ["--data.source", source, "--data.transpose", "--epochs", 2, "--precision", "float32"]
    main(list(map(str, ["train", "sprint", *flags, "--out", folder, "--quiet"])))
    capsys.readouterr()
    main(["evaluate", str(folder), "--split", "test", "--json"])
    measured = json.loads(capsys.readouterr().out)
    assert tuple(measured["per_class"]) == names
    assert measured["images"] == 2 * classes
    assert measured["accuracy"] > 0.8

    run = modiste.Run.open(folder)
    upright = as_image_set(held_out.load_labelled(test, DataRecipe())).images.numpy()
    expected = run.predictor().names(upright)
    assert measured["accuracy"] == np.mean(
        [name == names[label] for name, label in zip(expected, test[1], strict=True)]
    )
    path = tmp_path / "new-images-idx3-ubyte"
    if len(shape) == 2:  # an IDX file holds grey images
        path.write_bytes(idx(as_stored(test)[0]))
        assert [one.nearest for one in modiste.predict(run, path)] == expected
        assert "images of none of the classes will not be recognised as such: " in caplog.text
        with pytest.raises(DataError, match="nowhere"):
            modiste.predict(run, path, data_folder=tmp_path / "nowhere")
    exported = modiste.export(run)
    assert exported.proof.agreement == 1
    model = OnnxModel.load(exported.path)
    assert model.classify(upright).names == expected
    if len(shape) == 2:
        found = answers(model, find_pictures(path, transpose=model.transpose))
        assert [one.nearest for one in found] == expected


def test_pictures_are_never_transposed(tmp_path: Path, cache: Path) -> None:
    """A run on transposed arrays can be measured on picture files."""
    write_pictures(tmp_path / "pictures", {"A": 2, "B": 2})
    recipe = DataRecipe(pictures="whole", side=8)
    plain, other = (
        held_out.load_labelled(tmp_path / "pictures", one)
        for one in (recipe, DataRecipe(pictures="whole", side=8, transpose=True, split="last"))
    )
    assert np.array_equal(plain.images, other.images)


def test_idx_labels_from_1(tmp_path: Path) -> None:
    train, test = made(3, (6, 6), 6, seed=1), made(3, (6, 6), 2, seed=2)
    files = {
        f"{part}-{kind}-ubyte": idx(array)
        for part, (images, labels) in (("train", train), ("t10k", test))
        for kind, array in (("images-idx3", images), ("labels-idx1", labels + 1))
    }
    recipe = DataRecipe(source=str(write(tmp_path, files)))
    development = load_development(recipe)
    assert development.class_names == ("1", "2", "3")
    assert sorted(set(development.train.labels.tolist())) == [0, 1, 2]
    assert held_out.load_test(recipe).labels.tolist() == test[1].tolist()
    write(tmp_path, {"t10k-labels-idx1-ubyte": idx(test[1])})
    with pytest.raises(DataError, match=r"label out of range: expected 1 to 3 \(3 classes\), found 0 at position 0"):
        held_out.load_test(recipe)


def test_a_set_for_testing_alone_may_number_from_1(tmp_path: Path) -> None:
    images, labels = made(3, (6, 6), 2, seed=1)
    files = {
        "classes.txt": b"a\nb\nc",
        "t10k-images-idx3-ubyte": idx(images),
        "t10k-labels-idx1-ubyte": idx(labels + 1),
    }
    found = held_out.load_held_out(str(write(tmp_path, files)))
    assert found.labels.tolist() == labels.tolist()
    assert found.class_names == ("a", "b", "c")
