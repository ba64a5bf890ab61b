"""``modiste export``."""

from dataclasses import dataclass
from pathlib import Path

from modiste.cli.words import parse


@dataclass(frozen=True, kw_only=True)
class _ExportOptions:
    run: Path
    """Folder of a finished run."""
    out: Path | None = None
    """File to write; model.onnx in the run's folder if not given."""
    data_folder: Path | None = None
    """Where Fashion-MNIST lies, if not in one of the usual places."""


def export(words: list[str]) -> None:
    """Write a finished run as one ONNX file, bytes in and probabilities out, and prove that it answers alike."""
    options: _ExportOptions = parse(_ExportOptions, words, "modiste export")
    from modiste.export import export as write

    done = write(options.run, options.out, data_folder=options.data_folder)
    print(
        f"{done.path}, {done.size_bytes / 1e6:.1f} MB, temperature {done.temperature:.2f}\n"
        f"{done.images:,} validation images: same class for {done.agreement:.2%}, "
        f"probabilities at most {done.largest_difference:.1g} apart"
    )
