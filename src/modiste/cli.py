"""The command line: one short function per command, heavy imports inside them."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from modiste.errors import ModisteError, RecipeError
from modiste.plain import nearest
from modiste.recipe import Recipe
from modiste.version import __version__

if TYPE_CHECKING:
    from modiste.evaluation.assessment import Assessment
    from modiste.evaluation.comparison import Comparison, Contrast

USAGE = 2
INTERRUPTED = 130
"""As a shell says it: 128 and the number of SIGINT."""
EXTRAS = {
    "evaluation": ("scipy",),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "hub": ("huggingface_hub",),
    "report": ("matplotlib", "jinja2"),
    "tensorboard": ("tensorboard",),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``modiste``; leaves with 0 only when it worked, else with the code of the fault (see ``errors``)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _dispatch(words)
    except ModisteError as error:
        _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


def _dispatch(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
    elif words[0] in ("-V", "--version", "version"):
        print(f"modiste {__version__}")
    elif words[0] not in COMMANDS:
        _complain(f"no command {words[0]!r}; {nearest(words[0], COMMANDS)}", USAGE)
    else:
        COMMANDS[words[0]](words[1:])


def overview() -> str:
    """List the commands with the first line of what each does."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {(command.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "Modiste: fashion models, made to measure.\n\nusage: modiste COMMAND [options]\n",
            *lines,
            "\nmodiste COMMAND --help tells a command's options; start with: modiste train paper --epochs 5",
        ]
    )


@dataclass(frozen=True, kw_only=True)
class _TrainOptions:
    out: Path | None = None
    """Run folder; runs/NAME if not given, runs/NAME-2 and so on when that holds another or a finished run."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    data_folder: Path | None = None
    """Where Fashion-MNIST lies, if not in one of the usual places."""
    transfer_from: str | None = None
    """Weights to begin from: a finished run's folder, a .safetensors file, or hub:OWNER/NAME; see docs/hub.md."""
    tensorboard: bool = False
    """Also write TensorBoard events into the run folder."""
    quiet: bool = False
    """Say nothing but faults."""


def train(words: list[str]) -> None:
    """Train a recipe into a run folder, or go on where that was stopped.

    modiste train RECIPE [--epochs N] [--seed S] [--out DIR] ...

    RECIPE is a name (see `modiste recipes`) or a .toml or .json file. Every field of the recipe is a flag.
    """
    if not words or words[0].startswith("-"):
        _explain_train(asked="-h" in words or "--help" in words)
    recipe, options = _parse_train(_recipe(words[0]), words[1:])
    from dataclasses import replace

    from modiste import training
    from modiste.training.log import ConsoleLog, Listener, TensorBoardLog
    from modiste.training.transfer.source import locate

    source = locate(options.transfer_from, quiet=options.quiet) if options.transfer_from else None
    if source:
        recipe = replace(recipe, transfer=replace(recipe.transfer, source=source.sha256))
    out = options.out or _free_folder(recipe, options.device)
    listeners: list[Listener] = [] if options.quiet else [ConsoleLog()]
    if options.tensorboard:
        listeners.append(TensorBoardLog(out))
    outcome = training.run(
        recipe,
        out,
        device=options.device,
        data_folder=options.data_folder,
        transfer_from=source,
        listeners=listeners,
    )
    if not options.quiet:
        low, high = outcome.interval
        best = outcome.picked
        print(
            f"validation accuracy {best.validation_accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}), "
            f"epoch {best.epoch}, {outcome.seconds:.0f} s, in {out}\n"
            f"next: modiste evaluate {out} --split test; modiste report {out}"
        )


def _recipe(name: str) -> Recipe:
    from modiste.recipe import load
    from modiste.recipes import get

    return load(Path(name)) if name.endswith((".toml", ".json")) else get(name)


def _parse_train(recipe: Recipe, words: list[str]) -> tuple[Recipe, _TrainOptions]:
    import tyro

    bare = tyro.conf.arg(name="")
    kind = tuple[Annotated[_TrainOptions, bare], Annotated[Recipe, bare]]
    default = (_TrainOptions(), recipe)
    options, chosen = _parse(kind, words, f"modiste train {recipe.name}", default=default)
    return chosen, options


def _explain_train(*, asked: bool) -> None:
    from modiste.recipes import RECIPES

    text = f"{train.__doc__}\n    Recipes: {', '.join(RECIPES)}.\n    modiste train paper --help lists every flag."
    if not asked:
        _complain("the recipe comes first: modiste train RECIPE [options]; see modiste train --help", USAGE)
    print("\n".join(line.removeprefix("    ") for line in text.splitlines()))
    sys.exit(0)


def _free_folder(recipe: Recipe, device: str) -> Path:
    """Name the folder of a run that goes on with this very recipe, or else one that is not taken."""
    from modiste import run_folder, runtime

    settled = runtime.settle_precision(recipe, runtime.choose_device(device))
    number = 1
    while True:
        folder = Path("runs") / (recipe.name if number == 1 else f"{recipe.name}-{number}")
        started = folder / run_folder.RECIPE
        finished = folder / run_folder.MANIFEST
        if not started.exists():
            free = not folder.exists() or not run_folder.strangers(folder)
        else:
            free = not finished.exists() and _holds(started, settled)
        if free:
            return folder
        number += 1


def _holds(path: Path, recipe: Recipe) -> bool:
    from modiste.recipe import load

    try:
        return load(path) == recipe
    except RecipeError:
        return False


@dataclass(frozen=True, kw_only=True)
class _MeasureOptions:
    split: Literal["validation", "test"] = "validation"
    """Images to measure on; test is the sealed set, and every look at it is counted."""
    weights: Literal["picked", "last"] = "picked"
    """The weights that validation picked, or those of the last epoch."""
    json: bool = False
    """Print JSON."""
    device: str = "auto"
    """auto, cpu, cuda ..."""
    data_folder: Path | None = None
    """Where Fashion-MNIST lies, if not in one of the usual places."""


@dataclass(frozen=True, kw_only=True)
class _EvaluateOptions(_MeasureOptions):
    runs: tuple[Path, ...]
    """Folders of finished runs; several are measured together, by the mean of their probabilities."""


def evaluate(words: list[str]) -> None:
    """Measure a finished run, or several together, on validation or on the sealed test set."""
    options: _EvaluateOptions = _parse(_EvaluateOptions, words, "modiste evaluate")
    if not options.runs:
        _complain("which run? modiste evaluate DIR [--split test]; see modiste evaluate --help", USAGE)
    from modiste.evaluation.assessment import evaluate as measure
    from modiste.evaluation.ensemble import evaluate_together

    choices = _choices(options)
    alone = len(options.runs) == 1
    result = measure(options.runs[0], **choices) if alone else evaluate_together(options.runs, **choices)
    if options.json:
        _print_json(result.as_plain())
    else:
        _show(result)


def _choices(options: _MeasureOptions) -> dict[str, Any]:
    return {
        "split": options.split,
        "weights": options.weights,
        "device": options.device,
        "data_folder": options.data_folder,
    }


def _print_json(plain: Any) -> None:
    import json

    print(json.dumps(plain, indent=2))


def _show(result: "Assessment") -> None:
    low, high = result.accuracy_interval
    where = f"epoch {result.epoch}" if result.epoch else "several runs together"
    print(f"{result.split}, {result.images:,} images, {result.weights} weights ({where})")
    print(f"accuracy {result.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}), loss {result.loss:.4f}")
    print(
        f"top-2 accuracy {result.top2_accuracy:.2%}, Brier score {result.brier:.4f}, "
        f"expected calibration error {result.expected_calibration_error:.4f}\n"
    )
    rows = {**result.per_class, "macro mean": result.macro, "weighted mean": result.weighted}
    width = max(map(len, rows))
    print(f"{'':{width}}  precision  recall  F1-score  support")
    for name, score in rows.items():
        print(f"{name:{width}}  {score.precision:9.4f}  {score.recall:6.4f}  {score.f1:8.4f}  {score.support:7d}")
    if result.test_openings:
        print(f"\nthe test set has been opened {result.test_openings} time(s) for this run")


@dataclass(frozen=True, kw_only=True)
class _CompareOptions(_MeasureOptions):
    runs: tuple[Path, ...]
    """Folders of finished runs; those of one recipe with different seeds count as one side."""


def compare(words: list[str]) -> None:
    """Compare finished runs: by how much they differ, how sure that is, and on which images."""
    options: _CompareOptions = _parse(_CompareOptions, words, "modiste compare")
    if not options.runs:
        _complain("which runs? modiste compare DIR DIR ...; see modiste compare --help", USAGE)
    from modiste.evaluation.comparison import compare as measure

    result = measure(options.runs, **_choices(options))
    if options.json:
        _print_json(result.as_plain())
    else:
        _show_comparison(result)


def _show_comparison(result: "Comparison") -> None:
    from statistics import mean, stdev

    print(f"{result.split}, {result.images:,} images")
    width = max(len(side.name) for side in result.sides)
    for side in result.sides:
        doubt = f" ± {stdev(side.accuracies):.2%}" if len(side.seeds) > 1 else ""
        seeds = ", ".join(map(str, side.seeds))
        print(f"{side.name:{width}}  {mean(side.accuracies):.2%}{doubt}  seed{'s'[: len(side.seeds) > 1]} {seeds}")
    for contrast in result.contrasts:
        _show_contrast(contrast)
    share = result.wrong_in_all / result.wrong_in_any if result.wrong_in_any else 0
    print(
        f"\nof {result.wrong_in_any:,} images that some run gets wrong, all runs get {result.wrong_in_all:,} wrong "
        f"({share:.0%})"
    )


def _show_contrast(contrast: "Contrast") -> None:
    print(f"\n{contrast.verdict}")
    if len(contrast.seeds) == 1:
        print("    one seed of each: this speaks of these two runs; more seeds would tell about their recipes")
    else:
        print(f"    over seeds {', '.join(map(str, contrast.seeds))} and these images as a sample of their kind")
    if contrast.recipe_differences:
        print(f"    from {contrast.first} to {contrast.second}: {'; '.join(contrast.recipe_differences)}")
    most = sorted(contrast.per_class.items(), key=lambda item: -abs(item[1]))[:3]
    print(f"    largest by class, in points: {', '.join(f'{name} {100 * share:+.1f}' for name, share in most)}")
    alone = (contrast.first, contrast.first_alone), (contrast.second, contrast.second_alone)
    for name, images in alone:
        shown = ", ".join(map(str, images[:8])) + (", ..." if len(images) > 8 else "")
        print(f"    {len(images):,} images that {name} alone gets right{f': {shown}' if images else ''}")


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
    options: _ExportOptions = _parse(_ExportOptions, words, "modiste export")
    from modiste.export import export as write

    done = write(options.run, options.out, data_folder=options.data_folder)
    print(
        f"{done.path}, {done.size_bytes / 1e6:.1f} MB, temperature {done.temperature:.2f}\n"
        f"{done.images:,} validation images: same class for {done.agreement:.2%}, "
        f"probabilities at most {done.largest_difference:.1g} apart"
    )


@dataclass(frozen=True, kw_only=True)
class _ReportOptions:
    run: Path
    """Folder of a finished run."""
    data_folder: Path | None = None
    """Where Fashion-MNIST lies, if not in one of the usual places."""


def report(words: list[str]) -> None:
    """Write a finished run's report, one HTML file, into its folder."""
    options: _ReportOptions = _parse(_ReportOptions, words, "modiste report")
    from modiste.report import write_report

    print(write_report(options.run, data_folder=options.data_folder))


@dataclass(frozen=True, kw_only=True)
class _FiguresOptions:
    out: Path = Path("figures")
    """Folder to write them to."""
    run: Path | None = None
    """Folder of a finished run; without one, its learning curves (figure 5) and what its network sees are left out."""
    recipe: str | None = None
    """Recipe whose network and augmentation are shown; the run's if not given, without a run the paper's."""
    format: Literal["png", "svg", "pdf"] = "png"
    """File format."""
    data_folder: Path | None = None
    """Where Fashion-MNIST lies, if not in one of the usual places."""


def figures(words: list[str]) -> None:
    """Draw the five figures of the paper, what augmentation does, and what a run's network sees."""
    options: _FiguresOptions = _parse(_FiguresOptions, words, "modiste figures")
    from modiste.report import write_figures

    written = write_figures(
        options.out,
        recipe=None if options.recipe is None else _recipe(options.recipe),
        run=options.run,
        data_folder=options.data_folder,
        format=options.format,
    )
    print("\n".join(map(str, written)))
    if options.run is None:
        print("figure 5, the learning curves, needs a run: modiste figures --run DIR")


@dataclass(frozen=True, kw_only=True)
class _DataOptions:
    source: str = "fashion-mnist"
    """A known data set, or a folder that holds a training and a test set in IDX form."""
    data_folder: Path | None = None
    """Where Fashion-MNIST lies, if not in one of the usual places."""


def data(words: list[str]) -> None:
    """Find Fashion-MNIST or fetch it, verify every byte, and describe it."""
    options: _DataOptions = _parse(_DataOptions, words, "modiste data")
    from modiste.data import dataset, sealed, sources

    parts = {
        "training": sources.load_training(options.source, options.data_folder),
        "test": sealed.load_sealed(options.source, options.data_folder),
    }
    for note in parts["training"].notes:
        print(f"passed over: {note}")
    for file in (file for raw in parts.values() for file in raw.files):
        verified = "verified" if file.published else "well formed"
        print(f"{verified}  {file.path}  {file.size_bytes:,} bytes  SHA-256 {file.sha256[:16]}")
    for part, raw in parts.items():
        images = dataset.as_image_set(raw).images
        mean, deviation = dataset.mean_and_deviation(images)
        count, _, height, width = images.shape
        print(f"{part}: {count:,} images of {height} x {width}, mean {mean:.4f}, standard deviation {deviation:.4f}")
        counts = zip(raw.class_names, dataset.class_counts(raw), strict=True)
        print("    " + ", ".join(f"{name} {number:,}" for name, number in counts))


def doctor(words: list[str]) -> None:
    """Tell what is installed and what works on this machine."""
    _parse(_NoOptions, words, "modiste doctor")
    from importlib.util import find_spec

    from modiste import runtime
    from modiste.data import sources

    for name, value in runtime.facts(runtime.choose_device()).items():
        print(f"{name:14} {value}")
    for extra, packages in EXTRAS.items():
        missing = [package for package in packages if find_spec(package) is None]
        print(f"{extra:14} {'ready' if not missing else f'missing: pip install modiste[{extra}]'}")
    print(f"{'data':14} {sources.load_training(sources.FASHION_MNIST).folder}")


def recipes(words: list[str]) -> None:
    """List the named recipes with what each claims."""
    _parse(_NoOptions, words, "modiste recipes")
    import inspect

    from modiste.recipes import RECIPES

    for name, make in RECIPES.items():
        print(name)
        print("    " + (inspect.getdoc(make) or "").replace("\n", "\n    "))


@dataclass(frozen=True)
class _NoOptions:
    pass


def _parse(kind: Any, words: list[str], program: str, **options: Any) -> Any:
    import tyro

    try:
        return tyro.cli(
            kind,
            args=words,
            prog=program,
            config=(tyro.conf.PositionalRequiredArgs, tyro.conf.AvoidSubcommands),
            **options,
        )
    except ModisteError as error:
        _complain(str(error), USAGE)


def _complain(message: str, code: int) -> None:
    print(f"modiste: {message}", file=sys.stderr)
    sys.exit(code)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "data": data,
    "train": train,
    "evaluate": evaluate,
    "compare": compare,
    "export": export,
    "report": report,
    "figures": figures,
    "recipes": recipes,
    "doctor": doctor,
}
