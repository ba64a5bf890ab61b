"""Files and folders that are there but are no data set of a kind that is read: what they are, and what to do."""

from pathlib import Path

from modiste.data.picture_list import SUFFIXES, UNREAD_SUFFIXES, counted

UNPACK = "unpack it and name the folder"
WRITE_PICTURES = "write the images as class folders of PNG files, or as IDX files"
WRITE_TABLE = "write it as a .csv file with the columns path and label, parted by commas"
KINDS = (
    ((".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst"), "an archive", UNPACK),
    ((".npz", ".npy"), "NumPy arrays", WRITE_PICTURES),
    ((".parquet", ".arrow", ".feather"), "a table of Arrow or Parquet", WRITE_PICTURES),
    ((".mat",), "a MATLAB file", WRITE_PICTURES),
    ((".h5", ".hdf5", ".tfrecord", ".tfrecords", ".lmdb", ".db", ".sqlite"), "a file of records", WRITE_PICTURES),
    ((".pkl", ".pickle", ".pt", ".pth", ".bin"), "a file that could run code", WRITE_PICTURES),
    ((".tsv", ".txt", ".json", ".jsonl", ".xlsx", ".xls", ".ods", ".yaml", ".yml"), "a table or text", WRITE_TABLE),
    ((".safetensors", ".onnx"), "a model", "name the data that it was trained on"),
    (SUFFIXES + UNREAD_SUFFIXES, "a single picture", "name the folder that holds a folder for each class"),
)
"""Endings of files, what such a file is, and what a person can do with it."""


def foreign_kind(path: Path) -> tuple[str, str]:
    """Return what a file seems to be by its name, and what to do with it."""
    name = path.name.lower()
    if "idx1-ubyte" in name or "idx3-ubyte" in name:
        return "a single IDX file", "name the folder that holds images and labels"
    for endings, kind, remedy in KINDS:
        if name.endswith(endings):
            return f"{kind} ({path.suffix})", remedy
    return "a file", "name a folder or a .csv file"


def contents(names: list[str]) -> tuple[str, str]:
    """Return what these files in a folder are, and what to do, where it holds no data set."""
    if any(name.lower().endswith(SUFFIXES + UNREAD_SUFFIXES) for name in names):
        return counted(names), "put the pictures of each class into a folder of its own"
    if tables := [name for name in names if name.lower().endswith(".csv")]:
        return counted(names), f"name the table: {tables[0]}"
    kinds = [foreign_kind(Path(name)) for name in names]
    known = [remedy for kind, remedy in kinds if kind != "a file"]
    return counted(names), known[0] if known else "name another folder"
