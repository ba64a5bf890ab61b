"""The outcomes of a search: the store that keeps them, the tables for people, the best recipe and Optuna's study."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from modiste.errors import RunError
from modiste.recipes.plain import to_plain
from modiste.runs import storage
from modiste.searches.plan import Plan
from modiste.searches.space import apply
from modiste.searches.trial import TrialOutcome

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
from collections.abc import Callable

METHOD = (
    "Importance is a field's share in what distinguishes the better trials (PED-ANOVA, by Optuna). With few trials it "
    "is only a hint."
)
LEAST_ACCURACIES = 4
"""Number of different accuracies needed to compute importances."""
FIGURES = ("figures/trials.png", "figures/importance.png")
DPI = 150
FOLDER = "outcomes"
TRIALS = "trials"
TABLE, TABLE_FOR_PEOPLE, BEST = "results.json", "results.md", "best.json"
STUDY = "study.log"
WIDTH = 10
"""Least width of a column of values."""


class OutcomeStore(ABC):
    """The outcomes of one search, shared by all drivers that work on it."""

    look_seconds: ClassVar[float] = 0.0
    """Time between two checks for news of other drivers."""

    @abstractmethod
    def enter(self, plan: Plan) -> Plan:
        """Store the plan of a new search, or compare it with the stored one; RunError if they differ.

        Returns:
            The plan as the version that began the search carries it out; see ``plan.as_begun``.
        """

    @abstractmethod
    def outcomes(self) -> list[TrialOutcome]:
        """Return all stored outcomes, by number; RunError if one is damaged."""

    @abstractmethod
    def news(self) -> list[TrialOutcome]:
        """Return the outcomes that other drivers have stored since the last call."""

    @abstractmethod
    def take(self, number: int) -> bool:
        """Reserve a trial for this driver for as long as it lives; return False if another driver has it."""

    @abstractmethod
    def write(self, outcome: TrialOutcome) -> None:
        """Store an outcome permanently; an interrupted write leaves nothing behind."""

    @abstractmethod
    def conclude(self, plan: Plan) -> None:
        """Write the study of a completed search, for Optuna's dashboard."""

    @abstractmethod
    def close(self) -> None:
        """Release connections and reserved trials."""


class FolderStore(OutcomeStore):
    """Outcomes as files in the folder of the search. Its only driver holds the folder's lock.

    Args:
        folder: Folder of the search.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def enter(self, plan: Plan) -> Plan:
        """Return the plan: the search itself writes it into the folder."""
        return plan

    def outcomes(self) -> list[TrialOutcome]:
        return read(self._folder)

    def news(self) -> list[TrialOutcome]:
        """Return nothing: there are no other drivers."""
        return []

    def take(self, _number: int) -> bool:
        """Return True: there are no other drivers."""
        return True

    def write(self, outcome: TrialOutcome) -> None:
        write(self._folder, outcome)

    def conclude(self, plan: Plan) -> None:
        """Write the study as a journal file in the folder."""
        write_journal(self._folder, plan, self.outcomes())

    def close(self) -> None:
        """Do nothing: no file stays open."""


def read(folder: Path) -> list[TrialOutcome]:
    """Return the outcomes stored in a search's folder, by number; RunError if one is damaged."""
    return [from_plain(storage.read_hashed_json(path)) for path in sorted((folder / FOLDER).glob("*.json"))]


def write(folder: Path, outcome: TrialOutcome) -> None:
    """Store an outcome in a search's folder as a file with a hash."""
    storage.write_hashed_json(folder / FOLDER / f"{outcome.number:04d}.json", asdict(outcome))


def from_plain(plain: Mapping[str, Any]) -> TrialOutcome:
    """Return the outcome stored as ``plain``; RunError if it is not one."""
    try:
        return TrialOutcome(**{**plain, "curve": tuple(plain["curve"])})
    except (KeyError, TypeError) as error:
        raise RunError(f"a trial's outcome is damaged or of another version of Modiste ({error})") from error


def run_folder_of(folder: Path, number: int) -> Path:
    """Return the run folder of a trial."""
    return folder / TRIALS / f"{number:04d}"


def best(outcomes: Iterable[TrialOutcome]) -> TrialOutcome | None:
    """Return the complete trial with the highest accuracy, the first of equals; None if no trial is complete."""
    complete = [outcome for outcome in outcomes if outcome.state == "complete"]
    return max(complete, key=lambda outcome: (outcome.accuracy, -outcome.number), default=None)


def write_table(folder: Path, plan: Plan, outcomes: Mapping[int, TrialOutcome]) -> None:
    """Write all outcomes as JSON and as Markdown with figures, and the best recipe as a file for ``train``."""
    from modiste.reports.style import save
    from modiste.searches.plots import importance_bars, parallel_coordinates

    rows = [outcomes[number] for number in sorted(outcomes)]
    storage.write_json(folder / TABLE, [asdict(row) for row in rows])
    winner, shares = best(rows), importances(plan, rows)
    storage.write_text(folder / TABLE_FOR_PEOPLE, as_markdown(plan, rows, winner, shares))
    save(parallel_coordinates(plan.dimensions(), rows), folder / FIGURES[0], dpi=DPI)
    if shares:
        save(importance_bars(shares), folder / FIGURES[1], dpi=DPI)
    if winner:
        storage.write_json(folder / BEST, to_plain(apply(plan.recipe, winner.values)))


def importances(plan: Plan, rows: Iterable[TrialOutcome]) -> dict[str, float]:
    """Return each field's importance: its share in what distinguishes the better trials, 0 to 1.

    The method is PED-ANOVA (Watanabe, Bansal and Hutter, 2023), by Optuna, over the whole space of the search.

    Returns:
        Importances by field; empty if complete trials have fewer than LEAST_ACCURACIES different accuracies.
    """
    from optuna.importance import get_param_importances
    from optuna.storages import InMemoryStorage

    if len({row.accuracy for row in rows if row.state == "complete"}) < LEAST_ACCURACIES:
        return {}
    return get_param_importances(write_study(InMemoryStorage(), "importances", plan, rows))


def as_markdown(plan: Plan, rows: list[TrialOutcome], winner: TrialOutcome | None, shares: Mapping[str, float]) -> str:
    """Return the results as Markdown: the trials sorted by validation accuracy, and the importances."""
    order = sorted(rows, key=lambda row: (row.state != "complete", -(row.accuracy or 0.0), row.number))
    fields = [dimension.field for dimension in plan.dimensions()]
    lines = [_line("trial", "validation", "state", *fields), _line(*["---"] * (3 + len(fields)))]
    for row in order:
        accuracy = "" if row.accuracy is None else f"{row.accuracy:.2%}"
        state = f"{row.state}: {row.reason}" if row.reason else row.state
        lines.append(_line(row.number, accuracy, state, *(as_text(row.values[field]) for field in fields)))
    verdict = f"Best: trial {winner.number}, in `{BEST}`; train it with `modiste train {BEST}`." if winner else ""
    head = f"# Search over `{plan.recipe.name}`\n\n{plan.trials} trials, sampler {plan.sampler}, seed {plan.seed}."
    parts = [f"{head} {verdict}".rstrip(), "", *lines, "", f"![Every trial as a line]({FIGURES[0]})", ""]
    if shares:
        parts += [_line("field", "importance"), _line("---", "---")]
        parts += [_line(name, f"{share:.0%}") for name, share in shares.items()]
        parts += ["", METHOD, "", f"![Importance of each field]({FIGURES[1]})", ""]
    return "\n".join(parts)


def _line(*cells: Any) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(content: Any) -> str:
    """Return text that stays within its cell: a line break or a bar would end it."""
    return " ".join(str(content).splitlines()).replace("|", "\\|")


def write_journal(folder: Path, plan: Plan, outcomes: Iterable[TrialOutcome]) -> None:
    """Write all outcomes as an Optuna study into a journal file in the search's folder."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = folder / STUDY
    path.unlink(missing_ok=True)
    write_study(JournalStorage(JournalFileBackend(str(path))), plan.recipe.name, plan, outcomes)


def write_study(target: "BaseStorage", name: str, plan: Plan, outcomes: Iterable[TrialOutcome]) -> "Study":
    """Write all outcomes as an Optuna study, for its dashboard and other tools.

    Args:
        target: The Optuna storage.
        name: Name of the study.
        plan: Plan of the search.
        outcomes: In the order of the study's trials.
    """
    from optuna import create_study
    from optuna.distributions import BaseDistribution
    from optuna.trial import TrialState, create_trial

    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    study = create_study(study_name=name, direction="maximize", storage=target)
    space = plan.dimensions()
    distributions: dict[str, BaseDistribution] = {dimension.field: dimension.distribution() for dimension in space}
    for row in outcomes:
        study.add_trial(
            create_trial(
                state=states[row.state],
                value=row.accuracy if row.state != "failed" else None,
                params={dimension.field: dimension.category(row.values[dimension.field]) for dimension in space},
                distributions=distributions,
                intermediate_values=dict(enumerate(row.curve, 1)),
                user_attrs={"reason": row.reason} if row.reason else {},
            )
        )
    return study


class ProgressTable:
    """Prints a row for every trial that ends; the widths of the columns are fixed at the start.

    Args:
        plan: Plan of the search.
        write: Prints a line.
    """

    def __init__(self, plan: Plan, write: Callable[[str], None]) -> None:
        self._plan, self._write = plan, write
        self._fields = [dimension.field for dimension in plan.dimensions()]
        names = [field.rpartition(".")[2] for field in self._fields]
        self._widths = [max(WIDTH, len(name)) for name in names]
        self._digits = 2 * len(str(plan.trials)) + 4
        write(self._row("done", "trial", "validation", "best so far", names, ""))

    def add(self, new: TrialOutcome, known: Mapping[int, TrialOutcome]) -> None:
        """Print the row of a new trial; ``known`` are all outcomes so far, the new one included."""
        leader = best(known.values())
        done = f"{len(known)} of {self._plan.trials}"
        accuracy = new.state if new.accuracy is None or new.state == "pruned" else f"{new.accuracy:.2%}"
        ahead = f"{leader.accuracy:.2%}" if leader else ""
        values = [as_text(new.values[field]) for field in self._fields]
        self._write(self._row(done, str(new.number), accuracy, ahead, values, new.reason))

    def _row(self, done: str, trial: str, accuracy: str, ahead: str, values: list[str], reason: str) -> str:
        chosen = "".join(f"  {value:>{width}}" for value, width in zip(values, self._widths, strict=True))
        return f"{done:>{self._digits}}  {trial:>5}  {accuracy:>10}  {ahead:>11}{chosen}  {reason}".rstrip()


def as_text(value: object) -> str:
    """Return the value of a searched field as people read it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
