"""Suggestions: the values of the searched fields for each trial."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modiste.machine import seed_for
from modiste.searches.plan import Plan
from modiste.searches.space import grid
from modiste.searches.trial import TrialOutcome

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial

STARTUP_TRIALS = 10
"""Number of random trials before the estimator is used; Optuna's default."""


class Suggestions:
    """The values for the trials of a plan, in order.

    The values of trial k depend only on the plan and on the outcomes of trials 0 to k - ``lag``. Other trials may have
    finished, but Optuna's study receives only these outcomes before each suggestion, and its sampler gets a new seed
    for each trial. So an interrupted search gives the same results as an uninterrupted one.

    Args:
        plan: Plan of the search.
    """

    def __init__(self, plan: Plan) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._plan, self._space = plan, plan.dimensions()
        self._study = optuna.create_study(direction="maximize")
        self._asked: list[Trial] = []
        self._reported = 0

    @property
    def asked(self) -> int:
        """The number of trials suggested so far, which is also the number of the next trial."""
        return len(self._asked)

    def awaits(self) -> range:
        """Return the numbers of the trials whose outcomes the next suggestion depends on."""
        return range(max(0, self.asked - self._plan.lag + 1))

    def next(self, outcomes: Mapping[int, TrialOutcome]) -> dict[str, Any]:
        """Return the values of the next trial. If it already has an outcome, these are its values.

        Args:
            outcomes: By number; at least those of the trials in ``awaits``.
        """
        number = self.asked
        for earlier in self.awaits()[self._reported :]:
            self._report(outcomes[earlier])
        self._reported = len(self.awaits())
        if number in outcomes:
            self._fix(outcomes[number].values)
        elif self._plan.sampler == "grid":
            self._fix(grid(self._space, number))
        self._study.sampler = sampler(self._plan, number)
        trial = self._study.ask({dimension.field: dimension.distribution() for dimension in self._space})
        self._asked.append(trial)
        return {dimension.field: dimension.drawn(trial.params[dimension.field]) for dimension in self._space}

    def _fix(self, values: Mapping[str, Any]) -> None:
        """Make the study suggest these values next."""
        known = {dimension.field: dimension.category(values[dimension.field]) for dimension in self._space}
        self._study.enqueue_trial(known)

    def _report(self, outcome: TrialOutcome) -> None:
        """Report an outcome to the study."""
        from optuna.trial import TrialState

        trial = self._asked[outcome.number]
        for epoch, accuracy in enumerate(outcome.curve, 1):
            trial.report(accuracy, epoch)
        if outcome.state == "complete":
            self._study.tell(trial, outcome.accuracy)
        else:
            self._study.tell(trial, state=TrialState.PRUNED if outcome.state == "pruned" else TrialState.FAIL)


def sampler(plan: Plan, number: int) -> "BaseSampler":
    """Return the sampler for one trial, with its own seed."""
    from optuna.samplers import RandomSampler, TPESampler

    seed = seed_for(plan.seed, "search", number) % 2**32
    if plan.sampler == "tpe":
        return TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    return RandomSampler(seed=seed)
