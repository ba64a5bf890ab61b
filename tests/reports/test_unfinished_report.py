"""The report of a run that was stopped: of its newest state, said at its top, and nothing in the run's folder."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from page_reader import read

import modiste
from listeners import AskToStop
from modiste.cli import main
from modiste.data.dataset import Development, load_development
from modiste.errors import DataError, RunError, StoppedError
from modiste.recipes.recipe import Recipe
from modiste.reports import run_figures
from modiste.training import trainer
from modiste.training.setup import Inputs

SAME = ("recipe.json", "log.jsonl", "model.safetensors", "last.safetensors", "validation-logits.safetensors")


def stopped(recipe: Recipe, folder: Path, step: int, **where: Any) -> Path:
    with pytest.raises(StoppedError):
        modiste.train(recipe, folder, device="cpu", quiet=True, listeners=[AskToStop(step)], **where)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> Path:
    """A run that was stopped in its third epoch of 25 steps."""
    return stopped(tiny_recipe, tmp_path / "runs" / "run", 60, data_folder=tiny_folder)


def test_it_says_at_its_top_that_the_run_goes_on_and_it_goes_on_to_the_same_bytes(
    folder: Path,
    tiny_recipe: Recipe,
    tiny_folder: Path,
    finished_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder.parents[1])
    before = files(folder.parent)
    main.main(["report", "runs/run", "--data-folder", str(tiny_folder)])
    page = Path("run-unfinished.html")
    told = "runs/run has not finished: the report shows it after epoch 2 of 3\n"
    assert capsys.readouterr() == (f"{page}\n", told)
    assert files(folder.parent) == before
    text, found = read(page).text, modiste.evaluate(folder, device="cpu", data_folder=tiny_folder)
    notice = "This run has not finished: 2 of 3 epochs are done. The page shows its newest saved state, after 60 steps."
    assert text.index(notice) < text.index(f"Validation accuracy {100 * found.accuracy:.2f} %")
    assert "The model has the weights of epoch 2 of 2" in text
    assert "Training stopped early" not in text
    for name, scores in found.per_class.items():
        assert f"{name} {scores.precision:.4f} {scores.recall:.4f} {scores.f1:.4f} {scores.support}" in text
    trainer.train(tiny_recipe, folder, Inputs(tiny_folder), device="cpu")
    for name in SAME:
        assert (folder / name).read_bytes() == (finished_run / name).read_bytes()
    assert sorted(modiste.Run.open(folder).files) == sorted(modiste.Run.open(finished_run).files)


def test_a_run_on_arrays_is_shown_with_the_same_arrays_by_its_newest_weights(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    """Validation did not select its weights."""
    train = modiste.load_dataset(tiny_recipe.data, tiny_folder).train
    arrays = (train.images[:, 0].numpy(), train.labels.numpy())
    folder = stopped(replace(tiny_recipe, pick="last", ema_decay=0.9), tmp_path / "run", 30, data=arrays)
    text = read(modiste.report(folder, data=arrays, out=tmp_path / "page.html")).text
    assert "1 of 3 epochs is done" in text
    assert "The model has the newest weights, after 30 steps." in text
    assert "The model has the weights of epoch" not in text
    assert f"{100 * modiste.evaluate(folder, data=arrays).accuracy:.2f} %" in text
    with pytest.raises(RunError, match="the data found are not those it was trained on"):
        modiste.report(folder, data=(255 - arrays[0], arrays[1]), out=tmp_path / "page.html")
    with pytest.raises(DataError, match="page of several runs"):
        modiste.report([folder, folder], data=arrays)


def test_a_training_image_that_an_epoch_shows_twice_is_drawn_once(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(tiny_recipe, data=replace(tiny_recipe.data, repeats=2))
    folder = stopped(recipe, tmp_path / "run", 60, data_folder=tiny_folder)
    drawn, draw = list[Development](), run_figures.samples
    monkeypatch.setattr(run_figures, "samples", lambda images: (drawn.append(images), draw(images))[1])
    modiste.report(folder, data_folder=tiny_folder, out=tmp_path / "page.html")
    assert len(drawn[0].train) == len(load_development(tiny_recipe.data, tiny_folder).train)


def test_a_page_within_the_folder_is_refused(folder: Path) -> None:
    with pytest.raises(RunError, match="lies in the folder of a run that has not finished; write the report elsewhere"):
        modiste.report(folder, out=folder / "report.html")


@pytest.mark.parametrize("name", ["model.safetensors", "log.jsonl", "manifest.json"])
def test_a_page_replaces_no_part_of_another_run(
    name: str, folder: Path, finished_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(finished_run, tmp_path / "other"))
    before = files(other)
    with pytest.raises(RunError, match=f"{name}: is part of the run and is not replaced; choose another name"):
        modiste.report(folder, data_folder=tiny_folder, out=other / name)
    assert files(other) == before


def test_a_run_in_its_first_epoch_has_none(tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path) -> None:
    folder = stopped(tiny_recipe, tmp_path / "run", 9, data_folder=tiny_folder)
    assert modiste.evaluate(folder, data_folder=tiny_folder).unfinished_step == 9
    with pytest.raises(RunError, match="has not finished its first epoch, and a report needs one"):
        modiste.report(folder, data_folder=tiny_folder, out=tmp_path / "page.html")
