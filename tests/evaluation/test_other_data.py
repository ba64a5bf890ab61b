"""A finished run is measured on other labelled images, beside its test."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands_and_data import write_pictures
from modiste.cli import main
from modiste.data import held_out, sources
from modiste.data.dataset import as_image_set
from modiste.data.pictures import picture_cache
from modiste.errors import DataError, RunError
from modiste.evaluation import other_data
from modiste.evaluation.assessment import evaluate
from modiste.evaluation.other_data import FILE, evaluate_on, evaluations
from modiste.photo.preparation import Preparation
from modiste.recipes.recipe import DataRecipe
from modiste.runs.run_folder import open_run

Arrays = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture
def arrays(tiny_folder: Path) -> Arrays:
    """The test images of the run's data set, as if they were new."""
    images = as_image_set(held_out.load_held_out(str(tiny_folder)))
    return images.images[:, 0].numpy(), images.labels.numpy()


def test_the_measures_are_those_of_the_images(run: Path, arrays: Arrays, tiny_folder: Path) -> None:
    other, test = evaluate_on(run, arrays), evaluate(run, split="test", data_folder=tiny_folder)
    assert other.split == "other data"
    assert (other.accuracy, other.loss, other.confusion) == (test.accuracy, test.loss, test.confusion)


def test_it_is_kept_beside_the_run_and_leaves_its_test_closed(run: Path, arrays: Arrays) -> None:
    images, labels = arrays
    evaluate_on(run, arrays)
    evaluate_on(run, arrays)
    evaluate_on(run, (images[:50], labels[:50]), weights="last")
    found = open_run(run)
    assert found.test_openings == 0
    assert "test-logits.safetensors" not in found.files
    rows = evaluations(found)
    assert [(row["images"], row["weights"], row["times"]) for row in rows] == [(100, "picked", 2), (50, "last", 1)]
    assert json.loads((run / FILE).read_text())["evaluations"][0]["accuracy"] == rows[0]["accuracy"]


def test_two_evaluations_at_once_are_both_kept(run: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second ends while the first computes its logits."""
    images, labels = arrays
    infer, waiting = other_data.infer_run, [True]

    def with_another(*values: Any) -> Any:
        if waiting:
            waiting.clear()
            evaluate_on(run, (images[:50], labels[:50]))
        return infer(*values)

    monkeypatch.setattr(other_data, "infer_run", with_another)
    evaluate_on(run, arrays)
    assert [row["images"] for row in evaluations(open_run(run))] == [50, 100]


def test_some_of_the_classes_are_enough(run: Path, arrays: Arrays) -> None:
    images, labels = arrays
    few = labels < 2
    found = evaluate_on(run, (images[few], labels[few]))
    assert found.images == few.sum()
    names = open_run(run).load_info().task.class_names
    by_name = evaluate_on(run, (images[few], np.array([f" {name.upper()} ".strip() for name in names])[labels[few]]))
    assert by_name.confusion == found.confusion


def test_what_is_not_the_runs_is_refused(run: Path, arrays: Arrays) -> None:
    images, labels = arrays
    with pytest.raises(RunError, match=r"classes that .* does not have: expected some of .* found bonnet, cape"):
        evaluate_on(run, (images, np.array(["0", "bonnet", "cape"])[labels % 3]))
    with pytest.raises(RunError, match=r"expected images of \(1, 12, 12\).* found \(1, 6, 6\)"):
        evaluate_on(run, (images[:, ::2, ::2], labels))
    with pytest.raises(DataError, match="no such data set"):
        evaluate_on(run, "nowhere")
    with pytest.raises(RunError, match=r"own data: .* found fashion-mnist; measure these with --split"):
        evaluate_on(run, "fashion-mnist")


def test_folders_of_pictures(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modiste.data.pictures.picture_cache.picture_cache_folder", lambda: tmp_path / "cache")
    names = open_run(run).load_info().task.class_names
    write_pictures(tmp_path / "new", {names[0]: 3, names[2]: 2})
    found = evaluate_on(run, tmp_path / "new")
    assert found.images == 5
    assert [found.per_class[name].support for name in names] == [3, 0, 2, *[0] * (len(names) - 3)]


def test_each_picture_is_decoded_once(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def decode(path: Path, preparation: Preparation) -> picture_cache.Result:
        decoded.append(path.name)
        return picture_cache_decode(path, preparation)

    picture_cache_decode = picture_cache._decode_one
    monkeypatch.setattr(picture_cache, "_decode_one", decode)
    monkeypatch.setattr(picture_cache, "picture_cache_folder", lambda: tmp_path / "cache")
    names = open_run(run).load_info().task.class_names
    write_pictures(tmp_path / "new", dict.fromkeys(names, 4))
    assert evaluate_on(run, tmp_path / "new").images == len(decoded) == 4 * len(names)


def test_a_folder_is_known_by_what_training_would_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a run finds its own pictures, wherever they lie."""
    monkeypatch.setattr(picture_cache, "picture_cache_folder", lambda: tmp_path / "cache")
    write_pictures(tmp_path / "new", {"coat": 5, "shirt": 4})
    (tmp_path / "new" / "coat" / "broken.png").write_bytes(b"nothing")
    recipe = DataRecipe(source=str(tmp_path / "new"), pictures="whole", side=8)
    whole, development = held_out.load_labelled(tmp_path / "new", recipe), sources.load(recipe)
    assert whole.fingerprint == development.fingerprint
    assert len(development.labels) < len(whole.labels) == 9


def test_the_command(run: Path, arrays: Arrays, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "new.npz", images=arrays[0], labels=arrays[1])
    main.main(["evaluate", str(run), "--data", str(tmp_path / "new.npz")])
    printed = capsys.readouterr().out
    assert "other data, 100 images" in printed
    assert "test set" not in printed
    main.main(["evaluate", str(run), "--data", str(tmp_path / "new.npz"), "--json"])
    assert json.loads(capsys.readouterr().out)["split"] == "other data"
    with pytest.raises(SystemExit):
        main.main(["evaluate", str(run), "--data", str(tmp_path / "new.npz"), "--split", "test"])
    assert "--data: expected one run, and no --split" in capsys.readouterr().err


def test_the_runs_own_idx_files_are_refused_wherever_they_lie(
    finished_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    """Their test images would be measured without being counted."""
    moved = shutil.copytree(tiny_folder, tmp_path / "moved")
    with pytest.raises(RunError, match="the run's own data"):
        evaluate_on(finished_run, moved)
