"""Kill the command, workers and nodes while a Ray cluster answers a catalogue; write ``records/catalogue/kills.md``.

python benchmarks/kill_catalogue.py MODEL.onnx PICTURES [--kills 20] [--seed 0] [--out records/catalogue]

PICTURES is the folder of the pictures, which are made there from Fashion-MNIST's training images if they are missing.
Each kill falls at a random moment of the work. Afterwards every picture must have one answer, and all files must be the
bytes of an undisturbed run without Ray.
"""

import io
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

from clock import MODISTE
from ray_nodes import Keeper, nodes, order
from record import Record, describe_machine, parser, provenance, rows
from small_pictures import write_small_pictures

LIMIT_SECONDS = 300
"""A command that takes longer counts as hung."""
KINDS = ("command", "worker", "node")
MOST_DELAY_SECONDS = 0.3
"""A kill follows the drawn shard by up to this time: it may hit any part of the work on the next ones."""
NODES = 2
Process = subprocess.Popen[str]


@dataclass(frozen=True)
class Task:
    """The catalogue to answer, and how.

    Attributes:
        model: The ONNX file.
        pictures: Their folder.
        names: Names of all pictures, in order.
        shard_rows: Number of pictures in a shard.
        expected: Content of each shard of the undisturbed run, by name.
    """

    model: Path
    pictures: Path
    names: list[str]
    shard_rows: int
    expected: dict[str, bytes]

    def start(self, out: Path, address: str | None) -> Process:
        """Start the command."""
        words = ["predict", self.model, self.pictures, "--out", out, "--shard-rows", self.shard_rows]
        cluster = [] if address is None else ["--ray", address]
        return subprocess.Popen(
            [*MODISTE, *map(str, words), *cluster], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )


@dataclass(frozen=True)
class Outcome:
    """What a kill led to.

    Attributes:
        what: The process that was killed.
        shards_before: Number of shards that were written then.
        delay_seconds: From the drawn shard to the kill.
        seconds: From the kill to the end of the command that finished the work.
        problem: What was wrong afterwards; empty if nothing was.
    """

    what: str
    shards_before: int
    delay_seconds: float
    seconds: float
    problem: str


class MissedError(Exception):
    """The work ended before the kill."""


class Killing:
    """A cluster, and the kills on it.

    Args:
        task: The catalogue.
        address: Address of the cluster.
        keeper: Process of the cluster.
        draw: Source of all random moments and victims.
    """

    def __init__(self, task: Task, address: str, keeper: Keeper, draw: random.Random) -> None:
        self._task, self._address, self._keeper, self._draw = task, address, keeper, draw
        self.missed = Counter[str]()

    def kills(self, count: int) -> Iterator[Outcome]:
        """Yield the outcomes of ``count`` kills of each kind, in turns; a kill that came too late is drawn again."""
        for what in KINDS * count:
            while True:
                try:
                    yield self._killed(what)
                    break
                except MissedError:
                    self.missed[what] += 1

    def _killed(self, what: str) -> Outcome:
        """Start the command, kill at a drawn moment, and return what that led to."""
        shards_after = self._draw.randrange(len(self._task.expected))
        delay = self._draw.uniform(0, MOST_DELAY_SECONDS)
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "answers"
            process = self._task.start(out, self._address)
            try:
                wait_for_shards(out, shards_after, process)
                time.sleep(delay)
                before, started = len(shards(out)), time.perf_counter()
                process = self._kill(what, process, out)
                problem = complaint_of(process) or difference(self._task, shards(out))
            finally:
                process.kill()
                process.communicate()
        seconds = time.perf_counter() - started
        if what == "node":
            order(self._keeper, "add one")
        return Outcome(what, before, round(delay, 3), round(seconds, 2), problem)

    def _kill(self, what: str, process: Process, out: Path) -> Process:
        """Kill the command, a worker or a node; return the process that has to end the work."""
        if process.poll() is not None:
            raise MissedError
        if what == "node":
            order(self._keeper, "kill one")
        elif what == "worker":
            self._kill_worker(process)
        else:
            process.kill()
            process.communicate()
            return self._task.start(out, self._address)
        return process

    def _kill_worker(self, process: Process) -> None:
        """Kill one of the processes that answer a shard."""
        while not (workers := list(workers_below(self._keeper.pid))):
            if process.poll() is not None:
                raise MissedError
            time.sleep(0.01)
        self._draw.choice(workers).kill()


def main() -> None:
    arguments = parser(__doc__, "records/catalogue")
    arguments.add_argument("model", type=Path)
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--count", type=int, default=8000, help="number of pictures")
    arguments.add_argument("--shard-rows", type=int, default=100)
    arguments.add_argument("--kills", type=int, default=20, help="kills of each kind")
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    names = write_small_pictures(options.pictures, options.count)
    task = undisturbed(Task(options.model.resolve(), options.pictures.resolve(), names, options.shard_rows, {}))
    found = list[Outcome]()
    with nodes(NODES) as (address, keeper):
        killing = Killing(task, address, keeper, random.Random(options.seed))
        for outcome in killing.kills(options.kills):
            found.append(outcome)
            print(f"{len(found)}: {outcome}", flush=True)
            record = summary(task, found, killing.missed, len(KINDS) * options.kills)
            Record(options.out, "kills.json", "kills.md").save(record, as_markdown(record))


def undisturbed(task: Task) -> Task:
    """Return the task with the answers that a command without Ray gives; SystemExit if they are not as they must be."""
    with tempfile.TemporaryDirectory() as folder:
        process = task.start(Path(folder) / "answers", None)
        complaint = complaint_of(process)
        task = replace(task, expected=shards(Path(folder) / "answers"))
    if problem := complaint or difference(task, task.expected):
        sys.exit(f"the undisturbed run failed: {problem}")
    return task


def complaint_of(process: Process) -> str:
    """Wait for a command; return what went wrong, empty if nothing did."""
    try:
        _, complaint = process.communicate(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return f"not ended after {LIMIT_SECONDS} seconds"
    return f"left with {process.returncode}: {complaint.strip()[-500:]}" if process.returncode else ""


def difference(task: Task, found: dict[str, bytes]) -> str:
    """Return how shards differ from the undisturbed run's, or from one answer a picture; empty if they do not."""
    paths = [path for content in found.values() for path in pq.read_table(io.BytesIO(content))["path"].to_pylist()]
    missing, twice = len(set(task.names) - set(paths)), len(paths) - len(set(paths))
    if missing or twice:
        return f"{missing} pictures without an answer, {twice} with more than one"
    if paths != task.names:
        return "answers in another order"
    other = [name for name in found.keys() | task.expected.keys() if found.get(name) != task.expected.get(name)]
    return f"{len(other)} shards with other bytes" if other else ""


def shards(out: Path) -> dict[str, bytes]:
    """Return the content of each shard in a folder of answers, by name, in order."""
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.parquet"))}


def wait_for_shards(out: Path, count: int, process: Process) -> None:
    """Return when ``count`` shards are written; MissedError if the command ends before."""
    while len(list(out.glob("*.parquet"))) < count:
        if process.poll() is not None:
            raise MissedError
        time.sleep(0.005)


def workers_below(pid: int) -> Iterator[psutil.Process]:
    """Yield the processes below this one that answer a shard."""
    for one in psutil.Process(pid).children(recursive=True):
        try:
            if "answer_shard" in " ".join(one.cmdline()):
                yield one
        except psutil.NoSuchProcess:
            continue


def summary(task: Task, found: list[Outcome], missed: Counter[str], planned: int) -> dict[str, Any]:
    """Return the counts of each kind of kill, and all outcomes."""
    return provenance() | {
        "pictures": len(task.names),
        "shard_rows": task.shard_rows,
        "shards": len(task.expected),
        "planned": planned,
        "kinds": {what: counts(what, found, missed) for what in KINDS},
        "outcomes": [asdict(outcome) for outcome in found],
    }


def counts(what: str, found: list[Outcome], missed: Counter[str]) -> dict[str, Any]:
    """Return the numbers of kills of a kind: tried, survived, and too late; and how long the rest of the work took."""
    mine = [outcome for outcome in found if outcome.what == what]
    return {
        "tried": len(mine),
        "survived": sum(not outcome.problem for outcome in mine),
        "too_late": missed[what],
        "shards_before": [outcome.shards_before for outcome in mine],
        "most_seconds": max((outcome.seconds for outcome in mine), default=0.0),
    }


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    kinds = record["kinds"].values()
    tried, survived = (sum(kind[name] for kind in kinds) for name in ("tried", "survived"))
    ended = f"The run was ended early: {record['planned']} kills were planned." if tried < record["planned"] else ""
    size = f"{record['pictures']:,} pictures in {record['shards']} shards"
    return f"""# Kills while a catalogue is answered on a cluster

{survived} of {tried} kills (SIGKILL) were survived: every picture has one answer, and all files are the same bytes as
those of an undisturbed command without Ray. {size}, on a Ray cluster of two nodes with one
core each, on one machine. A kill falls after a drawn number of shards and up to {MOST_DELAY_SECONDS} s more.
Made by `{record["command"]}`.

| killed | kills | survived | shards written before | longest rest of the work, s |
|---|---|---|---|---|
{rows(line(what, kind) for what, kind in record["kinds"].items())}

Command: killed, then started again with the same arguments. Worker: a process that answers a shard. Node: all of its
processes; a new node joins before the next kill.
{ended}{problems(record["outcomes"])}

{describe_machine(record["machine"])}
"""


def line(what: str, kind: dict[str, Any]) -> tuple[object, ...]:
    """Return a row of the table."""
    before = kind["shards_before"] or [0]
    return what, kind["tried"], kind["survived"], f"{min(before)} to {max(before)}", f"{kind['most_seconds']:.0f}"


def problems(outcomes: list[dict[str, Any]]) -> str:
    """Return what went wrong, in a line for each kill."""
    return "".join(f"\n- {found['what']}: {found['problem']}" for found in outcomes if found["problem"])


if __name__ == "__main__":
    main()
