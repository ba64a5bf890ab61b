"""Train the recipe ``paper`` with several seeds and write ``records/paper``: every epoch, every claim, its verdict.

    python benchmarks/paper_record.py [--seeds 3] [--epochs 50] [--runs runs/record] [--out records/paper]

The command can be killed at any moment; the same command resumes. Each run's test set is opened twice: with the weights
selected on validation, and with those of the last epoch, which the paper's text describes. The record says so.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import modiste
from modiste.recipes import claims
from modiste.recipes.claims import describe, without_time
from modiste.reproduction import paper
from modiste.reproduction.paper import Evidence, Finding, PaperClaim, mean_and_spread
from modiste.runs import run_folder
from modiste.runs.run_folder import Run, open_run
from record import Record, describe_machine, measure_test, parser, rows, seconds, summary, this_command, training


def main() -> None:
    arguments = parser(__doc__, "records/paper")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--epochs", type=int, default=50)
    arguments.add_argument("--runs", type=Path, default=Path("runs/record"))
    options = arguments.parse_args()
    folders = [options.runs / f"paper-{seed}" for seed in range(options.seeds)]
    for seed, folder in enumerate(folders):
        recipe = replace(modiste.get_recipe("paper"), seed=seed, epochs=options.epochs)
        modiste.train(recipe, folder)
    runs = [open_run(folder) for folder in folders]
    evidence = [measure(run) for run in runs]
    findings = [(claim, claim.measure(evidence)) for claim in (*paper.CLAIMS, *paper.RELATED_WORK)]
    write_record(options.out, runs, evidence, findings)
    print(f"{options.out}/README.md")


def measure(run: Run) -> Evidence:
    """Return a run's results on test, with the selected and with the last weights."""
    return Evidence(run.history, measure_test(run, "picked"), measure_test(run, "last"))


def write_record(
    out: Path, runs: Sequence[Run], evidence: Sequence[Evidence], findings: Sequence[tuple[PaperClaim, Finding]]
) -> None:
    """Write one log per seed, all numbers as JSON, and the page."""
    for run in runs:
        log = run_folder.read_lines(run.folder / run_folder.LOG)
        run_folder.write_lines(out / f"seed-{run.recipe.seed}.jsonl", log)
    Record(out).save(as_plain(runs, evidence, findings), as_markdown(runs, evidence, findings))


def as_plain(
    runs: Sequence[Run], evidence: Sequence[Evidence], findings: Sequence[tuple[PaperClaim, Finding]]
) -> dict[str, Any]:
    """Return all numbers as plain data."""
    time = training(mean(map(seconds, runs)), runs[0].facts()[-1])
    return {
        "command": this_command(),
        "results": [
            summary("paper", describe(without_time("paper")), [item.picked.accuracy for item in evidence], time)
        ],
        "runs": [
            {
                "seed": run.recipe.seed,
                "picked_epoch": item.picked.epoch,
                "picked": item.picked.as_plain(),
                "last": item.last.as_plain(),
                "train_seconds": seconds(run),
                "starts": run.facts(),
            }
            for run, item in zip(runs, evidence, strict=True)
        ],
        "claims": [
            {"section": claim.section, "claim": claim.statement, "measured": found.measured, "verdict": found.verdict}
            for claim, found in findings
        ],
    }


def as_markdown(
    runs: Sequence[Run], evidence: Sequence[Evidence], findings: Sequence[tuple[PaperClaim, Finding]]
) -> str:
    """Return the page: claims with verdicts, Table 2 and ours, every epoch, the machine."""
    accuracies = [item.picked.accuracy for item in evidence]
    return f"""# The paper, measured

Recipe `paper` (Listing 1, {runs[0].recipe.precision}), {len(runs)} seeds, {runs[0].recipe.epochs} epochs each, on the
real Fashion-MNIST: 50,000 images to train on, 10,000 to validate on (stratified), 10,000 to test on. Made by
`{this_command()}`. Numbers are means ± standard deviations over seeds.

**Test accuracy at the epoch selected on validation: {mean_and_spread(accuracies)}** (n = {len(runs)}; paper: 91.32 %).
The test set was opened {", ".join(str(item.last.test_openings) for item in evidence)} times per run: once with the
selected weights, once with those of the last epoch.

| section | the paper claims | measured | verdict |
|---|---|---|---|
{rows((claim.section, claim.statement, found.measured, f"**{found.verdict}**") for claim, found in findings)}

## Table 2

Test set, weights selected on validation; first the paper's number, then ours.

| class | precision | recall | F1 |
|---|---|---|---|
{table_2(evidence)}

## Epoch by epoch

Means over seeds. Training values are averaged over the steps of an epoch, with dropout, as Keras reports them.

| epoch | train loss | train accuracy | validation loss | validation accuracy |
|---|---|---|---|---|
{epochs(evidence)}

## Machine

{describe_machine(runs[0].facts()[-1])}
Training took {", ".join(f"{seconds(run):,.0f} s" for run in runs)}; other processes ran at the same time,
so this does not measure speed.
"""


def table_2(evidence: Sequence[Evidence]) -> str:
    """Return the rows of the paper's scores and ours, by class."""
    lines = []
    for name, claimed in claims.PAPER_TABLE_2.items():
        scores = [item.picked.per_class[name] for item in evidence]
        ours = (mean(getattr(score, field) for score in scores) for field in ("precision", "recall", "f1"))
        pairs = (f"{theirs:.2f} / {value:.3f}" for theirs, value in zip(claimed, ours, strict=True))
        lines.append((name, *pairs))
    return rows(lines)


def epochs(evidence: Sequence[Evidence]) -> str:
    """Return a row for each epoch, averaged over runs."""
    lines = []
    for at in zip(*(item.history for item in evidence), strict=True):
        losses = [mean(getattr(row, f"{part}_loss") for row in at) for part in ("train", "validation")]
        shares = [mean(getattr(row, f"{part}_accuracy") for row in at) for part in ("train", "validation")]
        lines.append((at[0].epoch, f"{losses[0]:.4f}", f"{shares[0]:.2%}", f"{losses[1]:.4f}", f"{shares[1]:.2%}"))
    return rows(lines)


if __name__ == "__main__":
    main()
