"""The record of an ensemble opens each run's test set once, and names all that a checker needs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import team_record
from modiste.evaluation.fitted_ensemble import evaluate_fitted
from modiste.recipes.networks import MLPRecipe
from modiste.recipes.recipe import Recipe
from modiste.runs.run_folder import open_run
from modiste.training import trainer
from modiste.training.setup import Inputs


def test_the_record(finished_run: Path, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    first, other = Path(shutil.copytree(finished_run, tmp_path / "a")), tmp_path / "b"
    trainer.train(replace(tiny_recipe, name="other", epochs=1), other, Inputs(tiny_folder), device="cpu")
    for _ in range(2):
        team_record.write_record(tmp_path / "record", [first, other], tiny_folder)
        assert [open_run(run).test_openings for run in (first, other)] == [1, 1]
    plain = json.loads((tmp_path / "record" / "record.json").read_text(encoding="utf-8"))
    page = (tmp_path / "record" / "README.md").read_text(encoding="utf-8")
    found = evaluate_fitted([first, other], split="test", data_folder=tiny_folder)
    assert plain["together"]["accuracy"] == found.together.accuracy
    assert [run["weight"] for run in plain["runs"]] == pytest.approx(found.weights)
    for run, row in zip((first, other), plain["runs"], strict=True):
        assert row["sha256"] == open_run(run).files["model.safetensors"]
        assert row["test_openings"] == 1
        assert f"`{row['sha256'][:12]}`" in page
        assert f"| `{row['recipe']}`, seed {row['seed']} | {row['weight']:.3f} |" in page
    assert f"**Accuracy on test: {found.together.accuracy:.2%}**" in page
    assert plain["data_fingerprints"][0] in page
    assert "results" not in plain, "a single seed"


@pytest.mark.slow
def test_an_ensemble_for_each_seed(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    folders = []
    for seed in (0, 1):
        for name, hidden in (("small", 8), ("large", 16)):
            recipe = replace(tiny_recipe, name=name, model=MLPRecipe(hidden=(hidden,)), seed=seed)
            trainer.train(recipe, tmp_path / f"{name}-{seed}", Inputs(tiny_folder), device="cpu")
            folders.append(tmp_path / f"{name}-{seed}")
    team_record.write_record(tmp_path / "record", folders, tiny_folder)
    plain = json.loads((tmp_path / "record" / "record.json").read_text(encoding="utf-8"))
    alone = [evaluate_fitted(folders[at : at + 2], split="test", data_folder=tiny_folder) for at in (0, 2)]
    [result] = plain["results"]
    assert result["recipe"] == "large and small together"
    assert result["test_accuracy"]["values"] == [one.together.accuracy for one in alone]
    assert [one["weights"] for one in plain["seeds"].values()] == [pytest.approx(one.weights) for one in alone]
    assert "**One ensemble for each seed: " in (tmp_path / "record" / "README.md").read_text(encoding="utf-8")
    team_record.write_record(tmp_path / "record", folders[:3], tiny_folder)
    record = json.loads((tmp_path / "record" / "record.json").read_text(encoding="utf-8"))
    assert "results" not in record, "unlike seeds"
