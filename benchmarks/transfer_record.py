"""Measure the gain of transfer when labels are few; write ``records/transfer`` and its figure.

    python benchmarks/transfer_record.py [--seeds 3] [--runs runs/transfer] [--out records/transfer]

The command can be killed at any moment; the same command resumes. The record is written again after every seed. With
``--seeds 0`` nothing is trained, and the finished runs are recorded. Each run's test set is opened once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from modiste.evaluation.assessment import Assessment
from modiste.reproduction.paper import mean_and_spread
from modiste.runs import manifest
from modiste.runs.run_folder import Run, open_run
from record import Record, describe_machine, deviation, measure_test, parser, rows, seconds, this_command
from transfer_figure import Arms, draw
from transfer_study import ARMS, EPOCHS, LABELS_PER_CLASS, NETWORK, Study, folder, make_studies, source_folder, train


def main() -> None:
    arguments = parser(__doc__, "records/transfer")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--runs", type=Path, default=Path("runs/transfer"))
    arguments.add_argument("--figure", type=Path, default=Path("docs/images/transfer.png"))
    options = arguments.parse_args()
    studies = make_studies(options.runs)
    for seed in range(options.seeds):
        for study in studies:
            train(study, seed, options.runs)
        write_record(studies, options.runs, options.out, options.figure)
    if not options.seeds:
        write_record(studies, options.runs, options.out, options.figure)
    print(f"{options.out}/README.md")


@dataclass(frozen=True)
class Comparison:
    """Runs with a number of labels per class, from scratch and from a source, by seed; and their results on test."""

    labels: int
    runs: dict[str, list[Run]]
    tests: dict[str, list[Assessment]]

    def accuracies(self, arm: str) -> list[float]:
        """Return an arm's test accuracy for every seed."""
        return [test.accuracy for test in self.tests[arm]]

    def gains(self) -> list[float]:
        """Return the gain in accuracy from the source, by seed."""
        pairs = zip(*(self.accuracies(arm) for arm in ARMS), strict=True)
        return [tuned - scratch for scratch, tuned in pairs]


Results = dict[Study, list[Comparison]]


def write_record(studies: Sequence[Study], runs: Path, out: Path, figure: Path) -> None:
    """Write the results of the finished pairs of runs as JSON, page and figure."""
    found = {study: [measure(study, labels, runs) for labels in LABELS_PER_CLASS] for study in studies}
    results = {study: [item for item in items if item.tests["scratch"]] for study, items in found.items()}
    sources = {study: finished_sources(study, runs) for study in studies}
    if not all(results.values()):
        raise SystemExit(f"{runs}: no finished pair of runs for every study; give --seeds 1 or more")
    Record(out).save(as_plain(results, sources), as_markdown(results, sources))
    draw({study.title: curves(items) for study, items in results.items()}, figure)


def measure(study: Study, labels: int, runs: Path) -> Comparison:
    """Return the results of the seeds that both arms have finished; opens each run's test set once."""
    finished: dict[str, list[Run]] = {arm: [] for arm in ARMS}
    for done in sorted(runs.glob(f"{study.name}-{ARMS[0]}-{labels}-*/{manifest.NAME}")):
        seed = int(done.parent.name.rpartition("-")[2])
        places = {arm: folder(runs, study, arm, labels, seed) for arm in ARMS}
        if all((place / manifest.NAME).exists() for place in places.values()):
            for arm, place in places.items():
                finished[arm].append(open_run(place))
    tests = {arm: [measure_test(run, data_folder=study.data_folder) for run in finished[arm]] for arm in ARMS}
    return Comparison(labels, finished, tests)


def finished_sources(study: Study, runs: Path) -> list[Run]:
    """Return the finished runs of the source, by seed."""
    return [open_run(path.parent) for path in sorted(runs.glob(f"{source_folder(study, '*')}/{manifest.NAME}"))]


def curves(items: Sequence[Comparison]) -> Arms:
    """Return each arm's accuracies by number of labels, for the figure."""
    return {arm: {item.labels: item.accuracies(arm) for item in items} for arm in ARMS}


def as_plain(results: Results, sources: dict[Study, list[Run]]) -> dict[str, Any]:
    """Return all numbers as plain data; ``results`` is empty because no recipe here is in the README's table."""
    return {
        "command": this_command(),
        "results": [],
        "studies": {
            study.name: {
                "sources": [
                    {
                        "seed": run.recipe.seed,
                        "validation_accuracy": run.picked.validation_accuracy,
                        "pretraining": [vars(row) for row in run.pretraining()],
                        "starts": run.facts(),
                    }
                    for run in sources[study]
                ],
                "runs": [
                    {
                        "arm": arm,
                        "labels_per_class": item.labels,
                        "seed": run.recipe.seed,
                        "validation_accuracy": run.picked.validation_accuracy,
                        "test": test.as_plain(),
                        "train_seconds": seconds(run),
                        "starts": run.facts(),
                    }
                    for item in items
                    for arm in ARMS
                    for run, test in zip(item.runs[arm], item.tests[arm], strict=True)
                ],
            }
            for study, items in results.items()
        },
    }


def as_markdown(results: Results, sources: dict[Study, list[Run]]) -> str:
    """Return the page."""
    run = next(iter(results.values()))[0].runs["scratch"][0]
    pages = "\n".join(section(study, items, sources[study]) for study, items in results.items())
    return f"""# The gain of transfer when labels are few

{NETWORK}, {run.recipe.precision}, trained with 10, 100 and 1,000 labelled images of each class:
from scratch, or from the weights of a source, except the last layer. Recipe and number of steps are the same in both
arms ({EPOCHS} epochs of 100 steps of 100 images). The seed determines weights, order and the labelled images; the
validation set is always the same. Test accuracy is measured after the last epoch: mean ± standard deviation over n
seeds. The gain is the mean difference by seed. Every choice was made on validation; each test set was opened once.
Made by `{this_command()}`.

![Test accuracy by labels per class, from scratch and from a source](../../docs/images/transfer.png)

{pages}
## Machine

{describe_machine(run.facts()[-1])}
This is the machine of the first run; machine and commit of every run are in `record.json`. Other processes ran at the
same time.
"""


def section(study: Study, items: Sequence[Comparison], sources: Sequence[Run]) -> str:
    """Return the section of a study."""
    reached = mean_and_spread([run.picked.validation_accuracy for run in sources])
    return f"""## {study.title}

{study.source.format(accuracy=reached)}

| labels per class | n | from scratch | from the source | gain, points |
|---|---|---|---|---|
{rows(map(line, items))}
"""


def line(item: Comparison) -> tuple[object, ...]:
    """Return the row of one number of labels."""
    gains = [100 * gain for gain in item.gains()]
    gain = f"{mean(gains):+.2f}" + (f" ± {deviation(gains):.2f}" if len(gains) > 1 else "")
    return (f"{item.labels:,}", len(gains), *(mean_and_spread(item.accuracies(arm)) for arm in ARMS), gain)


if __name__ == "__main__":
    main()
