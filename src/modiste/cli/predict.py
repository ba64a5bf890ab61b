"""``modiste predict``."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modiste.cli.answer_writers import AnswerWriter, JsonWriter, LineWriter, TableWriter
from modiste.cli.arguments import DataFolderOption, complain, explain, flags_last, parse
from modiste.cli.streams import warn
from modiste.errors import DataError, PhotoError, StorageError, extra_for, printable

if TYPE_CHECKING:
    from modiste.inference.answers import FileAnswer
    from modiste.inference.classifier import Classifier
    from modiste.photo.preparation import PictureInput

STANDARD_INPUT = "-"
LONGEST_STEM = 100
"""Letters of a photo's name in the name of its figure."""


@dataclass(frozen=True, kw_only=True)
class _PredictOptions(DataFolderOption):
    json: bool = False
    """Print JSON: every class's probability for every file."""
    csv: bool = False
    """Print a table for other programs: file, class, probability, runner-up, its probability, fault."""
    show: Path | None = None
    """Write a picture of each file's way to the network into this folder."""
    device: str = "auto"
    """auto, cpu, cuda ..."""
    precision: Literal["trained", "float32", "bfloat16", "auto"] = "trained"
    """In what to compute: trained is what the run was trained in, auto takes bfloat16 where that is faster."""


def predict(words: list[str]) -> None:
    """Say what is on photos: the class, how sure, and the runner-up.

    modiste predict RUN FILE|FOLDER|- ... [--json|--csv] [--show FOLDER]

    RUN is a finished run's folder, a model file or an ONNX file of modiste export. A garment on a plain background,
    light or dark, is found, cropped and turned into what the network saw in training. Images of an IDX file are taken
    as they are; - reads a picture from standard input.
    """
    named, flags = flags_last(words, _PredictOptions)
    program = "modiste predict RUN FILE"
    if len(named) < 2:
        complaint = "expected a run and pictures: modiste predict RUN FILE ...; see modiste predict --help"
        explain(predict, words, complaint, _PredictOptions, program)
    options: _PredictOptions = parse(_PredictOptions, flags, program)
    from modiste.inference.answers import answers, check_paths

    source, *places = named
    check_paths(Path(place) for place in places if place != STANDARD_INPUT)
    classifier = _classifier(Path(source), options)
    count = faults = 0
    show = _shower(classifier, options)
    with _writer(options).opened() as writer:
        for answer in answers(classifier, _pictures(places), keep_steps=options.show is not None):
            writer.write(answer)
            show(count, answer)
            count, faults = count + 1, faults + bool(answer.fault)
    if faults:
        complain(f"{faults} of {count} files could not be read, see above", PhotoError.exit_code)


def _writer(options: _PredictOptions) -> AnswerWriter:
    return JsonWriter() if options.json else TableWriter() if options.csv else LineWriter()


def _pictures(places: list[str]) -> "Iterator[tuple[str, PictureInput | PhotoError]]":
    from modiste.inference.answers import find_pictures
    from modiste.photo.opening import MOST_BYTES

    for place in places:
        if place == STANDARD_INPUT:
            yield "standard input", sys.stdin.buffer.read(MOST_BYTES + 1) if sys.stdin else b""
        else:
            yield from find_pictures(Path(place))


def _classifier(source: Path, options: _PredictOptions) -> "Classifier":
    """Return what answers; a run's learns at its first photo what tells those of none of the classes."""
    if source.suffix == ".onnx":
        from modiste.inference.onnx_model import OnnxModel

        return OnnxModel.load(source)
    from modiste.inference.predictor import Predictor

    precision = None if options.precision == "trained" else options.precision
    predictor = Predictor.load(source, device=options.device, precision=precision)
    if predictor.folder:
        try:
            return predictor.with_novelty(source, options.data_folder)
        except (DataError, StorageError) as error:
            warn(f"modiste: photos of none of the classes will not be told: {error}")
    return predictor


def _shower(classifier: "Classifier", options: _PredictOptions) -> "Callable[[int, FileAnswer], None]":
    """Return what draws an answer's way to the network, where it looked, and a typical image of its class."""
    if options.show is None:
        return lambda _number, _answer: None
    folder = options.show
    from modiste.inference.explanation import evidence
    from modiste.inference.predictor import Predictor

    with extra_for("--show", "matplotlib", "report"):
        from modiste.report.photo import steps_figure, typical_images
        from modiste.report.style import save

    typical = typical_images(classifier, options.data_folder) if isinstance(classifier, Predictor) else {}

    def show(number: int, answer: "FileAnswer") -> None:
        if answer.prepared:
            figure = steps_figure(answer, evidence(classifier, answer.prepared.planes), typical)
            name = printable(Path(answer.source).stem, LONGEST_STEM)
            warn(save(figure, folder / f"{number:04d}-{name}.png", dpi=150))

    return show
