"""Ways to average over views of an image, compared on validation."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from commands_and_data import run_modiste
from modiste.evaluation.assessment import Weights, evaluate
from modiste.evaluation.averaging import CHOICES, AveragingComparison, compare_averaging
from modiste.recipes.recipe import Recipe, ScheduleRecipe
from modiste.training import trainer
from modiste.training.setup import Inputs


@pytest.fixture(scope="module")
def averaged_run(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: Recipe, tiny_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("averaging") / "run"
    recipe = replace(tiny_recipe, shifts=3, epochs=2, schedule=ScheduleRecipe(shape="cosine", cycles=2))
    trainer.train(recipe, folder, Inputs(tiny_folder), device="cpu")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("weights", ["picked", "snapshots"])
def test_the_runs_own_way_has_its_measures_and_the_run_stays_as_it_is(
    averaged_run: Path, tiny_folder: Path, weights: Weights
) -> None:
    before = files(averaged_run)
    found = compare_averaging(averaged_run, weights=weights, device="cpu", data_folder=tiny_folder)
    assert files(averaged_run) == before
    stored = evaluate(averaged_run, weights=weights, data_folder=tiny_folder)
    assert found.own.accuracy == stored.accuracy
    assert 0 < found.own.calibrated_loss <= stored.loss
    assert (found.own.shifts, found.own.mended, found.own.spoiled) == (3, 0, 0)
    assert {(way.mirror, way.shifts) for way in found.ways} == {*CHOICES, (False, 3)}


def test_mended_and_spoiled_images_make_the_difference(averaged_run: Path, tiny_folder: Path) -> None:
    found = compare_averaging(averaged_run, device="cpu", data_folder=tiny_folder)
    for way in found.ways:
        gained = (way.accuracy - found.own.accuracy) * found.images
        assert way.mended - way.spoiled == pytest.approx(gained)
    assert any(way.mended + way.spoiled for way in found.ways)
    assert [way.passes for way in found.ways] == [5, 1, 2, 5, 10, 5, 10]


def test_a_star_marks_the_runs_own_way(averaged_run: Path, tiny_folder: Path) -> None:
    done = run_modiste("evaluate", averaged_run, "--averaging", "--data-folder", tiny_folder)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if "shifts of 3 *" in line]
    done = run_modiste("evaluate", averaged_run, "--averaging", "--json", "--data-folder", tiny_folder)
    assert set(json.loads(done.stdout)) == set(AveragingComparison.__dataclass_fields__)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--split", "test"), "decided on validation, never on test"),
        (("--ensemble",), "is for one run"),
        (("--predictions", "out.csv"), "is for one run"),
    ],
)
def test_what_does_not_go_together_is_refused(more: tuple[str, ...], said: str, finished_run: Path) -> None:
    done = run_modiste("evaluate", finished_run, "--averaging", *more)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
