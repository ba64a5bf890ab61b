"""A finished run measured: what is said, what is stored, what is counted, what is refused."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from idx_files import IMAGES, LABELS, TEST_IMAGES, TEST_LABELS, idx

import modiste
from commands_and_data import PROGRAMS, as_before, child_environment, tiny_files
from listeners import StopAfter
from modiste.data import held_out
from modiste.data.dataset import as_image_set
from modiste.errors import DataError, FolderInUseError, RecipeError, RunError, StoppedError, StorageError
from modiste.evaluation import fitted_ensemble
from modiste.evaluation.assessment import Assessment, assess, evaluate, load_split
from modiste.evaluation.averaging import compare_averaging
from modiste.evaluation.comparison import compare
from modiste.evaluation.inference import infer
from modiste.evaluation.unfinished import open_unfinished
from modiste.exports import card, export
from modiste.recipes.recipe import Recipe
from modiste.runs import manifest, run_folder, storage
from modiste.training import trainer
from modiste.training.setup import Inputs

KEYS = [
    "split",
    "weights",
    "epoch",
    "images",
    "accuracy",
    "accuracy_interval",
    "loss",
    "per_class",
    "macro",
    "weighted",
    "confusion",
    "top2_accuracy",
    "brier",
    "calibration",
    "expected_calibration_error",
    "test_openings",
    "unfinished_step",
]


@pytest.fixture
def images(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the data that a test may change."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "tiny"))


def test_an_assessment_in_plain_words(run: Path, tiny_folder: Path) -> None:
    plain = evaluate(run, data_folder=tiny_folder).as_plain()
    assert list(plain) == KEYS
    assert json.loads(json.dumps(plain))["accuracy"] == plain["accuracy"]
    assert (plain["split"], plain["weights"], plain["images"], plain["test_openings"]) == (
        "validation",
        "picked",
        80,
        0,
    )
    assert list(plain["per_class"]) == ["0", "1", "2", "3", "4"]
    assert all(set(scores) == {"precision", "recall", "f1", "support"} for scores in plain["per_class"].values())
    assert np.array(plain["confusion"]).sum(1).tolist() == [16] * 5
    assert len(plain["accuracy_interval"]) == 2


def test_validation_says_what_the_log_says(run: Path, tiny_folder: Path) -> None:
    opened = run_folder.open_run(run)
    for weights, row in (("picked", opened.picked), ("last", opened.history[-1])):
        result = evaluate(run, weights=weights, device="cpu", data_folder=tiny_folder)  # type: ignore[arg-type]
        assert result.epoch == row.epoch
        assert result.accuracy == row.validation_accuracy
        assert result.loss == pytest.approx(row.validation_loss, rel=1e-6)


def test_test_equals_the_model_on_the_test_images(run: Path, tiny_folder: Path) -> None:
    result = evaluate(run, split="test", device="cpu", data_folder=tiny_folder)
    images = as_image_set(held_out.load_held_out("tiny", tiny_folder))
    model, info = run_folder.open_run(run).load_model()
    logits = infer(model, images.images, info.recipe)
    assert result.images == 100
    assert result.accuracy == (logits.argmax(1) == images.labels).double().mean().item()
    assert torch.equal(run_folder.read_logits(run / "test-logits.safetensors")[0], logits)


def test_every_look_at_test_is_counted_and_none_at_validation(run: Path, tiny_folder: Path) -> None:
    counts = []
    for split, weights in [
        ("test", "picked"),
        ("validation", "picked"),
        ("test", "last"),
        ("validation", "last"),
        ("test", "picked"),
    ]:
        result = evaluate(run, split=split, weights=weights, data_folder=tiny_folder)  # type: ignore[arg-type]
        counts.append(result.test_openings)
        assert run_folder.open_run(run).test_openings == result.test_openings
    assert counts == [1, 1, 2, 2, 3]


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("split", ["valid", "Test", "train", ""])
def test_another_split_is_refused_and_opens_nothing(
    run: Path, tiny_folder: Path, split: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt split once measured the test images, and was not counted."""
    for name in ("load_test", "test_of"):
        monkeypatch.setattr(held_out, name, lambda *_: pytest.fail("the test set is opened"))
    before = sorted(run.iterdir())
    measures: list[Callable[[], object]] = [
        lambda: modiste.evaluate(run, split=split, data_folder=tiny_folder),
        lambda: modiste.evaluate(run, split=split, data=(np.zeros((9, 12, 12), np.uint8), np.arange(9) % 3)),
        lambda: modiste.report(run, split=split, data_folder=tiny_folder),
        lambda: modiste.show(run, [0], split=split, data_folder=tiny_folder),
        lambda: fitted_ensemble.evaluate_fitted([run, run.parent / "other"], split=split),
        lambda: load_split(run_folder.open_run(run), split, tiny_folder),
    ]
    for measure in measures:
        with pytest.raises(RecipeError, match=rf"^split: '{split}' is unknown; "):
            measure()
    assert sorted(run.iterdir()) == before


@pytest.mark.usefixtures("without_type_checks")
def test_other_weights_are_refused(run: Path, tiny_folder: Path) -> None:
    weights: Any = "best"
    for measure in (evaluate, compare_averaging, open_unfinished):
        with pytest.raises(RecipeError, match=r"^weights: 'best' is unknown; known: picked, last, snapshots$"):
            measure(run, weights=weights, data_folder=tiny_folder)  # type: ignore[operator]


def test_logits_are_computed_once_and_read_afterwards(run: Path, images: Path) -> None:
    first = evaluate(run, split="test", data_folder=images)
    stored = (run / "test-logits.safetensors").read_bytes()
    shutil.rmtree(images)  # neither data nor model are needed for a second look
    second = evaluate(run, split="test")
    assert (run / "test-logits.safetensors").read_bytes() == stored
    assert replace(second, test_openings=1) == first
    assert second.test_openings == 2


def test_logits_that_are_not_finite_are_refused_and_neither_kept_nor_counted(
    run: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflowing(*arguments: Any) -> torch.Tensor:
        logits = infer(*arguments).clone()
        logits[:2, 0] = torch.tensor([torch.nan, torch.inf])
        return logits

    monkeypatch.setattr("modiste.evaluation.assessment.infer", overflowing)
    with pytest.raises(RunError, match="logits that are not finite for 2 of 100 images"):
        evaluate(run, split="test", data_folder=tiny_folder)
    monkeypatch.undo()
    assert evaluate(run, split="test", data_folder=tiny_folder).test_openings == 1


def test_a_file_that_the_manifest_does_not_vouch_for_is_made_anew(run: Path, tiny_folder: Path) -> None:
    """As a crash between writing the logits and entering them leaves it."""
    (run / "test-logits.safetensors").write_bytes(b"half written")
    result = evaluate(run, split="test", data_folder=tiny_folder)
    assert result.accuracy > 0.3
    assert result.test_openings == 1


def test_stored_logits_are_watched(run: Path, tiny_folder: Path) -> None:
    evaluate(run, split="test", data_folder=tiny_folder)
    path = run / "test-logits.safetensors"
    flipped = bytearray(path.read_bytes())
    flipped[-9] ^= 4
    path.write_bytes(flipped)
    with pytest.raises(RunError, match=r"test-logits\.safetensors: damaged"):
        evaluate(run, split="test", data_folder=tiny_folder)


def test_picked_and_last_are_different_weights(tmp_path: Path, tiny_recipe: Recipe, tiny_folder: Path) -> None:
    """At a learning rate that spoils what was learned, the best epoch is not the last one."""
    recipe = replace(tiny_recipe, epochs=4, optimizer=replace(tiny_recipe.optimizer, learning_rate=0.05))
    trainer.train(recipe, tmp_path / "run", Inputs(tiny_folder), device="cpu")
    opened = run_folder.open_run(tmp_path / "run")
    assert opened.picked.epoch < 4, "choose another learning rate for this test"
    results = [
        evaluate(tmp_path / "run", weights=weights, device="cpu", data_folder=tiny_folder)  # type: ignore[arg-type]
        for weights in ("picked", "last")
    ]
    assert [result.epoch for result in results] == [opened.picked.epoch, 4]
    assert results[0].accuracy > results[1].accuracy
    assert (tmp_path / "run" / "validation-logits-last.safetensors").exists()


class TestAnotherDataFolder:
    """Stored logits are of the images that they were taken from, whatever folder a person names."""

    @pytest.mark.parametrize("split", ["validation", "test"])
    def test_one_that_is_not_there_is_refused_and_not_counted(self, split: Any, run: Path, tiny_folder: Path) -> None:
        evaluate(run, split="test", data_folder=tiny_folder)
        with pytest.raises(DataError, match="no such data set or folder"):
            evaluate(run, split=split, data_folder=run / "nowhere")
        assert run_folder.open_run(run).test_openings == 1

    @pytest.mark.parametrize("split", ["validation", "test"])
    def test_other_images_are_refused_and_not_counted(self, split: Any, run: Path, images: Path) -> None:
        evaluate(run, split="test", data_folder=images)
        for name, content in tiny_files(seed=8).items():
            (images / name).write_bytes(content)
        with pytest.raises(RunError, match="not those it was trained on"):
            evaluate(run, split=split, data_folder=images)
        assert run_folder.open_run(run).test_openings == 1

    @pytest.mark.parametrize("name", [TEST_IMAGES, TEST_LABELS])
    def test_other_test_images_or_labels_are_refused_and_not_counted(self, name: str, run: Path, images: Path) -> None:
        evaluate(run, split="test", data_folder=images)
        content = bytearray((images / name).read_bytes())
        content[-1] = (content[-1] + 1) % 5
        (images / name).write_bytes(content)
        with pytest.raises(RunError, match="the test images found are not those that it was measured on"):
            evaluate(run, split="test", data_folder=images)
        assert run_folder.open_run(run).test_openings == 1

    def test_the_same_elsewhere_is_the_same(self, run: Path, images: Path, tiny_folder: Path) -> None:
        first = evaluate(run, split="test", data_folder=tiny_folder)
        assert replace(evaluate(run, split="test", data_folder=images), test_openings=1) == first


class TestRunsOfBefore:
    def test_they_are_read_without_their_data(self, run: Path, tiny_folder: Path) -> None:
        results = [evaluate(run, split=split, data_folder=tiny_folder) for split in ("validation", "test")]  # type: ignore[arg-type]
        as_before(run, "validation-logits.safetensors", "test-logits.safetensors")
        again = [evaluate(run, split=split) for split in ("validation", "test")]  # type: ignore[arg-type]
        assert again[0].accuracy == results[0].accuracy
        assert again[1] == replace(results[1], test_openings=2)

    def test_with_their_data_named_they_are_compared_with_them(
        self, run: Path, images: Path, tiny_folder: Path
    ) -> None:
        evaluate(run, split="test", data_folder=tiny_folder)
        as_before(run, "validation-logits.safetensors", "test-logits.safetensors")
        before = (run / "validation-logits.safetensors").read_bytes()
        assert evaluate(run, data_folder=tiny_folder).images == 80
        assert (run / "validation-logits.safetensors").read_bytes() == before
        evaluate(run, split="test", data_folder=tiny_folder)
        assert run_folder.open_run(run).measured("test").images, "test images are measured anew, and named"
        for name, content in tiny_files(seed=8).items():
            (images / name).write_bytes(content)
        with pytest.raises(RunError, match="not those it was trained on"):
            evaluate(run, data_folder=images)


class TestNothingMayBeWritten:
    @pytest.fixture
    def twin(self, run: Path) -> Path:
        """The same run under another recipe's name."""
        twin = Path(shutil.copytree(run, run.with_name("twin")))
        plain = storage.read_json(twin / "recipe.json")
        storage.write_json(twin / "recipe.json", {**plain, "name": "twin"})
        files, openings = manifest.read(twin)
        manifest.write(twin, {**files, "recipe.json": storage.sha256(twin / "recipe.json")}, openings)
        return twin

    @pytest.mark.parametrize(
        ("code", "locked"), [(errno.EROFS, False), (errno.EACCES, True)], ids=["a disk", "another user's folder"]
    )
    def test_what_is_measured_is_told_and_not_kept(
        self,
        code: int,
        locked: bool,
        run: Path,
        twin: Path,
        tiny_folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        real, written = os.open, os.O_WRONLY | os.O_RDWR | os.O_CREAT

        def refusing(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            if flags & written and Path(path).is_relative_to(run.parent / "run"):
                raise OSError(code, os.strerror(code), str(path))
            return real(path, flags, *rest, **more)

        (run / ".lock").unlink()
        if locked:
            (run / ".lock").touch()
        before = sorted((path.name, path.read_bytes()) for path in run.iterdir() if path.is_file())
        monkeypatch.setattr(os, "open", refusing)
        evaluate(run, data_folder=tiny_folder)
        assert not caplog.text
        found = evaluate(run, split="test", data_folder=tiny_folder)
        assert (found.images, found.test_openings) == (100, 1)
        assert "nothing was stored, and this evaluation on test was not counted" in caplog.text
        caplog.clear()
        assert len(compare([run, twin], weights="last", data_folder=tiny_folder).contrasts) == 1
        assert "nothing was stored: " in caplog.text
        export.export(run, run.parent / "elsewhere.safetensors", to="safetensors", data_folder=tiny_folder)
        with pytest.raises(StorageError, match="choose a place where you may write"):
            export.export(run, to="safetensors", data_folder=tiny_folder)
        assert sorted((path.name, path.read_bytes()) for path in run.iterdir() if path.is_file()) == before

    @pytest.mark.slow
    @pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root to mount")
    def test_a_disk_that_is_really_read_only(self, run: Path, twin: Path, tiny_folder: Path, tmp_path: Path) -> None:
        mounted = f'mount --bind {run.parent} {run.parent} && mount -o remount,ro,bind {run.parent} && exec "$@"'
        (out := tmp_path.with_name(f"{tmp_path.name}-out")).mkdir()
        words = [sys.executable, PROGRAMS / "measure_run.py", run, twin, tiny_folder, out / "model.safetensors"]
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", mounted, "sh", *map(str, words)],
            env=child_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.stdout.split() == ["1", "1", "1", "1", "True", "True"], done.stderr
        assert "Read-only file system" in done.stderr
        assert run_folder.open_run(run).test_openings == 0


def test_a_class_that_the_split_lacks_has_no_figures() -> None:
    logits = torch.eye(4)[torch.tensor([0, 1, 1, 3])]
    result = assess(
        logits, torch.tensor([0, 1, 0, 3]), tuple("abcd"), split="test", weights="last", epoch=1, test_openings=1
    )
    plain = json.loads(json.dumps(result.as_plain()))
    assert plain["per_class"]["c"] == {"precision": None, "recall": None, "f1": None, "support": 0}
    assert plain["macro"]["f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert [card._f1(scores) for scores in result.per_class.values()] == ["0.667", "0.667", "no images", "1.000"]


def test_an_unfinished_run_is_refused(tmp_path: Path, tiny_recipe: Recipe, tiny_folder: Path) -> None:
    with pytest.raises(StoppedError):
        trainer.train(tiny_recipe, tmp_path / "run", Inputs(tiny_folder), listeners=[StopAfter(30)])
    with pytest.raises(RunError, match="has not finished; repeat its `modiste train` command"):
        evaluate(tmp_path / "run", split="test", data_folder=tiny_folder)
    trainer.train(tiny_recipe, tmp_path / "run", Inputs(tiny_folder))
    assert evaluate(tmp_path / "run", data_folder=tiny_folder).images == 80


def test_what_is_no_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name, kind in (("none", RunError), ("empty", RunError), ("file", (RunError, StorageError))):
        with pytest.raises(kind, match=name):
            evaluate(tmp_path / name)
    assert not (tmp_path / "none").exists(), "measuring a run that is not there has made its folder"
    assert not list((tmp_path / "empty").iterdir())


def test_a_run_in_use_can_be_read_and_not_written(
    run: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder, "PATIENCE_SECONDS", 0.05)
    with storage.lock(run):
        assert evaluate(run, data_folder=tiny_folder).images == 80
        with pytest.raises(FolderInUseError):
            evaluate(run, split="test", data_folder=tiny_folder)
    assert evaluate(run, split="test", data_folder=tiny_folder).test_openings == 1


class TestChangedData:
    def test_other_training_images_are_refused_on_validation(self, run: Path, images: Path) -> None:
        for name, content in tiny_files(seed=8).items():
            (images / name).write_bytes(content)
        with pytest.raises(RunError, match="the data found are not those it was trained on"):
            evaluate(run, weights="last", data_folder=images)

    def test_other_training_images_are_refused_on_test(self, run: Path, images: Path) -> None:
        for name, content in tiny_files(seed=8).items():
            (images / name).write_bytes(content)
        with pytest.raises(RunError, match="not those it was trained on"):
            evaluate(run, split="test", data_folder=images)
        assert run_folder.open_run(run).test_openings == 0

    def test_images_of_another_size_are_refused(self, run: Path, images: Path) -> None:
        (images / TEST_IMAGES).write_bytes(idx(np.zeros((10, 9, 12))))
        (images / TEST_LABELS).write_bytes(idx(np.arange(10) % 5))
        with pytest.raises(RunError, match=r"trained on images of \(1, 12, 12\).*found \(1, 9, 12\)"):
            evaluate(run, split="test", data_folder=images)

    def test_labels_beyond_the_classes_are_refused(self, run: Path, images: Path) -> None:
        (images / TEST_LABELS).write_bytes(idx(np.arange(100) % 6))
        with pytest.raises(DataError, match=r"expected 0 to 4 \(5 classes\), found 5 at position 5"):
            evaluate(run, split="test", data_folder=images)
        assert run_folder.open_run(run).test_openings == 0

    def test_missing_images(self, run: Path, images: Path) -> None:
        (images / TEST_IMAGES).unlink()
        with pytest.raises(DataError, match="no such file"):
            evaluate(run, split="test", data_folder=images)


def test_splits_are_the_images_of_the_run(run: Path, tiny_folder: Path) -> None:
    opened = run_folder.open_run(run)
    validation, test = (load_split(opened, split, tiny_folder) for split in ("validation", "test"))  # type: ignore[arg-type]
    assert (len(validation), len(test)) == (80, 100)
    assert torch.equal(validation.labels, run_folder.read_logits(run / "validation-logits.safetensors")[1])
    assert {IMAGES, LABELS} <= {path.name for path in tiny_folder.iterdir()}


def test_assessments_are_values(run: Path, tiny_folder: Path) -> None:
    one, other = (evaluate(run, data_folder=tiny_folder) for _ in range(2))
    assert isinstance(one, Assessment)
    assert one == other
