"""Somebody's own pictures from the first look to the last answer, by the real commands."""

import base64
import io
import json
import re
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from server_process import listening

import modiste
import own_pictures
from commands_and_data import run_modiste
from modiste.inference.answers import answers
from modiste.inference.onnx_model import OnnxModel
from modiste.inference.predictor import Predictor
from modiste.reports.report import write_report
from own_pictures import Planted

NAMES = {"bag": 8, "sneaker": 7, "trouser": 1}
COUNTS = (40, 60, 120)
AS_TRAINED = ("--pictures", "whole", "--colour")


class Bench:
    """A folder of pictures with what is wrong in it, the run trained on it, and the commands at work there."""

    def __init__(self, place: Path) -> None:
        self.place, self.pictures, self.run = place, place / "pictures", place / "run"
        known = modiste.load_dataset().train
        images, labels = [], []
        for number, (label, count) in enumerate(zip(NAMES.values(), COUNTS, strict=True)):
            members = (known.labels == label).nonzero().squeeze(1)[:count]
            images.append(known.images[members, 0].numpy())
            labels += [number] * count
        self.planted: Planted = own_pictures.write_folder(
            self.pictures, np.concatenate(images), np.array(labels), list(NAMES), faults=6
        )
        self.modiste = partial(run_modiste, cwd=place, XDG_CACHE_HOME=str(place / "cache"))
        words = ("--data.source", "pictures", "--data.pictures", "whole", "--data.colour", "--data.repeats", 12)
        self.trained = self.modiste(
            "train",
            "sprint",
            *words,
            "--epochs",
            3,
            "--balance",
            1,
            "--precision",
            "float32",
            "--device",
            "cpu",
            "--out",
            self.run,
        )

    @cached_property
    def exported(self) -> Path:
        """The run's ONNX file."""
        done = self.modiste("export", "run", "--out", self.place / "model.onnx")
        assert done.returncode == 0, done.stderr
        return self.place / "model.onnx"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("classes"))


def test_training_tells_what_is_wrong_and_learns(bench: Bench) -> None:
    assert bench.trained.returncode == 0, bench.trained.stderr
    told = bench.trained.stderr
    assert "files are left out" in told
    assert "not a readable image" in told
    assert re.search(r"unequal classes, in training bag \d+, sneaker \d+, trouser \d+; --balance 1", told)
    accuracy = float(re.search(r"validation accuracy ([\d.]+)%", bench.trained.stdout)[1])  # type: ignore[index]
    assert accuracy > 85


def test_data_lists_every_bad_file_and_counts_each_part(bench: Bench) -> None:
    done = bench.modiste("data", "pictures", *AS_TRAINED)
    assert done.returncode == 0, done.stderr
    listed = re.findall(r"left out: (\S+): ", done.stdout)
    assert sorted(listed) == sorted(bench.planted.damaged)
    counts = re.findall(
        r"^(training|validation|test, held out): (\d+) images of 28 x 28, red", done.stdout, re.MULTILINE
    )
    assert [part for part, _ in counts] == ["training", "validation", "test, held out"]
    assert sum(int(count) for _, count in counts) == sum(COUNTS) + 12


def test_the_sealed_share_is_measured_and_counted(bench: Bench) -> None:
    done = bench.modiste("evaluate", "run", "--split", "test", "--json", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["accuracy"] > 0.85
    assert found["test_openings"] == 1
    assert set(found["per_class"]) == set(NAMES)


@pytest.mark.slow
def test_the_exported_file_prepares_and_answers_as_the_run_does(bench: Bench) -> None:
    """One preparation: the picture that a command is given becomes, bit for bit, what training saw."""
    model, predictor = OnnxModel.load(bench.exported), Predictor.load(bench.run, device="cpu")
    assert model.preparation == predictor.preparation
    assert (model.metadata["pictures"], model.image_shape) == ("whole", (3, 28, 28))
    recipe = replace(predictor.info.recipe.data, source=str(bench.pictures))
    images = modiste.load_dataset(recipe).validation.images
    sound = [path for path in sorted(bench.pictures.rglob("*.*")) if not path.name.startswith("damaged")]
    prepared = {path: predictor.preparation(path).planes.tobytes() for path in sound}
    assert {image.numpy().tobytes() for image in images} <= set(prepared.values())
    chosen = sound[:20]
    done = bench.modiste("predict", bench.exported, *chosen, "--json")
    assert done.returncode == 0, done.stderr
    for told, answer in zip(
        json.loads(done.stdout), answers(predictor, zip(names(chosen), chosen, strict=True)), strict=True
    ):
        assert told["class"] == answer.probabilities[0][0]
        for name, probability in answer.probabilities:
            assert told["probabilities"][name] == pytest.approx(probability, abs=1e-4)


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_the_exported_file_is_served_in_colour(bench: Bench) -> None:
    picture = next(bench.pictures.rglob("0*.png"))
    with listening(bench.exported) as server, server.client() as client:
        found = client.post("/v1/predict?steps=true&explain=true", files=[("images", ("a.png", picture.read_bytes()))])
        model = client.get("/v1/model").json()
    (answer,) = found.json()["answers"]
    ((_, prepared),) = [(step["name"], step["picture"]) for step in answer["steps"] if "view" in step["name"]]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(prepared.partition(",")[2]))))
    own = OnnxModel.load(bench.exported).preparation(picture)
    assert np.array_equal(image, own.image)
    assert np.shape(answer["evidence"]) == (28, 28)
    assert set(answer["probabilities"]) == set(NAMES)
    assert (model["image_shape"], model["metadata"]["pictures"]) == ([3, 28, 28], "whole")


@pytest.mark.slow
def test_the_audit_finds_what_was_planted(bench: Bench) -> None:
    done = bench.modiste(
        "data", "audit", "pictures", *AS_TRAINED, "--with-test", "--folds", 3, "--json", "--out", "audited"
    )
    assert done.returncode == 0, done.stderr
    assert "the held-out test images are opened" in done.stderr
    found = json.loads(done.stdout)
    assert {frozenset(pair) for pair in bench.planted.exact} == {frozenset(one["files"]) for one in found["exact"]}
    near = {frozenset(one["files"]) for one in found["near"]}
    assert len({frozenset(pair) for pair in bench.planted.near} & near) >= 5
    asked = set(bench.planted.mislabelled) - held_out_files(bench)
    suspected = {one["file"] for one in found["suspicious"]}
    assert len(asked & suspected) > len(asked) / 2
    assert len(suspected) < 30
    page = (bench.place / "audited" / "audit.html").read_text(encoding="utf-8")
    assert "The held-out test images were opened" in page
    assert all(name in page for name in asked & suspected)
    assert json.loads((bench.place / "audited" / "audit.json").read_text(encoding="utf-8")) == found


def held_out_files(bench: Bench) -> set[str]:
    from modiste.data.pictures.division import divide
    from modiste.data.pictures.picture_source import list_pictures
    from modiste.recipes.recipe import DataRecipe

    known = list_pictures(bench.pictures)
    opened = {entry.name for entry in divide(bench.pictures, known, DataRecipe(pictures="whole")).entries}
    return {entry.name for entry in known.entries} - opened


def test_report_and_steps_are_drawn_in_colour(bench: Bench) -> None:
    picture = next(bench.pictures.rglob("0*.png"))
    shown = bench.modiste("predict", "run", picture, "--show", "shown", "--device", "cpu")
    assert shown.returncode == 0, shown.stderr
    assert len(list((bench.place / "shown").iterdir())) == 1
    assert write_report(bench.run, data_folder=bench.pictures).is_file()
