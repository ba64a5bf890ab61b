"""The outcomes of a search on disk: a sealed file for each; a table, the best recipe and a study of them all."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modiste import storage
from modiste.errors import RunError
from modiste.plain import to_plain
from modiste.search.plan import Plan
from modiste.search.space import apply
from modiste.search.trial import Outcome

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


def write(folder: Path, outcome: Outcome) -> None:
    """Keep an outcome, whole or not at all."""
    storage.write_sealed_json(_path(folder, outcome.number), asdict(outcome))


def read(folder: Path) -> list[Outcome]:
    """Return the outcomes that are there, by number; RunError when one is damaged."""
    return [from_plain(storage.read_sealed_json(path)) for path in sorted((folder / FOLDER).glob("*.json"))]


def from_plain(plain: Mapping[str, Any]) -> Outcome:
    """Return the outcome that was written as ``plain``; RunError when it is none."""
    try:
        return Outcome(**{**plain, "curve": tuple(plain["curve"])})
    except (KeyError, TypeError) as error:
        raise RunError(f"a trial's outcome is damaged or of another version of Modiste ({error})") from error


def best(outcomes: Iterable[Outcome]) -> Outcome | None:
    """Return the complete trial with the highest accuracy, the earliest among equals; None when there is none."""
    complete = [outcome for outcome in outcomes if outcome.state == "complete"]
    return max(complete, key=lambda outcome: (outcome.accuracy, -outcome.number), default=None)


def write_table(folder: Path, plan: Plan, outcomes: Mapping[int, Outcome]) -> None:
    """Write every outcome as JSON and as a table for people, and the best recipe as a file that ``train`` takes."""
    from modiste.report.style import save
    from modiste.search.figures import importance_bars, parallel_coordinates

    rows = [outcomes[number] for number in sorted(outcomes)]
    storage.write_json(folder / TABLE, [asdict(row) for row in rows])
    winner, weights = best(rows), importances(plan, rows)
    storage.write_text(folder / TABLE_FOR_PEOPLE, as_markdown(plan, rows, winner, weights))
    save(parallel_coordinates(plan.dimensions(), rows), folder / FIGURES[0], dpi=DPI)
    if weights:
        save(importance_bars(weights), folder / FIGURES[1], dpi=DPI)
    if winner:
        storage.write_json(folder / BEST, to_plain(apply(plan.recipe, winner.values)))


def importances(plan: Plan, rows: Iterable[Outcome]) -> dict[str, float]:
    """Return each field's share in what sets the better trials apart; empty where too few ended to tell.

    PED-ANOVA (Watanabe, Bansal and Hutter, 2023), by Optuna, whose shares are those of the space searched.
    """
    from optuna.importance import get_param_importances
    from optuna.storages import InMemoryStorage

    if len({row.accuracy for row in rows if row.state == "complete"}) < LEAST_ACCURACIES:
        return {}
    return get_param_importances(write_study(InMemoryStorage(), "importances", plan, rows))


def as_markdown(plan: Plan, rows: list[Outcome], winner: Outcome | None, weights: Mapping[str, float]) -> str:
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


def write_journal(folder: Path, plan: Plan, outcomes: Iterable[Outcome]) -> None:
    """Write all outcomes as a study in Optuna's journal form."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = folder / STUDY
    path.unlink(missing_ok=True)
    write_study(JournalStorage(JournalFileBackend(str(path))), plan.recipe.name, plan, outcomes)


def write_study(place: "BaseStorage", name: str, plan: Plan, outcomes: Iterable[Outcome]) -> "Study":
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
