"""A run that was stopped is measured from its newest state, and its folder stays as it is."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import modiste
from listeners import StopAfterEpoch
from modiste.cli import main
from modiste.errors import DataError, RunError, StoppedError
from modiste.evaluation.assessment import evaluate
from modiste.evaluation.unfinished import evaluate_unfinished, is_unfinished
from modiste.recipes.recipe import Recipe
from modiste.training import trainer
from modiste.training.setup import Inputs


def stopped(recipe: Recipe, folder: Path, data: Path, epochs: int = 1) -> Path:
    with pytest.raises(StoppedError):
        trainer.train(recipe, folder, Inputs(data), device="cpu", listeners=[StopAfterEpoch(epochs)])
    return folder


@pytest.fixture(autouse=True)
def _save_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modiste.training.step.Steps.SECONDS_BETWEEN_STATES", 0)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("change", [{}, {"ema_decay": 0.9}, {"pick": "last", "standardize": True}], ids=str)
@pytest.mark.parametrize("weights", ["picked", "last"])
def test_it_measures_as_a_run_that_ends_there(
    change: dict, weights: str, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    recipe = replace(tiny_recipe, **change)
    folder = stopped(recipe, tmp_path / "stopped", tiny_folder)
    trainer.train(replace(recipe, epochs=1), tmp_path / "whole", Inputs(tiny_folder), device="cpu")
    before = files(folder)
    found = evaluate_unfinished(folder, weights=weights, device="cpu", data_folder=tiny_folder)  # type: ignore[arg-type]
    wanted = evaluate(tmp_path / "whole", weights=weights, device="cpu", data_folder=tiny_folder)  # type: ignore[arg-type]
    assert replace(found, unfinished_step=None) == wanted
    assert found.unfinished_step == 25
    assert files(folder) == before


def test_what_is_unfinished(finished_run: Path, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    assert not is_unfinished(finished_run)
    assert not is_unfinished(tmp_path)
    assert is_unfinished(stopped(tiny_recipe, tmp_path / "run", tiny_folder))


def test_a_run_without_a_state_says_so(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    folder = stopped(tiny_recipe, tmp_path / "run", tiny_folder)
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(RunError, match="no training state is saved yet"):
        evaluate_unfinished(folder, data_folder=tiny_folder)


def test_other_data_and_another_recipe_are_refused(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    folder = stopped(tiny_recipe, tmp_path / "run", tiny_folder)
    with pytest.raises(DataError):
        evaluate_unfinished(folder, data_folder=tmp_path / "nowhere")
    plain = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    (folder / "recipe.json").write_text(json.dumps({**plain, "model": {**plain["model"], "hidden": [7]}}))
    with pytest.raises(RunError, match="its training state does not fit its recipe"):
        evaluate_unfinished(folder, data_folder=tiny_folder)


class TestPublicFunction:
    def test_evaluate_takes_its_folder(self, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
        folder = stopped(tiny_recipe, tmp_path / "run", tiny_folder)
        found = modiste.evaluate(folder, device="cpu", data_folder=tiny_folder)
        assert found == evaluate_unfinished(folder, device="cpu", data_folder=tiny_folder)
        assert "the run has not finished: its newest saved state, after 25 steps" in repr(found)

    @pytest.mark.parametrize(
        ("words", "flag"),
        [
            ({"split": "test"}, "--split test"),
            ({"predictions": "a.csv"}, "--predictions"),
            ({"data": "a.npz"}, "--data"),
        ],
    )
    def test_more_than_validation_is_refused(
        self, words: dict[str, str], flag: str, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
    ) -> None:
        folder = stopped(tiny_recipe, tmp_path / "run", tiny_folder)
        with pytest.raises(RunError, match=f"^{flag}: is for finished runs, and .* has not finished; continue"):
            modiste.evaluate(folder, **words)  # type: ignore[arg-type]

    def test_a_run_on_arrays_is_measured_on_the_same_arrays(
        self, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
    ) -> None:
        train = modiste.load_dataset(tiny_recipe.data, tiny_folder).train
        arrays = (train.images[:, 0].numpy(), train.labels.numpy())
        where: dict[str, Any] = {"data": arrays, "device": "cpu", "quiet": True}
        with pytest.raises(StoppedError):
            modiste.train(tiny_recipe, tmp_path / "run", listeners=[StopAfterEpoch(1)], **where)
        found = modiste.evaluate(tmp_path / "run", data=arrays, device="cpu")
        whole = modiste.train(tiny_recipe.with_(epochs=1), tmp_path / "whole", **where)
        assert found.accuracy == whole.accuracy


class TestCommand:
    def test_it_is_said_clearly(
        self, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = stopped(tiny_recipe, tmp_path / "run", tiny_folder)
        main.main(["evaluate", str(folder), "--data-folder", str(tiny_folder)])
        printed = capsys.readouterr()
        assert f"{folder} has not finished: this is its newest saved state, after 25 steps" in printed.err
        assert "validation, 80 images, picked weights (epoch 1)\n" in printed.out
        main.main(["evaluate", str(folder), "--data-folder", str(tiny_folder), "--json"])
        assert json.loads(capsys.readouterr().out)["unfinished_step"] == 25
        with pytest.raises(SystemExit) as leaving:
            main.main(["evaluate", str(folder), "--split", "test"])
        assert leaving.value.code == RunError.exit_code
        assert "--split test: is for finished runs" in capsys.readouterr().err
