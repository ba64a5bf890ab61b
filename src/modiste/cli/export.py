"""``modiste export``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modiste.cli.arguments import RunOptions, parse
from modiste.cli.streams import say

if TYPE_CHECKING:
    from modiste.exports.card import Agreement


@dataclass(frozen=True, kw_only=True)
class _ExportOptions(RunOptions):
    run: Path
    """Folder of a finished run."""
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
    """
    options = parse(_ExportOptions, arguments, "modiste export", export)
    from modiste.exports.browser import ABSENT
    from modiste.exports.export import export as write

    options.register_networks()
    done = write(
        options.run, options.out, to=options.to, int8=options.int8, opset=options.opset, data_folder=options.data_folder
    )
    say(
        f"{done.path}, {done.size_bytes / 1e6:.1f} MB, temperature {done.temperature:.2f}",
        ABSENT if done.proof is None else _compared(done.proof),
        f"model card: {done.card}",
    )


def _compared(proof: "Agreement") -> str:
    return (
        f"{proof.images:,} validation images: same class for {proof.agreement:.2%}, "
        f"probabilities at most {proof.largest_difference:.1g} apart; "
        f"accuracy {proof.own_accuracy:.2%}, of the run {proof.accuracy:.2%}"
    )
