"""Train a recipe with and without one change, compare both on validation, and write ``records/trials``.

    python benchmarks/trials.py [TRIAL ...] [--seeds 2]

Without names all trials run. The command can be killed at any moment; the same command resumes. Trials that were not
named keep their rows. The test set is never opened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import modiste
from modiste.evaluation.two_samples import holm
from modiste.runs.run_folder import Run
from record import Record, describe_machine, parser, provenance, rows


@dataclass(frozen=True)
class Trial:
    """A change of the base recipe, to be compared with the base as it is.

    Attributes:
        name: Name of the trial; part of its folders' names.
        about: What is changed, and who published it.
        fields: The changed fields, by their paths.
        is_taught: Whether the runs of the base are its teachers.
    """

    name: str
    about: str
    fields: Mapping[str, Any]
    is_taught: bool = False


BASE = "sprint-94"
EPOCHS = 20
"""Twice those of ``sprint-94``, because most of these changes pay in longer training only."""
TRIALS = (
    Trial("sam", "sharpness-aware steps (Foret et al., 2021)", {"optimizer.sam_rho": 0.05}),
    Trial(
        "sam-third",
        "sharpness-aware every third step, with a wider radius",
        {"optimizer.sam_rho": 0.1, "optimizer.sam_every": 3},
    ),
    Trial(
        "sam-adaptive", "adaptive SAM (Kwon et al., 2021)", {"optimizer.sam_rho": 0.5, "optimizer.sam_adaptive": True}
    ),
    Trial("ema", "moving average of weights", {"ema_decay": 0.998, "ema_warm_up": True}),
    Trial(
        "swa",
        "equal average over the last quarter (Izmailov et al., 2018)",
        {"swa_start": 0.75, "schedule.hold": 0.25, "schedule.final_factor": 0.2},
    ),
    Trial("trivial", "TrivialAugment (Mueller and Hutter, 2021)", {"augmentation.trivial": 1.0}),
    Trial("trivial-weak", "TrivialAugment at a third of its strength", {"augmentation.trivial": 0.3}),
    Trial(
        "rand-augment",
        "RandAugment (Cubuk et al., 2020)",
        {"augmentation.random_ops": 1, "augmentation.random_strength": 0.2},
    ),
    Trial("fmix", "FMix (Harris et al., 2020)", {"augmentation.fmix": 1.0}),
    Trial("cutmix", "CutMix (Yun et al., 2019)", {"augmentation.cutmix": 1.0}),
    Trial("mixup", "mixup (Zhang et al., 2018)", {"augmentation.mixup": 0.2}),
    Trial("erase", "random erasing (Zhong et al., 2020)", {"augmentation.erase": 0.25}),
    Trial("shifts", "logits averaged over moved images", {"shifts": 1}),
    Trial("teachers", "taught by the runs of the base (Furlanello et al., 2018)", {"distillation.weight": 0.5}, True),
    Trial("pruning", "passes that leave out three of four easy images (Qin et al., 2024)", {"data_pruning": 0.75}),
    Trial("no-smoothing", "without label smoothing (Szegedy et al., 2016)", {"label_smoothing": 0.0}),
)
"""In the order of the record's rows."""


def main() -> None:
    arguments = parser(__doc__, "records/trials")
    arguments.add_argument("names", nargs="*", metavar="TRIAL", choices=[[], *(one.name for one in TRIALS)])
    arguments.add_argument("--seeds", type=int, default=2)
    arguments.add_argument("--runs", type=Path, default=Path("runs/trials"))
    options = arguments.parse_args()
    record = Record(options.out)
    for trial in TRIALS:
        if not options.names or trial.name in options.names:
            found = measure(trial, options.seeds, options.runs)
            earlier = record.read() or {"trials": {}}
            content = provenance() | {"trials": earlier["trials"] | {trial.name: found}}
            record.save(content, as_markdown(content))
            print(f"{trial.name}: {found['verdict']}", flush=True)


def measure(trial: Trial, seeds: int, folder: Path) -> dict[str, Any]:
    """Train both sides, and return their validation accuracies, seconds and comparison."""
    plain = train("base", {}, seeds, folder)
    changed = train(trial.name, trial.fields, seeds, folder, teachers=plain if trial.is_taught else ())
    contrast = modiste.compare([run.folder for run in (*changed, *plain)]).contrasts[0]
    return {
        "fields": dict(trial.fields),
        "seeds": seeds,
        "base_accuracies": [run.picked.validation_accuracy for run in plain],
        "accuracies": [run.picked.validation_accuracy for run in changed],
        "difference": contrast.difference.difference,
        "interval": list(contrast.difference.interval),
        "p_value": contrast.difference.p_value,
        "verdict": contrast.verdict,
    }


def train(name: str, fields: Mapping[str, Any], seeds: int, folder: Path, teachers: Sequence[Run] = ()) -> list[Run]:
    """Train the base with changed fields for each seed, unless that is done, and return the runs."""
    found: list[Run] = []
    taught_by = [run.folder for run in teachers]
    for seed in range(seeds):
        out = folder / f"{name}-{seed}"
        found.append(modiste.train(BASE, out, epochs=EPOCHS, seed=seed, teacher=taught_by, quiet=True, **fields))
    return found


def as_markdown(content: Mapping[str, Any]) -> str:
    """Return the page of the record."""
    done = [trial for trial in TRIALS if trial.name in content["trials"]]
    found = [content["trials"][trial.name] for trial in done]
    adjusted = holm([one["p_value"] for one in found])
    table = rows(line(*each) for each in zip(done, found, adjusted, strict=True))
    return (
        "# Trials\n\n"
        f"Changes of `{BASE}` for {EPOCHS} epochs, each compared with the base as it is, on validation.\n"
        "The test set was not opened.\n"
        "The difference is in points of accuracy; its interval treats both seeds and images as samples. Two seeds\n"
        "give wide intervals. The p-value is adjusted for all trials (Holm, 1979): below 0.05 the change is shown to\n"
        "be better or worse. The last column says what happened with each seed. What a step costs is in the guides\n"
        "of [training](../../docs/training.md) and [augmentation](../../docs/augmentation.md).\n\n"
        f"Made by `python benchmarks/trials.py`, trial by trial; last by `{content['command']}`.\n\n"
        "| trial | fields | seeds | before | after | difference | 95 % interval | p | with each seed |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        f"{table}\n\n{describe_machine(content['machine'])}\n"
    )


def line(trial: Trial, one: Mapping[str, Any], adjusted: float) -> Sequence[object]:
    """Return a trial's row of the table, with its adjusted p-value."""
    low, high = one["interval"]
    return (
        f"{trial.name}: {trial.about}",
        ", ".join(f"`{path} {value}`" for path, value in one["fields"].items()),
        one["seeds"],
        f"{mean(one['base_accuracies']):.2%}",
        f"{mean(one['accuracies']):.2%}",
        f"{100 * one['difference']:+.2f}",
        f"{100 * low:+.2f} to {100 * high:+.2f}",
        f"{adjusted:.3f}",
        outcome(one),
    )


def outcome(one: Mapping[str, Any]) -> str:
    """Return whether a change gained with every seed."""
    gains = [after - before for before, after in zip(one["base_accuracies"], one["accuracies"], strict=True)]
    if min(gains) > 0:
        return "**better**"
    return "worse" if max(gains) < 0 else "mixed"


if __name__ == "__main__":
    main()
