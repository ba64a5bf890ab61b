"""Every way in which arrays and tables can be wrong, one a line: each message is one line that names the place.

The message names file, key or column, what was expected, what was found, and what to do.
"""
# ruff: noqa: E501 (the table has one case a line)

import gzip
import io
import json
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from table_files import NAMES, made, picture_table, png, write_kaggle, write_keras, write_kmnist, write_parquet

import modiste
from fault_counter import Faults
from modiste.data.dataset import development_of, load_development
from modiste.data.tables import npz
from modiste.errors import DataError
from modiste.recipes.recipe import DataRecipe

IMAGES, LABELS = made()
TEST = made(18, seed=1)
HEAD = "label," + ",".join(f"pixel{number}" for number in range(81))
ROW = ",".join(map(str, range(81)))


def changed(array: np.ndarray, value: Any, kind: Any = np.float64) -> np.ndarray:
    """A copy of another type with one value replaced."""
    other = array.astype(kind)
    other[(3,) * other.ndim] = value
    return other


MEMORY: dict[str, tuple[Any, str]] = {
    "nothing": (None, "data: no data set: expected .* found NoneType; hand over"),
    "a number": (7, "data: no data set: .* found int"),
    "images alone": (IMAGES, r"data: no data set: .* found ndarray \(60, 9, 9\)"),
    "three arrays": ((IMAGES, LABELS, LABELS), "data: no data set: .* found tuple of 3"),
    "unknown parts": ({"learn": (IMAGES, LABELS)}, "unknown parts: expected train, validation, test, found learn"),
    "no training part": ({"test": (IMAGES, LABELS)}, "unknown parts"),
    "a part of text": (modiste.Dataset(train="photos"), r"arrays, train: no data set: expected \(images, labels\)"),
    "empty images": ((IMAGES[:0], LABELS[:0]), r"train images: empty: expected images, found shape \(0, 9, 9\)"),
    "empty labels": ((IMAGES, LABELS[:0]), "train labels: empty: expected a label for each image, found 0"),
    "ragged images": (([[[1, 2]], [[1, 2, 3]]], [0, 1]), "train images: ragged: expected one array of images"),
    "ragged labels": ((IMAGES, [[0], [1, 2]] * 30), "train labels: ragged"),
    "one dimension": ((IMAGES[:, 0, 0], LABELS), r"not images: expected shape \(N, H, W\).* found shape \(60,\)"),
    "five dimensions": ((IMAGES[:, None, None], LABELS), "not images"),
    "rows of no square": ((IMAGES.reshape(60, -1)[:, :80], LABELS), "rows of no square: .* found 80; reshape"),
    "four channels": ((np.zeros((60, 4, 9, 9), np.uint8), LABELS), "wrong number of channels: expected 1 or 3"),
    "channels at both ends": ((np.zeros((60, 3, 9, 3), np.uint8), LABELS), "channels first or last"),
    "a side too large": ((np.zeros((2, 1, 1025), np.uint8), [0, 1]), "images too large: expected at most 1024"),
    "text as images": ((np.array([["a"] * 9] * 60), LABELS), "not pixels: expected numbers .* found type <U1"),
    "complex images": ((IMAGES + 1j, LABELS), "not pixels: .* found type complex128"),
    "objects as images": ((np.array([[object()] * 9] * 60), LABELS), "not pixels: .* found type object"),
    "a NaN": ((changed(IMAGES / 255, np.nan), LABELS), "no numbers: .* found NaN or infinity in image 3"),
    "infinity": ((changed(IMAGES / 255, -np.inf), LABELS), "no numbers"),
    "negative": ((changed(IMAGES, -4, np.int64), LABELS), "values out of range: .* found -4 to 25"),
    "over 255": ((changed(IMAGES, 256, np.int64), LABELS), "values out of range: .* found 0 to 256"),
    "16 bits": ((IMAGES.astype(np.uint16) * 257, LABELS), "values out of range: .* to 65535"),
    "from -1 to 1": ((IMAGES / 127.5 - 1, LABELS), r"values out of range: .* map -1 to 1 by \(images \+ 1\) / 2"),
    "fractions to 255": ((changed(IMAGES, 7.5), LABELS), "fractions beyond 1: .* 1 with a fraction"),
    "fewer labels": ((IMAGES, LABELS[:-1]), "labels: counts differ: expected 60 labels, one for each image, found 59"),
    "several labels": ((IMAGES, np.eye(3)[LABELS]), r"not one label an image: .* found shape \(60, 3\).*one-hot"),
    "labels of floats": ((IMAGES, LABELS * 1.0), "labels of floats: expected whole numbers or text, found type float64"),
    "a missing label": ((IMAGES, changed(LABELS, np.nan)), "labels of floats: .* found NaN at position 3; fill or drop"),
    "labels of dates": ((IMAGES, LABELS.astype("M8[D]")), "not labels: .* found type datetime64"),
    "no label": ((IMAGES, changed(LABELS, None, object)), "several types, or none: .* found NoneType at position 3"),
    "an empty label": ((IMAGES, changed(np.array(NAMES, object)[LABELS], "", object)), 'none: .* found "" at position 3'),
    "mixed labels": ((IMAGES, changed(LABELS, "coat", object)), "several types, or none"),
    "huge labels": ((IMAGES, changed(LABELS, 2**80, object)), "labels too large: expected 64 bits"),
    "labels beyond 63 bits": ((IMAGES, LABELS.astype(np.uint64) + np.uint64(2**63)), "labels too large: expected 64 bits"),
    "labels in Latin-1": ((IMAGES, np.array([b"caf\xe8", b"caf\xe9", b"bar"])[LABELS]), r"labels that are not text: expected UTF-8, found b'caf.*' at position 0; decode them"),
    "one class": ((IMAGES, LABELS * 0), "too few classes: expected 2 to 1,000 different labels, found 1"),
    "a class an image": ((np.zeros((1_001, 2, 2), np.uint8), np.arange(1_001)), "too many classes: .* found 1,001"),
    "a rare class": ((IMAGES, changed(LABELS, 9, np.int64)), "too few images: expected 2 or more of each class.* of 9"),
    "labels beyond the names": (modiste.Dataset(train=(IMAGES, LABELS), class_names=("a", "b")), "a label of no class: expected 0 to 1 .2 classes., found 2 at position 2"),
    "a label of -1": (modiste.Dataset(train=(IMAGES, LABELS - 1), class_names=NAMES), "found -1 at position 0, which says that there is none"),
    "a name without images": (modiste.Dataset(train=(IMAGES, LABELS), class_names=(*NAMES, "cap")), "too few images: .* found 0 of cap"),
    "names used twice": (modiste.Dataset(train=(IMAGES, LABELS), class_names=("a", "b", "B")), "names that look alike"),
    "a name used twice": (modiste.Dataset(train=(IMAGES, LABELS), class_names=("a", "b", "b")), 'names that look alike: .* found "b" and "b"'),
    "a name of no letters": (modiste.Dataset(train=(IMAGES, LABELS), class_names=("a", "b", "")), 'invalid class name: .* found ""'),
    "a damaged file of PIL": (([Image.open(io.BytesIO(png(IMAGES[0])[:90]))] * 60, LABELS), "train, image 0: damaged: expected a picture that can be read, found .*; repair it"),
    "a name of control codes": ((IMAGES, np.array(["a", "b\x1b[2J", "c"])[LABELS]), "invalid class name"),
    "another label in validation": (modiste.Dataset(train=(IMAGES, LABELS), validation=(IMAGES, LABELS + 1)), "validation labels: a label of no class: expected one of 0, 1, 2, found 3"),
    "text in validation": (modiste.Dataset(train=(IMAGES, LABELS), validation=(IMAGES, LABELS.astype(str))), "validation labels: labels of several types"),
    "another shape in validation": (modiste.Dataset(train=(IMAGES, LABELS), validation=(IMAGES[:, :5], LABELS)), r"images of another shape: expected \(9, 9\), as in training, found \(5, 9\)"),
    "a torch data set of images": (torch.utils.data.TensorDataset(torch.from_numpy(IMAGES)), r"no pairs: expected items \(image, label\)"),
    "a torch data set of two sizes": ([*zip(IMAGES, LABELS, strict=True)], "data: no data set"),
    "an empty torch data set": (torch.utils.data.Subset(torch.utils.data.TensorDataset(torch.from_numpy(IMAGES)), []), "train: empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", MEMORY)
def test_arrays(name: str) -> None:
    data, message = MEMORY[name]
    with pytest.raises(DataError, match=message) as caught:
        development_of(data)
    assert_one_line(str(caught.value))


@pytest.mark.parametrize(
    ("names", "found"),
    [(set(NAMES), "set of 3"), (dict(enumerate(NAMES)), "dict of 3"), ("abc", "str of 3"), (3, "int")],
)
@pytest.mark.usefixtures("without_type_checks")  # a person's program has none
def test_class_names_in_no_order(names: Any, found: str) -> None:
    expected = (
        f"arrays, class_names: no names in an order: expected a list with the name of .*, found {found}; give one"
    )
    with pytest.raises(DataError, match=expected) as caught:
        development_of(modiste.Dataset(train=(IMAGES, LABELS), class_names=names))
    assert_one_line(str(caught.value))


def assert_one_line(message: str) -> None:
    assert "\n" not in message
    assert message.isprintable()
    assert "expected" in message
    assert "found" in message
    assert len(message) < 1_500


def zipped(folder: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """An archive of these files, compressed."""
    with zipfile.ZipFile(folder / "x.npz", "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return folder / "x.npz"


def npy(array: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=True)
    return sink.getvalue()


def header(shape: tuple[int, ...], descr: str = "|u1", more: bytes = b"") -> bytes:
    """An .npy file that announces a shape."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    text += b" " * (63 - (len(text) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + more


def written(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def saved(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "x.npz", **arrays)
    return folder / "x.npz"


def less(path: Path, count: int) -> Path:
    path.write_bytes(path.read_bytes()[:-count])
    return path


def without(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).unlink()
    return folder


def flipped(path: Path, place: int) -> Path:
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    return path


def table(folder: Path, *, text: bool = False, drop: str = "", metadata: Any = None, **changes: Any) -> Path:
    """A parquet file with columns replaced, dropped, or other metadata."""
    made_table = picture_table((IMAGES, LABELS), text=text, **changes)
    made_table = made_table.drop_columns([drop]) if drop else made_table
    made_table = made_table if metadata is None else made_table.replace_schema_metadata({"huggingface": metadata})
    pyarrow.parquet.write_table(made_table, folder / "x.parquet")
    return folder / "x.parquet"


def pictures(*contents: bytes | None) -> Any:
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    whole = [{"bytes": png(image), "path": None} for image in IMAGES[: 60 - len(contents)]]
    return pyarrow.array([*whole, *({"bytes": content, "path": "a.png"} for content in contents)], kind)


def announced(side: int) -> bytes:
    """A PNG file whose first chunk announces a side, and that holds nine pixels."""
    content = png(np.zeros((3, 3), np.uint8))
    first = b"IHDR" + struct.pack(">II", side, side) + content[24:29]
    return content[:12] + first + struct.pack(">I", zlib.crc32(first)) + content[33:]


def names_json(names: Any) -> str:
    return json.dumps({"info": {"features": {"label": {"names": names}}}})


def csv_of(*rows: str, head: str = HEAD) -> str:
    return "\n".join([*([head] * bool(head)), *rows]) + "\n"


GOOD_ROWS = [f"{number % 3},{ROW}" for number in range(60)]
FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "npz: objects": (lambda at: saved(at, images=np.array([{}, 1], object), labels=LABELS), "x.npz: images: not numbers or text: .* found objects, which only unpickling reads"),
    "npz: labels as objects": (lambda at: saved(at, images=IMAGES, labels=np.array(NAMES, object)[LABELS]), "x.npz: labels: not numbers or text"),
    "npz: a pickle as member": (lambda at: zipped(at, {"images.npy": pickle.dumps([1]), "labels.npy": npy(LABELS)}), "x.npz: damaged"),
    "npz: a record": (lambda at: saved(at, images=np.zeros(60, [("a", "u1")]), labels=LABELS), "x.npz: images: not numbers or text"),
    "npz: other keys": (lambda at: saved(at, a=IMAGES, b=LABELS), "x.npz: no such keys: expected x_train and y_train.* found a, b"),
    "npz: no labels": (lambda at: saved(at, x_train=IMAGES), "no such keys"),
    "npz: keys alike": (lambda at: saved(at, x_train=IMAGES, X_train=IMAGES, y_train=LABELS), "x.npz: keys that look alike: .* found x_train and X_train"),
    "npz: a key twice": (lambda at: doubled(at), "x.npz: a key used twice: .* found images"),
    "npz: no zip": (lambda at: written(at / "x.npz", b"\x93NUMPY but no archive"), "x.npz: damaged: expected an .npz file"),
    "npz: empty": (lambda at: written(at / "x.npz", b""), "x.npz: damaged"),
    "npz: cut": (lambda at: less(write_keras(at, (IMAGES, LABELS), TEST), 500), "keras.npz: damaged"),
    "npz: a flipped bit": (lambda at: flipped(write_keras(at, (IMAGES, LABELS), TEST), 1_000), "keras.npz: damaged: .* found Bad CRC-32"),
    "npz: LZMA": (lambda at: zipped(at, {"images.npy": npy(IMAGES), "labels.npy": npy(LABELS)}, zipfile.ZIP_LZMA), "x.npz: images: another compression: .* found method 14 of ZIP"),
    "npz: a bomb": (lambda at: zipped(at, {"images.npy": header((2**32, 28, 28)), "labels.npy": npy(LABELS)}), "x.npz: images: damaged: expected 3,367,254,360,064 bytes"),
    "npz: a whole bomb": (lambda at: forged(at, 2**31 + 28), "x.npz: images: too large: expected at most 2,147,483,648 bytes"),
    "npz: a forged size": (lambda at: forged(at, 2**30), "x.npz: images: cut short or forged"),
    "npz: a negative shape": (lambda at: zipped(at, {"images.npy": header((-1, 9, 9)), "labels.npy": npy(LABELS)}), "x.npz: images: damaged"),
    "npz: code in the header": (lambda at: zipped(at, {"images.npy": header((), "__import__('os')"), "labels.npy": npy(LABELS)}), "x.npz: damaged"),
    "npz: fewer labels": (lambda at: saved(at, images=IMAGES, labels=LABELS[1:]), "x.npz: labels: counts differ: expected 60 labels.* found 59"),
    "npz: several labels": (lambda at: saved(at, train_images=IMAGES, train_labels=np.zeros((60, 14))), "x.npz: train_labels: not one label an image"),
    "npz: KMNIST without labels": (lambda at: without(write_kmnist(at, (IMAGES, LABELS), TEST), "kmnist-train-labels.npz"), "missing: expected a file of train labels"),
    "npz: two sets": (lambda at: written(write_kmnist(at, (IMAGES, LABELS), TEST) / "k49-train-imgs.npz", b"x").parent, "more than one set: .* found k49-, kmnist-"),
    "csv: fields missing": (lambda at: written(at / "x.csv", csv_of(*GOOD_ROWS, "1,2,3")), "x.csv: line 62: wrong number of fields: expected 82, found 3"),
    "csv: a word": (lambda at: written(at / "x.csv", csv_of(*GOOD_ROWS, f"1,{ROW[:-2]}zz")), 'x.csv: line 62: not a number: expected a number as pixel 81 of 81, found "zz"'),
    "csv: an empty field": (lambda at: written(at / "x.csv", csv_of(*GOOD_ROWS, f"1,,{ROW[2:]}")), 'line 62: not a number: expected a number as pixel 1 of 81, found ""'),
    "csv: over 255": (lambda at: written(at / "x.csv", csv_of(*GOOD_ROWS, f"1,{ROW[:-2]}256")), "x.csv: pixels: values out of range"),
    "csv: negative": (lambda at: written(at / "x.csv", csv_of(*GOOD_ROWS, f"1,-{ROW[2:]},3")), "x.csv: pixels: values out of range"),
    "csv: NaN": (lambda at: written(at / "x.csv", csv_of(*GOOD_ROWS, f"1,nan{ROW[1:]}")), "x.csv: pixels: no numbers"),
    "csv: labels of floats": (lambda at: written(at / "x.csv", csv_of(*GOOD_ROWS, f"1.5,{ROW}")), "x.csv: labels: labels of floats"),
    "csv: labels beyond 63 bits": (lambda at: written(at / "x.csv", csv_of(*(f"{2**63 + number % 3},{ROW}" for number in range(60)))), "x.csv: labels: labels too large"),
    "csv: text without a header": (lambda at: written(at / "x.csv", csv_of(*(f"{NAMES[number % 3]},{'0,' * 80}7" for number in range(60)), head="")), "x.csv: no names of columns: expected label, pixel1.* found coat,0,0.*; add such a line"),
    "csv: an empty label": (lambda at: written(at / "x.csv", csv_of(*GOOD_ROWS, f",{ROW}")), "x.csv: labels: labels of several types, or none"),
    "csv: no labels": (lambda at: written(at / "x.csv", csv_of(*[ROW] * 5, head=HEAD[6:])), "x.csv: no labels: .* images without labels are for modiste predict"),
    "csv: no labels, no header": (lambda at: written(at / "x.csv", csv_of(*[ROW] * 5, head="")), "x.csv: no labels"),
    "csv: a column twice": (lambda at: written(at / "x.csv", csv_of(*GOOD_ROWS, head=HEAD.replace("pixel7,", "pixel8,"))), "x.csv: a column twice: .* found pixel8"),
    "csv: labels twice": (lambda at: written(at / "x.csv", csv_of(*GOOD_ROWS, head=HEAD.replace("pixel80", "class"))), "x.csv: several columns of labels"),
    "csv: an unknown column": (lambda at: written(at / "x.csv", csv_of(*GOOD_ROWS, head=HEAD.replace("pixel80", "id"))), 'x.csv: an unknown column: .* found "id"'),
    "csv: out of order": (lambda at: written(at / "x.csv", csv_of(*GOOD_ROWS, head=HEAD.replace("pixel80", "pixel99"))), "x.csv: pixels missing or out of order: .* from pixel0 to pixel99"),
    "csv: columns of no square": (lambda at: written(at / "x.csv", csv_of(*["1,2,3,4,5,6,7"] * 5, head="")), "x.csv: rows of no square: .* found 7 columns"),
    "csv: a header alone": (lambda at: written(at / "x.csv", HEAD + "\n"), "x.csv: empty: expected a row for each image"),
    "csv: a cut archive": (lambda at: less(write_kaggle(at, (IMAGES, LABELS), TEST, packed=True) / "set_train.csv.gz", 400), "set_train.csv.gz: damaged: expected a whole CSV file"),
    "csv: not UTF-8": (lambda at: written(at / "x.csv", csv_of(*GOOD_ROWS).encode() + b"\xff\xfe\n"), "x.csv: line 62: not text: expected UTF-8"),
    "csv: an open quote": (lambda at: written(at / "x.csv", csv_of(*GOOD_ROWS, f'"1,{ROW}')), "x.csv: line .*: not a CSV file"),
    "csv: returns within the first line": (lambda at: written(at / "x.csv", csv_of(*GOOD_ROWS, head=HEAD.replace("pixel7,", "pixel7\r,"))), "x.csv: line 1: wrong columns|x.csv: damaged"),
    "csv: two of training": (lambda at: twice(at), "more than one set: expected one file for train"),
    "parquet: no parquet": (lambda at: written(at / "x.parquet", b"PAR1 and nothing"), "x.parquet: damaged: expected a parquet file"),
    "parquet: empty": (lambda at: written(at / "x.parquet", b""), "x.parquet: damaged"),
    "parquet: cut": (lambda at: less(table(at), 100), "x.parquet: damaged"),
    "parquet: no images": (lambda at: table(at, drop="image"), "x.parquet: no such column: expected one column image or img or images, found label"),
    "parquet: no labels": (lambda at: table(at, drop="label"), "x.parquet: no such column: .* found image"),
    "parquet: two of labels": (lambda at: table(at, labels=pyarrow.array(LABELS)), "x.parquet: several such columns"),
    "parquet: text as images": (lambda at: table(at, image=pyarrow.array(["a"] * 60)), "column image: not pictures: .* found type string"),
    "parquet: no bytes": (lambda at: table(at, image=pyarrow.array([{"path": "a.png"}] * 60)), "column image: not pictures"),
    "parquet: floats as labels": (lambda at: table(at, label=pyarrow.array(LABELS * 1.0)), "column label: not labels: .* found type double"),
    "parquet: lists as labels": (lambda at: table(at, label=pyarrow.array([[1]] * 60)), "column label: not labels"),
    "parquet: a missing label": (lambda at: table(at, label=pyarrow.array([*LABELS[1:].tolist(), None])), "column label: a missing label: .* found none in row 59"),
    "parquet: a label beyond": (lambda at: table(at, label=pyarrow.array([*LABELS[1:].tolist(), 3])), "column label: a label of no class: expected 0 to 2 .3 classes., found 3 at position 59"),
    "parquet: a path alone": (lambda at: table(at, image=pictures(None)), "column image, row 59: no picture: .* found none, or a path"),
    "parquet: no picture": (lambda at: table(at, image=pictures(b"text")), "column image, row 59: damaged: expected a PNG or JPEG picture"),
    "parquet: a cut picture": (lambda at: table(at, image=pictures(png(IMAGES[0])[:60])), "column image, row 59: damaged"),
    "parquet: another size": (lambda at: table(at, image=pictures(png(IMAGES[0][:5]))), r"column image, row 59: another shape: expected \(9, 9\), found \(5, 9\)"),
    "parquet: a huge picture": (lambda at: table(at, image=pictures(png(np.zeros((1, 2_000), np.uint8)))), "row 59: damaged: .* more than 1024 pixels a side"),
    "parquet: a picture of 900 million pixels": (lambda at: table(at, image=pictures(announced(30_000))), "row 59: damaged: .* more than 1024 pixels a side"),
    "parquet: names used twice": (lambda at: table(at, metadata=names_json(["a", "a", "b"])), 'names that look alike: .* found "a" and "a"'),
    "parquet: names from 1": (lambda at: table(at, metadata=names_json({"1": "a", "2": "b", "3": "c"})), "metadata huggingface: damaged: .* found KeyError"),
    "parquet: no rows": (lambda at: written(at / "x.parquet", no_rows()), "x.parquet: empty: expected a row for each image"),
    "parquet: no JSON": (lambda at: table(at, metadata="{"), "metadata huggingface: damaged: expected JSON"),
    "parquet: names of numbers": (lambda at: table(at, metadata=names_json([1, 2, 3])), "metadata huggingface: damaged"),
    "parquet: nested JSON": (lambda at: table(at, metadata="[" * 100_000), "metadata huggingface: damaged"),
    "parquet: a shard missing": (lambda at: without(write_parquet(at, (IMAGES, LABELS), TEST), "train-00001-of-00002.parquet"), "shards missing: expected 2 files such as train-00000.* found 1, without number 1"),
    "parquet: a shard alone": (lambda at: without(write_parquet(at, (IMAGES, LABELS), TEST), "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"), "shards missing: expected 2 files such as train-00000.* found 1, without number 1"),
    "parquet: a test file alone": (lambda at: without(write_parquet(at, (IMAGES, LABELS), TEST, shards=1), "train-00000-of-00001.parquet"), "no training part: expected train-.*, found test-00000-of-00001.parquet; add it, or name one file"),
    "parquet: two parts in a name": (lambda at: renamed(at, "test-00000-of-00001.parquet", "train-and-test.parquet"), "train-and-test.parquet: a name of several parts: expected train, validation or test in it, found test and train; rename"),
    "parquet: no training part": (lambda at: two_tests(at), "no training part: expected train-"),
    "mat": (lambda at: written(at / "emnist.mat", b"MATLAB"), "found a MATLAB file .*scipy.io.loadmat"),
    "npy": (lambda at: written(at / "x.npy", npy(IMAGES)), r"found a NumPy array \(.npy\); write images and labels with numpy.savez"),
    "a folder of another kind": (lambda at: written(at / "set" / "x.arrow", b"").parent, "no data set in it: .* found 1 of .arrow; write it as a .parquet file"),
}  # fmt: skip


def doubled(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "x.npz", "w") as archive:
        archive.writestr("images.npy", npy(IMAGES))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("images.npy", npy(IMAGES))
    return folder / "x.npz"


def forged(folder: Path, size: int) -> Path:
    """An archive whose directory announces as many bytes as its header, and that holds few."""
    start = header((size,))
    path = zipped(folder, {"images.npy": start, "labels.npy": npy(LABELS)})
    content = path.read_bytes()
    place = content.index(b"PK\x01\x02") + 24  # where the directory says the uncompressed size
    path.write_bytes(content[:place] + struct.pack("<I", size + len(start)) + content[place + 4 :])
    return path


def twice(folder: Path) -> Path:
    path = write_kaggle(folder, (IMAGES, LABELS), TEST)
    return written(path / "other_train.csv", (path / "set_train.csv").read_bytes()).parent


def two_tests(folder: Path) -> Path:
    without(write_parquet(folder, (IMAGES, LABELS), TEST, shards=1), "train-00000-of-00001.parquet")
    return written(folder / "test-more.parquet", b"").parent


def renamed(folder: Path, old: str, new: str) -> Path:
    write_parquet(folder, (IMAGES, LABELS), TEST, shards=1)
    (folder / old).rename(folder / new)
    return folder


def no_rows() -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(picture_table((IMAGES, LABELS))[:0], sink)
    return sink.getvalue()


@pytest.mark.parametrize("name", FILES)
def test_files(name: str, tmp_path: Path) -> None:
    make, message = FILES[name]
    path = make(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        load_development(DataRecipe(source=str(path)))
    assert_one_line(str(caught.value))
    assert tmp_path.name in str(caught.value)


def test_there_are_many_cases() -> None:
    assert len(MEMORY) + len(FILES) >= 100


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pickle.load", lambda *_, **__: pytest.fail("unpickled"))
    monkeypatch.setattr("pickle.loads", lambda *_, **__: pytest.fail("unpickled"))
    with pytest.raises(DataError, match="only unpickling reads"):
        npz.read(saved(tmp_path, images=np.array([{}], object), labels=np.array([0])))


def test_made_up_files_are_refused_in_one_line(faults: Faults, tmp_path: Path) -> None:
    """Sound files of each layout, with bytes changed, cut, doubled or made up."""
    write_keras(tmp_path, (IMAGES, LABELS), TEST)
    sound = [(tmp_path / "keras.npz").read_bytes(), table(tmp_path).read_bytes()]
    packed = io.BytesIO()
    np.savez_compressed(packed, images=IMAGES, labels=LABELS)
    text = csv_of(*GOOD_ROWS).encode()
    sound += [packed.getvalue(), text, gzip.compress(text, 1)]
    endings = [".npz", ".parquet", ".npz", ".csv", ".csv.gz"]
    outcomes = set()
    for number in faults("data: a damaged table", few=1_000, many=20_000):
        kind, chance = number // 10 % len(sound), random.Random(number)
        content = bytearray(sound[kind])
        for _ in range(chance.randint(0, 6)):
            place = chance.randrange(len(content) + 1)
            content[place : place + chance.randint(0, 4)] = chance.randbytes(chance.randint(0, 5))
        if chance.random() < 0.1:
            del content[chance.randrange(len(content)) :]
        path = written(tmp_path / f"made{endings[kind]}", bytes(content))
        message = refusal_of(path)
        assert message.isprintable()
        outcomes.add(bool(message))
    assert outcomes == {True, False}  # some are sound, and a pixel may have become another


def refusal_of(path: Path) -> str:
    """The message that refuses a file; empty if it is taken. Any other error escapes."""
    try:
        load_development(DataRecipe(source=str(path)))
    except DataError as error:
        return str(error)
    return ""
