"""A run of a person's own pictures keeps what it needs of them: they may change, move or go after training."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from commands_and_data import run_modiste, write_pictures
from fault_counter import slow_case
from modiste.data.dataset import load_development, shown_once
from modiste.errors import DataError, RunError
from modiste.evaluation import run_images
from modiste.evaluation.out_of_distribution import run_detector
from modiste.evaluation.run_images import development_of, load_own_development
from modiste.exports import export, formats
from modiste.inference.predictor import Predictor
from modiste.recipes.networks import CNNRecipe
from modiste.recipes.recipe import DataRecipe, Recipe
from modiste.reports.figures import write_figures
from modiste.reports.photo import typical_images
from modiste.reports.report import write_report
from modiste.runs import checkpoint, manifest, storage
from modiste.runs.run_folder import IMAGES, open_run
from modiste.training import trainer

COUNTS = {"boot": 30, "cap": 20, "scarf": 20}
KEPT = (IMAGES, run_detector.FILE)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with pictures, ``own``, and with a run that was trained on them; copy it to change it."""
    place = tmp_path_factory.mktemp("trained")
    write_pictures(place / "own", COUNTS)
    data = DataRecipe(source=str(place / "own"), pictures="whole", side=12, repeats=2)
    recipe = Recipe(name="own", epochs=1, batch_size=16, data=data, model=CNNRecipe(filters=(4,), pools=1, hidden=(8,)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        trainer.train(recipe, place / "run", device="cpu")
    return place


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it whose pictures the recipe does not name: to the run they have gone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(trained / "run", tmp_path / "run")
    shutil.copytree(trained / "own", tmp_path / "moved")
    return tmp_path


def forget_what_is_kept(run: Path) -> None:
    """Make of a run one that an earlier version trained."""
    files, openings = manifest.read(run)
    manifest.write(run, {name: digest for name, digest in files.items() if name not in KEPT}, openings)
    for name in KEPT:
        (run / name).unlink()


def test_the_images_are_those_that_it_was_measured_on(trained: Path) -> None:
    run = open_run(trained / "run")
    assert set(KEPT) <= set(run.files)
    kept, whole = development_of(run), development_of(run, trained / "own")
    whole = replace(whole, train=shown_once(whole.train, run.recipe.data))
    assert torch.equal(kept.validation.images, whole.validation.images)
    assert torch.equal(kept.validation.labels, whole.validation.labels)
    assert torch.equal(kept.train.images, whole.train.images), "few enough to be kept, all of them"
    assert (kept.name, kept.class_names, kept.fingerprint) == (whole.name, whole.class_names, whole.fingerprint)


def test_a_training_image_that_an_epoch_shows_twice_is_there_once(place: Path) -> None:
    run = open_run(place / "run")
    whole = development_of(run, place / "moved").train
    for train in (development_of(run).train, shown_once(whole, run.recipe.data)):
        assert len({image.numpy().tobytes() for image in train.images}) == len(train) == len(whole) // 2


def test_images_of_a_program_are_not_taken_for_repeats(place: Path) -> None:
    """They are trained as they are, however often the recipe would repeat those of a folder."""
    whole = shown_once(development_of(open_run(place / "run"), place / "moved").train, DataRecipe(repeats=2))
    for repeats in (2, 3, 1000):
        assert shown_once(whole, DataRecipe(repeats=repeats)) is whole


def test_a_data_set_that_cannot_change_is_not_kept(finished_run: Path) -> None:
    assert not set(KEPT) & set(open_run(finished_run).files)


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ("all gone", ["safetensors"]),
        slow_case("all gone", ["onnx"]),
        slow_case("one picture more", ["onnx", "safetensors"]),
        slow_case("one picture less", ["onnx", "safetensors"]),
    ],
)
def test_a_run_works_on_whatever_becomes_of_the_pictures(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, kinds: list[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run, own = Path(shutil.copytree(trained / "run", tmp_path / "run")), trained / "own"
    picture, away = own / "boot" / "000.png", trained / "away"
    if change == "one picture more":
        shutil.copy(picture, own / "boot" / "more.png")
    else:
        (picture if change == "one picture less" else own).rename(away)
    try:
        assert Predictor.load(run, device="cpu").with_novelty(run).novelty
        for kind in kinds:
            assert export.export(run, to=kind).proof.agreement == 1
        write_report(run)
        assert write_figures(tmp_path / "figures", run=run)
    finally:
        if change == "one picture more":
            (own / "boot" / "more.png").unlink()
        else:
            away.rename(picture if change == "one picture less" else own)


@pytest.mark.slow
def test_the_commands_say_which_flag_helps_an_older_run(place: Path) -> None:
    forget_what_is_kept(place / "run")
    picture, moved = place / "moved" / "boot" / "000.png", place / "moved"
    recipe = (place / "run" / "recipe.json").read_text(encoding="utf-8")
    assert str(moved) not in recipe
    first = run_modiste("predict", place / "run", picture)
    assert first.returncode == 0
    assert "--data-folder FOLDER" in first.stderr
    done = run_modiste("predict", place / "run", picture, "--data-folder", moved)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [line for line in done.stderr.splitlines() if "computing once" in line]
    assert run_detector.FILE in open_run(place / "run").files
    assert run_modiste("export", place / "run", "--data-folder", moved).returncode == 0


def test_pictures_that_have_moved_are_missed_with_the_flag_that_helps(
    place: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_what_is_kept(place / "run")
    run = open_run(place / "run")
    moved = replace(run, recipe=replace(run.recipe, data=replace(run.recipe.data, source=str(place / "gone"))))
    with pytest.raises(DataError, match="if the data have moved, give their folder: --data-folder FOLDER"):
        load_own_development(moved)
    assert load_own_development(moved, place / "moved").fingerprint == run.load_info().fingerprint
    (place / "moved" / "boot" / "000.png").unlink()
    with pytest.raises(RunError, match="--data-folder FOLDER"):
        load_own_development(moved, place / "moved")


def test_predicting_reads_no_folder_that_the_person_did_not_name(place: Path, opened: list[Path]) -> None:
    forget_what_is_kept(place / "run")
    predictor = Predictor.load(place / "run", device="cpu")
    with pytest.raises(DataError):
        predictor.with_novelty(place / "run")
    assert typical_images(predictor) == {}
    weights = Predictor.load(place / "run" / "model.safetensors", device="cpu")
    assert typical_images(weights) == {}
    assert opened == []
    assert set(typical_images(predictor, place / "moved")) == set(COUNTS)


def test_typical_images_come_from_what_is_kept(place: Path, opened: list[Path]) -> None:
    assert set(typical_images(Predictor.load(place / "run", device="cpu"))) == set(COUNTS)
    assert opened == []


@pytest.mark.slow
def test_eight_bits_and_the_proof_see_every_class(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures come class by class: the first of them are all of one class."""
    monkeypatch.setattr(export, "CALIBRATION_IMAGES", 9)
    monkeypatch.setattr(export, "PROOF_IMAGES", 6)
    seen: dict[str, Any] = {}
    reader, compare = formats._reader, export.compare
    monkeypatch.setattr(formats, "_reader", lambda images: (seen.update(calibration=images), reader(images))[1])
    monkeypatch.setattr(export, "compare", lambda *found: (seen.update(proof=found[2]), compare(*found))[1])
    export.export(place / "run")
    assert seen["proof"].labels.bincount().tolist() == [2, 2, 2]
    export.export(place / "run", int8=True)
    train = load_development(replace(open_run(place / "run").recipe.data, source=str(place / "moved"))).train
    labels = {image.numpy().tobytes(): int(label) for image, label in zip(train.images, train.labels, strict=True)}
    assert np.bincount([labels[image.tobytes()] for image in seen["calibration"]]).tolist() == [3, 3, 3]


def test_validation_images_beyond_the_bound_are_not_kept(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    development = development_of(open_run(trained / "run"))
    monkeypatch.setattr(run_images, "MOST_BYTES", 10)
    run_images.keep(tmp_path, development, DataRecipe())
    assert not (tmp_path / IMAGES).exists()
    assert "they are not kept in the run" in caplog.text
    monkeypatch.undo()
    monkeypatch.setattr(run_images, "SAMPLE_BYTES", 7 * 12 * 12)
    run_images.keep(tmp_path, development, DataRecipe())
    tensors, _ = checkpoint.read(tmp_path / IMAGES)
    assert sorted(tensors["train:labels"].bincount().tolist()) == [2, 2, 3]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("validation:images", lambda one: one.float()),
        ("validation:images", lambda one: one[:, :, :5]),
        ("validation:images", lambda one: one[:3]),
        ("validation:labels", lambda one: one + 5),
        ("validation:labels", lambda one: one - 5),
        ("validation:labels", lambda one: one.float()),
        ("train:images", lambda one: one[:0]),
        ("name", lambda _: None),
    ],
)
def test_what_is_kept_of_another_kind_is_refused_in_one_line(
    place: Path, name: str, change: Callable[[Any], Any]
) -> None:
    path = place / "run" / IMAGES
    tensors, plain = checkpoint.read(path)
    part = tensors if name in tensors else plain
    part[name] = change(part[name])
    path.write_bytes(checkpoint.to_bytes(tensors, {key: value for key, value in plain.items() if value is not None}))
    files, openings = manifest.read(place / "run")
    manifest.write(place / "run", {**files, IMAGES: storage.sha256(path)}, openings)
    with pytest.raises(RunError, match=r"these are not the run's images.*--data-folder FOLDER"):
        development_of(open_run(place / "run"))
