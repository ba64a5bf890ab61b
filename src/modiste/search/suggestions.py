"""Which recipe a trial tries."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modiste.machine import seed_for
from modiste.search.plan import Plan
from modiste.search.space import grid
from modiste.search.trial import TrialOutcome

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial

STARTUP_TRIALS = 10
"""So many are drawn at random before the estimator has something to go by; Optuna's default."""


class Suggestions:
    """The trials of a plan, one after the other.

    What trial k tries follows from the plan and the outcomes of trials 0 to k - ``lag`` alone, never from what happened
    to have finished: Optuna's study is told of each just before it is asked, and its sampler is seeded anew for each.
    So a search that was killed and begun again, at whatever moment, makes the same table as one that nobody disturbed.
    """

    def __init__(self, plan: Plan) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._plan, self._space = plan, plan.dimensions()
        self._study = optuna.create_study(direction="maximize")
        self._asked: list[Trial] = []
        self._told = 0

    @property
    def asked(self) -> int:
        """How many trials have been suggested, which is the number of the next."""
        return len(self._asked)

    def awaits(self) -> range:
        """Return the trials whose outcomes the next suggestion goes by."""
        return range(max(0, self.asked - self._plan.lag + 1))

    def next(self, outcomes: Mapping[int, TrialOutcome]) -> dict[str, Any]:
        """Return the values of the next trial; one that has an outcome is given those that it had.

        Args:
            outcomes: by number, of all that ``awaits`` names at least.
        """
        number = self.asked
        for earlier in self.awaits()[self._told :]:
            self._tell(outcomes[earlier])
        self._told = len(self.awaits())
        if number in outcomes:
            self._fix(outcomes[number].values)
        elif self._plan.sampler == "grid":
            self._fix(grid(self._space, number))
        self._study.sampler = sampler(self._plan, number)
        trial = self._study.ask({dimension.field: dimension.distribution() for dimension in self._space})
        self._asked.append(trial)
        return {dimension.field: dimension.drawn(trial.params[dimension.field]) for dimension in self._space}

    def _fix(self, values: Mapping[str, Any]) -> None:
        known = {dimension.field: dimension.category(values[dimension.field]) for dimension in self._space}
        self._study.enqueue_trial(known)

    def _tell(self, outcome: TrialOutcome) -> None:
        from optuna.trial import TrialState

        trial = self._asked[outcome.number]
        for epoch, accuracy in enumerate(outcome.curve, 1):
            trial.report(accuracy, epoch)
        if outcome.state == "complete":
            self._study.tell(trial, outcome.accuracy)
        else:
            self._study.tell(trial, state=TrialState.PRUNED if outcome.state == "pruned" else TrialState.FAIL)


def sampler(plan: Plan, number: int) -> "BaseSampler":
    """Return the sampler of this trial, seeded for it."""
    from optuna.samplers import RandomSampler, TPESampler

    seed = seed_for(plan.seed, "search", number) % 2**32
    if plan.sampler == "tpe":
        return TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    return RandomSampler(seed=seed)
