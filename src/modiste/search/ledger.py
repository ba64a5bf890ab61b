"""Where the outcomes of a search are kept, and who may run which trial."""

from pathlib import Path
from typing import ClassVar

from modiste.search import outcomes
from modiste.search.plan import Plan
from modiste.search.trial import Outcome


class Ledger:
    """The outcomes of one search, for all drivers that work on it."""

    look_seconds: ClassVar[float] = 0.0
    """How long to wait between two looks at what others do."""

    def enter(self, plan: Plan) -> None:
        """Enter the plan of a new search, or check it against the one that is there; RunError when they differ."""
        raise NotImplementedError

    def outcomes(self) -> list[Outcome]:
        """Return what is there, by number."""
        raise NotImplementedError

    def news(self) -> list[Outcome]:
        """Return what other drivers have added since this was last asked."""
        raise NotImplementedError

    def take(self, number: int) -> bool:
        """Take a trial for this driver alone, as long as it lives; False when another has it."""
        raise NotImplementedError

    def write(self, outcome: Outcome) -> None:
        """Keep an outcome, whole or not at all, for good."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of whatever is held open."""

    def conclude(self, plan: Plan) -> None:
        """The search is done: leave a study of it for Optuna's dashboard."""
        raise NotImplementedError


class FolderLedger(Ledger):
    """Files in the search's folder, whose lock the only driver holds.

    Args:
        folder: of the search.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def enter(self, _plan: Plan) -> None:
        """The plan lies in the folder."""

    def outcomes(self) -> list[Outcome]:
        """As every ledger does; RunError when a file is damaged."""
        return outcomes.read(self._folder)

    def news(self) -> list[Outcome]:
        """There is no other driver."""
        return []

    def take(self, _number: int) -> bool:
        """There is no other driver."""
        return True

    def write(self, outcome: Outcome) -> None:
        """As every ledger does."""
        outcomes.write(self._folder, outcome)

    def conclude(self, plan: Plan) -> None:
        """Write the study as a journal file in the folder."""
        outcomes.write_journal(self._folder, plan, self.outcomes())
