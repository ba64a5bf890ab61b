"""Every layout of arrays and tables reads to the same images, labels and division."""

import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from table_files import COUNT, NAMES, SIDE, WRITERS, made, picture_table, write_kaggle, write_keras, write_parquet

import modiste
from modiste.data import held_out, sources
from modiste.data.dataset import development_of, load_development
from modiste.data.labelled import LabelledImages
from modiste.data.tables import arrays, memory, parquet, pixel_csv
from modiste.data.tables.arrays import to_labels, to_pixels
from modiste.errors import DataError, RecipeError
from modiste.inference.answers import find_pictures
from modiste.photo.opening import open_photo
from modiste.recipes.recipe import DataRecipe

TRAIN, TEST = made(), made(18, seed=1)
VALIDATION = 10


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_reads_to_the_same_images(layout: str, tmp_path: Path) -> None:
    path = WRITERS[layout](tmp_path, TRAIN, TEST)
    recipe = DataRecipe(source=str(path))
    development, expected = load_development(recipe), development_of(modiste.Dataset(train=TRAIN, test=TEST))
    assert torch.equal(development.train.images, expected.train.images)
    assert torch.equal(development.train.labels, expected.train.labels)
    assert torch.equal(development.validation.images, expected.validation.images)
    assert len(development.validation) == VALIDATION
    assert development.class_names == (NAMES if layout == "parquet" else ("0", "1", "2"))
    test = held_out.load_test(recipe)
    assert np.array_equal(test.images[:, 0].numpy(), TEST[0])
    assert test.labels.tolist() == TEST[1].tolist()
    if layout != "parquet":
        assert development.fingerprint == expected.fingerprint


KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "uint8": lambda images: images,
    "int64": lambda images: images.astype(np.int64),
    "big-endian": lambda images: images.astype(">i4"),
    "float32": lambda images: images.astype(np.float32) / 255,
    "float64": lambda images: images / 255,
    "float16": lambda images: (images / 255).astype(np.float16),
    "whole floats": lambda images: images.astype(np.float64),
    "tensor": torch.from_numpy,
    "float tensor": lambda images: (torch.from_numpy(images) / 255).requires_grad_(),
    "list": lambda images: images.tolist(),
    "fortran": np.asfortranarray,
}
SHAPES: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    "(N, H, W)": (1, lambda images: images[:, 0]),
    "(N, 1, H, W)": (1, lambda images: images),
    "(N, H, W, 1)": (1, lambda images: images.transpose(0, 2, 3, 1)),
    "rows": (1, lambda images: images.reshape(len(images), -1)),
    "(N, 3, H, W)": (3, lambda images: images),
    "(N, H, W, 3)": (3, lambda images: images.transpose(0, 2, 3, 1)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_type_and_shape_reads_to_the_same_bytes(kind: str, shape: str) -> None:
    channels, arrange = SHAPES[shape]
    images = made(12, (channels, 14, 14))[0]
    found = to_pixels(KINDS[kind](np.ascontiguousarray(arrange(images))), "x")
    assert found.notes == ()
    assert np.array_equal(found.images.reshape(images.shape), images)


@pytest.mark.parametrize("side", [14, 28, 64])
@pytest.mark.parametrize("classes", [2, 26, 62])
def test_sides_and_numbers_of_classes(side: int, classes: int) -> None:
    images, labels = made(4 * classes, (side, side), classes=classes)
    development = development_of((images, labels + 1), DataRecipe(test_fraction=0.0, validation_fraction=0.25))
    assert development.image_shape == (1, side, side)
    assert development.class_names == tuple(str(number) for number in range(1, classes + 1))
    assert int(development.train.labels.max()) == classes - 1


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array([0, 1, 2], np.uint8), ("0", "1", "2")),
        (np.array([5, 1, 40]), ("1", "5", "40")),
        (np.array([True, False, True]), ("0", "1")),
        (np.array(["9", "10", "2"]), ("2", "9", "10")),
        (np.array(["shirt", "bag", "coat"], object), ("bag", "coat", "shirt")),
        (np.array([b"shirt", b"bag", b"coat"]), ("bag", "coat", "shirt")),
        (np.array([[3], [1], [2]]), ("1", "2", "3")),
    ],
    ids=str,
)
def test_labels_of_every_type(labels: np.ndarray, names: tuple[str, ...]) -> None:
    repeated = np.tile(labels, (20,) + (1,) * (labels.ndim - 1))
    development = development_of((TRAIN[0], repeated))
    assert development.class_names == names
    plain = [str(int(value) if isinstance(value, bool | np.bool_) else value) for value in to_labels(labels, "y")]
    parts = (development.train, development.validation, held_out.test_of((TRAIN[0], repeated)))
    label_of = {
        image.numpy().tobytes(): int(label)
        for part in parts
        for image, label in zip(part.images, part.labels, strict=True)
    }
    assert [names[label_of[image.tobytes()]] for image in TRAIN[0]] == plain * 20


@pytest.mark.parametrize(("train", "test"), [(str, int), (int, str)])
def test_test_labels_of_another_type_than_in_training_are_refused(train: type, test: type) -> None:
    """The label 1 would be taken for the position of the class "2"."""
    parts = modiste.Dataset(
        train=(TRAIN[0], (TRAIN[1] + 1).astype(train)), test=(TEST[0], (TEST[1] % 2 + 1).astype(test))
    )
    assert development_of(parts).class_names == ("1", "2", "3")
    with pytest.raises(DataError, match="test labels: labels of several types: expected one type, found text in one "):
        held_out.test_of(parts)


def test_with_class_names_test_labels_may_be_names_where_those_in_training_are_numbers() -> None:
    parts = modiste.Dataset(train=TRAIN, test=(TEST[0], np.array(NAMES)[TEST[1]]), class_names=NAMES)
    assert held_out.test_of(parts).labels.tolist() == TEST[1].tolist()


def test_floats_between_the_bytes_are_rounded_and_reported() -> None:
    images = TRAIN[0] / 255
    images[0, 0, 0] = 0.5
    found = to_pixels(images, "x")
    assert found.images[0, 0, 0] == 128
    assert found.notes == (f"x: 1 of {images.size:,} values are no multiples of 1/255: rounded to 8 bits",)
    assert any("rounded" in note for note in development_of((images, TRAIN[1])).notes)


def test_parts_that_the_data_bring_are_used() -> None:
    validation = made(12, seed=2)
    development = development_of(modiste.Dataset(train=TRAIN, validation=validation, test=TEST))
    assert len(development.train) == COUNT
    assert np.array_equal(development.validation.images[:, 0].numpy(), validation[0])
    assert development.unlabelled is development.train.images or len(development.unlabelled) == COUNT


def test_without_a_test_part_some_are_set_aside_in_any_order_the_same() -> None:
    recipe = DataRecipe(validation_fraction=0.2)
    development, test = development_of(TRAIN, recipe), held_out.test_of(TRAIN, recipe)
    assert len(test) == 9
    assert len(development.train) + len(development.validation) == COUNT - 9
    assert test.labels.bincount().tolist() == [3, 3, 3]
    order = np.random.default_rng(1).permutation(COUNT)
    moved = held_out.test_of((TRAIN[0][order], TRAIN[1][order]), recipe)
    assert {image.numpy().tobytes() for image in moved.images} == {image.numpy().tobytes() for image in test.images}
    assert len(development_of(TRAIN, DataRecipe(test_fraction=0.0)).train) == 50
    with pytest.raises(DataError, match="no test images"):
        held_out.test_of(TRAIN, DataRecipe(test_fraction=0.0))


def test_the_recipe_chooses_from_arrays_as_from_files() -> None:
    chosen = development_of(TRAIN, DataRecipe(images_per_class=4, repeats=3, test_fraction=0.0))
    assert len(chosen.train) == 36
    assert len(chosen.unlabelled) == 50
    last = development_of(TRAIN, DataRecipe(split="last", test_fraction=0.0))
    assert np.array_equal(last.validation.images[:, 0].numpy(), TRAIN[0][-10:])


def test_the_fingerprint_is_of_the_content() -> None:
    first = development_of(TRAIN).fingerprint
    assert development_of((TRAIN[0] / 255, TRAIN[1])).fingerprint == first
    assert development_of((TRAIN[0], TRAIN[1] + 1)).fingerprint != first
    changed = TRAIN[0].copy()
    changed[5, 5, 5] ^= 1
    assert development_of((changed, TRAIN[1])).fingerprint != first
    assert development_of(modiste.Dataset(train=TRAIN, class_names=NAMES)).fingerprint != first


def test_transposed_images(tmp_path: Path) -> None:
    turned = TRAIN[0].swapaxes(1, 2), TRAIN[1]
    path = write_keras(tmp_path, turned, (TEST[0].swapaxes(1, 2), TEST[1]))
    recipe = DataRecipe(source=str(path), transpose=True)
    found, plain = load_development(recipe), load_development(DataRecipe(source=str(path)))
    assert torch.equal(found.train.images, development_of(modiste.Dataset(train=TRAIN, test=TEST)).train.images)
    assert found.fingerprint != plain.fingerprint
    assert np.array_equal(held_out.load_test(recipe).images[:, 0].numpy(), TEST[0])


class Pairs(torch.utils.data.Dataset[tuple[Any, int]]):
    """A torch data set whose items are made one by one."""

    def __init__(self, make: Callable[[np.ndarray], Any]) -> None:
        self._make = make

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, number: int) -> tuple[Any, int]:
        return self._make(TRAIN[0][number]), int(TRAIN[1][number])


def of_pillow(image: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(image)


def test_data_sets_of_torch() -> None:
    expected = development_of(TRAIN).fingerprint
    tensors = torch.utils.data.TensorDataset(torch.from_numpy(TRAIN[0]), torch.from_numpy(TRAIN[1]))
    whole = torch.utils.data.Subset(tensors, range(COUNT))
    as_floats = Pairs(lambda image: torch.from_numpy(image)[None] / 255)
    for given in (tensors, whole, as_floats, Pairs(of_pillow)):
        assert development_of(given).fingerprint == expected


class Table:
    """What Modiste needs of a data set of Hugging Face."""

    column_names = ("label", "image")

    def __init__(self) -> None:
        label = type("ClassLabel", (), {"names": list(NAMES)})()
        self.features = {"image": None, "label": label}

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, key: str) -> list[Any]:
        return [of_pillow(image) for image in TRAIN[0]] if key == "image" else TRAIN[1].tolist()


def test_a_data_set_of_hugging_face() -> None:
    named = modiste.Dataset(train=TRAIN, class_names=NAMES)
    assert development_of(Table()).fingerprint == development_of(named).fingerprint
    assert development_of({"train": Table()}).class_names == NAMES


def test_parts_of_hugging_face_whose_labels_mean_other_classes_are_refused() -> None:
    other = Table()
    other.features["label"].names.reverse()
    with pytest.raises(
        DataError, match=r"test: class names differ: expected coat, .* found shirt, .*number the classes"
    ):
        development_of({"train": Table(), "test": other})


def test_a_list_of_pillows_images_is_read_as_a_data_set_of_them() -> None:
    """Whose pixels are numbers of colours, for a palette."""
    palette = Image.fromarray(np.array([[0, 1]] * 2, np.uint8)).convert("P")
    palette.putpalette([9, 8, 7, 200, 100, 50])
    clear = Image.new("LA", (2, 2), (0, 0))
    for one in (palette, clear, of_pillow(TRAIN[0][0])):
        assert np.array_equal(memory.read_part(([one], [0]), "x").images, memory.read_part(_Items([one]), "x").images)
    planes = memory.read_part(([palette], [0]), "x").images[0]
    assert planes.transpose(1, 2, 0).tolist() == [[[9, 8, 7], [200, 100, 50]]] * 2


def test_two_pairs_are_training_and_test() -> None:
    assert (
        development_of((TRAIN, TEST)).fingerprint == development_of(modiste.Dataset(train=TRAIN, test=TEST)).fingerprint
    )
    assert len(held_out.test_of((TRAIN, TEST))) == 18
    assert len(development_of({"Train": TRAIN, "val": TEST}).validation) == 18


def test_colour_pictures_and_labels_of_text_in_parquet(tmp_path: Path) -> None:
    images, labels = made(COUNT, (3, 8, 10))
    pyarrow.parquet.write_table(picture_table((images, labels), text=True), tmp_path / "one.parquet")
    development = development_of(tmp_path / "one.parquet")
    assert development.image_shape == (3, 8, 10)
    assert development.class_names == NAMES
    assert {image.numpy().tobytes() for image in development.train.images} <= {image.tobytes() for image in images}


def test_pictures_that_are_stored_turned_are_noted(tmp_path: Path) -> None:
    sink, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    of_pillow(TRAIN[0][0]).save(sink, "PNG", exif=exif)
    whole = picture_table(TRAIN)
    pyarrow.parquet.write_table(whole, tmp_path / "upright.parquet")
    turned = pyarrow.array([{"bytes": sink.getvalue(), "path": None}], whole.field("image").type)
    images = pyarrow.chunked_array([turned, *whole.column("image").slice(1).chunks])
    pyarrow.parquet.write_table(whole.set_column(0, "image", images), tmp_path / "turned.parquet")
    upright, one = (
        load_development(DataRecipe(source=str(tmp_path / f"{name}.parquet"))) for name in ("upright", "turned")
    )
    assert upright.notes == ()
    assert [note.partition(": column ")[2] for note in one.notes] == [
        "image: 1 of 60 pictures say that they are stored turned or mirrored; they are taken as they are stored; write "
        "them as class folders to have them turned"
    ]
    assert one.fingerprint == upright.fingerprint  # as earlier versions took them


def test_class_names_by_label_in_parquet_may_be_in_any_order(tmp_path: Path) -> None:
    names = {"2": "shirt", "0": "coat", "1": "dress"}
    metadata = {"huggingface": json.dumps({"info": {"features": {"label": {"names": names}}}})}
    pyarrow.parquet.write_table(picture_table(TRAIN).replace_schema_metadata(metadata), tmp_path / "x.parquet")
    assert load_development(DataRecipe(source=str(tmp_path / "x.parquet"))).class_names == NAMES


def test_numbers_as_class_names_are_the_labels_themselves(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=TRAIN[0], labels=TRAIN[1] + 1, classes=np.arange(1, 4))
    found = load_development(DataRecipe(source=str(tmp_path / "x.npz")))
    assert found.class_names == ("1", "2", "3")
    assert found.fingerprint == development_of((TRAIN[0], TRAIN[1] + 1)).fingerprint


@pytest.mark.parametrize("layout", ["kmnist", "kaggle", "parquet"])
def test_hidden_files_are_not_the_persons(layout: str, tmp_path: Path) -> None:
    """A file server or an editor leaves them beside the others, with the same ending."""
    path = WRITERS[layout](tmp_path, TRAIN, TEST)
    expected = load_development(DataRecipe(source=str(path))).fingerprint
    for file in list(path.iterdir()):
        (path / f"._{file.name}").write_bytes(file.read_bytes())
    assert load_development(DataRecipe(source=str(path))).fingerprint == expected


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("shop_train.parquet", "shop_test.parquet"),
        ("mnist-train-00000-of-00001.parquet", "mnist-test-00000-of-00001.parquet"),
        ("part-0.parquet", "ShopTest.parquet"),
    ],
)
def test_any_word_of_a_files_name_may_say_its_part(train: str, test: str, tmp_path: Path) -> None:
    write_parquet(tmp_path, TRAIN, TEST, shards=1)
    (tmp_path / "train-00000-of-00001.parquet").rename(tmp_path / train)
    (tmp_path / "test-00000-of-00001.parquet").rename(tmp_path / test)
    development = load_development(DataRecipe(source=str(tmp_path)))
    assert len(development.train) + len(development.validation) == COUNT
    assert len(held_out.load_test(DataRecipe(source=str(tmp_path)))) == len(TEST[0])


def test_a_capital_begins_a_word_of_a_files_name(tmp_path: Path) -> None:
    write_kaggle(tmp_path, TRAIN, TEST)
    expected = pixel_csv.read(tmp_path).parts
    (tmp_path / "set_train.csv").rename(tmp_path / "SetTrain.csv")
    (tmp_path / "set_test.csv").rename(tmp_path / "SetTest.csv")
    assert pixel_csv.detect(tmp_path)
    assert pixel_csv.read(tmp_path).parts.keys() == expected.keys() == {"train", "test"}


def test_pictures_in_a_table_are_those_of_files_in_a_folder() -> None:
    """Transparent is white, sixteen bits are scaled, a palette gives its colours; a plain picture stays as it is."""
    grey = Image.fromarray(np.array([[0, 77]] * 5, np.uint8).repeat(2, axis=1))
    deep = Image.fromarray(np.array([[0, 5140, 30840, 65535]] * 5, np.uint16))
    palette = Image.fromarray(np.array([[0, 1]] * 5, np.uint8).repeat(2, axis=1)).convert("P")
    palette.putpalette([9, 8, 7, 200, 100, 50])
    expected = {
        "clear": (Image.new("RGBA", (4, 5), (0, 0, 0, 0)), {}, [[255] * 3] * 4),
        "deep": (deep, {}, [0, 20, 120, 255]),
        "palette": (palette, {}, [[9, 8, 7]] * 2 + [[200, 100, 50]] * 2),
        "a transparent grey": (grey, {"transparency": 0}, [255, 255, 77, 77]),
        "plain": (grey, {}, [0, 0, 77, 77]),
        "black and white": (grey.convert("1", dither=Image.Dither.NONE), {}, [0, 0, 0, 0]),
        "colour": (Image.new("RGB", (4, 5), (1, 2, 3)), {}, [[1, 2, 3]] * 4),
    }
    for name, (image, options, row) in expected.items():
        sink = io.BytesIO()
        image.save(sink, "PNG", **options)
        stored = arrays.decode_picture(sink.getvalue())
        pixels = stored if stored.ndim == 2 else stored.transpose(1, 2, 0)
        assert pixels.tolist() == [row] * 5, name
        assert np.array_equal(np.broadcast_to(pixels.reshape(5, 4, -1), (5, 4, 3)), open_photo(sink.getvalue())), name
        opened = Image.open(io.BytesIO(sink.getvalue()))
        assert np.array_equal(memory.read_part(_Items([opened]), "x").images[0], stored), name


def test_images_of_floats_stay_numbers_from_0_to_1() -> None:
    image = Image.fromarray(np.array([[0.0, 1.0]], np.float32))
    assert memory.read_part(_Items([image]), "x").images.tolist() == [[[0, 255]]]


class _Items:
    """A data set of torch, with one label."""

    def __init__(self, pictures: list[Image.Image]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, number: int) -> tuple[Image.Image, int]:
        return self.pictures[number], 0


def test_too_many_pictures_are_refused_after_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, decoded, decode = write_parquet(tmp_path, TRAIN, TEST, shards=2), list[bytes](), parquet.decode_picture
    monkeypatch.setattr(parquet, "decode_picture", lambda data: (decoded.append(data), decode(data))[1])
    monkeypatch.setattr(parquet, "LIMIT_BYTES", COUNT * SIDE**2)
    assert len(parquet.read(folder).parts["train"]().images) == len(decoded) == COUNT
    decoded.clear()
    monkeypatch.setattr(parquet, "LIMIT_BYTES", COUNT * SIDE**2 - 1)
    with pytest.raises(DataError, match=r"column image: too large: expected at most 4,859 bytes .* found 4,860 in 60 "):
        parquet.read(folder).parts["train"]()
    assert len(decoded) == 1


def test_the_slow_reader_of_pixels_agrees_with_the_fast_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_kaggle(tmp_path, TRAIN, TEST) / "set_train.csv"
    monkeypatch.setattr(pixel_csv, "BLOCK_BYTES", 1_000)
    fast = pixel_csv.read_part(path)
    text = path.read_text(encoding="utf-8")
    for other in (
        text.replace("\n", "\r\n"),
        text.rstrip("\n"),
        text.replace(",", ", "),
        text.replace("\n1,", '\n"1",'),
        text + "\n\n",
        text.replace("\n", "\n\n", 5),
    ):
        path.write_text(other, newline="", encoding="utf-8")
        again = pixel_csv.read_part(path)
        assert np.array_equal(again.images, fast.images)
        assert np.array_equal(again.labels, fast.labels)


@pytest.mark.parametrize(("separator", "high", "expected"), [(",", "1", 1), (", ", "1", 1), (",", "1.0", 255)])
def test_ones_are_bright_only_where_they_are_written_as_floats(
    separator: str, high: str, expected: int, tmp_path: Path
) -> None:
    path = tmp_path / "set_train.csv"
    path.write_text(f"0,0,{high},0,{high}\n".replace(",", separator) * 9, encoding="utf-8")
    assert pixel_csv.read_part(path).images.tolist() == [[[0, expected], [0, expected]]] * 9


@pytest.mark.parametrize("label", ["label", "0"])
def test_columns_that_pandas_numbers_are_named(label: str, tmp_path: Path) -> None:
    """A table without names for its pixels has their numbers in its first line, which is no image."""
    path = write_kaggle(tmp_path, TRAIN, TEST, header="") / "set_train.csv"
    expected = pixel_csv.read_part(path)
    first = 0 if label == "label" else 1
    numbers = ",".join(str(first + number) for number in range(SIDE**2))
    lines = path.read_text(encoding="utf-8")
    path.write_text(f"{label},{numbers}\n{lines}", encoding="utf-8")
    assert pixel_csv.detect(path)
    found = pixel_csv.read_part(path)
    assert np.array_equal(found.images, expected.images)
    assert found.labels.tolist() == expected.labels.tolist()


def test_labels_with_underscores_are_text(tmp_path: Path) -> None:
    path = write_kaggle(tmp_path, TRAIN, TEST) / "set_train.csv"
    path.write_text(
        path.read_text(encoding="utf-8").replace("\n1,", "\n1_0,").replace("\n2,", "\n10,"), encoding="utf-8"
    )
    assert set(pixel_csv.read_part(path).labels) == {"0", "1_0", "10"}


@pytest.mark.parametrize("header", ["pixel1", ""])
@pytest.mark.parametrize("slow", [False, True])
def test_pixels_without_labels_are_for_predict(header: str, slow: bool, tmp_path: Path) -> None:
    path = write_kaggle(tmp_path, TRAIN, TEST, header=header) / "set_test.csv"
    labelled = [image for _, image in find_pictures(path)]
    rows = [line.partition(",")[2] for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("\n".join(rows).replace(",", ", " if slow else ","), encoding="utf-8")
    found = list(find_pictures(path))
    assert [name for name, _ in found] == [f"{path}[{number}]" for number in range(len(TEST[0]))]
    for images in (labelled, [image for _, image in found]):
        assert np.array_equal(np.stack(images), TEST[0])
    with pytest.raises(DataError, match=r"no labels: .* images without labels are for modiste predict"):
        pixel_csv.read_part(path)


def test_a_file_alone_has_its_test_images_set_aside(tmp_path: Path) -> None:
    path = write_kaggle(tmp_path, TRAIN, TEST) / "set_train.csv"
    assert len(held_out.load_test(DataRecipe(source=str(path)))) == 9
    lone = write_parquet(tmp_path, TRAIN, TEST, shards=1) / "train-00000-of-00001.parquet"
    assert len(load_development(DataRecipe(source=str(lone))).train) == 43


@pytest.mark.parametrize("name", ["train-00000-of-00002.parquet", "test-00000-of-00001.parquet"])
def test_a_parquet_file_that_is_named_is_read_for_training_whatever_its_name_says(name: str, tmp_path: Path) -> None:
    write_parquet(tmp_path, TRAIN, TEST)
    assert set(parquet.read(tmp_path / name).parts) == {"train"}


class Noise:
    """A kind of source that Modiste does not know."""

    name, layout = "noise", "a file that ends in .noise"

    def detect(self, path: Path) -> bool:
        return path.suffix == ".noise"

    def load(self, path: Path, recipe: DataRecipe) -> LabelledImages:
        return LabelledImages("noise", *TRAIN, NAMES, "0" * 64, validation=6)

    def load_test(self, path: Path, recipe: DataRecipe) -> LabelledImages:
        return LabelledImages("noise", *TEST, NAMES, "1" * 64)


@pytest.fixture
def noise() -> Iterator[None]:
    sources.add(Noise())
    yield
    sources.remove("noise")


@pytest.mark.usefixtures("noise")
def test_a_source_of_ones_own(tmp_path: Path) -> None:
    recipe = DataRecipe(source=str(tmp_path / "x.noise"))
    development = load_development(recipe)
    assert (len(development.train), len(development.validation)) == (54, 6)
    assert development.fingerprint == "0" * 64
    assert len(held_out.load_test(recipe)) == 18
    with pytest.raises(RecipeError, match="new name"):
        sources.add(Noise())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"images": TRAIN[0] / 255},
            r"no images: expected an array of uint8, .* found ndarray of float64 \(60, 9, 9\)",
        ),
        ({"images": torch.from_numpy(TRAIN[0])}, "no images: .* found Tensor"),
        ({"images": np.zeros((60, 9, 9, 3), np.uint8)}, r"channels last: expected shape \(N, C, H, W\), found shape"),
        (
            {"labels": TRAIN[1][1:]},
            r"no labels: expected an array of 60 whole numbers, .* found ndarray of int64 \(59,\)",
        ),
        ({"labels": np.array(NAMES)[TRAIN[1]]}, "no labels"),
        (
            {"labels": TRAIN[1] + 1},
            "a label of no class: expected 0 to 2 .3 classes., found 1 to 3; number the classes",
        ),
        ({"labels": TRAIN[1] - 1}, "a label of no class: .* found -1 to 1"),
        ({"validation": 60}, "no validation images: expected 1 to 59 of 60 images, or None, found 60; give None"),
        ({"validation": 0}, "no validation images"),
        (None, "no labelled images: expected LabelledImages, found NoneType"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")  # a person's program has none
def test_what_a_source_of_ones_own_gives_is_checked(
    changes: dict[str, Any] | None, message: str, noise: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = DataRecipe(source=str(tmp_path / "x.noise"))
    given = None if changes is None else replace(Noise().load(tmp_path, recipe), **changes)
    monkeypatch.setattr(Noise, "load", lambda *_: given)
    monkeypatch.setattr(Noise, "load_test", lambda *_: given)
    for load in (load_development, held_out.load_test, partial(held_out.load_labelled, recipe.source)):
        with pytest.raises(DataError, match=f"source noise: {message}"):
            load(recipe)


@pytest.mark.usefixtures("without_type_checks")
def test_what_is_no_source_is_not_added() -> None:
    with pytest.raises(
        RecipeError, match="expected an object with name, layout, detect, load and load_test, found int"
    ):
        sources.add(7)  # type: ignore[arg-type]


def test_names_of_sources_are_unique() -> None:
    names = [source.name for source in sources.table()]
    assert len(set(names)) == len(names)
    assert set(held_out.TEST_PARTS) == set(names)
    with pytest.raises(RecipeError, match="name of an added source"):
        sources.remove("idx")
    assert TRAIN[0].shape[1] == SIDE


def test_the_examples_of_the_page_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    for example in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(example, {})  # the page is ours
    assert "boot" in capsys.readouterr().out
