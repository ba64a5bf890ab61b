"""The model of a catalogue: the ONNX file that answers for it, and the hash that identifies it."""

from dataclasses import dataclass
from pathlib import Path

from modiste.errors import RunError, reason_of
from modiste.inference.onnx_model import MOST_BYTES, OnnxModel
from modiste.runs import storage

ONNX_ENDING = ".onnx"


@dataclass(frozen=True)
class CatalogueModel:
    """The model that answers a catalogue, and what it shall answer.

    Attributes:
        source: Folder of a finished run, a model file, or an ONNX file of ``modiste export``.
        data_folder: Folder of the images of a run that has not yet learnt to recognise out-of-distribution images.
        coverage: Probability with which a set of classes, in the column ``possible``, shall hold the right one; None
            for no such column.
    """

    source: Path
    data_folder: Path | None = None
    coverage: float | None = None

    def digest(self) -> str:
        """Return the SHA-256 that identifies the model: of the file, or of a run's selected weights.

        Raises:
            RunError: There is no such file, or the run is unfinished or damaged.
        """
        if storage.is_folder(self.source):
            from modiste.runs import run_folder

            return run_folder.open_run(self.source).files[run_folder.WEIGHTS["picked"]]
        if not self.source.is_file():
            raise RunError(
                f"{self.source}: no such file; expected a run, a model file, or an ONNX file of modiste export"
            )
        return storage.sha256(self.source)

    def onnx(self) -> tuple[bytes, str | None]:
        """Return the content of the ONNX file that answers, and the name of the segmentation network that it needs.

        The name is None if the file needs none.

        Raises:
            RunError: The model is missing, damaged or too large, or has no threshold for this coverage.
            RecipeError: It takes no pictures, or the coverage is out of range.
            DataError: The run's images are needed and missing.
            MissingExtraError: A package that writes ONNX files is not installed.
        """
        content = self._content()
        model = OnnxModel.from_bytes(content, str(self.source))
        if self.coverage is not None:
            model.least_probability(self.coverage)
        return content, model.preparation.network or None

    def _content(self) -> bytes:
        """Return the content of the ONNX file: that of the source, or one that is made of it."""
        if self.source.suffix != ONNX_ENDING:
            from modiste.exports.export import onnx_content

            return onnx_content(self.source, self.data_folder)
        try:
            with self.source.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise RunError(
                f"{self.source}: cannot be read ({reason_of(error)}); expected a file of modiste export"
            ) from error
        if len(content) > MOST_BYTES:
            raise RunError(f"{self.source}: expected at most {MOST_BYTES:,} bytes, found more")
        return content
