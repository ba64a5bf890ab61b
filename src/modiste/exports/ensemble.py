"""Export of several finished runs as one ONNX file: their logits are summed with weights fitted on validation."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from modiste.data.dataset import Development
from modiste.errors import RunError
from modiste.evaluation.ensemble import check_preparation, measure_runs
from modiste.evaluation.fitted_ensemble import FittedEnsemble, check_folders, fitted_ensemble
from modiste.evaluation.opinion_pool import pooled
from modiste.evaluation.out_of_distribution.novelty import Answers, EnsembleAnswers
from modiste.evaluation.run_images import development_of
from modiste.exports.card import Agreement, agreement, classes, code, limits, origins, plain_text
from modiste.exports.export import Exported, check_place, checked, novelty_of, with_coverage, with_reference
from modiste.exports.formats import FORMATS, with_metadata
from modiste.runs import run_folder, storage
from modiste.runs.run_folder import Run
from modiste.version import __version__

Chosen = list[tuple[Run, float]]
"""Runs with their weights, the largest first."""


def export_ensemble(
    folders: Sequence[Path | str], out: Path | str, *, data_folder: Path | str | None = None
) -> Exported:
    """Write the ensemble of finished runs as one ONNX file, and check its answers on validation images.

    Weights are fitted as by ``evaluate_fitted``; runs with the weight 0 are left out. The detector of
    out-of-distribution images is that of the run with the largest weight. The file takes as long for an image, and is
    as large, as those of all its runs together. A model card is written beside it.

    Args:
        folders: At least two run folders.
        out: The file to write.
        data_folder: See ``export``.

    Raises:
        RunError: As for ``evaluate_fitted``; no run helps; the runs prepare pictures in unlike ways; or the file's
            answers differ from those of the runs. Nothing is written then. Or ``out`` is a folder, or a part of a run.
        StorageError: The file cannot be written.
        DataError: The images are missing or damaged.
        MissingExtraError: A package that writes or runs such files is not installed.

    Example::

        print(export_ensemble(["runs/sprint-94", "runs/resnet"], "both.onnx").size_bytes)
    """
    FORMATS["onnx"].require_packages()
    check_folders(folders)
    path = Path(out)
    described = check_place(path)
    known = measure_runs(folders, data_folder=data_folder)
    check_preparation(known.runs)  # decoders may differ: the file has that of the run with the largest weight
    found = fitted_ensemble(known, known)
    chosen = _chosen(known.runs, found.weights)
    first = chosen[0][0]
    development = development_of(first, data_folder)
    answers = _answers(chosen, development, data_folder)
    content = FORMATS["onnx"].write(answers, first.load_info())
    content, proof = checked(first, "onnx", content, answers, development)
    names = "+".join(run.recipe.name for run, _ in chosen)
    content = with_metadata(content, {"recipe": names, "weights": json.dumps(answers.weights)})
    content = with_reference(content, development.validation.images)
    calibrated = pooled(torch.tensor(found.weights), torch.stack(known.logits)).softmax(1)
    content = with_coverage(content, calibrated, known.labels)
    storage.write_bytes(path, content)
    storage.write_text(described, _card(path.name, chosen, found, proof))
    return Exported(path, len(content), answers.temperature, proof, described)


def _chosen(runs: Sequence[Run], weights: Sequence[float]) -> Chosen:
    """Return the runs whose weight is not 0, with their weights, the largest first; RunError if there are none."""
    pairs = sorted(zip(runs, weights, strict=True), key=lambda pair: -pair[1])
    if not pairs[0][1]:
        raise RunError("export: no run of the ensemble helps on validation, every weight is 0; train them for longer")
    return [(run, weight) for run, weight in pairs if weight]


def _answers(chosen: Chosen, development: Development, data_folder: Path | str | None) -> EnsembleAnswers:
    """Return the module to export; the first run brings the detector of out-of-distribution images."""
    members = []
    for number, (run, _) in enumerate(chosen):
        model, _ = run.load_model()
        detector = None if number else novelty_of(run, model, development, data_folder)
        members.append(Answers.of(model, run.recipe, 1.0, detector))
    return EnsembleAnswers(members, [weight for _, weight in chosen]).eval()


def _card(name: str, chosen: Chosen, found: FittedEnsemble, proof: Agreement | None) -> str:
    """Return the model card in Markdown: the runs with their weights, and the measures on validation."""
    lines = [
        f"| {_named(run)} | {weight:.4f} | "
        f"`{run.files[run_folder.WEIGHTS['picked']]}` | {code(run.load_info().fingerprint)} |"
        for run, weight in chosen
    ]
    table = ["| run | weight | SHA-256 of its weights | SHA-256 of its data |", "|---|---|---|---|", *lines]
    notes = [f"\n{_named(run)}: {said}" for run, _ in chosen if (said := origins(run))]
    measures = (
        f"On {found.cross_fitted.images:,} validation images the accuracy is {found.together.accuracy:.2%}, and "
        f"{found.cross_fitted.accuracy:.2%} with weights fitted to the other half of them. The mean of probabilities "
        f"has {found.equal.accuracy:.2%}. Probabilities are calibrated by the weights."
    )
    sections = {
        f"# {plain_text(name)}": f"An ensemble of {len(chosen)} classifiers that Modiste {__version__} trained. Their "
        "logits are summed with weights fitted on validation images.",
        "## Classes": classes(chosen[0][0].load_info()),
        "## Runs": "\n".join([*table, *notes]),
        "## Measures": f"{measures}\n\n{agreement(proof)}",
        "## Limits": limits(chosen[0][0].recipe.data),
    }
    return "\n\n".join(f"{title}\n\n{body}" for title, body in sections.items()) + "\n"


def _named(run: Run) -> str:
    return f"{code(run.recipe.name)}, seed {run.recipe.seed}"
