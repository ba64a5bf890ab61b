"""Small data sets as arrays and tables, written by the libraries that people use."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

COUNT, SIDE, NAMES = 60, 9, ("coat", "dress", "shirt")
Part = tuple[np.ndarray, np.ndarray]


def made(count: int = COUNT, shape: tuple[int, ...] = (SIDE, SIDE), seed: int = 0, classes: int = 3) -> Part:
    """Random images and labels, each class equally often."""
    images = np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)
    return images, np.arange(count) % classes


def png(image: np.ndarray) -> bytes:
    """A picture as bytes of a PNG file; (3, H, W) is a colour picture."""
    sink = io.BytesIO()
    Image.fromarray(image if image.ndim == 2 else np.ascontiguousarray(image.transpose(1, 2, 0))).save(sink, "PNG")
    return sink.getvalue()


def write_keras(folder: Path, train: Part, test: Part) -> Path:
    np.savez(folder / "keras.npz", x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    return folder / "keras.npz"


def write_medmnist(folder: Path, train: Part, test: Part) -> Path:
    arrays = {"train_images": train[0], "train_labels": train[1][:, None]}
    np.savez(folder / "med.npz", **arrays, test_images=test[0], test_labels=test[1][:, None].astype(np.uint8))
    return folder / "med.npz"


def write_kmnist(folder: Path, train: Part, test: Part) -> Path:
    for part, (images, labels) in (("train", train), ("test", test)):
        np.savez_compressed(folder / f"kmnist-{part}-imgs.npz", images)
        np.savez_compressed(folder / f"kmnist-{part}-labels.npz", labels)
    return folder


def write_kaggle(folder: Path, train: Part, test: Part, header: str = "pixel1", packed: bool = False) -> Path:
    """Two CSV files; ``header`` names the first pixel: pixel1, pixel0, 1x1, or nothing for no header."""
    for part, (images, labels) in (("train", train), ("test", test)):
        height, width = images.shape[1:]
        numbers = range(height * width)
        names = {
            "pixel1": [f"pixel{n + 1}" for n in numbers],
            "pixel0": [f"pixel{n}" for n in numbers],
            "1x1": [f"{n // width + 1}x{n % width + 1}" for n in numbers],
        }
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        if header:
            writer.writerow(["label", *names[header]])
        writer.writerows(np.column_stack([labels, images.reshape(len(images), -1)]).tolist())
        content = text.getvalue().encode()
        name = f"set_{part}.csv"
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content, 1) if packed else content)
    return folder


def picture_table(part: Part, names: tuple[str, ...] = NAMES, *, text: bool = False, **changes: Any) -> Any:
    """A table as Hugging Face writes it; ``changes`` replace columns by name."""
    pictures = [{"bytes": png(image), "path": None} for image in part[0]]
    labels = [names[label] for label in part[1]] if text else part[1].tolist()
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = {"image": pyarrow.array(pictures, kind), "label": pyarrow.array(labels)} | changes
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(names)}}
    metadata = {} if text else {"huggingface": json.dumps({"info": {"features": features}})}
    return pyarrow.table(columns).replace_schema_metadata(metadata)


def write_parquet(folder: Path, train: Part, test: Part, names: tuple[str, ...] = NAMES, shards: int = 2) -> Path:
    """Shards train-00000-of-00002.parquet ..., and one of test."""
    for part, (images, labels), count in (("train", train, shards), ("test", test, 1)):
        for number in range(count):
            some = slice(number * len(images) // count, (number + 1) * len(images) // count)
            table = picture_table((images[some], labels[some]), names)
            pyarrow.parquet.write_table(table, folder / f"{part}-{number:05}-of-{count:05}.parquet")
    return folder


WRITERS: dict[str, Callable[[Path, Part, Part], Path]] = {
    "keras": write_keras,
    "medmnist": write_medmnist,
    "kmnist": write_kmnist,
    "kaggle": write_kaggle,
    "kaggle, pixel0, gz": lambda *parts: write_kaggle(*parts, header="pixel0", packed=True),
    "kaggle, 1x1": lambda *parts: write_kaggle(*parts, header="1x1"),
    "kaggle, no header": lambda *parts: write_kaggle(*parts, header=""),
    "parquet": write_parquet,
}
