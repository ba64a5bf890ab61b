"""Agreement with people: the file is read as it was published, and the figures are those of the definitions."""

import json
import shutil
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch

import modiste
from commands_and_data import CLASSES, TEST_COUNT
from modiste.benchmarks.human import describe, of_people, read_counts
from modiste.errors import DataError, RecipeError
from modiste.runs import run_folder

NAMES = ("a", "b", "c")


def test_a_network_by_hand() -> None:
    counts = torch.tensor([[9, 1, 0], [5, 5, 0], [0, 0, 10], [3, 3, 4]])
    logits = torch.tensor([[9.0, 0, 0], [0, 9.0, 0], [9.0, 0, 0], [9.0, 0, 0]]).double()
    found = describe(logits, counts, torch.tensor([0, 0, 2, 2]), NAMES)
    assert found["agreement"] == 0.5  # the first, and the second by a tie
    assert found["agreement_by_class"] == {"a": 1.0, "b": None, "c": 0.0}
    assert (found["clear_images"], found["agreement_where_people_agree"]) == (2, 0.5)
    assert found["alone"] == 1  # nobody called the third image "a"


def test_cross_entropy_of_an_indifferent_network() -> None:
    counts = torch.tensor([[2, 1, 1], [0, 7, 0]])
    found = describe(torch.zeros(2, 3).double(), counts, torch.tensor([0, 1]), NAMES)
    assert found["cross_entropy"] == pytest.approx(log(3))


def test_people_by_hand() -> None:
    found = of_people(torch.tensor([[3, 1, 0], [0, 2, 2]]), torch.tensor([0, 0]), NAMES)
    assert found["majority_is_label"] == 0.5
    assert found["person_is_label"] == 0.375
    assert found["entropy"] == pytest.approx((-0.75 * log(0.75) - 0.25 * log(0.25) + log(2)) / 2)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Sixty people an image, at random; RandomState because its numbers never change."""
    counts = np.random.RandomState(0).multinomial(60, [0.6, 0.1, 0.1, 0.1, 0.1], TEST_COUNT)
    path = tmp_path / "counts.csv"
    path.write_text("\r\n".join(",".join(map(str, row)) for row in counts) + "\r\n", encoding="utf-8")
    return path


def test_the_file_is_read(labels: Path) -> None:
    found = read_counts(labels, TEST_COUNT, CLASSES)
    assert found.shape == (TEST_COUNT, CLASSES)
    assert found.sum(1).tolist() == [60] * TEST_COUNT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,2,3\n1,2,3\n", "another number of images: expected 3 rows, one for each image, found 2"),
        ("a,b,c\n1,2,3\n1,2,3\n", "line 1 has no counts: expected 3 whole numbers, .*found 'a,b,c'"),
        ("1,2\n" * 3, "line 1 has no counts"),
        ("1,2,-3\n" * 3, "line 1 has no counts"),
        ("0,0,0\n" * 3, "line 1 has no counts: expected 3 whole numbers, not all zero"),
        ("1,2,3\n1;2;3\n1,2,3\n", "line 2 has no counts"),
        ("", "another number of images"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "x.csv").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_counts(tmp_path / "x.csv", 3, 3)


def test_no_text_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("x.csv", "none.csv"):
        with pytest.raises(DataError, match=f"{name}: cannot be read"):
            read_counts(tmp_path / name, 3, 3)


def test_a_run(finished_run: Path, tiny_folder: Path, labels: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    with pytest.raises(RecipeError, match=r"^human: expected a file of human labels"):
        modiste.benchmark("human", run, data_folder=tiny_folder, device="cpu")
    assert run_folder.open_run(run).test_openings == 0
    where = {"data_folder": tiny_folder, "device": "cpu", "out": tmp_path / "page"}
    found = modiste.benchmark("human", run, labels=labels, **where)  # type: ignore[arg-type]
    logits, _ = run_folder.read_logits(run / "test-logits.safetensors")
    agrees = (logits.argmax(1) == read_counts(labels, TEST_COUNT, CLASSES).argmax(1)).double().mean().item()
    assert found.runs[0].figures["agreement with the majority"].value == pytest.approx(agrees)
    people = found.settings["people"]
    page = (tmp_path / "page" / "benchmark-human.html").read_text(encoding="utf-8")
    assert f"a person gives the published label</th><td>{people['person_is_label']:.2%}</td>" in page
    assert "majority_is_label" not in page  # as a dictionary of Python shows it
    [plain] = json.loads((tmp_path / "page" / "benchmark-human.json").read_text(encoding="utf-8"))
    assert plain["settings"]["people"] == people
