"""The command runs every benchmark, opens the test set once, and takes seeds together."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from few_kinds import keep_kinds

import modiste
from commands_and_data import write_pictures
from modiste.api.training import with_teachers
from modiste.benchmarks import run
from modiste.benchmarks.result import from_plain
from modiste.benchmarks.run import BENCHMARKS, all_names
from modiste.benchmarks.settings import Settings, from_names
from modiste.cli import main
from modiste.errors import DataError, RecipeError, RunError, StorageError
from modiste.recipes.networks import MLPRecipe
from modiste.recipes.recipe import DataRecipe, Recipe
from modiste.runs import run_folder
from modiste.training import trainer
from modiste.training.setup import Inputs


@pytest.fixture(autouse=True)
def _two_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_kinds(monkeypatch, "scale", "fog")


@pytest.mark.slow
def test_all_on_test(
    finished_run: Path, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = shutil.copytree(finished_run, tmp_path / "one"), tmp_path / "other"
    trainer.train(replace(tiny_recipe, seed=1), other, Inputs(tiny_folder), device="cpu")
    where = ["--data-folder", str(tiny_folder), "--out", str(tmp_path / "page"), "--device", "cpu"]
    main.main(["benchmark", "all", str(one), str(other), "--attacked", "20", "--steps", "2", *where])
    printed = capsys.readouterr().out
    assert [run_folder.open_run(run).test_openings for run in (one, other)] == [1, 1]
    plain = json.loads((tmp_path / "page" / "benchmark-all.json").read_text(encoding="utf-8"))
    page = (tmp_path / "page" / "benchmark-all.html").read_text(encoding="utf-8")
    names = all_names(Settings())
    assert [part["name"] for part in plain] == names
    for name in names:
        assert f"{name}, test, {'20 of ' if name == 'robust' else ''}100 images" in printed
        assert f'<h2 id="{name}">' in page
    assert "tiny (2 seeds)" in printed
    assert " ± " in printed
    assert all(len(part["runs"]) == 2 for part in plain)


@pytest.mark.parametrize("defect", [False, True], ids=["error", "defect"])
def test_all_goes_on_after_one_failed(
    finished_run: Path,
    tiny_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    defect: bool,
) -> None:
    """The test set has been opened by then: what can be measured is measured."""

    def fail(*_: object) -> NoReturn:
        raise ValueError("broken") if defect else DataError("mnist: damaged; fetch it again")

    monkeypatch.setitem(run.BENCHMARKS, "corruptions", replace(run.BENCHMARKS["corruptions"], measure=fail))
    copied = shutil.copytree(finished_run, tmp_path / "run")
    where = ["--data-folder", str(tiny_folder), "--out", str(tmp_path / "page"), "--device", "cpu"]
    with pytest.raises(ValueError if defect else SystemExit) as left:  # a defect keeps its traceback
        main.main(["benchmark", "all", str(copied), "--attacked", "20", "--steps", "2", *where])
    printed = capsys.readouterr()
    message = "broken" if defect else "mnist: damaged; fetch it again"
    assert defect or left.value.code == 1  # type: ignore[attr-defined]
    assert f"benchmark corruptions failed: {message}\n" in printed.err
    others = [name for name in all_names(Settings()) if name != "corruptions"]
    assert defect or all(f"{name}, test, {'20 of ' if name == 'robust' else ''}100" in printed.out for name in others)
    parts = json.loads((tmp_path / "page" / "benchmark-all.json").read_text(encoding="utf-8"))
    assert [part["name"] for part in parts] == others
    page = (tmp_path / "page" / "benchmark-all.html").read_text(encoding="utf-8")
    assert f"<strong>Not measured: corruptions.</strong> {message}" in page
    assert run_folder.open_run(copied).test_openings == 1


def test_from_python_what_failed_is_left_out_with_a_warning(
    finished_run: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> NoReturn:
        raise DataError("gone")

    for name in ("ood", "robust", "corruptions"):
        monkeypatch.setitem(run.BENCHMARKS, name, replace(run.BENCHMARKS[name], measure=fail))
    keywords = {"split": "validation", "data_folder": tiny_folder, "device": "cpu"}
    assert [one.name for one in modiste.benchmark_all(finished_run, **keywords)] == ["conformal"]  # type: ignore[arg-type]
    assert caplog.messages == [f"benchmark {name} failed: gone" for name in ("corruptions", "ood", "robust")]
    with pytest.raises(DataError, match="gone"):
        modiste.benchmark("ood", finished_run, **keywords)  # type: ignore[arg-type]


def test_all_is_what_needs_no_file_and_no_training() -> None:
    assert all_names(Settings()) == [name for name in BENCHMARKS if name not in ("human", "noise")]
    assert all_names(Settings(labels=Path("x.csv"))) == [name for name in BENCHMARKS if name != "noise"]


def test_from_python_a_result_shows_itself(finished_run: Path, tiny_folder: Path) -> None:
    found = modiste.benchmark("conformal", finished_run, split="validation", data_folder=tiny_folder, coverage=0.8)
    assert repr(found).startswith("conformal, validation, 40 of 80 images\n")
    assert "coverage, adaptive" in found._repr_html_()
    assert json.loads(json.dumps(found.as_plain()))["settings"]["coverage"] == 0.8
    [row] = found.runs
    for one in row.details.values():
        assert one["coverage_interval"][0] <= one["coverage"] <= one["coverage_interval"][1]
        assert sum(one["sizes"]) == 40  # the half of the validation images that does not calibrate


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["conformal", "RUN", "--coverage", "95"], "coverage: expected a number between 0 and 1"),
        (["robust", "RUN", "--steps", "0"], "steps: expected at least 1"),
        (["human", "RUN"], "human: expected a file of human labels"),
        (["human", "RUN", "--labels", "x.csv", "--split", "validation"], "human: expected --split test, found valid"),
        (["noise", "RUN", "--share", "20"], "share: expected a number between 0 and 1"),
        (["robus", "RUN"], "no benchmark 'robus'; did you mean 'robust'?"),
    ],
)
def test_what_is_wrong_is_said_before_the_test_set_is_opened(
    finished_run: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main.main(["benchmark", *(word.replace("RUN", str(finished_run)) for word in words)])
    assert left.value.code == 4
    assert message in capsys.readouterr().err
    assert run_folder.open_run(finished_run).test_openings == 0


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Class folders, with test pictures."""
    for number, (part, count) in enumerate({"train": 12, "test": 6}.items()):
        write_pictures(tmp_path / "shop" / part, {"a": count, "b": count}, seed=number)
    return tmp_path / "shop"


def pictured(shop: Path, name: str, **changes: Any) -> Path:
    data = DataRecipe(source=str(shop), **{"pictures": "whole", "side": 8, "validation_fraction": 0.4} | changes)
    recipe = Recipe(name=name, epochs=1, batch_size=4, data=data, model=MLPRecipe(hidden=(4,)))
    trainer.train(recipe, shop.parent / name, device="cpu")
    return shop.parent / name


def refused(name: str, runs: list[Path], kind: type[Exception], message: str, **settings: Any) -> None:
    """Assert that a benchmark on test ends in an error, and that no opening of the test set is counted."""
    before = [run_folder.open_run(run).test_openings for run in runs]
    with pytest.raises(kind, match=message):
        modiste.benchmark(name, runs, device="cpu", **settings)
    assert [run_folder.open_run(run).test_openings for run in runs] == before


def test_runs_that_prepare_pictures_in_unlike_ways_are_refused(shop: Path) -> None:
    first, large, old = pictured(shop, "first"), pictured(shop, "large", side=12), pictured(shop, "old", decoder=1)
    refused("conformal", [first, large], RunError, r"large: data\.side is 12, that of .*first is 8; expected runs that")
    refused("conformal", [first, old], RunError, r"old: data\.decoder is 1, that of .*first is 3; expected runs that")


def test_test_pictures_that_were_not_measured_are_refused(shop: Path) -> None:
    folder = pictured(shop, "first")
    modiste.evaluate(folder, split="test")
    shutil.copy(shop / "train" / "a" / "000.png", shop / "test" / "a" / "more.png")
    refused("robust", [folder], RunError, "first: the test images found are not those that it was measured on; rest")


def test_what_the_runs_and_files_show_is_said_before_the_test_set_is_opened(
    shop: Path, finished_run: Path, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    tiny: dict[str, Any] = {"data_folder": tiny_folder}
    refused("conformal", [finished_run, finished_run], RunError, "the same recipe and seed as", **tiny)
    refused("human", [finished_run], DataError, r"typo\.csv: cannot be read", labels="typo.csv", **tiny)
    refused("ood", [finished_run], DataError, "typo: no such data set or folder", against="typo", **tiny)
    np.savez(tmp_path / "small.npz", images=np.zeros((4, 9, 9), np.uint8), labels=np.arange(4))
    refused("ood", [finished_run], DataError, "small.npz: expected images of", against=tmp_path / "small.npz", **tiny)
    coloured = pictured(shop, "coloured", colour=True)
    refused("corruptions", [coloured], DataError, "images: expected one channel, grey, found 3")
    taught = with_teachers(replace(tiny_recipe, epochs=1), [finished_run])[0]
    trainer.train(taught, tmp_path / "taught", Inputs(tiny_folder, teachers=[finished_run]), device="cpu")
    refused("noise", [tmp_path / "taught"], RecipeError, r"distillation\.teachers: expected none in the", **tiny)


def test_a_page_that_cannot_be_written_is_refused_before_the_test_set_is_opened(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/page: cannot be written \("):
        modiste.benchmark("conformal", finished_run, out=tmp_path / "file" / "page")
    monkeypatch.setitem(sys.modules, "modiste.reports.page", None)  # as if Jinja were not installed
    with pytest.raises(ImportError):
        modiste.benchmark("conformal", finished_run, out=tmp_path / "page")
    assert run_folder.open_run(finished_run).test_openings == 0


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"split": "valid"}, "split: 'valid' is unknown; did you mean 'validation'?"),
        ({"wrong": "asymmetric"}, "wrong: 'asymmetric' is unknown; did you mean 'symmetric'?"),
        ({"coverage": "0.9"}, "coverage: expected float, found '0.9'"),
        ({"attacked": 2.5}, "attacked: expected int, found 2.5"),
        ({"labels": 5}, "labels: expected a path, found 5"),
        ({"noisy_runs": None}, "noisy_runs: expected a path, found None"),
        ({"against": 5}, "against: expected a list of paths, found 5"),
        ({"against": [5]}, "against: expected str, found 5"),
        ({"covrage": 0.9}, "benchmark: no setting 'covrage'; did you mean 'coverage'?"),
    ],
)
def test_settings_of_a_program_are_checked(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        from_names(values)
    assert str(raised.value) == message


def test_paths_of_a_program_may_be_texts_and_a_single_one() -> None:
    found = from_names({"labels": "x.csv", "noisy_runs": "runs/n", "against": "mnist", "coverage": 0.9})
    assert found == Settings(labels=Path("x.csv"), noisy_runs=Path("runs/n"), against=("mnist",), coverage=0.9)
    assert from_names({"against": [Path("a"), "b"], "labels": None}).against == ("a", "b")


def test_a_part_of_the_images_is_said_and_files_of_before_have_none() -> None:
    plain: dict[str, Any] = {
        "name": "robust",
        "title": "t",
        "about": "a",
        "split": "test",
        "images": 10_000,
        "runs": [],
        "groups": {},
        "published": [],
        "settings": {},
    }
    assert [from_plain(plain | more).extent for more in ({}, {"measured": 1000}, {"images": 1})] == [
        "10,000 images",
        "1,000 of 10,000 images",
        "1 image",
    ]


def test_no_run_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main.main(["benchmark", "ood"])
    assert left.value.code == 2
    assert "which runs?" in capsys.readouterr().err
