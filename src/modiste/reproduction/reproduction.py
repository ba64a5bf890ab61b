"""The reproduction of the paper: trains its final model and experiments, judges its claims, writes one page."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from modiste import machine
from modiste.data.dataset import load_development
from modiste.errors import RecipeError, RunError, StoppedError
from modiste.evaluation.assessment import Weights, assess_stored, evaluate
from modiste.evaluation.statistics import mean_interval
from modiste.recipes import named
from modiste.recipes.plain import build, differences, to_plain
from modiste.reproduction import page, paper
from modiste.reproduction.experiments import EXPERIMENTS, Experiment, Scope, Work
from modiste.reproduction.page import Content
from modiste.reproduction.paper import Evidence, Finding
from modiste.reproduction.study import Study, recorded, study
from modiste.reproduction.verdicts import finding
from modiste.runs import manifest, run_folder, storage
from modiste.runs.run_folder import Run, open_run
from modiste.searches.plan import claim
from modiste.searches.trial import TrialOutcome, TrialTask, ignore
from modiste.searches.workers import MakeWorkers, Processes, TrialPool
from modiste.system.processes import Interruption

TWO_PROCESSES = partial(Processes, 2)
WEIGHTS: tuple[Weights, Weights] = ("picked", "last")
SCOPE, RECORD = "reproduction.json", "record.json"
OnOutcome = Callable[[TrialOutcome, int, int], None]
"""Called with each new outcome, the number of outcomes so far, and the number of runs."""


def reproduce(
    work: Work,
    *,
    workers: MakeWorkers = TWO_PROCESSES,
    device: str = "auto",
    data_folder: Path | str | None = None,
    on_outcome: OnOutcome = ignore,
) -> tuple[Path, Path]:
    """Train the models of the paper, measure its claims, and write a page about them.

    A reproduction that was killed is resumed by the same call; finished runs are not trained again. The test set is
    opened only for the runs of the final model, twice for each: with the weights selected on validation, and with the
    last weights.

    Args:
        work: Number of seeds, epochs and images; the folder for runs, page and figures, which is made if missing; and
            the experiments to train and to show. Others can be added later: their runs join the same folder, and the
            page shows those of earlier calls as well.
        workers: Makes the workers that runs are submitted to; two processes by default.
        device: Device of each run, and of its evaluation.
        data_folder: Folder of the images, if they are not where ``load_dataset`` looks for them.
        on_outcome: Called after every run.

    Returns:
        The paths of the page as HTML and as Markdown.

    Raises:
        RunError: The folder or its record belongs to another scope, or no run of the final model finished.
        MissingExtraError: SciPy is missing, which intervals over several seeds need.
        StoppedError: A signal asked the process to stop.
        DataError, StorageError, FolderInUseError: As in training.

    Example::

        reproduce(Work(QUICK, Path("runs/reproduction-quick")))
    """
    if work.scope.seeds > 1:
        mean_interval((0.0, 1.0))  # needs SciPy: raises MissingExtraError now, not after the training
    place = None if data_folder is None else Path(data_folder)
    with storage.lock(work.folder), Interruption() as interruption:
        work = replace(work, scope=settled(work.scope, work.folder, device))
        claim(work.folder / SCOPE, work.scope, grows="seeds", noun="reproduction")
        earlier = recorded_studies(work)
        failures = train(work, workers, device, place, interruption, on_outcome)
        return _write(work, measure(work, failures, place, device=device, earlier=earlier))


def write_page(
    out: Path | str, *, experiments: Sequence[Experiment] = EXPERIMENTS, data_folder: Path | str | None = None
) -> tuple[Path, Path]:
    """Write the page of a reproduction that was stopped, or that another process is working on; train nothing.

    It covers the runs that are finished and names the others. Claims that need missing runs are not judged. Run folders
    are only read, and the test set is not opened.

    Args:
        out: Folder of the reproduction.
        experiments: Those to show. An experiment that is finished in the folder's ``record.json`` is shown as recorded
            there if it is none of these, or if fewer of its runs are here.
        data_folder: As in ``reproduce``.

    Returns:
        The paths of the page as HTML and as Markdown.

    Raises:
        RunError: The folder holds no reproduction, or no run of the final model is finished.
        MissingExtraError: SciPy is missing, which intervals over several seeds need.
        DataError, StorageError: The images or the runs cannot be read, or the page cannot be written.
    """
    path = Path(out) / SCOPE
    if not path.exists():
        raise RunError(f"{out}: holds no reproduction; start one with modiste reproduce, or name its folder with --out")
    work = Work(build(Scope, storage.read_json(path)), Path(out), experiments)
    earlier = [pair for pair in recorded_studies(replace(work, experiments=())) if _is_lacking(work, pair[0])]
    recorded_names = {study.experiment.name for study, _ in earlier}
    work = replace(work, experiments=[one for one in experiments if one.name not in recorded_names])
    missing = {task.folder for task in work.tasks("auto", None) if not _is_finished(task.folder)}
    place = None if data_folder is None else Path(data_folder)
    return _write(work, measure(work, {}, place, missing, earlier=earlier))


def settled(scope: Scope, folder: Path, device: str) -> Scope:
    """Return the scope with a definite precision: that of the folder's reproduction, else the best on this machine.

    Runs that were trained in different precisions could not be compared.
    """
    if scope.precision != "auto":
        return scope
    path = folder / SCOPE
    if path.exists():
        return replace(scope, precision=build(Scope, storage.read_json(path)).precision)
    recipe = replace(named.paper(), precision="auto")
    return replace(scope, precision=machine.settle_precision(recipe, machine.choose_device(device)).precision)


def _is_lacking(work: Work, recorded: Study) -> bool:
    """Return whether a recorded experiment is none of the work's, or fewer of its runs are here than were recorded."""
    experiment = next((one for one in work.experiments if one.name == recorded.experiment.name), None)
    if experiment is None:
        return True
    folders = [folder for variant in experiment.variants for folder in work.variant_folders(experiment, variant)]
    return sum(map(_is_finished, folders)) < recorded.runs


def _is_finished(folder: Path) -> bool:
    return (folder / manifest.NAME).exists()


def _write(work: Work, content: Content) -> tuple[Path, Path]:
    storage.write_json(work.folder / RECORD, as_record(content))
    return page.write(work.folder, content)


def train(
    work: Work,
    workers: MakeWorkers,
    device: str,
    data_folder: Path | None,
    interruption: Interruption,
    on_outcome: OnOutcome,
) -> dict[Path, str]:
    """Train every run that has not finished; return the reasons of failed runs by folder."""
    tasks = work.tasks(device, data_folder)
    waiting = [task for task in tasks if not _is_finished(task.folder)]
    outcomes = [TrialOutcome(task.number, task.values, "complete", None) for task in tasks if task not in waiting]

    def ready() -> list[TrialTask]:
        begun = list(waiting)
        waiting.clear()
        return begun

    def keep(outcome: TrialOutcome) -> None:
        outcomes.append(outcome)
        on_outcome(outcome, len(outcomes), len(tasks))

    if not TrialPool(workers, ready, keep, interruption).work():
        raise StoppedError(
            f"stopped on request with {len(outcomes)} of {len(tasks)} runs done; everything is saved in "
            f"{work.folder}, and the same command goes on from here (with --page-only it writes the page of the "
            "finished runs)"
        )
    folders = {task.number: task.folder for task in tasks}
    return {folders[one.number]: one.reason for one in outcomes if one.state != "complete"}


def measure(
    work: Work,
    failures: dict[Path, str],
    data_folder: Path | None,
    missing: Collection[Path] | None = None,
    *,
    device: str = "auto",
    earlier: Sequence[tuple[Study, Finding]] = (),
) -> Content:
    """Return the results of every claim and experiment, from the finished runs.

    Args:
        work: The runs.
        failures: Reasons of failed runs, by folder.
        data_folder: Folder of the images.
        missing: Folders of runs that are not finished yet; the test set is then not opened. None once all were trained.
        device: Where the final model is evaluated on test.
        earlier: Results of other experiments, from earlier calls.
    """
    absent = {*failures, *(missing or ())}
    finals = tuple(open_run(folder) for folder in work.final_folders() if folder not in absent)
    if not finals:
        reasons = "; ".join(failures.values()) or "none is finished yet"
        raise RunError(f"{work.folder}: no run of the final model could be finished ({reasons})")
    evidence = tuple(_evidence(run.folder, data_folder, device) for run in finals if missing is None or _is_tested(run))
    incomplete = len(evidence) < work.scope.seeds - len(failures.keys() & work.final_folders())
    shortage = work.scope.shortage(work.scope.epochs) or ("unfinished" if incomplete else "")
    claims = [
        (one.section, one.statement, one.finding(evidence, shortage)) for one in (*paper.CLAIMS, *paper.RELATED_WORK)
    ]
    studies = [_study(work, experiment, failures, missing or (), data_folder) for experiment in work.experiments]
    in_order = [one.name for one in EXPERIMENTS]
    studies = sorted([*earlier, *studies], key=lambda pair: in_order.index(pair[0].experiment.name))
    return Content(
        scope=work.scope,
        finals=finals,
        evidence=evidence,
        claims=tuple(claims),
        studies=tuple(studies),
        development=load_development(finals[0].recipe.data, data_folder),
        failures=tuple(f"{folder.name}: {reason}" for folder, reason in failures.items()),
        missing=tuple(sorted(folder.name for folder in missing or ())),
    )


def as_record(content: Content) -> dict[str, object]:
    """Return all numbers of the page as plain data."""
    return {
        "scope": to_plain(content.scope),
        "machine": content.finals[0].facts()[-1],
        "claims": [
            {"section": section, "claim": statement, **asdict(found)} for section, statement, found in content.findings
        ],
        "experiments": [study.as_plain() for study, _ in content.studies],
        "final": [{"picked": item.picked.as_plain(), "last": item.last.as_plain()} for item in content.evidence],
        "failures": list(content.failures),
        "missing": list(content.missing),
    }


def recorded_studies(work: Work) -> list[tuple[Study, Finding]]:
    """Return the results of the finished experiments that the folder's record has and that this work does not name.

    Their runs need not be here any more, and may have been trained on another machine.

    Raises:
        RunError: The record is of another scope, or cannot be read.
    """
    path = work.folder / RECORD
    if not path.exists():
        return []
    record = storage.read_json(path)
    names = {experiment.name for experiment in work.experiments}
    others = [one for one in EXPERIMENTS if one.name not in names]
    try:
        scope = build(Scope, record["scope"])
        plain = {one["name"]: one for one in record["experiments"]}
        studies = [recorded(one, plain[one.name]) for one in others if one.name in plain]
    except (KeyError, TypeError, AttributeError, RecipeError) as error:
        raise RunError(f"{path}: not a record of this version; move it away, and give the command again") from error
    if changes := differences(replace(scope, seeds=work.scope.seeds), work.scope):
        raise RunError(f"{path}: of another reproduction ({'; '.join(changes)}); move it away, and go on")
    shortage = work.scope.shortage(work.scope.study_epochs)
    return [(one, finding(one, shortage)) for one in studies if one.is_finished]


def _study(
    work: Work,
    experiment: Experiment,
    failures: dict[Path, str],
    missing: Collection[Path],
    data_folder: Path | None,
) -> tuple[Study, Finding]:
    folders = [work.variant_folders(experiment, variant) for variant in experiment.variants]
    done = [[folder for folder in row if folder not in failures and folder not in missing] for row in folders]
    reasons = [[failures[folder] for folder in row if folder in failures] for row in folders]
    is_finished = not any(folder in missing for row in folders for folder in row)
    found = replace(study(experiment, done, reasons, data_folder), is_finished=is_finished)
    shortage = work.scope.shortage(work.scope.study_epochs) or ("" if is_finished else "unfinished")
    return found, finding(found, shortage)


def _is_tested(run: Run) -> bool:
    """Whether the logits on test of both weights are stored."""
    return all(run_folder.is_listed(run, run_folder.logits_name("test", weights)) for weights in WEIGHTS)


def _evidence(folder: Path, data_folder: Path | None, device: str) -> Evidence:
    """Return a run's results on test; opens the test set only for weights without stored logits."""
    for weights in WEIGHTS:
        if not run_folder.is_listed(open_run(folder), run_folder.logits_name("test", weights)):
            evaluate(folder, split="test", weights=weights, device=device, data_folder=data_folder)
    run = open_run(folder)
    selected, last = (assess_stored(run, split="test", weights=weights) for weights in WEIGHTS)
    return Evidence(run.history, selected, last)
