"""The manifest of a finished run: any change to any file is noticed and named."""

import random
import shutil
from pathlib import Path

import pytest
import torch

from faults import Faults
from modiste import run_folder, storage
from modiste.errors import RunError
from modiste.recipe import Recipe
from modiste.run_folder import EpochRow
from workbench import damaged

LISTED = {
    "recipe.json",
    "log.jsonl",
    "timing.jsonl",
    "facts.json",
    "model.safetensors",
    "last.safetensors",
    "validation-logits.safetensors",
}


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def files_of(run: Path) -> list[Path]:
    return sorted(path for path in run.rglob("*") if path.is_file() and path.name != storage.LOCK_NAME)


def test_a_finished_run_is_complete(run: Path, tiny_recipe: Recipe) -> None:
    opened = run_folder.open_run(run)
    assert opened.recipe == tiny_recipe
    assert [row.epoch for row in opened.history] == [1, 2, 3]
    assert [row.step for row in opened.history] == [25, 50, 75]
    assert opened.test_openings == 0
    assert opened.facts()[0]["modiste"]
    assert [line["epoch"] for line in opened.timing()] == [1, 2, 3]
    names = {str(path.relative_to(run)) for path in files_of(run)}
    assert {name for name in names if not name.startswith("checkpoints/")} == LISTED | {"manifest.json"}
    assert len([name for name in names if name.startswith("checkpoints/")]) == 1
    assert all(run_folder.is_listed(opened, name) for name in names - {"manifest.json"})


def test_the_stored_model_gives_the_stored_logits(run: Path) -> None:
    """Logits, log and weights of a run are of one piece."""
    opened = run_folder.open_run(run)
    logits, labels = run_folder.read_logits(run / run_folder.logits_name("validation"))
    assert (logits.argmax(1) == labels).double().mean().item() == opened.picked.validation_accuracy
    loss = torch.nn.functional.cross_entropy(logits.double(), labels).item()
    assert loss == pytest.approx(opened.picked.validation_loss, rel=1e-12)
    assert opened.load_model("picked")[1].epoch == opened.picked.epoch
    assert opened.load_model("last")[1].epoch == 3


def test_any_flipped_bit_or_cut_in_any_file_is_noticed_and_named(run: Path, faults: Faults) -> None:
    draw, files = random.Random(28), files_of(run)
    sizes = [path.stat().st_size for path in files]
    for number in faults("saving: a bit flipped or a cut in a finished run", few=400, many=8_000):
        path = draw.choices(files, sizes)[0] if number % 2 else draw.choice(files)  # by size, and none left out
        sound = path.read_bytes()
        path.write_bytes(damaged(sound, draw))
        with pytest.raises(RunError) as caught:
            run_folder.open_run(run)
        assert str(caught.value).startswith(f"{path}: damaged"), path.name
        path.write_bytes(sound)
    run_folder.open_run(run)


def test_any_missing_file_is_named(run: Path) -> None:
    for path in files_of(run):
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(RunError) as caught:
            run_folder.open_run(run)
        expected = {
            "manifest.json": "this run has not finished; give its `modiste train` command again",
            "recipe.json": "no run here, recipe.json is missing",
        }.get(path.name, f"{path}: missing, though the run's manifest lists it")
        assert expected in str(caught.value)
        path.write_bytes(content)


def test_any_cut_file_is_named(run: Path) -> None:
    for path in files_of(run):
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(RunError, match="damaged") as caught:
            run_folder.open_run(run)
        assert str(path) in str(caught.value)
        path.write_bytes(content)


def test_what_is_no_run_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(RunError, match=r"no run here.*expected a folder that `modiste train` made"):
            run_folder.open_run(place)


def test_files_added_later_are_watched_too(run: Path) -> None:
    opened = run_folder.open_run(run)
    run_folder.write_logits(run / "test-logits.safetensors", torch.zeros(2, 5), torch.tensor([0, 1]), 3)
    assert not run_folder.is_listed(opened, "test-logits.safetensors")
    run_folder.add_files(opened, ["test-logits.safetensors"], test_openings=4)
    assert run_folder.open_run(run).test_openings == 4
    (run / "test-logits.safetensors").unlink()
    with pytest.raises(RunError, match=r"test-logits\.safetensors: missing"):
        run_folder.open_run(run)


@pytest.mark.parametrize(("pick", "epoch"), [("best-accuracy", 2), ("best-loss", 3), ("last", 4)])
def test_pick_rules_and_the_earliest_among_equals(pick: str, epoch: int, tiny_recipe: Recipe) -> None:
    accuracies, losses = [0.5, 0.9, 0.9, 0.8], [0.9, 0.5, 0.4, 0.4]
    rows = [
        EpochRow(
            epoch=number,
            step=number,
            learning_rate=0.1,
            train_loss=0.1,
            train_accuracy=0.1,
            validation_loss=loss,
            validation_accuracy=accuracy,
        )
        for number, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), start=1)
    ]
    recipe = Recipe(name="x", pick=pick)  # type: ignore[arg-type]
    assert run_folder.picked(rows, recipe).epoch == epoch


def test_lines_there_and_back(tmp_path: Path) -> None:
    rows = [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": 1e-300}]
    run_folder.write_lines(tmp_path / "l.jsonl", rows)
    assert run_folder.read_lines(tmp_path / "l.jsonl") == rows
    (tmp_path / "l.jsonl").write_text('{"epoch": 1}\n{"epo')
    with pytest.raises(RunError, match=r"l\.jsonl: cannot be read as one JSON value per line"):
        run_folder.read_lines(tmp_path / "l.jsonl")
