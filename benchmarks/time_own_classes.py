"""Time the training of a classifier for a folder of photographs, ours and a peer's; write ``records/own-classes``.

    python benchmarks/time_own_classes.py PHOTOS [--efforts fast better best] [--rounds 3] [--runs runs/own-classes]
        [--out records/own-classes]

PHOTOS holds the folders train and validation, with a folder for each class in both. Each arm runs as a process of its
own, from the command to the saved model, with empty caches: weights are converted and every picture is decoded. All
arms train on ``train`` alone and are measured on ``validation``, on which Modiste also selects the penalty. Each round
has another seed, and the runs of an effort are measured as an ensemble too. The record has a table for each kind of
processor. Efforts that are not named keep their rows in it, with the commit and the rounds of their own, but without
the ratio to the peer, which every call measures again.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clock import MODISTE, Timed, peer, spread, time_process
from modiste.evaluation.ensemble import evaluate_together
from modiste.runs.run_folder import open_run
from record import Record, describe_machine, parser, provenance, rows, with_range

Result = tuple[Timed, float]
"""Of one process: its measurements, and the accuracy on validation."""
PEER = "EfficientNet-Lite0 and scikit-learn, by public packages"
EFFORTS = ("fast", "better", "best")


@dataclass(frozen=True)
class Arm:
    """A way to train.

    Attributes:
        name: Its name on the page.
        train: Trains once, with a seed.
        together: Returns the accuracy on validation of the seeds as an ensemble; None for a peer.
    """

    name: str
    train: Callable[[int], Result]
    together: Callable[[Sequence[int]], float] | None = None


def main() -> None:
    arguments = parser(__doc__, "records/own-classes", rounds=3)
    arguments.add_argument("photos", type=Path)
    arguments.add_argument("--efforts", nargs="+", choices=EFFORTS, default=EFFORTS)
    arguments.add_argument("--runs", type=Path, default=Path("runs/own-classes"))
    options = arguments.parse_args()
    arms = [*(ours(effort, options.photos, options.runs) for effort in options.efforts), theirs(options.photos)]
    found: dict[str, list[Result]] = {arm.name: [] for arm in arms}
    for number in range(options.rounds):
        for arm in arms:
            timed, accuracy = arm.train(number)
            found[arm.name].append((timed, accuracy))
            print(f"round {number + 1}, {arm.name}: {accuracy:.2%} in {timed.seconds:.1f} s", flush=True)
    together = {arm.name: arm.together(range(options.rounds)) for arm in arms if arm.together and options.rounds > 1}
    files = Record(options.out)
    record = joined(files.read(), summary(found, together), options.photos)
    files.save(record, as_markdown(record))


def ours(effort: str, photos: Path, runs: Path) -> Arm:
    """Return the arm of ``modiste train FOLDER`` with an effort; its runs lie in ``runs`` and hold out no photo."""
    flags = () if effort == "fast" else ("--effort", effort)

    def folder_of(seed: int) -> Path:
        return runs / f"{effort}-{seed}"

    def train(seed: int) -> Result:
        folder = folder_of(seed)
        shutil.rmtree(folder, ignore_errors=True)  # a run that has finished would not be trained again
        others = ("--data.test-fraction", "0", "--seed", seed, "--quiet", "--out", folder)
        with tempfile.TemporaryDirectory() as cache:
            timed = time_process((*MODISTE, "train", photos, *flags, *others), {"XDG_CACHE_HOME": cache})
        return timed, open_run(folder).picked.validation_accuracy

    def together(seeds: Sequence[int]) -> float:
        return evaluate_together([folder_of(seed) for seed in seeds]).accuracy

    return Arm(f"`{' '.join(('modiste train FOLDER', *flags))}`", train, together)


def theirs(photos: Path) -> Arm:
    """Return the arm of the peer."""

    def train(_seed: int) -> Result:
        timed = time_process(peer("features", "features_scikit_learn.py", photos))
        return timed, timed.last_line()["validation_accuracy"]

    return Arm(PEER, train)


def summary(found: Mapping[str, list[Result]], together: Mapping[str, float]) -> dict[str, Any]:
    """Return command, machine and each arm's numbers; ``together`` has the accuracy of its runs as an ensemble."""
    origin = provenance()
    arms = {
        name: {
            "seconds": spread([timed.seconds for timed, _ in results]),
            "validation_accuracy": spread([accuracy for _, accuracy in results]),
            "ensemble_validation_accuracy": together.get(name),
            "peak_memory_bytes": max(timed.peak_memory_bytes for timed, _ in results),
            "commit": origin["machine"]["commit"],
            "time": origin["machine"]["time"],
        }
        for name, results in found.items()
    }
    return origin | {"arms": arms}


def joined(earlier: dict[str, Any] | None, new: dict[str, Any], photos: Path) -> dict[str, Any]:
    """Return the record with the numbers of a new call; rows of other processors and other arms stay."""
    machines = {} if earlier is None else earlier["machines"]
    processor = new["machine"]["processor"]
    arms = machines.get(processor, {"arms": {}})["arms"] | new["arms"]
    counts = {split: len(list((photos / split).glob("*/*"))) for split in ("train", "validation")}
    return {"photos": counts, "machines": machines | {processor: new | {"arms": arms}}}


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    photos = record["photos"]
    tables = "\n\n".join(map(table, record["machines"].values()))
    return f"""# A classifier for one's own photographs

The clothing photographs that people took at home (clothing-dataset-small, CC0): ten classes, {photos["train"]:,} photos
to learn from, {photos["validation"]:,} to be measured on. Modiste selects the penalty on the same photos, so its own
accuracy is slightly flattered. Seconds from the command to the saved model, with empty caches: the median of n
rounds, each with another seed, and the range. An ensemble's accuracy is that of the n runs, whose probabilities are
averaged. Rows without a ratio are of a call before; the peer is measured in every call.

{tables}
"""


def table(found: dict[str, Any]) -> str:
    """Return the part of the page for one machine."""
    return f"""## {found["machine"]["processor"]}

| | accuracy on validation | of the ensemble | seconds | peer's seconds divided by these | memory | n | commit |
|---|---|---|---|---|---|---|---|
{rows(line(name, arm, found["arms"][PEER]) for name, arm in found["arms"].items())}

Made by `{found["command"]}`.
{describe_machine(found["machine"])}"""


def line(name: str, arm: dict[str, Any], peers: dict[str, Any]) -> tuple[object, ...]:
    """Return an arm's row of the table."""
    seconds, ensemble = arm["seconds"], arm.get("ensemble_validation_accuracy")
    is_of_one_call = arm.get("time") == peers.get("time")  # records of before have no times, and one call a machine
    return (
        name,
        measured(arm["validation_accuracy"], ".2%"),
        "" if ensemble is None else f"{ensemble:.2%}",
        measured(seconds, ".1f"),
        f"{peers['seconds']['median'] / seconds['median']:.1f}" if is_of_one_call else "",
        f"{arm['peak_memory_bytes'] / 2**30:.1f} GiB",
        seconds["n"],
        (arm["commit"] or "")[:12],
    )


def measured(found: dict[str, Any], form: str) -> str:
    """Return median and range as text; of a single measurement the number alone."""
    return with_range(found, form) if found["n"] > 1 else f"{found['median']:{form}}"


if __name__ == "__main__":
    main()
