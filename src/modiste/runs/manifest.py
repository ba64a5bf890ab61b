"""The manifest of a finished run: the hash of each file, and how often the run was evaluated on test."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from modiste.errors import RunError
from modiste.runs import storage

NAME = "manifest.json"
ONNX_FILE = "model.onnx"
"""What ``modiste export`` calls the ONNX file of a run."""


def write(folder: Path, files: Mapping[str, str], test_openings: int) -> None:
    """Replace the manifest, whole or not at all; StorageError when the disk refuses."""
    storage.write_hashed_json(folder / NAME, {"files": dict(files), "test_openings": test_openings})


def read(folder: Path, required: Iterable[str] = ()) -> tuple[dict[str, str], int]:
    """Return the SHA-256 of each file by name, and how often the test set was opened.

    Raises:
        RunError: The manifest is damaged, or does not list the ``required`` files.
    """
    path = folder / NAME
    if not storage.lies_in(folder, NAME):
        raise RunError(f"{path}: leads out of the run's folder, and is not followed")
    content = storage.read_hashed_json(path)
    files: dict[str, str] = content.get("files", {})
    openings: int = content.get("test_openings", -1)
    sane = isinstance(files, dict) and all(isinstance(digest, str) for digest in files.values())
    if not sane or not isinstance(openings, int) or openings < 0:
        raise RunError(f"{path}: damaged, it lists no files; restore it or train the run again")
    if missing := [name for name in required if name not in files]:
        raise RunError(f"{path}: damaged, it does not list {missing[0]}; restore it or train the run again")
    return files, openings


def verify(folder: Path, name: str, digest: str) -> Path:
    """Return a file's path; RunError if it is outside the folder, is missing, or does not have this hash."""
    path = folder / name
    if not storage.lies_in(folder, name):
        raise RunError(f"{folder / NAME}: lists {name!r}, which leads out of the run's folder, and is not followed")
    if not path.is_file():
        raise RunError(f"{path}: missing, though the run's manifest lists it; restore it or train the run again")
    found = storage.sha256(path)
    if found != digest:
        raise RunError(
            f"{path}: damaged, expected SHA-256 {digest[:16]}..., found {found[:16]}...; "
            "restore the file or train the run again in another folder"
        )
    return path


def has_onnx_file(run: Path) -> bool:
    """Return whether a run was exported as an ONNX file; RunError if its manifest is damaged."""
    return ONNX_FILE in read(run)[0]


def onnx_file(source: Path) -> Path:
    """Return the path of an ONNX file, or of that in a run's folder.

    Raises:
        RunError: The run was not exported, or its file is missing or has changed since.
    """
    if not storage.is_folder(source):
        return source
    files, _ = read(source)
    if ONNX_FILE not in files:
        raise RunError(f"{source}: holds no {ONNX_FILE}; export the run: modiste export {source}")
    try:
        return verify(source, ONNX_FILE, files[ONNX_FILE])
    except RunError as error:
        raise RunError(f"{error}; or write it again: modiste export {source}") from error
