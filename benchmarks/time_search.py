"""Time a search on a Ray cluster of one node and of two, and the cost of scheduling; write ``records/search``.

python benchmarks/time_search.py DATA_FOLDER [--trials 12] [--rounds 3] [--empty 100] [--out records/search]
"""

import os
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from clock import spread
from modiste.recipes import named
from modiste.searches import outcomes
from modiste.searches.plan import Plan
from modiste.searches.ray_cluster import RayWorkers
from modiste.searches.search import DriverOptions, search
from ray_nodes import nodes
from record import Record, describe_machine, parser, provenance, rows, with_range

SPACE = ("optimizer.learning_rate=log(1e-3,1e-1)",)


def main() -> None:
    arguments = parser(__doc__, "records/search", rounds=3)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--trials", type=int, default=12)
    arguments.add_argument("--empty", type=int, default=100, help="number of trials without any training")
    arguments.add_argument("--images-per-class", type=int, default=4000)
    options = arguments.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    recipe = named.get("sprint")
    recipe = replace(recipe, epochs=1, data=replace(recipe.data, images_per_class=options.images_per_class))
    plan = Plan(recipe=recipe, space=SPACE, trials=options.trials, sampler="random")
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for number in range(options.rounds):
        for workers, found in seconds.items():
            found.append(time_search(plan, workers, options.data))
        print(f"round {number + 1}: {[found[-1] for found in seconds.values()]}", flush=True)
    record = summary(options.trials, seconds, time_empty(plan, options.empty, options.data), options.empty)
    Record(options.out).save(record, as_markdown(record))


def time_search(plan: Plan, workers: int, data: Path) -> float:
    """Return the seconds of a search on a running cluster, from joining it to the table."""
    with tempfile.TemporaryDirectory() as folder, nodes(workers) as (address, _):
        return timed(replace(plan, lag=workers), Path(folder) / "s", address, data)


def time_empty(plan: Plan, trials: int, data: Path) -> list[float]:
    """Return the seconds of one trial and of all trials, when every run has finished before."""
    tiny = replace(plan.recipe, data=replace(plan.recipe.data, images_per_class=20))
    plan = replace(plan, recipe=tiny, trials=trials, sampler="grid", space=("seed=choice(" + numbers(trials) + ")",))
    with tempfile.TemporaryDirectory() as scratch, nodes(1) as (address, _):
        folder = Path(scratch) / "s"
        search(plan, folder, device="cpu", data_folder=data)
        found = []
        for kept in (trials - 1, 0):
            for number in range(kept, trials):
                (folder / outcomes.FOLDER / f"{number:04d}.json").unlink()
            found.append(timed(plan, folder, address, data))
        return found


def timed(plan: Plan, folder: Path, address: str, data: Path) -> float:
    """Return the seconds of a search on the cluster."""
    started = time.perf_counter()
    search(plan, folder, DriverOptions(partial(RayWorkers, address, folder)), device="cpu", data_folder=data)
    return time.perf_counter() - started


def numbers(count: int) -> str:
    """Return ``0,1,2,...``, the values of a choice."""
    return ",".join(map(str, range(count)))


def summary(trials: int, seconds: dict[int, list[float]], empty: list[float], empty_trials: int) -> dict[str, Any]:
    """Return seconds of the searches, ratio of throughput, and cost of a trial without its training."""
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    return provenance() | {
        "trials": trials,
        "seconds": {str(workers): spread(found) for workers, found in seconds.items()},
        "throughput_ratio": spread(ratios),
        "empty_trials": empty_trials,
        "empty_seconds": empty,
        "seconds_per_empty_trial": (empty[1] - empty[0]) / (empty_trials - 1),
    }


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    ratio = record["throughput_ratio"]
    return f"""# Search on a cluster

The same {record["trials"]} trials, an epoch of `sprint` each, on a Ray cluster of one node with one core and of two
nodes, all on this machine. Seconds are from joining the cluster to the table, with the start of workers. Two nodes have
{ratio["median"]:.2f} times the throughput of one (median of rounds; {ratio["lowest"]:.2f} to {ratio["highest"]:.2f}).
Made by `{record["command"]}`.

| nodes | n | seconds |
|---|---|---|
{rows(line(workers, arm) for workers, arm in record["seconds"].items())}

The cost of a trial without its training: {record["empty_trials"]} trials whose runs had already finished took
{record["seconds_per_empty_trial"]:.3f} s each on one node. This is the time to schedule a trial, to read its run and to
store its outcome.

{describe_machine(record["machine"])}
"""


def line(workers: str, arm: dict[str, Any]) -> tuple[object, ...]:
    """Return a row of the table."""
    return workers, arm["n"], with_range(arm, ".1f")


if __name__ == "__main__":
    main()
