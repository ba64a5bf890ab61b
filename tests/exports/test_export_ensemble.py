"""Several runs as one file: it answers as their weighted sum does, and unlike preparations are refused."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch

import modiste
from commands_and_data import run_modiste
from modiste.errors import RecipeError, RunError
from modiste.evaluation.ensemble import measure_runs
from modiste.evaluation.fitted_ensemble import FittedEnsemble, evaluate_fitted
from modiste.evaluation.opinion_pool import pooled
from modiste.evaluation.run_images import load_own_development
from modiste.exports import card, ensemble
from modiste.exports.ensemble import export_ensemble
from modiste.exports.export import Exported
from modiste.inference.onnx_model import OnnxModel
from modiste.inference.predictor import Predictor
from modiste.recipes.networks import MLPRecipe, OwnNetworkRecipe
from modiste.recipes.recipe import Recipe
from modiste.runs.run_folder import open_run
from modiste.training import trainer
from modiste.training.setup import Inputs

Runs = tuple[Path, Path, Path]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: Recipe, tiny_folder: Path) -> Runs:
    """Unlike networks: one averages over views and standardises, and one has learnt too little to help."""
    folder = tmp_path_factory.mktemp("ensemble")
    trainer.train(replace(tiny_recipe, name="cnn"), folder / "cnn", Inputs(tiny_folder), device="cpu")
    unlike = replace(
        tiny_recipe, name="mlp", model=MLPRecipe(hidden=(12,)), standardize=True, mirror=True, shifts=1, seed=4
    )
    trainer.train(unlike, folder / "mlp", Inputs(tiny_folder), device="cpu")
    small = replace(tiny_recipe, name="small", model=MLPRecipe(hidden=(8,)), seed=5)
    trainer.train(small, folder / "small", Inputs(tiny_folder), device="cpu")
    return folder / "cnn", folder / "mlp", folder / "small"


@pytest.fixture(scope="module")
def exported(runs: Runs, tiny_folder: Path) -> Exported:
    return export_ensemble(runs, runs[0].parent / "both.onnx", data_folder=tiny_folder)


@pytest.fixture(scope="module")
def expected(runs: Runs, tiny_folder: Path) -> FittedEnsemble:
    return evaluate_fitted(runs, data_folder=tiny_folder)


def test_the_file_answers_as_the_weighted_sum(
    runs: Runs, exported: Exported, expected: FittedEnsemble, tiny_folder: Path
) -> None:
    images = load_own_development(open_run(runs[0]), tiny_folder).validation.images.numpy()
    found = OnnxModel.load(exported.path).classify(images)
    logits = pooled(torch.tensor(expected.weights), torch.stack(measure_runs(runs, data_folder=tiny_folder).logits))
    np.testing.assert_allclose(found.probabilities, logits.softmax(1).numpy(), atol=1e-4)
    assert exported.proof is not None
    assert exported.proof.own_accuracy == pytest.approx(expected.together.accuracy, abs=1.5 / len(images))


def test_the_detector_is_that_of_the_heaviest_run(
    runs: Runs, exported: Exported, expected: FittedEnsemble, tiny_folder: Path
) -> None:
    heaviest = runs[int(np.argmax(expected.weights))]
    images = load_own_development(open_run(heaviest), tiny_folder).validation.images.numpy()
    own = Predictor.load(heaviest, device="cpu").with_novelty(heaviest, tiny_folder).classify(images).novelty
    np.testing.assert_allclose(OnnxModel.load(exported.path).classify(images).novelty, own, rtol=1e-3, atol=1e-4)


def test_its_metadata_and_card_name_the_runs(runs: Runs, exported: Exported, expected: FittedEnsemble) -> None:
    proto = onnx.load(exported.path)
    metadata = {one.key: one.value for one in proto.metadata_props}
    helpful = {run.name: weight for run, weight in zip(runs, expected.weights, strict=True) if weight}
    assert len(helpful) >= 2
    named = dict(zip(metadata["recipe"].split("+"), json.loads(metadata["weights"]), strict=True))
    assert named == pytest.approx(helpful)
    assert list(named.values()) == sorted(named.values(), reverse=True)
    card = exported.card.read_text(encoding="utf-8")
    for run, weight in zip(runs, expected.weights, strict=True):
        row = f"| {weight:.4f} | `{open_run(run).files['model.safetensors']}` |"
        assert (row in card) == (weight > 0)
    assert f"## Classes\n\n{', '.join(OnnxModel.load(exported.path).class_names)}\n" in card
    assert OnnxModel.load(exported.path).least_probability(0.8) > 0


def test_the_card_tells_which_runs_saw_more_than_the_data(
    runs: Runs, expected: FittedEnsemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(runs[0])
    data = replace(run.recipe.data, extra="clothing", extra_share=0.25, extra_classes=("hat=Bag",))
    distillation = replace(run.recipe.distillation, teachers=("a" * 64,), weight=0.5)
    recipe = replace(
        run.recipe,
        model=OwnNetworkRecipe(code="nets:Net@0123456789abcdef"),
        data=data,
        transfer=replace(run.recipe.transfer, source="b" * 64),
        distillation=distillation,
    )
    taught = replace(run, recipe=recipe)
    monkeypatch.setattr(card, "read_report", lambda _folder: SimpleNamespace(origin={"name": "a stranger's"}))
    written = ensemble._card("both.onnx", [(taught, 0.7), (open_run(runs[1]), 0.3)], expected, None)
    (note,) = [line for line in written.splitlines() if line.startswith("`cnn`, seed ")]
    for said in ("**Learnt with extra data**: 25 %", "the network `nets:Net`", "b" * 64, "a stranger's", "a" * 64):
        assert said in note
    assert "\n`mlp`, seed " not in written


def test_unlike_preparations_are_refused(runs: Runs, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    whole = replace(tiny_recipe, epochs=1, data=replace(tiny_recipe.data, pictures="whole"))
    trainer.train(whole, tmp_path / "whole", Inputs(tiny_folder), device="cpu")
    with pytest.raises(RunError, match=r"data\.pictures is whole, that of .*cnn is garment; expected runs that"):
        export_ensemble([runs[0], tmp_path / "whole"], tmp_path / "both.onnx", data_folder=tiny_folder)
    assert not (tmp_path / "both.onnx").exists()


@pytest.mark.slow
def test_the_command_and_the_function(runs: Runs, tiny_folder: Path, tmp_path: Path) -> None:
    done = run_modiste("export", *runs, "--out", tmp_path / "both.onnx", "--data-folder", tiny_folder)
    assert done.returncode == 0, done.stderr
    assert "same class for 100.00%" in done.stdout
    refused = run_modiste("export", *runs)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--out FILE.onnx" in refused.stderr
    refused = run_modiste("export", *runs, "--out", tmp_path / "x", "--int8")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    with pytest.raises(RecipeError, match="several runs become one ONNX file"):
        modiste.export(runs)
