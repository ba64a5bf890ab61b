"""``modiste predict``."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modiste.cli.answer_writers import AnswerWriter, JsonWriter, LineWriter, TableWriter
from modiste.cli.arguments import DataFolderOption, complain, help_or_complain, parse, split_flags
from modiste.cli.streams import warn
from modiste.errors import DataError, PhotoError, StorageError, extra_for, printable

if TYPE_CHECKING:
    from modiste.inference.answers import FileAnswer
    from modiste.inference.classifier import Classifier
    from modiste.inference.predictor import Predictor
    from modiste.photo.preparation import PictureInput

STANDARD_INPUT = "-"
LONGEST_STEM = 100
"""Characters of a photo's name that the name of its figure keeps."""


@dataclass(frozen=True, kw_only=True)
class _PredictOptions(DataFolderOption):
    json: bool = False
    """Print JSON: every class's probability for every file."""
    csv: bool = False
    """Print CSV: file, class, probability, runner-up, its probability, novelty, fault."""
    show: Path | None = None
    """Draw into this folder how each file is prepared and what the network looks at."""
    background: Literal["trained", "plain", "network", "auto"] = "trained"
    """How to find the garment: on a plain background; by a segmentation network, on any; auto takes what holds."""
    device: str = "auto"
    """auto, cpu, cuda ..."""
    accept: float | None = None
    """Share of garments that may wrongly be answered none of the classes, 0.001 to 0.5; unset, it is 0.04."""
    precision: Literal["trained", "float32", "bfloat16", "auto"] = "trained"
    """Number format to compute in; trained is the format of training, auto is bfloat16 where that is faster."""


def predict(arguments: list[str]) -> None:
    """Classify photos: print the class, its probability, and the runner-up.

    modiste predict RUN FILE|FOLDER|- ... [--json|--csv] [--show FOLDER]

    RUN is the folder of a finished run, a model file, or an ONNX file from modiste export. A garment on a plain
    background, light or dark, is found, cropped and prepared like the training images. Images of an IDX file are
    used as they are; - reads a picture from standard input.
    """
    positional, flags = split_flags(arguments, _PredictOptions)
    program = "modiste predict RUN FILE"
    if len(positional) < 2:
        complaint = "expected a run and pictures: modiste predict RUN FILE ...; see modiste predict --help"
        help_or_complain(predict, arguments, complaint, _PredictOptions, program)
    options: _PredictOptions = parse(_PredictOptions, flags, program)
    from modiste.inference.answers import answers, check_paths

    source, *inputs = positional
    check_paths(Path(item) for item in inputs if item != STANDARD_INPUT)
    classifier = _classifier(Path(source), options)
    background = None if options.background == "trained" else options.background
    count = faults = 0
    draw = _figure_writer(classifier, options)
    with _writer(options).opened() as writer:
        for answer in answers(
            classifier, _pictures(inputs), background=background, keep_steps=options.show is not None
        ):
            writer.write(answer)
            draw(count, answer)
            count, faults = count + 1, faults + bool(answer.fault)
    if faults:
        complain(f"{faults} of {count} files could not be read, see above", PhotoError.exit_code)


def _writer(options: _PredictOptions) -> AnswerWriter:
    return JsonWriter() if options.json else TableWriter() if options.csv else LineWriter()


def _pictures(inputs: list[str]) -> "Iterator[tuple[str, PictureInput | PhotoError]]":
    from modiste.inference.answers import find_pictures
    from modiste.photo.opening import MOST_BYTES

    for item in inputs:
        if item == STANDARD_INPUT:
            yield "standard input", sys.stdin.buffer.read(MOST_BYTES + 1) if sys.stdin else b""
        else:
            yield from find_pictures(Path(item))


def _classifier(source: Path, options: _PredictOptions) -> "Classifier":
    """Load the model, with the false-alarm rate that is wanted."""
    if source.suffix == ".onnx":
        from modiste.inference.onnx_model import OnnxModel

        model = OnnxModel.load(source)
        return model if options.accept is None else model.accepting(options.accept)
    predictor = _predictor(source, options)
    return predictor if options.accept is None else predictor.accepting(options.accept)


def _predictor(source: Path, options: _PredictOptions) -> "Predictor":
    """Load a run or a model file; a run without a stored detector learns and stores it now."""
    from modiste.inference.predictor import Predictor

    precision = None if options.precision == "trained" else options.precision
    predictor = Predictor.load(source, device=options.device, precision=precision)
    if predictor.folder:
        try:
            return predictor.with_novelty(source, options.data_folder)
        except (DataError, StorageError) as error:
            warn(f"modiste: photos of none of the classes will not be recognised as such: {error}")
    return predictor


def _figure_writer(classifier: "Classifier", options: _PredictOptions) -> "Callable[[int, FileAnswer], None]":
    """Return a function that draws how a photo was prepared, what the network looked at, and a typical image."""
    if options.show is None:
        return lambda _number, _answer: None
    folder = options.show
    from modiste.inference.classifier import evidence
    from modiste.inference.predictor import Predictor

    with extra_for("--show", "matplotlib", "report"):
        from modiste.report.photo import steps_figure, typical_images
        from modiste.report.style import save

    typical = typical_images(classifier, options.data_folder) if isinstance(classifier, Predictor) else {}

    def draw(number: int, answer: "FileAnswer") -> None:
        if answer.prepared:
            figure = steps_figure(answer, evidence(classifier, answer.prepared.planes), typical)
            name = printable(Path(answer.source).stem, LONGEST_STEM)
            warn(save(figure, folder / f"{number:04d}-{name}.png", dpi=150))

    return draw
