"""Export of a finished run as one file for other programs, checked against the run.

The file takes bytes and returns probabilities. It contains the standardisation, the averaging over mirror and moved
images if the recipe has it, the temperature, and the detector of out-of-distribution images. Its metadata name the
classes and the origin of the weights. An ONNX file also describes its answers on validation images, with which later
answers are compared. A model card is written beside it.
"""

import json
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from modiste import machine
from modiste.data.dataset import Development, ImageSet, balanced_sample, shown_once
from modiste.errors import RunError
from modiste.evaluation.calibration import fit_temperature
from modiste.evaluation.conformal import coverage_table
from modiste.evaluation.out_of_distribution.features import features
from modiste.evaluation.out_of_distribution.novelty import Answers, Novelty
from modiste.evaluation.out_of_distribution.run_detector import is_learned_again, learn_for, of_run, stored
from modiste.evaluation.run_images import development_of
from modiste.exports import card
from modiste.exports.card import Agreement
from modiste.exports.formats import (
    CALIBRATION_IMAGES,
    FORMATS,
    NEWEST_OPSET,
    Format,
    Probabilities,
    as_onnx,
    parts,
    quantize,
    with_metadata,
)
from modiste.inference.onnx_model import COVERAGE, OnnxModel
from modiste.monitoring.reference import KEY, Reference
from modiste.recipes.plain import nearest
from modiste.runs import checkpoint, run_folder, storage
from modiste.runs.run_folder import Run, open_run

PROOF_IMAGES = 1_000
"""Largest number of validation images on which an exported file is checked."""
RANDOM_IMAGES = 16
"""Number of random images on which a file is checked that is made without the run's data."""
REFERENCE_IMAGES = 3_000
"""Largest number of validation images whose answers a file describes; more would hardly help a test of drift."""
TOLERANCE = 1e-3
"""Largest difference allowed between a probability of the exported file and that of the run."""


@dataclass(frozen=True)
class Exported:
    """An exported file and its agreement with the run.

    Attributes:
        path: The file.
        size_bytes: Its size.
        temperature: Divides the logits before the softmax.
        proof: Comparison of its probabilities with the run's; None if no browser is here that could run a page.
        card: The model card beside it.
    """

    path: Path
    size_bytes: int
    temperature: float
    proof: Agreement | None
    card: Path


def export(
    folder: Path | str,
    out: Path | str | None = None,
    *,
    to: str = "onnx",
    int8: bool = False,
    opset: int | None = None,
    data_folder: Path | str | None = None,
) -> Exported:
    """Write the selected weights of a finished run as one file, and check its answers on validation images.

    Files of format ``onnx`` and ``torch`` take bytes (N, C, H, W) for any N. They return ``logits`` and
    ``probabilities``, (N, classes), in float32, and ``novelty``, (N,), in float64. The temperature is fitted to the
    validation images (Guo et al., 2017).

    Example::

        from modiste.exports.export import export

        print(export("runs/paper", "paper.onnx").size_bytes)

    Args:
        folder: The run folder.
        out: The file to write. If None, the file is written into the run folder under the format's name, and the run's
            manifest lists it.
        to: ``onnx``; ``torch``, a program for ``torch.export.load``; ``safetensors``, weights for Modiste; or ``html``,
            a page that classifies pictures by itself, checked in a headless browser where there is one.
        int8: Whether weights and activations are quantized to eight bits; only for ``onnx``. The file is then compared
            on all validation images, and the accuracies show the loss.
        opset: Version of ONNX's operators, 18 to 23, for some networks lower; torch's choice if None.
        data_folder: Folder of Fashion-MNIST, or of data that have moved; see ``load_dataset``.

    Raises:
        RunError: The run is unfinished or damaged, the converter cannot reach ``opset``, a page does not compute the
            network, or the file's answers differ from the run's; nothing is written then. Or ``out`` is a folder, or a
            part of a run.
        DataError: The run keeps no images of its own, and its data set is missing or damaged.
        StorageError: The file cannot be written.
        MissingExtraError: A package that writes or runs such files is not installed.
    """
    kind = _format(to, int8, opset)
    run = open_run(folder)
    path = run.folder / _file_name(kind, int8) if out is None else Path(out)
    described = check_place(path, run)
    development = development_of(run, data_folder)
    model, info = run.load_model()
    novelty = None if to == "safetensors" else novelty_of(run, model, development, data_folder)
    answers = _answers(run, model, novelty)
    content = kind.write(answers, info) if opset is None else as_onnx(answers, info, opset)
    content, found = checked(run, to, content, answers, development, int8)
    if to == "onnx":
        content = with_reference(content, development.validation.images)
        known = _own(content, development.validation) if int8 else _calibrated(run, answers.temperature)
        content = with_coverage(content, *known)
    _write(run, {path: content, described: card.text(run, path.name, answers, found).encode()})
    return Exported(path, len(content), answers.temperature, found, described)


def check_place(path: Path, run: Run | None = None) -> Path:
    """Return the path of the model card beside a file. Call this before the work: it is lost if nothing can be written.

    Args:
        path: The file that is to be written.
        run: The run that is exported; its folder may keep the file. None for several runs.

    Raises:
        RunError: The path is a folder; the file would replace a part of a run, or the card another text.
        StorageError: The folder of the file cannot be written.
    """
    if storage.is_folder(path):
        raise RunError(f"export: {path}: expected the name of a file, found a folder; name a file in it")
    described = path.with_name(f"{path.name}.md")
    is_own = run is not None and path.parent.resolve() == run.folder.resolve()
    parts = run_folder.PARTS if is_own else run_folder.parts_in(path.parent)
    for one in (path, described):
        run_folder.demand_no_part(one, parts)
    is_listed = is_own and run is not None and run_folder.is_listed(run, described.name)
    if described.exists() and not path.exists() and not is_listed:
        raise RunError(
            f"{described}: would be replaced by the model card of {path.name}; choose another name, or delete it"
        )
    storage.check_writable(path.parent)
    return described


def checked(
    run: Run, to: str, content: bytes, answers: Answers, development: Development, int8: bool = False
) -> tuple[bytes, Agreement | None]:
    """Return a file's content, in eight bits if asked for, and its agreement with ``answers`` on validation images.

    There is no agreement where files of this format cannot be read.

    Raises:
        RunError: The file is not in eight bits, and a probability differs from the run's.
    """
    kind = FORMATS[to]
    if not kind.can_read():
        return content, None
    if int8:
        train = shown_once(development.train, run.recipe.data)
        content = quantize(content, sample(train, CALIBRATION_IMAGES).images.numpy())
        return content, compare(kind.read(content), answers, development.validation)
    some = sample(development.validation, min(PROOF_IMAGES, kind.proof_images))
    found = compare(kind.read(content), answers, some)
    if not found.largest_difference <= TOLERANCE:  # NaN is no agreement
        raise RunError(
            f"{run.folder}: the {to} file answers otherwise than the run, by up to {found.largest_difference:.2g} "
            f"in a probability on {found.images:,} validation images; nothing was written"
        )
    return content, found


def with_reference(content: bytes, images: UInt8[Tensor, "n c h w"]) -> bytes:
    """Return an ONNX file with the distribution of its own answers on validation images, for ``modiste drift``."""
    draw = machine.generator(0, "reference")
    some = images[torch.randperm(len(images), generator=draw)[:REFERENCE_IMAGES]]
    found = Reference.of_scores(OnnxModel.from_bytes(content).classify(some.numpy()))
    return with_metadata(content, {KEY: json.dumps(found.as_plain(), separators=(",", ":"))})


def with_coverage(content: bytes, probabilities: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> bytes:
    """Return an ONNX file with the thresholds of prediction sets by coverage, for ``predict`` and ``serve``.

    Args:
        content: Content of the file.
        probabilities: Calibrated, of validation images.
        labels: Labels of these.
    """
    table = coverage_table(probabilities, labels).plain()
    return with_metadata(content, {COVERAGE: json.dumps(table, separators=(",", ":"))})


def _calibrated(run: Run, temperature: float) -> tuple[Float[Tensor, "n k"], Int64[Tensor, " n"]]:
    """Return the calibrated probabilities of a run's validation images, and their labels."""
    known = run.measured()
    return (known.logits.double() / temperature).softmax(1), known.labels


def _own(content: bytes, images: ImageSet) -> tuple[Float[Tensor, "n k"], Int64[Tensor, " n"]]:
    """Return the probabilities that an ONNX file itself gives, and the labels."""
    return torch.from_numpy(OnnxModel.from_bytes(content).classify(images.images.numpy()).probabilities), images.labels


def onnx_content(source: Path, data_folder: Path | str | None = None) -> bytes:
    """Return a run or a model file as the content of an ONNX file, checked against its network on random images.

    A run gets the detector of out-of-distribution images; a model file has none.

    Args:
        source: Folder of a finished run, or a model file.
        data_folder: Folder of the run's images, if its detector is not yet stored; see ``load_dataset``.

    Raises:
        RunError: The run or file is damaged, or the ONNX file answers otherwise than the network.
        DataError: The detector is not stored, and the images are missing or damaged.
        MissingExtraError: A package that writes or runs such files is not installed.
    """
    kind = FORMATS["onnx"]
    kind.require_packages()
    if storage.is_folder(source):
        run = open_run(source)
        model, info = run.load_model()
        seen = features(model, torch.zeros(1, *info.task.image_shape, dtype=torch.uint8))
        answers = _answers(run, model, of_run(run, data_folder, seen=seen))
        content = with_coverage(kind.write(answers, info), *_calibrated(run, answers.temperature))
    else:
        model, info = checkpoint.load_model(source)
        answers = Answers.of(model, info.recipe, info.temperature)
        content = kind.write(answers, info)
    draw = machine.generator(0, "export")
    images = torch.randint(0, 256, (RANDOM_IMAGES, *info.task.image_shape), generator=draw, dtype=torch.uint8)
    with torch.inference_mode():
        apart = np.abs(answers(images)[1].numpy() - kind.read(content)(images.numpy())).max()
    if not apart <= TOLERANCE:
        raise RunError(f"{source}: as an ONNX file it answers otherwise, by up to {apart:.2g} in a probability")
    return content


def _format(to: str, int8: bool, opset: int | None) -> Format:
    """Return the format of this name, whose packages are installed.

    Raises:
        RunError: There is no such format, or it cannot be quantized or have this opset.
        MissingExtraError: A package that writes or runs such files is not installed.
    """
    if to not in list(FORMATS):  # which compares, where a table would ask for the hash of a list
        raise RunError(f"export: no format {to!r}; {nearest(to, FORMATS)}")
    if int8 and to != "onnx":
        raise RunError(f"export: --int8 is for ONNX files only, found {to!r}")
    if opset is not None and to != "onnx":
        raise RunError(f"export: --opset is for ONNX files only, found {to!r}")
    if opset is not None and not (isinstance(opset, Integral) and 1 <= opset <= NEWEST_OPSET):
        raise RunError(f"export: --opset: expected from 1 to {NEWEST_OPSET}, found {opset!r}")
    FORMATS[to].require_packages()
    return FORMATS[to]


def novelty_of(run: Run, model: nn.Module, development: Development, data_folder: Path | str | None) -> Novelty:
    """Return the detector stored with a run, or learn it. One of an earlier version stays if its images are not read.

    The images that a run keeps are no reason to learn again: of the training images they are only a sample.
    """
    seen = features(model, development.validation.images[:1])
    found = stored(run, seen, earlier=not is_learned_again(run, data_folder))
    return found or learn_for(run, development)


def _answers(run: Run, model: nn.Module, novelty: Novelty | None) -> Answers:
    """Return the module to export: the run's model with its temperature and, if there is one, its detector."""
    known = run.measured()
    temperature = fit_temperature(known.logits, known.labels)
    return Answers.of(model, run.recipe, temperature, novelty)


def sample(images: ImageSet, count: int) -> ImageSet:
    """Return ``count`` images drawn evenly from all classes; all images if there are no more."""
    return images[balanced_sample(images.labels, count, "export")]


def compare(theirs: Probabilities, answers: Answers, known: ImageSet) -> Agreement:
    """Compare the probabilities of a file with those of ``answers`` on ``known`` images."""
    images, labels = known.images.numpy(), known.labels.numpy()
    with torch.inference_mode():
        ours = np.concatenate([answers(torch.from_numpy(part))[1].numpy() for part in parts(images)])
        found = theirs(images)
    return Agreement(
        images=len(images),
        largest_difference=float(np.abs(ours - found).max()),
        agreement=float((ours.argmax(1) == found.argmax(1)).mean()),
        accuracy=float((ours.argmax(1) == labels).mean()),
        own_accuracy=float((found.argmax(1) == labels).mean()),
    )


def _file_name(kind: Format, int8: bool) -> str:
    return kind.name.replace(".", "-int8.") if int8 else kind.name


def _write(run: Run, files: dict[Path, bytes]) -> None:
    """Write files of one folder; if it is the run folder, the manifest lists them."""
    if next(iter(files)).parent.resolve() == run.folder.resolve():
        run_folder.keep(run, {path.name: content for path, content in files.items()})
    else:
        for path, content in files.items():
            storage.write_bytes(path, content)
