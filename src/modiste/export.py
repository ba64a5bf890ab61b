"""A finished run as one ONNX file: bytes in, probabilities out, and proof that it answers as the run does.

Standardisation, mirror images where the recipe averages them, and the temperature are inside; class names and where the
weights come from are in the file's metadata.
"""

import json
import logging
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from modiste import run_folder, storage
from modiste.checkpoint import ModelInfo
from modiste.data.batch import as_floats
from modiste.errors import MissingExtraError, RunError
from modiste.evaluation.assessment import load_own_development
from modiste.evaluation.calibration import fit_temperature
from modiste.evaluation.inference import answer
from modiste.run_folder import Run, open_run
from modiste.version import __version__

PROOF_IMAGES = 1_000
TOLERANCE = 1e-3
"""Largest difference of a probability that an exported file may show."""


@dataclass(frozen=True)
class Exported:
    """A file for other programs, and how far it was found to agree with the run.

    Attributes:
        path: the file.
        size_bytes: its size.
        temperature: by which logits are divided before the softmax.
        images: validation images that both have answered.
        largest_difference: between their probabilities.
        agreement: share of the images for which both favour the same class.
    """

    path: Path
    size_bytes: int
    temperature: float
    images: int
    largest_difference: float
    agreement: float


class Answers(nn.Module):
    """What the file computes: logits and probabilities of images of bytes.

    Args:
        model: takes images in [0, 1].
        mirror: whether the logits of each image and of its mirror image are averaged.
        temperature: above 1 makes probabilities more cautious.
    """

    def __init__(self, model: nn.Module, *, mirror: bool, temperature: float) -> None:
        super().__init__()
        self.model, self.mirror, self.temperature = model, mirror, temperature

    def forward(self, images: UInt8[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
        logits = answer(self.model, as_floats(images), mirror=self.mirror)
        return logits, (logits / self.temperature).softmax(1)


def export(folder: Path | str, out: Path | str | None = None, *, data_folder: Path | str | None = None) -> Exported:
    """Write the picked weights of a finished run as ONNX, and compare its answers on validation images.

    The input ``images`` is bytes (N, C, H, W) of any N; the outputs are ``logits`` and ``probabilities``, (N, classes)
    in float32. The temperature is fitted to the validation images (Guo et al., 2017).

    Args:
        folder: a finished run's.
        out: the file; ``model.onnx`` in the run's folder, whose manifest then lists it, if None.
        data_folder: where Fashion-MNIST lies, if not in one of the usual places.

    Raises:
        RunError: the run is unfinished or damaged, or the file answers otherwise than the run; it is not kept then.
        MissingExtraError: what writes or runs ONNX is not installed.
    """
    _require_packages()
    run_folder.require_finished(Path(folder))
    with storage.lock(Path(folder)):
        run = open_run(folder)
        model, info = run.load_model()
        temperature = fit_temperature(*run_folder.read_logits(run.folder / run_folder.logits_name("validation")))
        answers = Answers(model, mirror=run.recipe.mirror, temperature=temperature).eval()
        images = load_own_development(run, data_folder).validation.images[:PROOF_IMAGES]
        content = as_onnx(answers, info)
        difference, agreement = compare(content, answers, images)
        if difference > TOLERANCE:
            raise RunError(
                f"{run.folder}: the ONNX file answers otherwise than the run, by up to {difference:.2g} in a "
                f"probability on {len(images):,} validation images; nothing was written"
            )
        path = run.folder / "model.onnx" if out is None else Path(out)
        storage.write_bytes(path, content)
        _enter(run, path)
    return Exported(path, len(content), temperature, len(images), difference, agreement)


def as_onnx(answers: Answers, info: ModelInfo) -> bytes:
    """Return the file's content; the number of images is left open."""
    example = torch.zeros(2, *info.task.image_shape, dtype=torch.uint8)
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    registration.setLevel(logging.ERROR)  # it misses a package that no model here needs
    with torch.inference_mode(), warnings.catch_warnings(action="ignore"):
        program = torch.onnx.export(
            answers,
            (example,),
            dynamo=True,
            dynamic_shapes={"images": {0: torch.export.Dim("n", min=1)}},
            input_names=["images"],
            output_names=["logits", "probabilities"],
            external_data=False,
            verbose=False,
        )
    assert program is not None
    proto: Any = program.model_proto
    for key, value in _metadata(answers, info).items():
        proto.metadata_props.add(key=key, value=value)
    content: bytes = proto.SerializeToString()
    return content


def compare(content: bytes, answers: Answers, images: UInt8[Tensor, "n c h w"]) -> tuple[float, float]:
    """Return the largest difference of a probability, and the share of images with the same favoured class.

    The first image goes alone, for a file that knows one number of images only would fail there.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    differences, same = [], []
    for part in (images[:1], *torch.split(images[1:], 100)):
        with torch.inference_mode():
            ours = answers(part)[1]
        theirs = torch.from_numpy(session.run(["probabilities"], {"images": part.numpy()})[0])
        differences.append((ours - theirs).abs().max())
        same.append(ours.argmax(1) == theirs.argmax(1))
    return float(torch.stack(differences).max()), float(torch.cat(same).float().mean())


def _metadata(answers: Answers, info: ModelInfo) -> dict[str, str]:
    return {
        "modiste": __version__,
        "recipe": info.recipe.name,
        "epoch": str(info.epoch),
        "fingerprint": info.fingerprint,
        "temperature": repr(answers.temperature),
        "class_names": json.dumps(info.task.class_names),
    }


def _enter(run: Run, path: Path) -> None:
    """Let the manifest vouch for a file inside the run's folder."""
    if path.resolve().parent == run.folder.resolve():
        run_folder.add_files(run, [path.name], test_openings=run.test_openings)


def _require_packages() -> None:
    """Raise MissingExtraError before any work is done, not when half of it is."""
    try:
        for name in ("onnx", "onnxruntime", "onnxscript"):
            import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            "export: needs packages that are not installed: pip install 'modiste[export]'"
        ) from error
