"""Wrong labels are as many and as wrong as stated, and the recipe is trained again with them."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import modiste
from modiste import machine
from modiste.benchmarks import noise
from modiste.benchmarks.noise import with_wrong_labels, wrong_labels
from modiste.benchmarks.result import Benchmark
from modiste.benchmarks.settings import Settings
from modiste.benchmarks.subjects import Candidates, open_subjects
from modiste.data.dataset import Development, load_development
from modiste.errors import RecipeError, StoppedError
from modiste.evaluation.run_images import load_own_development
from modiste.recipes.recipe import DataRecipe, DistillationRecipe, Recipe
from modiste.runs import run_folder
from modiste.training import trainer
from modiste.training.setup import Inputs


def labels(count: int = 4000, classes: int = 4) -> torch.Tensor:
    return torch.from_numpy(np.arange(count) % classes)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_stated_share_is_wrong_exactly(share: float) -> None:
    found = wrong_labels(labels(), share, torch.ones(4, 4), machine.generator(0, "x"))
    assert int((found != labels()).sum()) == round(share * 4000)
    assert set(found.tolist()) == {0, 1, 2, 3}


def test_symmetric_labels_are_any_other_class_alike() -> None:
    found = wrong_labels(labels(), 0.5, torch.ones(4, 4), machine.generator(0, "x"))
    steps = torch.bincount(((found - labels()) % 4)[found != labels()], minlength=4)
    assert steps[0] == 0
    assert ((steps[1:] - 2000 / 3).abs() < 3 * 21).all()  # the deviation of each count is 21


def test_confused_labels_follow_the_confusion_matrix() -> None:
    chances = torch.tensor([[90.0, 3, 1, 0], [0, 99, 0, 1], [0, 0, 100, 0], [5, 5, 0, 90]])
    found = wrong_labels(labels(), 0.5, chances, machine.generator(0, "x"))
    of_first = torch.bincount(found[(labels() == 0) & (found != 0)], minlength=4)
    assert (of_first[0], of_first[3]) == (0, 0)
    assert of_first[1] / of_first[2] == pytest.approx(3, rel=0.3)
    assert set(found[(labels() == 1) & (found != 1)].tolist()) == {3}
    assert set(found[(labels() == 2) & (found != 2)].tolist()) == {0, 1, 3}  # never confused: any other class


def test_a_share_that_makes_no_label_wrong_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"^share: expected one that makes a label of 4,000 wrong, found 0\.0001$"):
        wrong_labels(labels(), 0.0001, torch.ones(4, 4), machine.generator(0, "x"))


def test_a_share_too_small_for_the_last_run_is_refused_before_the_first_is_trained(
    finished_run: Path, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    """Of 400 images one label would be wrong, of 100 none."""
    few = replace(tiny_recipe, name="few", epochs=1, data=replace(tiny_recipe.data, images_per_class=20))
    trainer.train(few, tmp_path / "few", Inputs(tiny_folder), device="cpu")
    runs, out = [shutil.copytree(finished_run, tmp_path / "many"), tmp_path / "few"], tmp_path / "noise"
    with pytest.raises(RecipeError, match=r"^share: expected one that makes a label of 100 wrong, found 0\.003$"):
        modiste.benchmark("noise", runs, share=0.003, noisy_runs=out, data_folder=tiny_folder, device="cpu")
    assert [run_folder.open_run(run).test_openings for run in runs] == [0, 0]
    assert not out.exists()


def test_extra_pictures_are_learned_from_again(
    finished_run: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them, the run with wrong labels would differ in more than these."""
    subjects = open_subjects([finished_run], "validation", device="cpu", data_folder=tiny_folder)
    run = subjects.found.runs[0]
    data = replace(run.recipe.data, extra="somewhere", extra_classes=("a=b",))
    with_pictures = replace(run, recipe=replace(run.recipe, data=data))
    seen = list[tuple[DataRecipe, Development]]()

    def join(development: Development, recipe: DataRecipe) -> Development:
        return replace(development, notes=(recipe.extra,))

    def stop(recipe: Recipe, _folder: Path, inputs: Inputs, **_: object) -> None:
        assert isinstance(inputs.data, Development)
        seen.append((recipe.data, inputs.data))
        raise StoppedError("seen")

    monkeypatch.setattr(noise, "with_extra", join)
    monkeypatch.setattr(trainer, "train", stop)
    other = replace(subjects, found=replace(subjects.found, runs=(with_pictures,)))
    with pytest.raises(StoppedError):
        noise.measure(other, Settings(split="validation", noisy_runs=tmp_path))
    [(recipe, development)] = seen
    assert (recipe.extra, development.notes) == ("somewhere", ("somewhere",))


def test_what_knows_the_right_labels_is_refused(finished_run: Path, tiny_folder: Path) -> None:
    subjects = open_subjects([finished_run], "validation", device="cpu", data_folder=tiny_folder)
    run = subjects.found.runs[0]
    taught = replace(run, recipe=replace(run.recipe, distillation=DistillationRecipe(teachers=("0" * 64,))))
    with pytest.raises(RecipeError, match=r"distillation\.teachers: expected none in the benchmark noise, found 1"):
        noise.check_runs(Settings(split="validation"), Candidates([run, taught], subjects.images, tiny_folder))


def test_only_training_labels_change_and_the_seed_decides(finished_run: Path, tiny_folder: Path) -> None:
    run = run_folder.open_run(finished_run)
    right = load_own_development(run, tiny_folder)
    recipes = [replace(run.recipe, seed=seed) for seed in (0, 0, 1)]
    one, again, other = (with_wrong_labels(right, 0.25, torch.ones(5, 5), recipe) for recipe in recipes)
    assert one.validation is right.validation
    assert one.train.labels.equal(again.train.labels)
    assert not one.train.labels.equal(other.train.labels)
    assert len({right.fingerprint, one.fingerprint, other.fingerprint}) == 3
    assert int((one.train.labels != right.train.labels).sum()) == 100


def test_an_image_that_is_shown_several_times_has_one_label(tiny_recipe: Recipe, tiny_folder: Path) -> None:
    found = []
    for repeats in (1, 3):
        recipe = replace(tiny_recipe, data=replace(tiny_recipe.data, repeats=repeats))
        right = load_development(recipe.data, tiny_folder)
        found.append(with_wrong_labels(right, 0.25, torch.ones(5, 5), recipe).train.labels)
    once, often = found
    assert often.equal(once.repeat(3))


def test_runs_of_one_name_keep_apart(
    finished_run: Path, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    other = replace(tiny_recipe, optimizer=replace(tiny_recipe.optimizer, learning_rate=1e-4))
    trainer.train(other, tmp_path / "other", Inputs(tiny_folder), device="cpu")
    found = modiste.benchmark(
        "noise",
        [finished_run, tmp_path / "other"],
        split="validation",
        noisy_runs=tmp_path / "noise",
        data_folder=tiny_folder,
        device="cpu",
    )
    recipes = [run_folder.open_run(row.details["folder"]).recipe for row in found.runs]
    assert recipes == [tiny_recipe, other]


def test_a_run_is_trained_again(finished_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    def measure() -> Benchmark:
        return modiste.benchmark(
            "noise",
            finished_run,
            split="validation",
            share=0.95,  # right labels are then the rarest
            noisy_runs=tmp_path,
            data_folder=tiny_folder,
            device="cpu",
        )

    found = measure()
    [row] = found.runs
    assert row.figures["right labels"].value == modiste.Run.open(finished_run).accuracy
    assert row.details["wrong_labels"] == 380
    assert row.figures["wrong labels"].value < row.figures["right labels"].value - 0.1
    noisy = run_folder.open_run(row.details["folder"])
    assert noisy.recipe == run_folder.open_run(finished_run).recipe
    assert row.details["accuracy_wrong_labels"] == noisy.picked.validation_accuracy
    trained = (noisy.folder / "model.safetensors").stat().st_mtime_ns
    assert measure().runs == found.runs  # which trains nothing again
    assert (noisy.folder / "model.safetensors").stat().st_mtime_ns == trained
