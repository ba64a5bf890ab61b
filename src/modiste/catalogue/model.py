"""The model of a catalogue: an ONNX file as it is, or one made from a run or a model file, and what identifies it."""

from pathlib import Path

from modiste.errors import RunError, reason_of
from modiste.inference.onnx_model import MOST_BYTES
from modiste.runs import storage

ENDING = ".onnx"


def digest_of(source: Path) -> str:
    """Return the SHA-256 that identifies a model: of the file, or of a run's selected weights.

    Raises:
        RunError: there is no such file, or the run is unfinished or damaged.
    """
    if storage.is_folder(source):
        from modiste.runs import run_folder

        return run_folder.open_run(source).files[run_folder.WEIGHTS["picked"]]
    if not source.is_file():
        raise RunError(f"{source}: no such file; expected a run, a model file, or an ONNX file of modiste export")
    return storage.sha256(source)


def onnx_of(source: Path, data_folder: Path | None = None) -> bytes:
    """Return the content of the ONNX file that answers for a model.

    Args:
        source: folder of a finished run, a model file, or an ONNX file, which is taken as it is.
        data_folder: of the images of a run that has not yet learnt to recognise out-of-distribution images.

    Raises:
        RunError: the model is missing, damaged or too large.
        DataError: the run's images are needed and missing.
        MissingExtraError: a package that writes ONNX files is not installed.
    """
    if source.suffix != ENDING:
        from modiste.export.export import onnx_content

        return onnx_content(source, data_folder)
    try:
        with source.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise RunError(f"{source}: cannot be read ({reason_of(error)}); expected a file of modiste export") from error
    if len(content) > MOST_BYTES:
        raise RunError(f"{source}: expected at most {MOST_BYTES:,} bytes, found more")
    return content
