"""``answer_catalogue``: answers all pictures of a folder or a list, in shards, and goes on where it was stopped."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path

from modiste.catalogue.listing import Place, read_part
from modiste.catalogue.model import CatalogueModel
from modiste.catalogue.parquet import demand_package, read_facts
from modiste.catalogue.plan import FOLDER, Plan, claim, read_model
from modiste.catalogue.shards import ShardTask, is_done, shard_path
from modiste.catalogue.workers import MOST_DEATHS, DiedError, LocalWorkers, MakeShardWorkers, ShardWorkers, gave_up
from modiste.errors import RecipeError, StoppedError
from modiste.inference.answers import check_paths
from modiste.runs import storage
from modiste.runs.manifest import ONNX_FILE
from modiste.system.processes import Interruption

SHARD_ROWS = 1024
"""Pictures in a shard: all that a killed worker can lose."""
PATIENCE_SECONDS = 0.2
"""Longest time until a request to stop is noticed."""
OnProgress = Callable[[int, int], None]
"""Called with the number of pictures that are done, and of all."""


@dataclass(frozen=True)
class Summary:
    """What a folder of answers holds.

    Attributes:
        pictures: Number of pictures.
        shards: Number of shards.
        none: Number of pictures that show none of the classes.
        refused: Number of pictures that could not be read.
    """

    pictures: int
    shards: int
    none: int
    refused: int


def answer_catalogue(
    model: CatalogueModel,
    place: Path | str,
    out: Path | str,
    *,
    shard_rows: int = SHARD_ROWS,
    workers: MakeShardWorkers = LocalWorkers,
    on_progress: OnProgress = lambda _done, _all: None,
) -> Summary:
    """Answer every picture of a place, and write the answers into ``out`` as shards of parquet.

    After a kill, or a request to stop, the same call goes on with the shards that are missing. All shards are the same
    bytes as without a kill, whichever workers answer, on processors of one kind.

    Args:
        model: The model that answers.
        place: A folder of pictures, or a list (.csv or .parquet) whose column ``path`` names them.
        out: Folder of the answers; created if missing.
        shard_rows: Number of pictures in a shard.
        workers: Makes the workers.
        on_progress: Called at the start and after each shard.

    Raises:
        StoppedError: A signal asked to stop. The shards that are done are kept.
        RunError: The folder holds answers of another model or list, or a shard cannot be answered.
        PhotoError, DataError: There are no such pictures.
        FolderInUseError, StorageError, MissingExtraError, ClusterError: The work cannot be done here.
    """
    demand_package()
    place, out = Path(place), Path(out)
    if shard_rows < 1:
        raise RecipeError(f"--shard-rows: expected at least 1, found {shard_rows}")
    check_paths([place])
    found = Place.at(place)
    found.demand_pictures()  # before the folder of answers is made
    with storage.lock(out), Interruption() as interruption:
        plan = claim(out, found, model, shard_rows)
        storage.remove_leftovers(out)  # only of a folder that is Modiste's
        read_model(out, plan)
        if not _Work(plan, found, out, interruption, on_progress).run(workers):
            raise _stopped(out, plan)
        return _summary(out, plan)


def _stopped(out: Path, plan: Plan) -> StoppedError:
    done = sum(plan.rows(number) for number in range(plan.shards) if is_done(out, plan, number))
    return StoppedError(
        f"stopped on request with {done:,} of {plan.count:,} pictures answered; they are kept in {out}, and "
        "the same command goes on from here"
    )


class _Work:
    """Hands the missing shards to workers, and writes each as it comes back."""

    def __init__(
        self, plan: Plan, place: Place, out: Path, interruption: Interruption, on_progress: OnProgress
    ) -> None:
        self._plan, self._place, self._out = plan, place, out
        self._interruption, self._on_progress = interruption, on_progress
        self._missing = [number for number in range(plan.shards) if not is_done(out, plan, number)]
        self._suspects = list[int]()
        self._deaths = Counter[int]()
        self._done = plan.count - sum(map(plan.rows, self._missing))

    def run(self, make: MakeShardWorkers) -> bool:
        """Answer all missing shards; return False if a signal asked to stop before."""
        self._on_progress(self._done, self._plan.count)
        if not self._missing:
            return True
        with make(self._out / FOLDER / ONNX_FILE, len(self._missing)) as workers:
            while self._missing and not self._interruption.requested:
                self._run_until_a_death(workers)
        return not self._missing

    def _run_until_a_death(self, workers: ShardWorkers) -> None:
        """Answer shards until none is missing, a stop is requested, or a worker dies, which is then replaced.

        If several shards were at work, nobody knows which of them killed it. These suspects are answered first, one at
        a time, so that they cannot harm others.
        """
        running: dict[Future[bytes], int] = {}
        waiting = iter([number for number in self._missing if number not in self._suspects])
        try:
            while not self._interruption.requested and (self._hand_out(workers, waiting, running) or running):
                for future in wait(running, PATIENCE_SECONDS, FIRST_COMPLETED).done:
                    self._keep(running[future], workers.result(future))
                    del running[future]
        except DiedError:
            self._note_death(list(running.values()))
            workers.restart()

    def _hand_out(self, workers: ShardWorkers, waiting: Iterator[int], running: dict[Future[bytes], int]) -> bool:
        """Give the workers a suspect if nothing runs, or other shards after all suspects; return whether any."""
        before = len(running)
        given, room = (iter(self._suspects[:1]), 1) if self._suspects else (waiting, workers.slots)
        while len(running) < room and (number := next(given, None)) is not None:
            running[workers.submit(self._task(number))] = number
        return len(running) > before

    def _task(self, number: int) -> ShardTask:
        return ShardTask(
            number=number,
            root=str(self._place.root),
            names=read_part(self._out / FOLDER, number),
            plan=self._plan.digest,
            onnx=self._plan.onnx,
            stays_inside=self._place.table is None,
            coverage=self._plan.coverage,
            network=self._plan.network,
        )

    def _keep(self, number: int, content: bytes) -> None:
        storage.write_bytes(shard_path(self._out, number), content)
        self._missing.remove(number)
        self._suspects = [other for other in self._suspects if other != number]
        self._done += self._plan.rows(number)
        self._on_progress(self._done, self._plan.count)

    def _note_death(self, numbers: list[int]) -> None:
        """Note that a worker died while these shards were at work; RunError if one was at work alone too often."""
        if len(numbers) == 1:
            (number,) = numbers
            self._deaths[number] += 1
            if self._deaths[number] == MOST_DEATHS:
                raise gave_up(self._task(number), MOST_DEATHS)
        self._suspects = self._suspects or numbers


def _summary(out: Path, plan: Plan) -> Summary:
    """Return the sums over all shards."""
    found = [read_facts(shard_path(out, number)) for number in range(plan.shards)]
    whole = [facts for facts in found if facts is not None]
    return Summary(
        pictures=sum(facts.rows for facts in whole),
        shards=len(whole),
        none=sum(facts.none for facts in whole),
        refused=sum(facts.refused for facts in whole),
    )
