"""The reproduction of the paper: trains its final model and experiments, judges its claims, writes one page."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from modiste.data.dataset import load_development
from modiste.errors import RunError, StoppedError
from modiste.evaluation.assessment import Weights, assess_stored, evaluate
from modiste.evaluation.statistics import mean_interval
from modiste.recipes.plain import to_plain
from modiste.reproduction import page, paper
from modiste.reproduction.experiments import EXPERIMENTS
from modiste.reproduction.page import Content
from modiste.reproduction.paper import Evidence
from modiste.reproduction.study import Study, study
from modiste.reproduction.work import Scope, Work
from modiste.runs import manifest, run_folder, storage
from modiste.runs.run_folder import open_run
from modiste.searches.plan import claim
from modiste.searches.trial import TrialOutcome, TrialTask
from modiste.searches.workers import MakeWorkers, Processes, TrialPool
from modiste.training.interruption import Interruption

TWO_PROCESSES = partial(Processes, 2)
SCOPE, RECORD = "reproduction.json", "record.json"
OnOutcome = Callable[[TrialOutcome, int, int], None]
"""Called with each new outcome, the number of outcomes so far, and the number of runs."""


def reproduce(
    scope: Scope,
    out: Path | str,
    *,
    workers: MakeWorkers = TWO_PROCESSES,
    device: str = "auto",
    data_folder: Path | str | None = None,
    on_outcome: OnOutcome = lambda _outcome, _done, _all: None,
) -> tuple[Path, Path]:
    """Train the models of the paper, measure its claims, and write a page about them.

    A reproduction that was killed is resumed by the same call; finished runs are not trained again. The test set is
    opened only for the runs of the final model, twice for each: with the weights selected on validation, and with the
    last weights.

    Args:
        scope: number of seeds, epochs and images.
        out: folder for runs, page and figures; made if missing.
        workers: makes the workers that runs are submitted to; two processes by default.
        device: device of each run.
        data_folder: folder of the images, if they are not where ``load_dataset`` looks for them.
        on_outcome: called after every run.

    Returns:
        the paths of the page as HTML and as Markdown.

    Raises:
        RunError: the folder belongs to another scope, or no run of the final model finished.
        MissingExtraError: SciPy is missing, which intervals over several seeds need.
        StoppedError: a signal asked the process to stop.
        DataError, StorageError, FolderInUseError: as in training.

    Example::

        reproduce(QUICK, "runs/reproduction-quick")
    """
    if scope.seeds > 1:
        mean_interval((0.0, 1.0))  # needs SciPy: raises MissingExtraError now, not after the training
    work, place = Work(scope, Path(out)), None if data_folder is None else Path(data_folder)
    with storage.lock(work.folder), Interruption() as interruption:
        claim(work.folder / SCOPE, scope, grows="seeds", noun="reproduction")
        failures = train(work, workers, device, place, interruption, on_outcome)
        content = measure(work, failures, place)
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
    waiting = [task for task in tasks if not (task.folder / manifest.NAME).exists()]
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
            f"{work.folder}, and the same command goes on from here"
        )
    folders = {task.number: task.folder for task in tasks}
    return {folders[one.number]: one.reason for one in outcomes if one.state != "complete"}


def measure(work: Work, failures: dict[Path, str], data_folder: Path | None) -> Content:
    """Return the results of every claim and experiment, from the finished runs."""
    finals = tuple(open_run(folder) for folder in work.final_folders() if folder not in failures)
    if not finals:
        raise RunError(f"{work.folder}: no run of the final model could be finished ({'; '.join(failures.values())})")
    evidence = tuple(_evidence(run.folder, data_folder) for run in finals)
    studies = tuple(_study(work, number, failures, data_folder) for number in range(len(EXPERIMENTS)))
    claims = (*paper.CLAIMS, *paper.RELATED_WORK)
    final, shortened = (work.scope.shortage(epochs) for epochs in (work.scope.epochs, work.scope.study_epochs))
    findings = [(one.section, one.statement, one.finding(evidence, final)) for one in claims]
    findings += [(one.experiment.section, one.experiment.statement, one.finding(shortened)) for one in studies]
    development = load_development(finals[0].recipe.data, data_folder)
    reasons = tuple(f"{folder.name}: {reason}" for folder, reason in failures.items())
    return Content(work.scope, finals, evidence, tuple(findings), studies, development, reasons)


def as_record(content: Content) -> dict[str, object]:
    """Return all numbers of the page as plain data."""
    return {
        "scope": to_plain(content.scope),
        "machine": content.finals[0].facts()[-1],
        "claims": [
            {"section": section, "claim": statement, "measured": found.measured, "verdict": found.verdict}
            for section, statement, found in content.findings
        ],
        "experiments": [
            {"name": found.experiment.name, "points": [asdict(point) for point in found.points]}
            for found in content.studies
        ],
        "final": [{"picked": item.picked.as_plain(), "last": item.last.as_plain()} for item in content.evidence],
        "failures": list(content.failures),
    }


def _study(work: Work, number: int, failures: dict[Path, str], data_folder: Path | None) -> Study:
    experiment = EXPERIMENTS[number]
    folders = [work.variant_folders(experiment, variant) for variant in experiment.variants]
    done = [[folder for folder in row if folder not in failures] for row in folders]
    reasons = [[failures[folder] for folder in row if folder in failures] for row in folders]
    return study(experiment, done, reasons, data_folder)


def _evidence(folder: Path, data_folder: Path | None) -> Evidence:
    """Return a run's results on test; opens the test set only for weights without stored logits."""
    both: tuple[Weights, Weights] = ("picked", "last")
    for weights in both:
        if not run_folder.is_listed(open_run(folder), run_folder.logits_name("test", weights)):
            evaluate(folder, split="test", weights=weights, data_folder=data_folder)
    run = open_run(folder)
    selected, last = (assess_stored(run, split="test", weights=weights) for weights in both)
    return Evidence(run.history, selected, last)
