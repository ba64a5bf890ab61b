"""Several runs measured as one."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from commands_and_data import as_before, run_modiste, write_pictures
from modiste.data.batch import as_floats
from modiste.data.dataset import load_development
from modiste.errors import DataError, RunError
from modiste.evaluation.assessment import evaluate
from modiste.evaluation.comparison import compare
from modiste.evaluation.ensemble import evaluate_seeds, evaluate_together
from modiste.evaluation.fitted_ensemble import evaluate_fitted
from modiste.evaluation.inference import averaged
from modiste.evaluation.metrics import mean_probabilities
from modiste.recipes.networks import MLPRecipe
from modiste.recipes.recipe import DataRecipe, Recipe
from modiste.runs import run_folder
from modiste.training import trainer
from modiste.training.setup import Inputs
from networks import assert_rounded


@pytest.fixture(scope="module")
def two_runs(
    tmp_path_factory: pytest.TempPathFactory, finished_run: Path, tiny_recipe: Recipe, tiny_folder: Path
) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("ensemble")
    shutil.copytree(finished_run, folder / "a")
    trainer.train(replace(tiny_recipe, seed=1), folder / "b", Inputs(tiny_folder), device="cpu")
    return folder / "a", folder / "b"


def test_the_mean_is_of_probabilities() -> None:
    one, other = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 3.0]]) + torch.tensor([[9.0, 1.0]]).log()
    torch.testing.assert_close(mean_probabilities([one, other]), torch.tensor([[0.7, 0.3]]).double())


def test_a_run_with_itself_is_the_run(two_runs: tuple[Path, Path], tiny_folder: Path) -> None:
    alone = evaluate(two_runs[0], data_folder=tiny_folder)
    twice = evaluate_together([two_runs[0]] * 2, data_folder=tiny_folder)
    assert twice.confusion == alone.confusion
    assert twice.loss == pytest.approx(alone.loss, rel=1e-6)


def test_two_runs_are_measured_by_hand(two_runs: tuple[Path, Path], tiny_folder: Path) -> None:
    together = evaluate_together(two_runs, split="test", data_folder=tiny_folder)
    stored = [run_folder.read_logits(run / run_folder.logits_name("test")) for run in two_runs]
    mean = sum(logits.softmax(1) for logits, _ in stored) / 2
    share = (mean.argmax(1) == stored[0][1]).double().mean().item()
    assert together.accuracy == pytest.approx(share)
    assert together.test_openings == 1
    assert run_folder.open_run(two_runs[1]).test_openings == 1


def test_seeds_are_measured_one_by_one(two_runs: tuple[Path, Path], tiny_folder: Path) -> None:
    found = evaluate_seeds(two_runs, data_folder=tiny_folder)
    alone = [evaluate(run, data_folder=tiny_folder) for run in two_runs]
    assert found.runs == tuple(alone)
    assert found.seeds == (0, 1)
    assert found.spread.mean == (alone[0].accuracy + alone[1].accuracy) / 2
    assert found.spread.interval is not None
    assert found.spread.interval[0] <= min(one.accuracy for one in alone)


def test_a_mean_is_of_seeds_alone(
    two_runs: tuple[Path, Path], tmp_path: Path, tiny_recipe: Recipe, tiny_folder: Path
) -> None:
    trainer.train(replace(tiny_recipe, epochs=1), tmp_path / "short", Inputs(tiny_folder), device="cpu")
    with pytest.raises(RunError, match=r"another recipe than .* \(epochs: 3 became 1\); the mean is for runs"):
        evaluate_seeds([two_runs[0], tmp_path / "short"], split="test", data_folder=tiny_folder)
    with pytest.raises(RunError, match="the same recipe and seed as"):
        evaluate_seeds([two_runs[0], two_runs[0]], data_folder=tiny_folder)
    assert run_folder.open_run(tmp_path / "short").test_openings == 0, "refused before the test set is opened"


@pytest.mark.parametrize("together", [evaluate_seeds, evaluate_together])
def test_no_runs_are_refused(together: Callable[[list[Path]], object]) -> None:
    with pytest.raises(RunError, match="expected at least one finished run, found none"):
        together([])


def test_runs_of_other_splits_are_refused(
    two_runs: tuple[Path, Path], tmp_path: Path, tiny_recipe: Recipe, tiny_folder: Path
) -> None:
    other = replace(tiny_recipe, data=replace(tiny_recipe.data, split_seed=5))
    trainer.train(other, tmp_path / "c", Inputs(tiny_folder), device="cpu")
    with pytest.raises(RunError, match="measured on other images"):
        evaluate_together([two_runs[0], tmp_path / "c"], data_folder=tiny_folder)


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("pictures")
    for name, seed in (("own", 1), ("other", 2)):
        write_pictures(place / name, {"a": 9, "b": 9}, seed=seed)
    data = DataRecipe(source=str(place / "own"), pictures="whole", side=8, validation_fraction=0.4)
    first = Recipe(name="first", epochs=1, batch_size=4, data=data, model=MLPRecipe(hidden=(4,)))
    recipes = {
        "first": first,
        "second seed": replace(first, seed=1),
        "other split": replace(first, name="other", data=replace(data, split_seed=5)),
        "other pictures": replace(first, name="other", data=replace(data, source=str(place / "other"))),
        "larger": replace(first, name="larger", data=replace(data, side=12)),
    }
    for name, recipe in recipes.items():
        trainer.train(recipe, place / name, device="cpu")
    return {name: place / name for name in recipes}


class TestPicturesClassByClass:
    """Class folders come sorted: labels alone do not tell one set from another."""

    @pytest.mark.parametrize(
        ("other", "split"),
        [("other split", "validation"), ("other pictures", "validation"), ("other pictures", "test")],
    )
    def test_other_pictures_are_refused_and_not_counted(
        self, other: str, split: Any, pictured: dict[str, Path]
    ) -> None:
        both = [pictured["first"], pictured[other]]
        labels = [evaluate(run, split=split).images for run in both]
        assert labels[0] == labels[1]
        before = [run_folder.open_run(run).test_openings for run in both]
        for measure in (evaluate_together, compare):
            with pytest.raises(RunError, match="measured on other images"):
                measure(both, split=split)
        assert [run_folder.open_run(run).test_openings for run in both] == before

    def test_the_same_pictures_at_another_size_are_the_same_pictures(self, pictured: dict[str, Path]) -> None:
        assert len(compare([pictured["first"], pictured["larger"]]).contrasts) == 1
        assert evaluate_together([pictured["first"], pictured["second seed"]]).epoch == 0

    def test_of_runs_made_before_it_is_found_out(self, pictured: dict[str, Path], tmp_path: Path) -> None:
        old = {name: Path(shutil.copytree(pictured[name], tmp_path / name)) for name in ("first", "other split")}
        for run in old.values():
            evaluate(run, split="test")
            as_before(run, "validation-logits.safetensors", "test-logits.safetensors")
        for first in (old["first"], pictured["first"]):
            with pytest.raises(RunError, match="measured on other images"):
                evaluate_together([first, old["other split"]])
        assert evaluate_together([old["first"], pictured["second seed"]]).epoch == 0
        assert evaluate_together([old["first"], pictured["second seed"]], split="test").epoch == 0
        assert run_folder.open_run(old["first"]).measured("test").images

    def test_of_runs_made_before_whose_pictures_are_gone_nothing_is_said(
        self, pictured: dict[str, Path], tmp_path: Path
    ) -> None:
        old = Path(shutil.copytree(pictured["first"], tmp_path / "old"))
        as_before(old, "validation-logits.safetensors")
        with pytest.raises(DataError, match="no such data set or folder"):
            evaluate_together([old, pictured["second seed"]], data_folder=tmp_path / "gone")


def test_the_command_takes_several(two_runs: tuple[Path, Path], tiny_folder: Path) -> None:
    done = run_modiste("evaluate", *two_runs, "--data-folder", tiny_folder)
    assert done.returncode == 0, done.stderr
    assert "mean of 2 seeds" in done.stdout
    together = run_modiste("evaluate", *two_runs, "--ensemble", "--data-folder", tiny_folder)
    assert together.returncode == 0, together.stderr
    assert "several runs together" in together.stdout
    for flags, refusal in (
        (("--data", "x.npz", "--ensemble"), "--data: is for one run, without --ensemble"),
        (("--averaging", "--fit-weights"), "--fit-weights: is for several runs with --ensemble"),
    ):
        refused = run_modiste("evaluate", two_runs[0], *flags)
        assert (refused.returncode, refusal in refused.stderr) == (2, True)
    nothing = run_modiste("evaluate")
    assert nothing.returncode == 2
    assert "which run?" in nothing.stderr


@pytest.mark.parametrize("shifts", [0, 1])
def test_averaged_answers_are_those_of_all_views(
    shifts: int, tmp_path: Path, tiny_recipe: Recipe, tiny_folder: Path
) -> None:
    mirrored = replace(tiny_recipe, mirror=True, shifts=shifts, epochs=1)
    trainer.train(mirrored, tmp_path / "m", Inputs(tiny_folder), device="cpu")
    run = run_folder.open_run(tmp_path / "m")
    model, _ = run.load_model()
    images = as_floats(load_development(run.recipe.data, tiny_folder).validation.images)
    with torch.no_grad():
        expected = averaged(model, images, mirrored.views)
    stored, labels = run_folder.read_logits(run.folder / run_folder.logits_name("validation"))
    assert_rounded(stored, expected, model)
    share = (stored.argmax(1) == labels).double().mean().item()
    assert run.history[-1].validation_accuracy == pytest.approx(share)


def test_weights_are_fitted_on_validation_and_measured_on_test(two_runs: tuple[Path, Path], tiny_folder: Path) -> None:
    before = [run_folder.open_run(run).test_openings for run in two_runs]
    known = evaluate_fitted(two_runs, data_folder=tiny_folder)
    assert [run_folder.open_run(run).test_openings for run in two_runs] == before
    test = evaluate_fitted(two_runs, split="test", data_folder=tiny_folder)
    assert [run_folder.open_run(run).test_openings for run in two_runs] == [count + 1 for count in before]
    assert test.weights == known.weights
    assert test.cross_fitted == known.cross_fitted
    stored = [run_folder.read_logits(run / run_folder.logits_name("test")) for run in two_runs]
    total = sum(weight * logits.double() for weight, (logits, _) in zip(test.weights, stored, strict=True))
    assert test.together.accuracy == pytest.approx((total.argmax(1) == stored[0][1]).double().mean().item())
    assert test.equal.confusion == evaluate_together(two_runs, split="test", data_folder=tiny_folder).confusion


def test_fitted_weights_are_no_worse_on_validation_than_any_run(two_runs: tuple[Path, Path], tiny_folder: Path) -> None:
    found = evaluate_fitted(two_runs, data_folder=tiny_folder)
    assert found.together.loss <= min(run.loss for run in found.runs) + 1e-9
    assert found.together.loss <= found.cross_fitted.loss
    shown = repr(found)
    assert "ensemble, 2 weights fitted on validation" in shown
    assert "cross-fitted" in shown


def test_unlike_runs_have_their_own_weights(
    two_runs: tuple[Path, Path], tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    """Another network, standardisation and averaging."""
    unlike = replace(tiny_recipe, model=MLPRecipe(hidden=(8,)), standardize=True, mirror=True, shifts=1, epochs=1)
    trainer.train(unlike, tmp_path / "c", Inputs(tiny_folder), device="cpu")
    found = evaluate_fitted([*two_runs, tmp_path / "c"], data_folder=tiny_folder)
    assert len(found.weights) == 3
    assert found.together.loss <= evaluate_fitted(two_runs, data_folder=tiny_folder).together.loss + 1e-9


def test_a_run_named_twice_or_alone_is_refused(two_runs: tuple[Path, Path]) -> None:
    with pytest.raises(RunError, match="named twice"):
        evaluate_fitted([two_runs[0], two_runs[0] / ".." / two_runs[0].name])
    with pytest.raises(RunError, match="expected at least 2 runs, found 1"):
        evaluate_fitted(two_runs[:1])


def test_the_command_fits_weights(two_runs: tuple[Path, Path], tiny_folder: Path, tmp_path: Path) -> None:
    words = ("evaluate", *two_runs, "--fit-weights", "--data-folder", tiny_folder)
    refused = run_modiste(*words)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--fit-weights: is for several runs with --ensemble" in refused.stderr
    done = run_modiste(*words, "--ensemble", "--predictions", tmp_path / "out.csv")
    assert done.returncode == 0, done.stderr
    assert "cross-fitted on validation" in done.stdout
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").startswith("index,label,predicted")
