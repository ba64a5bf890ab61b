"""An ensemble whose weights are fitted on validation, with the measures that tell what the weights are worth."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from modiste.display import Displayed, Table, percent, times
from modiste.errors import RunError, shown
from modiste.evaluation import metrics
from modiste.evaluation.assessment import Assessment, Split, Weights
from modiste.evaluation.ensemble import MeasuredRuns, measure_runs
from modiste.evaluation.opinion_pool import cross_fitted, fit_weights, pooled
from modiste.evaluation.predictions import check_path, write_predictions
from modiste.runs import run_folder


@dataclass(frozen=True, kw_only=True, repr=False)
class FittedEnsemble(Displayed):
    """Several runs as one, by a weighted sum of their logits.

    Attributes:
        folders: Folders of the runs.
        weights: Weights of their logits, at least 0; fitted on validation. See ``opinion_pool``.
        runs: The measures of each run by itself.
        together: The measures of the ensemble. On validation they are flattered: the weights were fitted there.
        equal: The measures of the mean of the runs' probabilities, for which nothing is fitted.
        cross_fitted: The measures on validation with weights fitted to the other half of the images.
    """

    folders: tuple[str, ...]
    weights: tuple[float, ...]
    runs: tuple[Assessment, ...]
    together: Assessment
    equal: Assessment
    cross_fitted: Assessment

    def as_plain(self) -> dict[str, Any]:
        """Return the same as dictionaries, lists, numbers and strings."""
        return dataclasses.asdict(self)

    def table(self) -> Table:
        """Return weight, accuracy and loss of each run, then those of the ensemble."""
        rows = [
            [folder, f"{weight:.3f}", *_figures(run)]
            for folder, weight, run in zip(self.folders, self.weights, self.runs, strict=True)
        ]
        own = f"ensemble, {len(self.weights)} weights fitted on validation"
        rows += [[own, "", *_figures(self.together)], ["mean of probabilities", "", *_figures(self.equal)]]
        rows.append(["cross-fitted on validation", "", *_figures(self.cross_fitted)])
        note = "cross-fitted: weights of one half of validation measured on the other, both ways; not flattered"
        title = f"{self.together.split}, {self.together.images:,} images"
        notes = [note] if self.together.split == "validation" else [note, _openings(self.together)]
        return Table(title, rows, ("", "weight", "accuracy", "95 % interval", "loss"), notes)


def _figures(found: Assessment) -> list[str]:
    return [percent(found.accuracy), " to ".join(map(percent, found.accuracy_interval)), f"{found.loss:.4f}"]


def _openings(found: Assessment) -> str:
    return f"the test set has been opened {times(found.test_openings)} for one of these runs"


def evaluate_fitted(
    folders: Sequence[Path | str],
    *,
    split: Split = "validation",
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
    predictions: Path | str | None = None,
) -> FittedEnsemble:
    """Evaluate the ensemble of finished runs with a weight for each run, fitted on their validation images.

    The runs may be of unlike recipes, but need the same validation images. With ``split="test"``, the weights are
    fitted on validation all the same, and this counts as an evaluation on test for each run.

    Args:
        folders: At least two run folders.
        split: ``validation`` or ``test``.
        weights: Weights of each network: ``picked``, ``last`` or ``snapshots``; see ``evaluate``.
        device: Where the logits are computed.
        data_folder: See ``evaluate``.
        predictions: See ``evaluate``; the predictions are the ensemble's.

    Raises:
        RunError: There are fewer than two runs; one is unfinished, damaged or named twice; or they have other classes
            or other images.
        DataError: The images are missing or damaged.

    Example::

        print(evaluate_fitted(["runs/sprint-94-0", "runs/resnet-0"], split="test"))
    """
    check_folders(folders)
    run_folder.check_split(split)
    if predictions is not None:
        check_path(predictions)
    known = measure_runs(folders, weights=weights, device=device, data_folder=data_folder)
    found = known
    if split == "test":
        found = measure_runs(folders, split=split, weights=weights, device=device, data_folder=data_folder)
    result = fitted_ensemble(known, found)
    if predictions is not None:
        logits = pooled(torch.tensor(result.weights, dtype=torch.float64), torch.stack(found.logits))
        write_predictions(predictions, logits, found.labels, found.class_names)
    return result


def fitted_ensemble(known: MeasuredRuns, found: MeasuredRuns) -> FittedEnsemble:
    """Return the ensemble of runs with weights fitted to ``known``, measured on ``found``.

    Args:
        known: The runs on validation.
        found: The same runs on the images to measure.
    """
    fitted = fit_weights(torch.stack(known.logits), known.labels)
    logits = pooled(fitted, torch.stack(found.logits))
    return FittedEnsemble(
        folders=tuple(str(run.folder) for run in found.runs),
        weights=tuple(fitted.tolist()),
        runs=found.assessments,
        together=found.assess(logits),
        equal=found.assess(metrics.ensemble_logits(found.logits)),
        cross_fitted=known.assess(cross_fitted(torch.stack(known.logits), known.labels)),
    )


def check_folders(folders: Sequence[Path | str]) -> None:
    """Raise RunError unless there are two runs or more, each named once."""
    if len(folders) < 2:
        raise RunError(f"an ensemble with fitted weights: expected at least 2 runs, found {len(folders)}")
    seen = set[Path]()
    for folder in map(Path, folders):
        if folder.resolve() in seen:
            raise RunError(f"{shown(folder)}: named twice; its weight would be any share of one; name it once")
        seen.add(folder.resolve())
