"""The outcomes of a search: a hashed file for each, a table, the best recipe, a study; and who may run which trial."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from modiste.errors import RunError
from modiste.recipes.plain import to_plain
from modiste.runs import storage
from modiste.search.plan import Plan
from modiste.search.space import apply
from modiste.search.trial import TrialOutcome

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage


METHOD = (
    "Importance is a field's share in what sets the better trials apart (PED-ANOVA, by Optuna); with few trials it is "
    "a hint."
)
LEAST_ACCURACIES = 4
"""So many different ones it takes to say what matters."""
FIGURES = ("figures/trials.png", "figures/importance.png")
DPI = 150
FOLDER = "outcomes"
TRIALS = "trials"
TABLE, TABLE_FOR_PEOPLE, BEST = "results.json", "results.md", "best.json"
STUDY = "study.log"


def run_folder_of(folder: Path, number: int) -> Path:
    """Name the run folder of a trial."""
    return folder / TRIALS / f"{number:04d}"


def write(folder: Path, outcome: TrialOutcome) -> None:
    """Keep an outcome, whole or not at all."""
    storage.write_hashed_json(_path(folder, outcome.number), asdict(outcome))


def read(folder: Path) -> list[TrialOutcome]:
    """Return the outcomes that are there, by number; RunError when one is damaged."""
    return [from_plain(storage.read_hashed_json(path)) for path in sorted((folder / FOLDER).glob("*.json"))]


def from_plain(plain: Mapping[str, Any]) -> TrialOutcome:
    """Return the outcome that was written as ``plain``; RunError when it is none."""
    try:
        return TrialOutcome(**{**plain, "curve": tuple(plain["curve"])})
    except (KeyError, TypeError) as error:
        raise RunError(f"a trial's outcome is damaged or of another version of Modiste ({error})") from error


def best(outcomes: Iterable[TrialOutcome]) -> TrialOutcome | None:
    """Return the complete trial with the highest accuracy, the earliest among equals; None when there is none."""
    complete = [outcome for outcome in outcomes if outcome.state == "complete"]
    return max(complete, key=lambda outcome: (outcome.accuracy, -outcome.number), default=None)


def write_table(folder: Path, plan: Plan, outcomes: Mapping[int, TrialOutcome]) -> None:
    """Write every outcome as JSON and as a table for people, and the best recipe as a file that ``train`` takes."""
    from modiste.report.style import save
    from modiste.search.plots import importance_bars, parallel_coordinates

    rows = [outcomes[number] for number in sorted(outcomes)]
    storage.write_json(folder / TABLE, [asdict(row) for row in rows])
    winner, weights = best(rows), importances(plan, rows)
    storage.write_text(folder / TABLE_FOR_PEOPLE, as_markdown(plan, rows, winner, weights))
    save(parallel_coordinates(plan.dimensions(), rows), folder / FIGURES[0], dpi=DPI)
    if weights:
        save(importance_bars(weights), folder / FIGURES[1], dpi=DPI)
    if winner:
        storage.write_json(folder / BEST, to_plain(apply(plan.recipe, winner.values)))


def importances(plan: Plan, rows: Iterable[TrialOutcome]) -> dict[str, float]:
    """Return each field's share in what sets the better trials apart; empty where too few ended to tell.

    PED-ANOVA (Watanabe, Bansal and Hutter, 2023), by Optuna, whose shares are those of the space searched.
    """
    from optuna.importance import get_param_importances
    from optuna.storages import InMemoryStorage

    if len({row.accuracy for row in rows if row.state == "complete"}) < LEAST_ACCURACIES:
        return {}
    return get_param_importances(write_study(InMemoryStorage(), "importances", plan, rows))


def as_markdown(plan: Plan, rows: list[TrialOutcome], winner: TrialOutcome | None, weights: Mapping[str, float]) -> str:
    """Write the table, the most accurate first, and what mattered; validation accuracy throughout."""
    order = sorted(rows, key=lambda row: (row.state != "complete", -(row.accuracy or 0.0), row.number))
    fields = [dimension.field for dimension in plan.dimensions()]
    lines = [_line("trial", "validation", "state", *fields), _line(*["---"] * (3 + len(fields)))]
    for row in order:
        accuracy = "" if row.accuracy is None else f"{row.accuracy:.2%}"
        state = f"{row.state}: {row.reason}" if row.reason else row.state
        lines.append(_line(row.number, accuracy, state, *(_shown(row.values[field]) for field in fields)))
    verdict = f"Best: trial {winner.number}, in `{BEST}`; train it with `modiste train {BEST}`." if winner else ""
    head = f"# Search over `{plan.recipe.name}`\n\n{plan.trials} trials, sampler {plan.sampler}, seed {plan.seed}."
    parts = [f"{head} {verdict}".rstrip(), "", *lines, "", f"![Every trial as a line]({FIGURES[0]})", ""]
    if weights:
        parts += [_line("field", "importance"), _line("---", "---")]
        parts += [_line(name, f"{weight:.0%}") for name, weight in weights.items()]
        parts += ["", METHOD, "", f"![Importance of each field]({FIGURES[1]})", ""]
    return "\n".join(parts)


def write_journal(folder: Path, plan: Plan, outcomes: Iterable[TrialOutcome]) -> None:
    """Write all outcomes as a study in Optuna's journal form."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = folder / STUDY
    path.unlink(missing_ok=True)
    write_study(JournalStorage(JournalFileBackend(str(path))), plan.recipe.name, plan, outcomes)


def write_study(place: "BaseStorage", name: str, plan: Plan, outcomes: Iterable[TrialOutcome]) -> "Study":
    """Write all outcomes as a study of Optuna's, for its dashboard and whatever else reads studies."""
    from optuna import create_study
    from optuna.distributions import BaseDistribution
    from optuna.trial import TrialState, create_trial

    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    study = create_study(study_name=name, direction="maximize", storage=place)
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


def _path(folder: Path, number: int) -> Path:
    return folder / FOLDER / f"{number:04d}.json"


def _line(*cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class OutcomeStore:
    """The outcomes of one search, for all drivers that work on it."""

    look_seconds: ClassVar[float] = 0.0
    """How long to wait between two looks at what others do."""

    def enter(self, plan: Plan) -> None:
        """Enter the plan of a new search, or check it against the one that is there; RunError when they differ."""
        raise NotImplementedError

    def outcomes(self) -> list[TrialOutcome]:
        """Return what is there, by number."""
        raise NotImplementedError

    def news(self) -> list[TrialOutcome]:
        """Return what other drivers have added since this was last asked."""
        raise NotImplementedError

    def take(self, number: int) -> bool:
        """Take a trial for this driver alone, as long as it lives; False when another has it."""
        raise NotImplementedError

    def write(self, outcome: TrialOutcome) -> None:
        """Keep an outcome, whole or not at all, for good."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of whatever is held open."""

    def conclude(self, plan: Plan) -> None:
        """The search is done: leave a study of it for Optuna's dashboard."""
        raise NotImplementedError


class FolderStore(OutcomeStore):
    """Files in the search's folder, whose lock the only driver holds.

    Args:
        folder: of the search.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def enter(self, _plan: Plan) -> None:
        """The plan lies in the folder."""

    def outcomes(self) -> list[TrialOutcome]:
        """As every ledger does; RunError when a file is damaged."""
        return read(self._folder)

    def news(self) -> list[TrialOutcome]:
        """There is no other driver."""
        return []

    def take(self, _number: int) -> bool:
        """There is no other driver."""
        return True

    def write(self, outcome: TrialOutcome) -> None:
        """As every ledger does."""
        write(self._folder, outcome)

    def conclude(self, plan: Plan) -> None:
        """Write the study as a journal file in the folder."""
        write_journal(self._folder, plan, self.outcomes())
