"""The set-up that all training runs share."""

import logging
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from modiste import machine
from modiste.data.dataset import load_development
from modiste.errors import RecipeError, RunError
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import ByClassRecipe, Recipe, load
from modiste.runs import manifest, run_folder, storage
from modiste.training.setup import Inputs, can_continue, claim, images_of, open_session, set_up


def test_images_in_memory_make_the_same_run_as_images_found_by_name(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    development = load_development(tiny_recipe.data, tiny_folder)
    with open_session("cpu") as session:
        runs = []
        for number, data in enumerate((tiny_folder, development)):
            folder = tmp_path / str(number)
            folder.mkdir()
            run = set_up(tiny_recipe, folder, session, Inputs(data))
            assert run is not None
            runs.append(run)
    found, given = runs
    assert found.task == given.task
    assert found.recipe == given.recipe == load(tmp_path / "0" / run_folder.RECIPE)
    assert found.recipe.precision != "auto"
    assert found.development.fingerprint == given.development.fingerprint
    weights = given.model.state_dict()
    for name, tensor in found.model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    assert found.saved is given.saved is None


@pytest.mark.parametrize("in_memory", [False, True])
def test_images_with_another_fingerprint_than_demanded_are_refused(
    in_memory: bool, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    development = load_development(tiny_recipe.data, tiny_folder)
    data = development if in_memory else tiny_folder
    with open_session("cpu") as session:
        found = images_of(tiny_recipe, Inputs(data, fingerprint=development.fingerprint), session)
        with pytest.raises(RunError, match="tiny: holds other images than those of earlier runs; restore them"):
            images_of(tiny_recipe, Inputs(data, fingerprint=64 * "0"), session)
    assert found.fingerprint == development.fingerprint


def test_the_division_is_the_same_for_every_training_seed(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    found = []
    with open_session("cpu") as session:
        for seed in (0, 1):
            folder = tmp_path / str(seed)
            folder.mkdir()
            run = set_up(replace(tiny_recipe, seed=seed), folder, session, Inputs(tiny_folder))
            assert run is not None
            found.append(run.development)
    one, other = found
    assert one.fingerprint == other.fingerprint
    assert torch.equal(one.train.images, other.train.images)
    assert torch.equal(one.validation.images, other.validation.images)


def test_a_finished_run_is_not_set_up(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(tiny_recipe, precision="float32")
    assert claim(tmp_path, recipe)
    (tmp_path / manifest.NAME).write_text("{}")
    with open_session("cpu") as session:
        assert set_up(recipe, tmp_path, session, Inputs(tmp_path / "no images")) is None


def test_a_run_that_ran_out_of_patience_cannot_be_trained_on(
    finished_run: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    """It ended before its last epoch; what advises to train it on would be refused."""
    longer = replace(tiny_recipe, epochs=9)
    assert can_continue(finished_run, longer)
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    lines = (run / run_folder.LOG).read_text(encoding="utf-8").splitlines(keepends=True)
    (run / run_folder.LOG).write_text("".join(lines[:-1]), encoding="utf-8")
    run_folder.write_manifest(run)
    assert not can_continue(run, longer)
    assert not can_continue(tmp_path / "none", longer)


def test_a_run_out_of_patience_at_its_last_epoch_cannot_be_trained_on(
    finished_run: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    best = max(row.validation_accuracy for row in run_folder.open_run(run).history)
    plain = run_folder.read_lines(run / run_folder.LOG)
    run_folder.write_lines(run / run_folder.LOG, [row | {"validation_accuracy": best} for row in plain])
    for patience, can in ((len(plain), True), (len(plain) - 1, False)):
        recipe = replace(run_folder.read_recipe(run), patience=patience)
        storage.write_json(run / run_folder.RECIPE, to_plain(recipe))
        run_folder.write_manifest(run)
        assert can_continue(run, replace(recipe, epochs=9)) is can


def test_notes_are_logged_for_images_that_are_found_only(
    tiny_recipe: Recipe,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    noted = replace(load_development(tiny_recipe.data, tiny_folder), notes=("few bags",))
    monkeypatch.setattr("modiste.training.setup.load_development", lambda *_: noted)
    with open_session("cpu") as session, caplog.at_level(logging.WARNING):
        for data in (None, noted):
            set_up(tiny_recipe, tmp_path, session, Inputs(data))
    assert [record.getMessage() for record in caplog.records] == ["few bags"]


def test_labels_that_changes_by_class_name_are_compared_with_the_classes(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    development = replace(load_development(tiny_recipe.data, tiny_folder), class_names=tuple("abcdefghij"))
    known, unknown = (replace(tiny_recipe, by_class=ByClassRecipe(pair=(label,))) for label in (9, 10))
    for name in ("known", "unknown"):
        (tmp_path / name).mkdir()
    with open_session("cpu") as session, caplog.at_level(logging.WARNING):
        assert set_up(known, tmp_path / "known", session, Inputs(development)) is not None
        with pytest.raises(RecipeError, match=r"^by_class.pair: expected labels from 0 to 9 .* found \(10,\)"):
            set_up(unknown, tmp_path / "unknown", session, Inputs(development))
    assert [one.message.partition(" here")[0] for one in caplog.records] == ["by_class.pair: its labels are 9 j"]


def test_a_session_leaves_threads_and_signal_handlers_as_they_were() -> None:
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    with open_session("cpu"):
        torch.set_num_threads(threads + 1)
        assert signal.getsignal(signal.SIGTERM) is not handler
    assert torch.get_num_threads() == threads
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_device_that_is_not_there_is_refused() -> None:
    for name in ("gpu", "meta"):
        with pytest.raises(RecipeError, match=f"device '{name}' cannot be used here"), open_session(name):
            pass


@pytest.mark.parametrize("name", ["gpu", "GPU:1"])
def test_a_gpu_is_told_its_name(name: str) -> None:
    for check in (machine.check_device, machine.choose_device):
        with pytest.raises(RecipeError, match=rf"device '{name}' .*a GPU is called cuda\); try --device cuda$"):
            check(name)


def test_a_device_whose_package_is_missing_is_a_line() -> None:
    with pytest.raises(RecipeError, match=r"^device 'hpu' cannot be used here \(.*; try --device cpu$"):
        machine.choose_device("hpu")


def test_every_name_of_the_processor_is_the_same_device() -> None:
    assert [machine.choose_device(name) for name in ("cpu", "cpu:0", "cpu:3")] == 3 * [torch.device("cpu")]
