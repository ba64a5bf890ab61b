"""``modiste evaluate``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modiste.cli.arguments import USAGE, MeasureOptions, complain, parse, print_json
from modiste.cli.streams import say
from modiste.display import times
from modiste.system.processes import importing_torch

if TYPE_CHECKING:
    from modiste.evaluation.assessment import Assessment
    from modiste.evaluation.averaging import AveragingComparison
    from modiste.evaluation.ensemble import SeedAssessments
    from modiste.evaluation.fitted_ensemble import FittedEnsemble

    Result = Assessment | AveragingComparison | FittedEnsemble | SeedAssessments


@dataclass(frozen=True, kw_only=True)
class _EvaluateOptions(MeasureOptions):
    runs: tuple[Path, ...]
    """Folders of finished runs; of several, which differ in the seed, each is evaluated, then their mean is given."""
    ensemble: bool = False
    """Evaluate several runs, of one recipe or of several, as one: by the mean of their probabilities."""
    fit_weights: bool = False
    """With --ensemble: sum the runs' logits, each with a weight that is fitted on validation."""
    predictions: Path | None = None
    """A .csv, .npz or .parquet file to write: index, label, predicted class and all probabilities of every image."""
    averaging: bool = False
    """Show what averaging over mirror and moved images would give on validation; the run stays as it is."""
    data: Path | None = None
    """Measure one run on other labelled images of its classes: a folder or file as data.source takes it."""


def evaluate(arguments: list[str]) -> None:
    """Measure a finished run, several seeds or an ensemble: on validation, on the held-out test set, or on other data.

    A run that was stopped, or still trains, is measured on validation as its newest saved state is.

    Examples:
      modiste evaluate runs/paper
      modiste evaluate runs/paper --split test --json
      modiste evaluate runs/paper --predictions out.csv
      modiste evaluate runs/paper --data new.npz
      modiste evaluate runs/paper --averaging
      modiste evaluate runs/sprint-0 runs/sprint-1 runs/sprint-2
      modiste evaluate runs/sprint-0 runs/paper --ensemble --fit-weights
    """
    options = parse(_EvaluateOptions, arguments, "modiste evaluate", evaluate)
    if not options.runs:
        complain("which run? modiste evaluate DIR [--split test]; see modiste evaluate --help", USAGE)
    options.register_networks()
    result = _measure(options)
    if options.json:
        print_json(result.as_plain())
    else:
        _show(result, together=options.ensemble)


def _measure(options: _EvaluateOptions) -> "Result":
    with importing_torch():
        from modiste import machine
        from modiste.api.results import evaluate as measure
        from modiste.evaluation.ensemble import evaluate_seeds, evaluate_together
        from modiste.evaluation.fitted_ensemble import evaluate_fitted
        from modiste.evaluation.other_data import check_data_alone
    machine.check_device(options.device)  # also where stored logits leave nothing to compute
    keywords = options.keyword_arguments()
    if options.fit_weights and not options.ensemble:
        complain("--fit-weights: is for several runs with --ensemble", USAGE)
    if options.averaging:
        return _compare_averaging(options)
    if options.data is not None:
        if options.ensemble:
            complain("--data: is for one run, without --ensemble", USAGE)
        check_data_alone(options.split, options.predictions, len(options.runs))
    elif options.ensemble:
        measure_all = evaluate_fitted if options.fit_weights else evaluate_together
        return measure_all(options.runs, **keywords, predictions=options.predictions)
    if len(options.runs) == 1:
        return measure(options.runs[0], **keywords, data=options.data, predictions=options.predictions)
    if options.predictions:
        complain("--predictions: is for one run, or for several with --ensemble", USAGE)
    return evaluate_seeds(options.runs, **keywords)


def _compare_averaging(options: _EvaluateOptions) -> "AveragingComparison":
    from modiste.evaluation.averaging import compare_averaging

    if len(options.runs) > 1 or options.ensemble or options.predictions or options.data is not None:
        complain("--averaging: is for one run, without --ensemble, --predictions or --data", USAGE)
    if options.split == "test":
        complain("--averaging: is decided on validation, never on test; leave out --split test", USAGE)
    keywords = options.keyword_arguments()
    del keywords["split"]
    return compare_averaging(options.runs[0], **keywords)


def _show(result: "Result", *, together: bool) -> None:
    """Print a result; ``together`` is whether several runs were measured as one."""
    from modiste.evaluation.assessment import Assessment
    from modiste.evaluation.ensemble import SeedAssessments

    if isinstance(result, Assessment):
        _show_one(result, together=together)
    elif isinstance(result, SeedAssessments):
        _show_seeds(result)
    else:
        say(*result.table().as_text().splitlines())


def _show_seeds(result: "SeedAssessments") -> None:
    first = result.runs[0]
    say(f"{result.recipe}, {first.split}, {first.images:,} images, {first.weights} weights", "")
    width = max(map(len, result.folders))
    for folder, run in zip(result.folders, result.runs, strict=True):
        low, high = run.accuracy_interval
        say(f"{folder:{width}}  {run.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%})  loss {run.loss:.4f}")
    say(f"{f'mean of {len(result.runs)} seeds':{width}}  {result.spread}")
    _show_openings(max(run.test_openings for run in result.runs), "one of these runs")


def _show_openings(openings: int, what: str = "this run") -> None:
    if openings:
        say(
            "",
            f"the test set has been opened {times(openings)} for {what}; "
            "an evaluation that was killed and repeated may count twice",
        )


def _show_one(result: "Assessment", *, together: bool) -> None:
    low, high = result.accuracy_interval
    if result.weights == "snapshots":
        where = "the mean of their probabilities"
    elif together:
        where = "several runs together"
    elif result.epoch or result.unfinished_step is not None:
        where = f"epoch {result.epoch}"
    else:
        where = "the last layer was fitted"
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
    _show_openings(result.test_openings)
