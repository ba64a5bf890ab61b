"""Prediction sets of `predict` hold the class as often as stated, and are refused where nothing calibrates them."""

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image

import modiste
from modiste.cli import main
from modiste.errors import RecipeError
from modiste.evaluation.conformal import least_probability_of
from modiste.inference.answers import FileAnswer
from modiste.runs.run_folder import open_run


def test_sets_hold_the_class_as_often_as_stated(photo_run: Path) -> None:
    """On the very images that set the threshold the share is exact, up to one image; 600 of them are looked at."""
    found = modiste.load_dataset()
    images, labels = found.validation.images[:600, 0].numpy(), found.validation.labels[:600].tolist()
    answered = modiste.predict(photo_run, images, coverage=0.9, accept=0.001, device="cpu")
    holds = [found.class_names[label] in one.possible for one, label in zip(answered, labels, strict=True)]
    assert sum(holds) / 600 == pytest.approx(0.9, abs=0.035)
    assert all(one.possible[0] == one.nearest for one in answered if not one.is_novel)
    assert len({len(one.possible) for one in answered}) > 1


def test_a_wider_coverage_gives_no_smaller_set(photo_run: Path) -> None:
    images = modiste.load_dataset().validation.images[:40, 0].numpy()
    few, many = (modiste.predict(photo_run, images, coverage=share, device="cpu") for share in (0.8, 0.99))
    assert all(set(one.possible) <= set(other.possible) for one, other in zip(few, many, strict=True))
    assert sum(len(one.possible) for one in few) < sum(len(one.possible) for one in many)


def test_a_novel_picture_has_none() -> None:
    answer = FileAnswer("a", (("Shirt", 0.9), ("Coat", 0.1)), novelty=1.2)
    assert answer.with_set(0.01).possible == ()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    image = Image.new("L", (60, 90), 20)
    image.paste(200, (15, 15, 45, 75))
    image.save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_the_command(photo_run: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(photo_run), str(photo), "--device", "cpu", "--accept", "0.001", "--coverage", "0.99"]
    main.main([*words, "--json"])
    [answer] = json.loads(capsys.readouterr().out)
    main.main(words)
    line = capsys.readouterr().out
    assert answer["none_of_the_classes"] is False
    assert f"; among {', '.join(answer['possible'])}" in line


@pytest.mark.slow
def test_an_exported_file_gives_the_same_sets(photo_run: Path, tmp_path: Path) -> None:
    """Of images whose sets do not hang on the last digits of a probability."""
    images = modiste.load_dataset().validation.images[:200, 0].numpy()
    file = modiste.export(photo_run, tmp_path / "model.onnx").path
    options = {"coverage": 0.9, "accept": 0.001}
    own, found = modiste.predict(photo_run, images, device="cpu", **options), modiste.predict(file, images, **options)
    least = least_probability_of(open_run(photo_run), 0.9)
    clear = [all(abs(share - least) > 1e-4 for _, share in one.probabilities) for one in own]
    assert sum(clear) > 150
    assert [one.possible for one, sure in zip(own, clear, strict=True) if sure] == [
        one.possible for one, sure in zip(found, clear, strict=True) if sure
    ]


def test_the_table_has_a_column_for_the_set(photo_run: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(photo_run), str(photo), "--device", "cpu", "--accept", "0.001", "--csv"]
    main.main([*words, "--coverage", "0.99"])
    [row] = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["possible"].split(" | ")[0] == row["class"]
    main.main(words)
    [row] = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["possible"] == ""


def test_a_file_of_weights_has_nothing_to_calibrate_by(
    photo_run: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = photo_run / "model.safetensors"
    with pytest.raises(SystemExit) as left:
        main.main(["predict", str(weights), str(photo), "--coverage", "0.9"])
    assert left.value.code == 4
    assert "coverage: expected the folder of a run, or an ONNX file" in capsys.readouterr().err
    with pytest.raises(RecipeError, match=r"^coverage: expected the folder of a run"):
        modiste.predict(weights, photo, coverage=0.9)


def test_a_coverage_out_of_range(photo_run: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main.main(["predict", str(photo_run), str(photo), "--coverage", "95"])
    assert left.value.code == 4
    assert "coverage: expected a number between 0 and 1" in capsys.readouterr().err
