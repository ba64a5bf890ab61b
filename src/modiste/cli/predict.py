"""``modiste predict``."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modiste.cli.answer_writers import AnswerWriter, JsonWriter, LineWriter, TableWriter
from modiste.cli.arguments import USAGE, RunOptions, complain, help_or_complain, parse, split_flags
from modiste.cli.streams import ProgressBar, say, warn
from modiste.errors import PhotoError, extra_for, printable, shown
from modiste.system.processes import importing_torch

if TYPE_CHECKING:
    from modiste.catalogue.workers import MakeShardWorkers
    from modiste.inference.answers import FileAnswer
    from modiste.inference.classifier import Classifier
    from modiste.inference.predictor import Predictor
    from modiste.photo.preparation import PictureInput

STANDARD_INPUT = "-"
FOR_PRINTING = ("json", "csv", "show", "device", "precision", "background", "accept")
"""Options that do not go with ``--out``."""
FOR_SHARDS = ("ray", "shard_rows")
"""Options that need ``--out``."""
OF_RUNS = ("device", "precision")
"""Options that an ONNX file has no use for."""
LONGEST_STEM, MOST_STEM_BYTES = 100, 200
"""Characters, and bytes in UTF-8, of a photo's name that the name of its figure keeps: systems allow 255 bytes."""


@dataclass(frozen=True, kw_only=True)
class _PredictOptions(RunOptions):
    json: bool = False
    """Print JSON: every class's probability for every file."""
    csv: bool = False
    """Print CSV, a line for each file: nearest class, its probability, answer, fault, advice and more."""
    show: Path | None = None
    """Draw into this folder how each file is prepared and what the network looks at."""
    background: Literal["trained", "plain", "network", "auto"] = "trained"
    """How to find the garment: on a plain background; by a segmentation network, on any; auto takes what holds."""
    device: str = "auto"
    """auto, cpu, cuda ..."""
    accept: float | None = None
    """Share of garments that may wrongly be answered none of the classes, 0.001 to 0.5; unset, it is 0.04."""
    coverage: float | None = None
    """Also give a set of classes that holds the right one with this probability, such as 0.95; not for a model file."""
    precision: Literal["trained", "float32", "bfloat16", "auto"] = "trained"
    """Number format to compute in; trained is the format of training, auto is bfloat16 where that is faster."""
    out: Path | None = None
    """Write the answers for a folder, or a .csv or .parquet list of paths, into this folder as shards of parquet."""
    shard_rows: int = 1024
    """With --out: pictures in a shard, which is all that a kill can cost each process."""
    ray: str | None = None
    """With --out: answer on a Ray cluster: auto joins this machine's or starts one, HOST:PORT joins that one."""


def predict(arguments: list[str]) -> None:
    """Classify photos: print the class, its probability, and the runner-up.

    modiste predict RUN FILE|FOLDER|- ... [--json|--csv] [--show FOLDER]
    modiste predict RUN FOLDER|LIST.csv|LIST.parquet --out FOLDER [--ray auto|HOST:PORT]

    RUN is the folder of a finished run, a model file, or an ONNX file from modiste export. A garment on a plain
    background, light or dark, is found, cropped and prepared like the training images. Images of an IDX file, or of a
    CSV file of pixels, are used as they are, transposed where the training images were; - reads a picture from
    standard input.

    --out writes answers for millions of pictures as shards of parquet. After a kill the same command goes on.

    Examples:
      modiste predict runs/paper shoe.jpg
      modiste predict runs/paper photos --csv
      modiste predict runs/paper/model.onnx photos --out answers
    """
    positional, flags = split_flags(arguments, _PredictOptions)
    program = "modiste predict RUN FILE"
    if len(positional) < 2:
        complaint = "expected a run and pictures: modiste predict RUN FILE ...; see modiste predict --help"
        help_or_complain(predict, arguments, complaint, _PredictOptions, program)
    options = parse(_PredictOptions, flags, program, predict)
    source, *inputs = positional
    options.register_networks()
    if options.out is None:
        _demand_unset(options, FOR_SHARDS, "needs --out FOLDER, which writes the answers as shards")
        if options.json and options.csv:
            complain("--json and --csv: expected one of them, found both", USAGE)
        _print_answers(Path(source), inputs, options)
    else:
        _write_answers(Path(source), inputs, options.out, options)


def _print_answers(source: Path, inputs: list[str], options: _PredictOptions) -> None:
    """Print the answer for each picture as it comes."""
    from modiste.inference.answers import answers, check_paths

    check_paths(Path(item) for item in inputs if item != STANDARD_INPUT)
    classifier = _classifier(source, options)
    with_set = _set_maker(source, classifier, options.coverage)
    background = None if options.background == "trained" else options.background
    _name_network(classifier, background)
    count = faults = 0
    draw = _figure_writer(classifier, options)
    with ProgressBar(partial(_count, inputs)).shown() as bar, _writer(options).opened() as writer:
        found = answers(
            classifier,
            _pictures(inputs, classifier.transpose),
            background=background,
            keep_steps=options.show is not None,
        )
        for answer in map(with_set, found):
            if answer.fault or sys.stdout.isatty():
                bar.clear()
            writer.write(answer)
            draw(count, answer)
            bar.step()
            count, faults = count + 1, faults + bool(answer.fault)
    if faults:
        complain(f"{faults} of {count} files could not be read, see above", PhotoError.exit_code)


def _set_maker(source: Path, classifier: "Classifier", coverage: float | None) -> "Callable[[FileAnswer], FileAnswer]":
    """Return a function that gives an answer its prediction set, if a coverage is stated."""
    if coverage is None:
        return lambda answer: answer
    if source.is_dir():
        from modiste.evaluation.conformal import least_probability_of
        from modiste.runs.run_folder import open_run

        least = least_probability_of(open_run(source), coverage)
    else:
        least = classifier.least_probability(coverage)
    return lambda answer: answer.with_set(least)


def _name_network(classifier: "Classifier", background: str | None) -> None:
    """Print which segmentation network finds the garments, if that was left to the machine."""
    if classifier.preparation_with(background).background == "network":
        from modiste.photo.segmentation import choose_network

        warn(f"modiste: the segmentation network is {choose_network().about}")


def _write_answers(source: Path, inputs: list[str], out: Path, options: _PredictOptions) -> None:
    """Write the answers for all pictures of one place into a folder, and print how many there are."""
    _demand_unset(options, FOR_PRINTING, "does not go with --out, which answers by ONNX Runtime on the processor")
    if len(inputs) != 1:
        complain("--out: expected one folder, or one .csv or .parquet list of paths", USAGE)
    from modiste.catalogue.catalogue import answer_catalogue
    from modiste.catalogue.model import CatalogueModel

    with ProgressBar().shown() as bar:
        done = answer_catalogue(
            CatalogueModel(source, options.data_folder, options.coverage),
            inputs[0],
            out,
            shard_rows=options.shard_rows,
            workers=_shard_workers(options.ray),
            on_progress=bar.move_to,
        )
    say(
        f"{shown(out)}: {done.pictures:,} pictures in {done.shards:,} shards; {done.none:,} show none of the classes, "
        f"{done.refused:,} could not be read (column fault)"
    )


def _demand_unset(options: _PredictOptions, names: tuple[str, ...], reason: str) -> None:
    """End the program with the reason if one of these options was set."""
    default = _PredictOptions()
    for name in names:
        if getattr(options, name) != getattr(default, name):
            complain(f"--{name.replace('_', '-')} {reason}", USAGE)


def _shard_workers(ray: str | None) -> "MakeShardWorkers":
    if ray is None:
        from modiste.catalogue.workers import LocalWorkers

        return LocalWorkers
    from modiste.catalogue.ray_workers import RayShardWorkers

    return partial(RayShardWorkers, ray)


def _count(inputs: list[str]) -> int:
    """Return the number of pictures, without a look into them."""
    from modiste.inference.answers import find_pictures

    return sum(1 if item == STANDARD_INPUT else sum(1 for _ in find_pictures(Path(item))) for item in inputs)


def _writer(options: _PredictOptions) -> AnswerWriter:
    return JsonWriter() if options.json else TableWriter() if options.csv else LineWriter()


def _pictures(inputs: list[str], transpose: bool) -> "Iterator[tuple[str, PictureInput | PhotoError]]":
    from modiste.inference.answers import find_pictures
    from modiste.photo.opening import MOST_BYTES

    for item in inputs:
        if item == STANDARD_INPUT:
            yield "standard input", sys.stdin.buffer.read(MOST_BYTES + 1) if sys.stdin else b""
        else:
            yield from find_pictures(Path(item), transpose=transpose)


def _classifier(source: Path, options: _PredictOptions) -> "Classifier":
    """Load the model, with the false-alarm rate that is wanted."""
    if source.suffix == ".onnx":
        _demand_unset(options, OF_RUNS, "does not go with an ONNX file: ONNX Runtime computes it on the processor")
        from modiste.inference.onnx_model import OnnxModel

        model = OnnxModel.load(source)
        return model if options.accept is None else model.accepting(options.accept)
    predictor = _predictor(source, options)
    return predictor if options.accept is None else predictor.accepting(options.accept)


def _predictor(source: Path, options: _PredictOptions) -> "Predictor":
    """Load a run or a model file; a run without a stored detector learns and stores it now."""
    with importing_torch():
        from modiste.inference.predictor import Predictor
    precision = None if options.precision == "trained" else options.precision
    predictor = Predictor.load(source, device=options.device, precision=precision)

    def tell(line: str) -> None:
        warn(f"modiste: {line}")

    return predictor.with_novelty_or_warning(tell, options.data_folder, tell)


def _figure_writer(classifier: "Classifier", options: _PredictOptions) -> "Callable[[int, FileAnswer], None]":
    """Return a function that draws how a photo was prepared, what the network looked at, and a typical image."""
    if options.show is None:
        return lambda _number, _answer: None
    folder = options.show
    from modiste.inference.classifier import evidence
    from modiste.inference.predictor import Predictor

    with extra_for("--show", "matplotlib", "report"):
        from modiste.reports.photo import steps_figure, typical_images
        from modiste.reports.style import save

    typical = typical_images(classifier, options.data_folder) if isinstance(classifier, Predictor) else {}

    def draw(number: int, answer: "FileAnswer") -> None:
        if answer.prepared:
            figure = steps_figure(answer, evidence(classifier, answer.prepared.planes), typical)
            name = printable(Path(answer.source).stem, LONGEST_STEM).encode()[:MOST_STEM_BYTES].decode(errors="ignore")
            warn(save(figure, folder / f"{number:04d}-{name}.png", dpi=150))

    return draw
