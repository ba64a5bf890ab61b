"""Predictions of every image of a split as one file for other programs: CSV, NumPy's npz or parquet.

Columns ``index`` (position in the split), ``label`` and ``predicted`` (classes by number, from 0), and for each class
its probability. CSV and parquet have a column ``probability_NAME`` for each class. The npz file has ``probabilities``,
(n, classes), and ``class_names``.
"""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from modiste.errors import RecipeError, extra_for
from modiste.runs import storage

EXTRA = ("predictions in parquet", "pyarrow", "parquet")
Table = dict[str, np.ndarray]


def check_path(path: Path | str) -> None:
    """Check the ending and the folder of a file of predictions, before any work is done.

    Raises:
        RecipeError: It is none of .csv, .npz and .parquet.
        MissingExtraError: Parquet needs a package that is not installed.
        StorageError: The folder cannot be written.
    """
    suffix = Path(path).suffix
    if suffix not in WRITERS:
        raise RecipeError(f"{path}: expected a name that ends in {', '.join(WRITERS)}, found {suffix or 'no ending'}")
    if suffix == ".parquet":
        with extra_for(*EXTRA):
            import pyarrow.parquet  # noqa: F401
    storage.check_writable(Path(path).parent)


def write_predictions(
    path: Path | str, logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], class_names: tuple[str, ...]
) -> None:
    """Write the predictions that logits stand for; the file's ending decides its format.

    Probabilities are the softmax of the logits, as accuracy, loss and calibration are measured: without the temperature
    that exported models have.

    Args:
        path: Ends in .csv, .npz or .parquet.
        logits: Logits of each image.
        labels: Labels of each image.
        class_names: One per class.

    Raises:
        RecipeError, MissingExtraError: See ``check_path``.
        StorageError: The file cannot be written.

    Example::

        write_predictions("out.csv", logits, labels, ("coat", "shoe"))
    """
    check_path(path)
    probabilities = logits.double().softmax(1).float().numpy()
    table: Table = {
        "index": np.arange(len(labels)),
        "label": labels.numpy(),
        "predicted": logits.argmax(1).numpy(),
    }
    storage.write_bytes(Path(path), WRITERS[Path(path).suffix](table, probabilities, class_names))


def _csv(table: Table, probabilities: Float[np.ndarray, "n classes"], names: tuple[str, ...]) -> bytes:
    """Return comma-separated values; nine digits hold every float32 exactly."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*table, *_columns(names)])
    for numbers, row in zip(zip(*table.values(), strict=True), probabilities, strict=True):
        writer.writerow([*numbers, *(f"{one:.9g}" for one in row)])
    return text.getvalue().encode()


def _npz(table: Table, probabilities: Float[np.ndarray, "n classes"], names: tuple[str, ...]) -> bytes:
    file = io.BytesIO()
    index, label, predicted = table.values()
    class_names = np.array(names, np.str_)
    np.savez(file, index=index, label=label, predicted=predicted, probabilities=probabilities, class_names=class_names)
    return file.getvalue()


def _parquet(table: Table, probabilities: Float[np.ndarray, "n classes"], names: tuple[str, ...]) -> bytes:
    import pyarrow.parquet

    columns = table | dict(zip(_columns(names), probabilities.T, strict=True))
    sink = pyarrow.BufferOutputStream()
    arrays = [pyarrow.array(np.ascontiguousarray(column)) for column in columns.values()]
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, names=list(columns)), sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _columns(names: tuple[str, ...]) -> list[str]:
    return [f"probability_{name}" for name in names]


WRITERS: dict[str, Callable[[Table, np.ndarray, tuple[str, ...]], bytes]] = {
    ".csv": _csv,
    ".npz": _npz,
    ".parquet": _parquet,
}
