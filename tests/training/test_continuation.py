"""A finished run that is trained on has the bytes of a run that was longer from the start."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from listeners import StopAfter
from modiste.cli import main
from modiste.errors import RecipeError, RunError, StoppedError
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import Recipe, ScheduleRecipe
from modiste.runs import run_folder
from modiste.training import trainer
from modiste.training.continuation import continue_run, copy_state, lengthened
from modiste.training.setup import Inputs

SAME = ("recipe.json", "log.jsonl", "model.safetensors", "last.safetensors", "validation-logits.safetensors")


@pytest.fixture(scope="module")
def short_run(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: Recipe, tiny_folder: Path) -> Path:
    """Two epochs of what ``finished_run`` has three of."""
    folder = tmp_path_factory.mktemp("short") / "run"
    trainer.train(replace(tiny_recipe, epochs=2), folder, Inputs(tiny_folder), device="cpu")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    states = sorted((folder / run_folder.STATES).iterdir())
    return {path.name: path.read_bytes() for path in [*(folder / name for name in SAME), *states]}


def test_it_has_the_bytes_of_a_longer_run(
    short_run: Path, finished_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    before = content(short_run)
    outcome = continue_run(short_run, tmp_path / "on", epochs=3, device="cpu", inputs=Inputs(tiny_folder))
    assert content(outcome.folder) == content(finished_run)
    assert content(short_run) == before
    run = run_folder.open_run(outcome.folder)
    assert [row["epoch"] for row in run.timing()] == [1, 2, 3]
    assert len(run.facts()) == 2


def test_after_a_kill_the_same_call_goes_on(
    short_run: Path, finished_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    go_on = partial(continue_run, short_run, tmp_path / "on", epochs=3, device="cpu", inputs=Inputs(tiny_folder))
    for step in (60, 70):
        with pytest.raises(StoppedError):
            go_on(listeners=[StopAfter(step)])
        assert not (tmp_path / "on" / "manifest.json").exists()
    go_on()
    assert content(tmp_path / "on") == content(finished_run)


def test_a_kill_while_copying_costs_nothing(
    short_run: Path, finished_run: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_folder.open_run(short_run)

    def killed(*_paths: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("modiste.runs.checkpoint.copy_newest", killed)
        with pytest.raises(KeyboardInterrupt):
            copy_state(run, tmp_path / "on", lengthened(run, 3))
    assert not (tmp_path / "on" / run_folder.STATES).exists()
    continue_run(short_run, tmp_path / "on", epochs=3, device="cpu", inputs=Inputs(tiny_folder))
    assert content(tmp_path / "on") == content(finished_run)


def altered(run: run_folder.Run, **fields: object) -> run_folder.Run:
    return replace(run, recipe=replace(run.recipe, **fields))  # type: ignore[arg-type]


def test_what_cannot_go_on_is_refused(short_run: Path) -> None:
    run = run_folder.open_run(short_run)
    with pytest.raises(RecipeError, match=r"expected more than the 2 of .*, found 2"):
        lengthened(run, 2)
    for schedule in (ScheduleRecipe(shape="linear"), ScheduleRecipe(warm_up=0.1)):
        with pytest.raises(RecipeError, match=r"depends on the number of epochs.*--transfer-from"):
            lengthened(altered(run, schedule=schedule), 3)
    with pytest.raises(RecipeError, match=r"its average \(swa_start 0.5\) depends on the number of epochs"):
        lengthened(altered(run, swa_start=0.5), 3)
    with pytest.raises(RecipeError, match="ended after epoch 2 of 5, out of patience"):
        lengthened(altered(run, epochs=5), 6)
    first = run.history[0]
    patient = replace(altered(run, patience=1), history=(first, replace(first, epoch=2)))
    with pytest.raises(RecipeError, match="ended after epoch 2 of 2, out of patience"):
        lengthened(patient, 3)


def test_a_folder_with_another_run_is_refused(short_run: Path, finished_run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run, tmp_path / "on")
    run = run_folder.open_run(short_run)
    with pytest.raises(RunError, match="holds a run of another recipe"):
        copy_state(run, tmp_path / "on", lengthened(run, 4))


class TestCommand:
    @pytest.fixture
    def recipe_file(self, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path, monkeypatch) -> Path:
        monkeypatch.chdir(tmp_path)
        recipe = replace(tiny_recipe, epochs=1, data=replace(tiny_recipe.data, source=str(tiny_folder)))
        Path("tiny.json").write_text(json.dumps(to_plain(recipe)), encoding="utf-8")
        return Path("tiny.json")

    def test_it_says_how_and_does_it(self, recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main.main(["train", str(recipe_file), "--device", "cpu"])
        with pytest.raises(SystemExit) as leaving:
            main.main(["train", str(recipe_file), "--device", "cpu", "--epochs", "2", "--out", "runs/tiny"])
        assert leaving.value.code == 4
        how = "modiste train --continue-from runs/tiny --epochs 2"
        assert f"(epochs: 1 became 2); to train it on: {how}\n" in capsys.readouterr().err
        main.main([*how.split()[1:], "--device", "cpu"])
        assert "epoch 2" in capsys.readouterr().out
        assert len(run_folder.open_run("runs/tiny-2").history) == 2
        main.main(["train", str(recipe_file), "--device", "cpu", "--epochs", "3"])
        told = capsys.readouterr().err
        assert "runs/tiny has fewer epochs of this recipe, and can be trained on: " in told
        assert "modiste train --continue-from runs/tiny-2 --epochs 3" in told

    @pytest.mark.parametrize(
        ("words", "code", "told"),
        [
            (["--continue-from", "runs/none", "--epochs", "3"], 4, "no run here"),
            (["--continue-from", "RUN", "--epochs", "9", "--seed", "3"], 4, "only --epochs may change, found seed"),
            (["--continue-from", "RUN"], 4, "expected more than the 2 of"),
            (["sprint", "--continue-from", "RUN"], 4, "the run has a recipe; leave out sprint"),
            (
                ["--continue-from", "RUN", "--epochs", "9", "--seeds", "3"],
                2,
                "--seeds does not go with --continue-from",
            ),
            (
                ["--continue-from", "RUN", "--epochs", "9", "--transfer-from", "RUN"],
                2,
                "--transfer-from does not go with --continue-from",
            ),
        ],
    )
    def test_mistakes(
        self, words: list[str], code: int, told: str, short_run: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as leaving:
            main.main(["train", *(word.replace("RUN", str(short_run)) for word in words)])
        error = capsys.readouterr().err
        assert (leaving.value.code, error.count("\n")) == (code, 1)
        assert told in error
