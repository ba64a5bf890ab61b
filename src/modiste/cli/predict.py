"""``modiste predict``."""

import csv
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modiste.cli.words import DataFolderOption, complain, explain, parse, print_json
from modiste.errors import DataError, PhotoError, StorageError

if TYPE_CHECKING:
    from modiste.classifier import Classifier
    from modiste.photo.preparation import Picture
    from modiste.prediction import Answer


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
    place = next((number for number, word in enumerate(words) if word.startswith("--") or word == "-h"), len(words))
    named = words[:place]
    if len(named) < 2:
        explain(predict, words, "expected a run and pictures: modiste predict RUN FILE ...; see modiste predict --help")
    options: _PredictOptions = parse(_PredictOptions, words[place:], "modiste predict RUN FILE")
    from modiste.prediction import answers

    pictures = list(_pictures(named[1:]))
    classifier = _classifier(Path(named[0]), options)
    found = []
    for answer in answers(classifier, pictures):
        if answer.fault or not (options.json or options.csv):
            print(_line(answer), file=sys.stderr if answer.fault else sys.stdout)
        found.append(answer)
    _print_for_programs(found, options)
    if options.show:
        _show(classifier, found, options)
    faults = [answer for answer in found if answer.fault]
    if faults:
        complain(f"{len(faults)} of {len(found)} files could not be read, see above", PhotoError.exit_code)


def _pictures(names: list[str]) -> "Iterator[tuple[str, Picture]]":
    from modiste.prediction import find_pictures

    for name in names:
        if name == "-":
            yield "standard input", sys.stdin.buffer.read()
        else:
            yield from find_pictures(Path(name))


def _classifier(source: Path, options: _PredictOptions) -> "Classifier":
    """Return what answers; a run's learns at its first photo what tells those of none of the classes."""
    if source.suffix == ".onnx":
        from modiste.onnx_model import OnnxModel

        return OnnxModel.load(source)
    from modiste.predictor import Predictor

    precision = None if options.precision == "trained" else options.precision
    predictor = Predictor.load(source, device=options.device, precision=precision)
    if source.is_dir():
        try:
            return predictor.telling_strangers(source, options.data_folder)
        except (DataError, StorageError) as error:
            print(f"modiste: photos of none of the classes will not be told: {error}", file=sys.stderr)
    return predictor


def _show(classifier: "Classifier", found: "Iterable[Answer]", options: _PredictOptions) -> None:
    """Draw each answer's way to the network, where it looked, and a typical image of its class."""
    from modiste.explanation import evidence
    from modiste.predictor import Predictor
    from modiste.report.photo import steps_figure, typical_images
    from modiste.report.style import save

    assert options.show is not None
    typical = typical_images(classifier, options.data_folder) if isinstance(classifier, Predictor) else {}
    for number, answer in enumerate(found):
        if answer.prepared:
            looked = evidence(classifier, answer.prepared.planes)
            figure = steps_figure(answer, looked, typical)
            print(save(figure, options.show / f"{number:04d}-{Path(answer.source).stem}.png", dpi=150), file=sys.stderr)


def _line(answer: "Answer") -> str:
    if answer.fault:
        return f"{answer.source}: {answer.fault}"
    (_, probability), (second, least) = answer.probabilities[:2]
    assert answer.prepared is not None
    doubt = "" if answer.prepared.separated else "; the garment could not be told from its background"
    return f"{answer.source}: {answer.verdict} {probability:.1%}, then {second} {least:.1%}{doubt}"


def _print_for_programs(found: "Iterable[Answer]", options: _PredictOptions) -> None:
    if options.json:
        print_json([_plain(answer) for answer in found])
    elif options.csv:
        rows = csv.writer(sys.stdout)
        rows.writerow(("file", "class", "probability", "runner_up", "runner_up_probability", "novelty", "fault"))
        for answer in found:
            best = [cell for name, value in answer.probabilities[:2] for cell in (name, f"{value:.6f}")]
            novelty = "" if answer.novelty is None else f"{answer.novelty:.4f}"
            rows.writerow((answer.source, *(best or [""] * 4), novelty, answer.fault))


def _plain(answer: "Answer") -> dict[str, object]:
    if answer.prepared is None:
        return {"file": answer.source, "fault": answer.fault}
    return {
        "file": answer.source,
        "class": answer.probabilities[0][0],
        "probabilities": dict(answer.probabilities),
        "novelty": answer.novelty,
        "none_of_the_classes": answer.is_novel,
        "separated": answer.prepared.separated,
        "inverted": answer.prepared.inverted,
    }
