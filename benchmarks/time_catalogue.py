"""Time a catalogue of small pictures on a Ray cluster of one node and of two; write ``records/catalogue``.

python benchmarks/time_catalogue.py MODEL.onnx PICTURES [--count 100000] [--rounds 3] [--out records/catalogue]

PICTURES is the folder of the pictures, which are made there from Fashion-MNIST's training images if they are missing.
"""

import os
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from clock import spread
from modiste.catalogue.catalogue import SHARD_ROWS, answer_catalogue
from modiste.catalogue.model import CatalogueModel
from modiste.catalogue.ray_workers import RayShardWorkers
from ray_nodes import nodes
from record import Record, describe_machine, parser, provenance, rows, with_range
from small_pictures import write_small_pictures

NODES = (1, 2)
WARM_SHARDS = 2
"""Shards of each core that are answered before the clock starts: workers have loaded the model then."""


@dataclass(frozen=True)
class Moment:
    """A state of the work.

    Attributes:
        seconds: Time on the clock.
        done: Number of pictures that are answered.
        ours: Processor time of the command and of the cluster, in seconds.
        busy: Processor time of all programs, in seconds.
    """

    seconds: float
    done: int
    ours: float
    busy: float

    @classmethod
    def now(cls, done: int) -> "Moment":
        """Return the moment of this call."""
        return cls(time.perf_counter(), done, processor_seconds(psutil.Process()), busy_seconds())


def main() -> None:
    arguments = parser(__doc__, "records/catalogue", rounds=3)
    arguments.add_argument("model", type=Path)
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--count", type=int, default=100_000, help="number of pictures")
    arguments.add_argument("--shard-rows", type=int, default=SHARD_ROWS)
    options = arguments.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    write_small_pictures(options.pictures, options.count)
    found: dict[int, list[dict[str, float]]] = {number: [] for number in NODES}
    for number in range(options.rounds):
        for count in NODES if number % 2 == 0 else reversed(NODES):
            found[count].append(time_catalogue(options.model, options.pictures, count, options.shard_rows))
            print(f"round {number + 1}, {count} nodes: {found[count][-1]}", flush=True)
    record = summary(found, options.count, options.shard_rows)
    Record(options.out).save(record, as_markdown(record))


def time_catalogue(model: Path, pictures: Path, count: int, shard_rows: int) -> dict[str, float]:
    """Answer all pictures on a cluster of ``count`` nodes that runs already; return what ``measured`` does."""
    moments: list[Moment] = []
    started = time.perf_counter()

    def note(done: int, whole: int) -> None:
        if done == whole or (done >= WARM_SHARDS * count * shard_rows and not moments):
            moments.append(Moment.now(done))

    with tempfile.TemporaryDirectory() as folder, nodes(count) as (address, _):
        started = time.perf_counter()
        make = partial(RayShardWorkers, address)
        answer_catalogue(
            CatalogueModel(model),
            pictures,
            Path(folder) / "answers",
            shard_rows=shard_rows,
            workers=make,
            on_progress=note,
        )
    return measured(started, *moments)


def measured(started: float, warm: Moment, end: Moment) -> dict[str, float]:
    """Return pictures a second after the start, and for each second of a core; seconds of the whole; cores in use."""
    seconds = end.seconds - warm.seconds
    others = (end.busy - warm.busy) - (end.ours - warm.ours)
    return {
        "pictures_per_second": (end.done - warm.done) / seconds,
        "pictures_per_core_second": (end.done - warm.done) / (end.ours - warm.ours),
        "seconds": end.seconds - started,
        "cores_ours": (end.ours - warm.ours) / seconds,
        "cores_of_others": max(others, 0.0) / seconds,
    }


def processor_seconds(process: psutil.Process) -> float:
    """Return the processor time of a process and of all that live below it."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += sum(one.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return total


def busy_seconds() -> float:
    """Return the processor time of all programs on this machine."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def summary(found: dict[int, list[dict[str, float]]], count: int, shard_rows: int) -> dict[str, Any]:
    """Return the measurements of each cluster, and the ratio of throughput in each round."""
    speeds = {number: [one["pictures_per_second"] for one in rounds] for number, rounds in found.items()}
    ratios = [two / one for one, two in zip(*(speeds[number] for number in NODES), strict=True)]
    return provenance() | {
        "pictures": count,
        "shard_rows": shard_rows,
        "nodes": {
            str(number): {name: spread([one[name] for one in rounds]) for name in rounds[0]}
            for number, rounds in found.items()
        },
        "throughput_ratio": spread(ratios),
        "rounds": {str(number): rounds for number, rounds in found.items()},
    }


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    ratio = record["throughput_ratio"]
    size = f"{record['pictures']:,} pictures of 28 x 28 pixels, in shards of {record['shard_rows']:,}"
    return f"""# A catalogue on a cluster

{size}, on a Ray cluster of one node with one core and of two such nodes,
in turns, all on this machine. Two nodes have {ratio["median"]:.2f} times the throughput of one (median of rounds;
{ratio["lowest"]:.2f} to {ratio["highest"]:.2f}). Made by `{record["command"]}`.

| nodes | n | pictures a second | seconds, whole | cores, ours | cores, other programs | pictures a second of a core |
|---|---|---|---|---|---|---|
{rows(line(number, arm) for number, arm in record["nodes"].items())}

Pictures a second are counted after {WARM_SHARDS} shards for each core, when workers have started. Seconds of the whole
are from joining the running cluster to the last shard. The command and Ray's own processes share the cores with the
workers: the table has how many cores they all had, and how many other programs had at that time. Where other programs
had a part of the cores, the ratio is lower than on a quiet machine.

[Kills](kills.md) has what happens when the command, a worker or a node dies.

{describe_machine(record["machine"])}
"""


def line(number: str, arm: dict[str, Any]) -> tuple[object, ...]:
    """Return a row of the table."""
    speed, whole = arm["pictures_per_second"], arm["seconds"]
    ours, others = (f"{arm[name]['median']:.2f}" for name in ("cores_ours", "cores_of_others"))
    cost = f"{arm['pictures_per_core_second']['median']:,.0f}"
    return number, speed["n"], with_range(speed, ",.0f"), with_range(whole, ".0f"), ours, others, cost


if __name__ == "__main__":
    main()
