"""A finished run is measured on other labelled images, beside its test."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import modiste
from commands_and_data import write_pictures
from modiste.cli import main
from modiste.data import held_out, sources
from modiste.data.dataset import as_image_set, development_of
from modiste.data.pictures import picture_cache
from modiste.data.tables.contents import idx_hash
from modiste.errors import DataError, RunError
from modiste.evaluation import other_data
from modiste.evaluation.assessment import evaluate
from modiste.evaluation.other_data import FILE, evaluate_on, evaluations, own_images
from modiste.photo.preparation import Preparation
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import DataRecipe
from modiste.runs import checkpoint, manifest, run_folder, storage
from modiste.runs.run_folder import open_run

Arrays = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def arrays(tiny_folder: Path) -> Arrays:
    """The test images of the run's data set, as if they were new."""
    images = as_image_set(held_out.load_held_out(str(tiny_folder)))
    return images.images[:, 0].numpy(), images.labels.numpy()


def let_it_be_trained_on(run: Path, fingerprint: str, **fields: Any) -> None:
    """Write into the run another fingerprint of its data, and other fields of their recipe."""
    weights = run / run_folder.WEIGHTS["picked"]
    tensors, _ = checkpoint.read(weights)
    info = checkpoint.load_info(weights)
    recipe = replace(info.recipe, data=replace(info.recipe.data, **fields))
    checkpoint.save_model(weights, tensors, replace(info, fingerprint=fingerprint, recipe=recipe))
    storage.write_json(run / run_folder.RECIPE, to_plain(recipe))
    files, openings = manifest.read(run)
    changed = {path.name: storage.sha256(path) for path in (weights, run / run_folder.RECIPE)}
    manifest.write(run, files | changed, openings)


EXTRA: dict[str, Any] = {"extra": "gone", "extra_classes": ("boots=0",)}
"""Extra pictures that a run has learnt from, and that are no longer there."""


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
    assert json.loads((run / FILE).read_text(encoding="utf-8"))["evaluations"][0]["accuracy"] == rows[0]["accuracy"]


def test_the_oldest_are_dropped_where_the_file_could_not_be_read_again(
    run: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    images, labels = arrays
    evaluate_on(run, arrays)
    monkeypatch.setattr(storage, "MOST_BYTES", 2 * (run / FILE).stat().st_size + 200)
    for count in (50, 40, 30):
        evaluate_on(run, (images[:count], labels[:count]))
    assert [row["images"] for row in evaluations(open_run(run))] == [40, 30]
    assert "the oldest evaluations are no longer kept, 1 of 3" in caplog.text


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


@pytest.mark.parametrize("text", [False, True])
def test_one_of_the_classes_is_enough(text: bool, run: Path, arrays: Arrays) -> None:
    images, labels = arrays
    one = labels == 4
    found = evaluate_on(run, (images[one], labels[one].astype(str) if text else labels[one]))
    assert [scores.support for scores in found.per_class.values()] == [0, 0, 0, 0, one.sum()]


def test_what_is_not_the_runs_is_refused(run: Path, arrays: Arrays) -> None:
    images, labels = arrays
    with pytest.raises(RunError, match=r"classes that .* does not have: expected some of .* found bonnet, cape"):
        evaluate_on(run, (images, np.array(["0", "bonnet", "cape"])[labels % 3]))
    with pytest.raises(RunError, match=r"expected images of \(1, 12, 12\).* found \(1, 6, 6\)"):
        evaluate_on(run, (images[:, ::2, ::2], labels))
    with pytest.raises(DataError, match="no such data set"):
        evaluate_on(run, "nowhere")


def test_fashion_mnist_is_refused_for_what_it_is_to_the_run(
    run: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its test images are never measured without being counted; they are the own data of some runs alone."""
    published = replace(held_out.TEST, images=replace(held_out.TEST.images, sha256=idx_hash(arrays[0])))
    monkeypatch.setattr(held_out, "TEST", published)
    for given, name in (("fashion-mnist", "fashion-mnist"), (arrays, "arrays")):
        with pytest.raises(RunError, match=f"run: Fashion-MNIST's published images: expected others, found {name}; "):
            evaluate_on(run, given)
    let_it_be_trained_on(run, "0" * 64, source="fashion-mnist")
    with pytest.raises(RunError, match=r"the run's own data: .* found fashion-mnist; measure these with --split"):
        evaluate_on(run, "fashion-mnist")


def test_folders_of_pictures(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modiste.data.pictures.picture_cache.picture_cache_folder", lambda: tmp_path / "cache")
    names = open_run(run).load_info().task.class_names
    write_pictures(tmp_path / "new", {names[0]: 3, names[2]: 2})
    found = evaluate_on(run, tmp_path / "new")
    assert found.images == 5
    assert [found.per_class[name].support for name in names] == [3, 0, 2, *[0] * (len(names) - 3)]


@pytest.mark.parametrize("layout", ["folders", "test folder", "names", "table"])
def test_pictures_of_one_class(layout: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_cache, "picture_cache_folder", lambda: tmp_path / "cache")
    files = write_pictures(tmp_path / "new" / ("test" if layout == "test folder" else ""), {"4": 3})
    if layout == "names":
        for number, name in enumerate(files):
            (tmp_path / "new" / name).rename(tmp_path / "new" / f"4.{number}.png")
        (tmp_path / "new" / "4").rmdir()
    elif layout == "table":
        rows = "".join(f"{name},4,test\n" for name in files)
        (tmp_path / "new" / "metadata.csv").write_text(f"path,label,split\n{rows}")
    assert evaluate_on(run, tmp_path / "new").per_class["4"].support == 3


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


def test_own_data_are_known_where_the_run_also_learnt_extra_pictures(
    run: Path, arrays: Arrays, tiny_folder: Path, tmp_path: Path
) -> None:
    let_it_be_trained_on(run, f"{open_run(run).load_info().fingerprint}+{'0' * 64}", **EXTRA)
    with pytest.raises(RunError, match="the run's own data"):
        evaluate_on(run, shutil.copytree(tiny_folder, tmp_path / "moved"))
    assert own_images(run, arrays, "validation") is None
    own = development_of(arrays, DataRecipe(validation_fraction=1 / 6))
    let_it_be_trained_on(run, f"{own.fingerprint}+{'0' * 64}", **EXTRA)
    with_extra = replace(own, fingerprint=f"{own.fingerprint}+{'0' * 64}")
    for given in (arrays, with_extra):
        found = own_images(run, given, "validation")
        assert found is not None
        assert torch.equal(found.images, own.validation.images)
    with pytest.raises(RunError, match="the run's own data"):
        evaluate_on(run, arrays)


def test_data_that_the_run_could_not_be_trained_on_are_other_data(run: Path, arrays: Arrays) -> None:
    """A grouped split takes no data that bring their own validation images."""
    let_it_be_trained_on(run, "0" * 64, split="grouped")
    parts = modiste.Dataset(train=arrays, validation=arrays)
    assert own_images(run, parts, "validation") is None
    assert evaluate_on(run, parts).images == 200
