"""Time the training of a classifier for a folder of photographs, ours and a peer's; write ``records/own-classes``.

    python benchmarks/time_own_classes.py PHOTOS [--efforts fast better best] [--rounds 3] [--out records/own-classes]

PHOTOS holds the folders train and validation, with a folder for each class in both. Each arm runs as a process of its
own, from the command to the saved model, with empty caches: weights are converted and every picture is decoded. All
arms train on ``train`` alone and are measured on ``validation``, on which Modiste also selects the penalty. Each round
has another seed. Efforts that are not named keep their rows in the record, with the commit and the rounds of their own.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clock import MODISTE, Timed, peer, spread, time_process
from modiste.runs.run_folder import open_run
from record import Record, describe_machine, parser, provenance, rows, with_range

Result = tuple[Timed, float]
"""Of one process: its measurements, and the accuracy on validation."""
PEER = "EfficientNet-Lite0 and scikit-learn, by public packages"
EFFORTS = ("fast", "better", "best")


@dataclass(frozen=True)
class Arm:
    """A way to train: its name on the page, and the function that runs it once with a folder for files and a seed."""

    name: str
    train: Callable[[Path, Path, int], Result]


def main() -> None:
    arguments = parser(__doc__, "records/own-classes", rounds=3)
    arguments.add_argument("photos", type=Path)
    arguments.add_argument("--efforts", nargs="+", choices=EFFORTS, default=EFFORTS)
    options = arguments.parse_args()
    arms = [*map(ours, options.efforts), Arm(PEER, theirs)]
    found: dict[str, list[Result]] = {arm.name: [] for arm in arms}
    for number in range(options.rounds):
        for arm in arms:
            with tempfile.TemporaryDirectory() as folder:
                timed, accuracy = arm.train(options.photos, Path(folder), number)
            found[arm.name].append((timed, accuracy))
            print(f"round {number + 1}, {arm.name}: {accuracy:.2%} in {timed.seconds:.1f} s", flush=True)
    files = Record(options.out)
    earlier = files.read() or {"arms": {}}
    record = summary(options, found)
    record["arms"] = earlier["arms"] | record["arms"]
    files.save(record, as_markdown(record))


def ours(effort: str) -> Arm:
    """Return the arm of the command ``modiste train FOLDER`` with an effort; no photo is held out for testing."""
    flags = () if effort == "fast" else ("--effort", effort)

    def train(photos: Path, folder: Path, seed: int) -> Result:
        others = ("--data.test-fraction", "0", "--seed", seed, "--quiet", "--out", folder / "run")
        timed = time_process((*MODISTE, "train", photos, *flags, *others), {"XDG_CACHE_HOME": str(folder / "cache")})
        return timed, open_run(folder / "run").picked.validation_accuracy

    return Arm(f"`{' '.join(('modiste train FOLDER', *flags))}`", train)


def theirs(photos: Path, _folder: Path, _seed: int) -> Result:
    """Run the peer."""
    timed = time_process(peer("features", "features_scikit_learn.py", photos))
    return timed, timed.last_line()["validation_accuracy"]


def summary(options: argparse.Namespace, found: dict[str, list[Result]]) -> dict[str, Any]:
    """Return the numbers of each arm."""
    origin = provenance()
    arms = {
        name: {
            "seconds": spread([timed.seconds for timed, _ in results]),
            "validation_accuracy": spread([accuracy for _, accuracy in results]),
            "peak_memory_bytes": max(timed.peak_memory_bytes for timed, _ in results),
            "commit": origin["machine"]["commit"],
        }
        for name, results in found.items()
    }
    counts = {split: len(list((options.photos / split).glob("*/*"))) for split in ("train", "validation")}
    command = origin["command"].replace(str(options.photos), "PHOTOS")  # a path of this machine says nothing elsewhere
    return origin | {"command": command, "photos": counts, "arms": arms}


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    photos = record["photos"]
    return f"""# A classifier for one's own photographs

The clothing photographs that people took at home (clothing-dataset-small, CC0): ten classes, {photos["train"]:,} photos
to learn from, {photos["validation"]:,} to be measured on. Modiste selects the penalty on the same photos, so its own
accuracy is slightly flattered. Seconds from the command to the saved model, with empty caches: the median of n
rounds, each with another seed, and the range. Made by `{record["command"]}`, rows of another commit by a call before.

| | accuracy on validation | seconds | peer's seconds divided by these | memory | n | commit |
|---|---|---|---|---|---|---|
{rows(line(name, arm, record["arms"][PEER]) for name, arm in record["arms"].items())}

{describe_machine(record["machine"])}
"""


def line(name: str, arm: dict[str, Any], peers: dict[str, Any]) -> tuple[object, ...]:
    """Return an arm's row of the table."""
    ratio = peers["seconds"]["median"] / arm["seconds"]["median"]
    memory = f"{arm['peak_memory_bytes'] / 2**30:.1f} GiB"
    rounds = arm["seconds"]["n"]
    accuracy = measured(arm["validation_accuracy"], ".2%")
    return name, accuracy, measured(arm["seconds"], ".1f"), f"{ratio:.1f}", memory, rounds, (arm["commit"] or "")[:12]


def measured(found: dict[str, Any], form: str) -> str:
    """Return median and range as text; of a single measurement the number alone."""
    return with_range(found, form) if found["n"] > 1 else f"{found['median']:{form}}"


if __name__ == "__main__":
    main()
