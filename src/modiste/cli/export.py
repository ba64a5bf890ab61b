"""``modiste export``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modiste.cli.arguments import USAGE, RunOptions, complain, parse
from modiste.cli.streams import say

if TYPE_CHECKING:
    from modiste.exports.card import Agreement
    from modiste.exports.export import Exported


@dataclass(frozen=True, kw_only=True)
class _ExportOptions(RunOptions):
    runs: tuple[Path, ...]
    """Folder of a finished run; several become one ONNX file, with weights fitted on validation."""
    to: Literal["html", "onnx", "safetensors", "torch"] = "onnx"
    """onnx: for any program; html: a page that classifies by itself; safetensors: weights for Modiste; torch: a program
    for torch.export.load."""
    int8: bool = False
    """Quantize an ONNX file to eight bits, and report what that costs on all validation images."""
    opset: int | None = None
    """Version of ONNX's operators, 18 to 23, for some networks lower; unset, torch's choice."""
    out: Path | None = None
    """File to write; by default in the run's folder, as model.onnx and the like."""


def export(arguments: list[str]) -> None:
    """Write a finished run as one file, from bytes to probabilities, and check it against the run.

    Examples:
      modiste export runs/paper
      modiste export runs/paper --int8 --out small.onnx
      modiste export runs/paper --opset 18
      modiste export runs/paper --to safetensors
      modiste export runs/paper --to html
      modiste export runs/sprint-94 runs/resnet --out both.onnx
    """
    options = parse(_ExportOptions, arguments, "modiste export", export)
    from modiste.exports.browser import ABSENT

    if not options.runs:
        complain("which run? modiste export RUN [--to html]; see modiste export --help", USAGE)
    options.register_networks()
    done = _export_ensemble(options) if len(options.runs) > 1 else _export_one(options)
    say(
        f"{done.path}, {done.size_bytes / 1e6:.1f} MB, temperature {done.temperature:.2f}",
        ABSENT if done.proof is None else _compared(done.proof),
        f"model card: {done.card}",
    )


def _export_one(options: _ExportOptions) -> "Exported":
    from modiste.exports.export import export as write

    return write(
        options.runs[0],
        options.out,
        to=options.to,
        int8=options.int8,
        opset=options.opset,
        data_folder=options.data_folder,
    )


def _export_ensemble(options: _ExportOptions) -> "Exported":
    from modiste.exports.ensemble import export_ensemble

    if options.out is None:
        complain("several runs become one file; name it: --out FILE.onnx", USAGE)
    if options.to != "onnx" or options.int8 or options.opset is not None:
        complain("several runs: only an ONNX file in float32, without --int8 and --opset", USAGE)
    return export_ensemble(options.runs, options.out, data_folder=options.data_folder)


def _compared(proof: "Agreement") -> str:
    return (
        f"{proof.images:,} validation images: same class for {proof.agreement:.2%}, "
        f"probabilities at most {proof.largest_difference:.1g} apart; "
        f"accuracy {proof.own_accuracy:.2%}, of the run {proof.accuracy:.2%}"
    )
