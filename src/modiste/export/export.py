"""A finished run as one file for other programs: bytes in, probabilities out, and proof that it answers alike.

Standardisation, mirror images where the recipe averages them, the temperature and what tells images of none of the
classes are inside; class names and where the weights come from are in the file. A model card lies beside it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from modiste.data.dataset import ImageSet
from modiste.data.sampling import balanced_sample
from modiste.errors import RunError
from modiste.evaluation.calibration import fit_temperature
from modiste.evaluation.out_of_distribution.novelty import Answers, learn_for, stored
from modiste.evaluation.run_images import development_of
from modiste.export import card, int8
from modiste.export.card import Agreement
from modiste.export.formats import FORMATS, Format, Probabilities
from modiste.recipes.plain import nearest
from modiste.runs import run_folder, storage
from modiste.runs.run_folder import open_run

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
        proof: how its answers compare with the run's.
        card: the model card beside it.
    """

    path: Path
    size_bytes: int
    temperature: float
    proof: Agreement
    card: Path


def export(
    folder: Path | str,
    out: Path | str | None = None,
    *,
    to: str = "onnx",
    rounded: bool = False,
    data_folder: Path | str | None = None,
) -> Exported:
    """Write the picked weights of a finished run as one file, and compare its answers on validation images.

    Args:
        folder: a finished run's.
        out: the file; one named by its kind in the run's folder, whose manifest then lists it, if None.
        to: "onnx", "torch" (a program for ``torch.export.load``) or "safetensors" (weights for Modiste). The first two
            take bytes (N, C, H, W) of any N to ``logits`` and ``probabilities``, (N, classes) in float32, and
            ``novelty`` (N,). The temperature is fitted to the validation images (Guo et al., 2017).
        rounded: whether weights and activations are rounded to eight bits, for ONNX only; then all validation images
            are compared, and the accuracies say what it costs.
        data_folder: as ``load_dataset`` takes it: of Fashion-MNIST, or of data that have moved.

    Raises:
        RunError: the run is unfinished or damaged, or the file answers otherwise than the run; it is not kept then.
        DataError: the run keeps no images of its own, and those of its data set are missing or damaged.
        MissingExtraError: what writes or runs such files is not installed.
    """
    kind = _kind(to, rounded)
    kind.require_packages()
    run = open_run(folder)
    development = development_of(run, data_folder)
    model, info = run.load_model()
    known = run.measured()
    temperature = fit_temperature(known.logits, known.labels)
    novelty = None if to == "safetensors" else stored(run) or learn_for(run, development)
    answers = Answers(model, mirror=run.recipe.mirror, temperature=temperature, novelty=novelty).eval()
    content = kind.write(answers, info)
    if rounded:
        content = int8.rounded(content, sample(development.train, int8.CALIBRATION_IMAGES).images.numpy())
    proof = development.validation if rounded else sample(development.validation, PROOF_IMAGES)
    found = compare(kind.read(content), answers, proof)
    if found.largest_difference > TOLERANCE and not rounded:
        raise RunError(
            f"{run.folder}: the {to} file answers otherwise than the run, by up to {found.largest_difference:.2g} "
            f"in a probability on {found.images:,} validation images; nothing was written"
        )
    path = run.folder / _name(kind, rounded) if out is None else Path(out)
    described = path.with_name(f"{path.name}.md")
    files = {path: content, described: card.text(run, path.name, answers, found).encode()}
    if path.parent.resolve() == run.folder.resolve():
        run_folder.keep(run, {file.name: content for file, content in files.items()})
    else:
        for file, content in files.items():
            storage.write_bytes(file, content)
    return Exported(path, len(content), temperature, found, described)


def sample(images: ImageSet, count: int) -> ImageSet:
    """Return ``count`` images drawn from all, of every class alike; all when there are no more."""
    return images[balanced_sample(images.labels, count, "export")]


def compare(theirs: Probabilities, answers: Answers, known: ImageSet) -> Agreement:
    """Compare answers; the first image goes alone, for a file that knows one number of images only fails there."""
    images, labels = known.images.numpy(), known.labels.numpy()
    parts = [images[:1], *np.array_split(images[1:], max(1, len(images) // 100))]
    with torch.inference_mode():
        ours = np.concatenate([answers(torch.from_numpy(part))[1].numpy() for part in parts])
        found = np.concatenate([theirs(part) for part in parts])
    return Agreement(
        images=len(images),
        largest_difference=float(np.abs(ours - found).max()),
        agreement=float((ours.argmax(1) == found.argmax(1)).mean()),
        accuracy=float((ours.argmax(1) == labels).mean()),
        own_accuracy=float((found.argmax(1) == labels).mean()),
    )


def _kind(to: str, rounded: bool) -> Format:
    if to not in FORMATS:
        raise RunError(f"export: no format {to!r}; {nearest(to, FORMATS)}")
    if rounded and to != "onnx":
        raise RunError(f"export: --int8 is for ONNX files only, found {to!r}")
    return FORMATS[to]


def _name(kind: Format, rounded: bool) -> str:
    return kind.name.replace(".", "-int8.") if rounded else kind.name
