"""``modiste evaluate``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modiste.cli.arguments import USAGE, MeasureOptions, complain, parse, print_json
from modiste.cli.streams import say, warn

if TYPE_CHECKING:
    from modiste.evaluation.assessment import Assessment


@dataclass(frozen=True, kw_only=True)
class _EvaluateOptions(MeasureOptions):
    runs: tuple[Path, ...]
    """Folders of finished runs; several are evaluated as an ensemble, by the mean of their probabilities."""
    predictions: Path | None = None
    """A .csv, .npz or .parquet file to write: index, label, predicted class and all probabilities of every image."""
    data: Path | None = None
    """Measure one run on other labelled images of its classes: a folder or file as data.source takes it."""


def evaluate(arguments: list[str]) -> None:
    """Measure a finished run, or several as an ensemble, on validation, on the held-out test set, or on other data.

    A run that was stopped, or still trains, is measured on validation as its newest saved state is.

    Examples:
      modiste evaluate runs/paper
      modiste evaluate runs/paper --split test --json
      modiste evaluate runs/paper --predictions out.csv
      modiste evaluate runs/paper --data new.npz
      modiste evaluate runs/sprint-0 runs/sprint-1 runs/sprint-2
    """
    options = parse(_EvaluateOptions, arguments, "modiste evaluate", evaluate)
    if not options.runs:
        complain("which run? modiste evaluate DIR [--split test]; see modiste evaluate --help", USAGE)
    from modiste.evaluation.assessment import evaluate as measure
    from modiste.evaluation.ensemble import evaluate_together
    from modiste.evaluation.other_data import check_data_alone, evaluate_on
    from modiste.evaluation.unfinished import is_unfinished

    options.register_networks()
    keywords = options.keyword_arguments() | {"predictions": options.predictions}
    alone = len(options.runs) == 1
    if options.data is not None:
        check_data_alone(options.split, options.predictions, len(options.runs))
        result = evaluate_on(options.runs[0], options.data, weights=options.weights, device=options.device)
    elif alone and is_unfinished(options.runs[0]):
        result = _measure_unfinished(options)
    else:
        result = measure(options.runs[0], **keywords) if alone else evaluate_together(options.runs, **keywords)
    if options.json:
        print_json(result.as_plain())
    else:
        _show(result)


def _measure_unfinished(options: _EvaluateOptions) -> "Assessment":
    """Measure a run that has not finished, and say so; leave with code 2 if the test set is asked for."""
    from modiste.evaluation.unfinished import evaluate_unfinished

    folder = options.runs[0]
    if options.split == "test":
        complain(
            f"--split test: is for finished runs, and {folder} has not finished; continue its training first", USAGE
        )
    if options.predictions:
        complain(f"--predictions: is for finished runs, and {folder} has not finished", USAGE)
    result = evaluate_unfinished(
        folder, weights=options.weights, device=options.device, data_folder=options.data_folder
    )
    warn(
        f"modiste: {folder} has not finished: this is its newest saved state, after {result.unfinished_step:,} steps; "
        "nothing is stored in the run"
    )
    return result


def _show(result: "Assessment") -> None:
    low, high = result.accuracy_interval
    several = result.unfinished_step is None and not result.epoch
    where = "several runs together" if several else f"epoch {result.epoch}"
    say(f"{result.split}, {result.images:,} images, {result.weights} weights ({where})")
    say(f"accuracy {result.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}), loss {result.loss:.4f}")
    say(
        f"top-2 accuracy {result.top2_accuracy:.2%}, Brier score {result.brier:.4f}, "
        f"expected calibration error {result.expected_calibration_error:.4f}",
        "",
    )
    rows = {**result.per_class, "macro mean": result.macro, "weighted mean": result.weighted}
    width = max(map(len, rows))
    say(f"{'':{width}}  precision  recall  F1-score  support")
    for name, score in rows.items():
        precision, recall, f1 = ("-" if figure is None else f"{figure:.4f}" for figure in score.figures)
        support = f"{score.support:7d}" if score.support else "no images"
        say(f"{name:{width}}  {precision:>9}  {recall:>6}  {f1:>8}  {support}")
    if result.test_openings:
        say(
            "",
            f"the test set has been opened {result.test_openings} time(s) for this run; "
            "an evaluation that was killed and repeated may count twice",
        )
