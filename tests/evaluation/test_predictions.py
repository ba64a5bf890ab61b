"""Predictions as a file: the same numbers in every format, and those of the run."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

import modiste
from commands_and_data import CLASSES
from modiste.cli import main
from modiste.errors import MissingExtraError, RecipeError, StorageError
from modiste.evaluation.ensemble import evaluate_together
from modiste.evaluation.metrics import mean_probabilities
from modiste.evaluation.predictions import WRITERS, check_path, write_predictions
from modiste.runs.run_folder import open_run, read_logits

NAMES = ("coat", 'a "quoted", name', "=1+1")
LOGITS = torch.tensor([[0.0, 1.0, 2.0], [3.0, -1.0, 0.5]])
LABELS = torch.tensor([2, 1])


def table(path: Path) -> dict[str, np.ndarray]:
    """The columns of a file, by the name that its own library finds."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
        return {name: np.array(column, float) for name, column in zip(head, zip(*rows, strict=True), strict=True)}
    if path.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        found = parquet.read_table(path)
        return {name: found[name].to_numpy() for name in found.column_names}
    with np.load(path, allow_pickle=False) as file:
        columns = {name: file[name] for name in ("index", "label", "predicted")}
        names = [f"probability_{name}" for name in file["class_names"]]
        return columns | dict(zip(names, file["probabilities"].T, strict=True))


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_has_the_same_numbers(suffix: str, tmp_path: Path) -> None:
    write_predictions(tmp_path / f"out{suffix}", LOGITS, LABELS, NAMES)
    found = table(tmp_path / f"out{suffix}")
    assert list(found) == ["index", "label", "predicted", *(f"probability_{name}" for name in NAMES)]
    assert [found[name].tolist() for name in ("index", "label", "predicted")] == [[0, 1], [2, 1], [2, 0]]
    wanted = LOGITS.double().softmax(1).float().numpy()
    got = np.stack([found[f"probability_{name}"] for name in NAMES], 1).astype(np.float32)
    assert np.array_equal(got, wanted)


@pytest.mark.parametrize("suffix", WRITERS)
def test_equal_predictions_are_equal_bytes(suffix: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_predictions(tmp_path / f"{name}{suffix}", LOGITS, LABELS, NAMES)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_they_are_those_of_the_run(finished_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    measured = modiste.evaluate(finished_run, data_folder=tiny_folder, predictions=out)
    found = table(out)
    assert len(found["index"]) == measured.images
    assert (found["label"] == found["predicted"]).mean() == pytest.approx(measured.accuracy)
    assert len(found) == 3 + CLASSES
    logits, labels = read_logits(open_run(finished_run).folder / "validation-logits.safetensors")
    assert found["label"].tolist() == labels.tolist()
    assert found["predicted"].tolist() == logits.argmax(1).tolist()


def test_an_ensemble_has_its_own(finished_run: Path, tmp_path: Path) -> None:
    evaluate_together([finished_run, finished_run], predictions=tmp_path / "out.npz")
    logits, _ = read_logits(finished_run / "validation-logits.safetensors")
    wanted = mean_probabilities([logits, logits]).float().numpy()
    with np.load(tmp_path / "out.npz") as file:
        assert np.allclose(file["probabilities"], wanted, rtol=1e-6)


@pytest.mark.parametrize("name", ["out", "out.xlsx", "out.CSV"])
def test_another_ending_is_refused_before_anything_is_measured(name: str, finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"expected a name that ends in \.csv, \.npz, \.parquet"):
        modiste.evaluate(finished_run, split="test", predictions=name)
    assert open_run(finished_run).test_openings == 0
    with pytest.raises(RecipeError):
        evaluate_together([tmp_path / "no-run"], predictions=name)


def test_parquet_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"modiste\[parquet\]"):
        check_path("out.parquet")


def test_a_place_that_cannot_be_written(finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        write_predictions(tmp_path / "file" / "out.csv", LOGITS, LABELS, NAMES)
    with pytest.raises(StorageError):
        modiste.evaluate(finished_run, split="test", predictions=tmp_path / "file" / "out.csv")
    assert open_run(finished_run).test_openings == 0, "it is refused before the test set is opened"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_command_writes_them(finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main.main(["evaluate", str(finished_run), "--predictions", str(tmp_path / "out.csv")])
    assert "accuracy" in capsys.readouterr().out
    assert len((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()) == 81
