"""Photographs of the real images, brought back and answered as the originals are; and the command on real files."""

import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import modiste
from modiste.errors import RecipeError
from modiste.photo import prepare
from modiste.prediction import answers
from modiste.predictor import Predictor
from modiste.report.photo import steps_figure
from workbench import run_modiste

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import photographs
import strangers

COUNT = 60


@pytest.fixture
def run(photo_run: Path) -> Path:
    return photo_run


@pytest.fixture(scope="module")
def originals() -> np.ndarray:
    return modiste.load_dataset().validation.images[:COUNT, 0].numpy()


@pytest.mark.parametrize(("ground", "least"), [("shop", 0.9), ("coloured", 0.85), ("dark", 0.85), ("JPEG", 0.85)])
def test_a_photograph_of_an_image_is_answered_as_the_image(
    ground: str, least: float, run: Path, originals: np.ndarray
) -> None:
    predictor, random = Predictor.load(run, device="cpu"), np.random.default_rng(0)
    brought_back = [prepare(photographs.MAKERS[ground](image, random)) for image in originals]
    assert all(one.separated for one in brought_back)
    same = predictor.logits(np.stack([one.image for one in brought_back])).argmax(1) == predictor.logits(
        originals
    ).argmax(1)
    assert same.float().mean() >= least
    without = [np.asarray(photographs.naive(photographs.MAKERS[ground](image, random))) for image in originals]
    naive = predictor.logits(np.stack(without)).argmax(1) == predictor.logits(originals).argmax(1)
    assert same.sum() > naive.sum()


def test_an_image_of_the_data_set_goes_through_as_it_is(originals: np.ndarray) -> None:
    for image in originals:
        prepared = prepare(photographs.as_file(np.repeat(image[..., None].astype(float), 3, 2), "PNG"))
        assert np.array_equal(prepared.image, image)


def test_probabilities_are_tempered_and_sorted(run: Path, originals: np.ndarray) -> None:
    predictor = Predictor.load(run, device="cpu")
    (answer,) = answers(predictor, [("a", photographs.MAKERS["shop"](originals[0], np.random.default_rng(0)))])
    values = [value for _, value in answer.probabilities]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(1, abs=1e-5)
    assert answer.prepared is not None
    logits = predictor.logits(answer.prepared.image)
    assert max(values) == pytest.approx((logits / predictor.temperature).softmax(1).max().item(), abs=1e-6)
    assert predictor.temperature != 1
    untempered = Predictor.load(run / "model.safetensors", device="cpu")
    assert untempered.temperature == 1


@pytest.fixture
def folder(tmp_path: Path, originals: np.ndarray) -> Path:
    """Twenty pictures, two of them damaged, in folders, and a letter."""
    random, place = np.random.default_rng(1), tmp_path / "pictures"
    (place / "more").mkdir(parents=True)
    for number, image in enumerate(originals[:20]):
        content = photographs.MAKERS["JPEG"](image, random)
        where = place / "more" if number % 2 else place
        (where / f"{number:02d}.jpg").write_bytes(content[:200] if number in (3, 8) else content)
    (place / "letter.txt").write_text("no picture")
    return place


def test_a_folder_is_answered_to_its_end_and_bad_files_are_named(run: Path, folder: Path, tmp_path: Path) -> None:
    done = run_modiste("predict", run, folder, "--device", "cpu")
    assert done.returncode == 3
    assert len(done.stdout.splitlines()) == 18
    assert "2 of 20 files could not be read" in done.stderr
    for name in ("more/03.jpg", "08.jpg"):
        assert f"{folder / name}: " in done.stderr
    found = json.loads(run_modiste("predict", run, folder, "--json", "--device", "cpu").stdout)
    assert len(found) == 20
    assert sum("fault" in one for one in found) == 2
    table = run_modiste("predict", run, folder, "--csv", "--device", "cpu").stdout
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["class"] for row in rows] == [one.get("class", "") for one in found]
    assert [row["file"] for row in rows] == [one["file"] for one in found]
    answered = [row for row in rows if row["class"]]
    for line, row in zip(done.stdout.splitlines(), answered, strict=True):
        assert line.startswith(f"{row['file']}: ")
        assert f"{row['class']} " in line
        assert ("none of the 10 classes" in line) == (float(row["novelty"]) > 1)


def test_the_command_computes_in_the_precision_asked_for(run: Path, folder: Path) -> None:
    told = {}
    for precision in ("trained", "float32", "bfloat16"):
        words = ("predict", run, folder / "00.jpg", "--json", "--device", "cpu", "--precision", precision)
        (told[precision],) = json.loads(run_modiste(*words).stdout)
    own = Predictor.load(run).info.recipe.precision
    other = {"float32": "bfloat16", "bfloat16": "float32"}[own]
    assert told[own] == told["trained"] != told[other]
    assert told[other]["probabilities"] == pytest.approx(told[own]["probabilities"], abs=0.02)


def test_pictures_of_other_things_are_told(run: Path, originals: np.ndarray) -> None:
    predictor = Predictor.load(run, device="cpu").telling_strangers(run)
    assert predictor.novelty is not None
    assert 0.01 < predictor.novelty.false_alarms < 0.08
    assert predictor.novelty.images == 5000
    random = np.random.default_rng(0)
    for name, make in strangers.MAKERS.items():
        pictures = [(name, strangers.as_file(make(random))) for _ in range(30)]
        told = [answer.is_novel for answer in answers(predictor, pictures)]
        assert np.mean(told) > 0.6, name
    own = [("own", photographs.as_file(np.repeat(image[..., None].astype(float), 3, 2), "PNG")) for image in originals]
    assert np.mean([answer.is_novel for answer in answers(predictor, own)]) < 0.15


def test_the_picture_says_that_it_is_none_of_the_classes(run: Path, originals: np.ndarray) -> None:
    predictor = Predictor.load(run, device="cpu")
    (known,) = answers(predictor, [("own", originals[0])])
    looked = np.zeros(originals[0].shape)
    titles = [steps_figure(replace(known, novelty=novelty), looked, {}).get_suptitle() for novelty in (0.5, 1.5)]
    best, probability = known.probabilities[0]
    assert titles == [f"{best}, {probability:.1%}", f"none of the 10 classes; nearest {best}, {probability:.1%}"]


def test_the_way_to_the_network_is_drawn(run: Path, folder: Path, tmp_path: Path) -> None:
    done = run_modiste("predict", run, folder / "00.jpg", "--show", tmp_path / "shown", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    (picture,) = (tmp_path / "shown").iterdir()
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "complaint", "code"),
    [
        ((), "expected a run and pictures", 2),
        (("RUN",), "expected a run and pictures", 2),
        (("RUN", "nowhere.jpg"), "no such file or folder", 3),
        (("RUN", "EMPTY"), "no pictures in this folder", 3),
        (("RUN", "EMPTY", "--precision", "half"), "('trained', 'float32', 'bfloat16', 'auto')", 2),
    ],
)
def test_the_command_refuses(words: tuple[str, ...], complaint: str, code: int, run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    named = {"RUN": run, "EMPTY": tmp_path / "empty"}
    done = run_modiste("predict", *(named.get(word, word) for word in words), cwd=tmp_path)
    assert (done.returncode, complaint in done.stderr, "Traceback" in done.stderr) == (code, True, False)


def test_a_network_of_other_images_is_refused(finished_run: Path) -> None:
    predictor = Predictor.load(finished_run, device="cpu")
    wide = replace(predictor, info=replace(predictor.info, task=replace(predictor.info.task, image_shape=(3, 12, 12))))
    with pytest.raises(RecipeError, match="choose whole for colour"):
        list(answers(wide, []))
