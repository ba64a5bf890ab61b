"""One page about several runs says what ``compare`` says, and shows the images that only one gets right."""

import ntpath
import re
import shutil
import webbrowser
from dataclasses import replace
from pathlib import Path

import pytest
from idx_files import TEST_IMAGES
from page_reader import Page, read

import modiste
from modiste.cli import report as cli_report
from modiste.cli.main import main
from modiste.errors import RecipeError, RunError
from modiste.evaluation.assessment import evaluate
from modiste.evaluation.comparison import compare
from modiste.evaluation.ensemble import measure_runs
from modiste.evaluation.statistics import wilson_interval
from modiste.recipes.recipe import Recipe
from modiste.reports import comparison
from modiste.reports.comparison import COLOURS, laid_over, write_comparison
from modiste.reports.report import load_images
from modiste.runs import run_folder
from modiste.training import trainer
from modiste.training.setup import Inputs


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: Recipe, tiny_folder: Path) -> Path:
    """A run of the same data with another learning rate, so that it makes other mistakes."""
    folder = tmp_path_factory.mktemp("other") / "slower"
    recipe = replace(tiny_recipe, epochs=2, optimizer=replace(tiny_recipe.optimizer, learning_rate=3e-4))
    trainer.train(recipe, folder, Inputs(tiny_folder), device="cpu")
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, finished_run: Path, other: Path, tiny_folder: Path) -> Path:
    out = tmp_path_factory.mktemp("page") / "two.html"
    return write_comparison([finished_run, other], out=out, data_folder=tiny_folder, title="A & B", author="<Ada>")


def test_it_says_what_compare_says(page: Path, finished_run: Path, other: Path, tiny_folder: Path) -> None:
    text, result = read(page).text, compare([finished_run, other], data_folder=tiny_folder)
    (contrast,) = result.contrasts
    short = replace(contrast, first=finished_run.name, second="slower").verdict
    assert text.lower().count(short.lower()) == 2  # on the first screen, and below
    for folder, side in zip((finished_run, other), result.sides, strict=True):
        low, high = wilson_interval(round(side.mean * result.images), result.images)
        shares = f"{100 * side.mean:.2f} % {100 * low:.2f} % to {100 * high:.2f} %"
        assert f"{folder.name} {side.name}, seed 0 {shares}" in text
        assert f"validation accuracy, 95 % interval {100 * low:.2f} % to {100 * high:.2f} %" in text
    assert "; ".join(contrast.recipe_differences) in text
    for name, share in contrast.per_class.items():
        assert f" {name} {100 * (share or 0):+.1f} " in text
    assert "A & B <Ada> . " in text


def test_it_shows_the_images_that_only_one_gets_right(
    page: Path, finished_run: Path, other: Path, tiny_folder: Path
) -> None:
    source = page.read_text(encoding="utf-8")
    (contrast,) = compare([finished_run, other], data_folder=tiny_folder).contrasts
    measured = run_folder.open_run(other).measured()
    assert contrast.first_alone
    shown = re.search(r'id="alone00-description">([^<]*)<', source)
    assert shown
    captions = shown.group(1).split("; ")
    assert len(captions) == min(12, len(contrast.first_alone))
    for caption, index in zip(captions, contrast.first_alone, strict=False):
        guess = int(measured.logits[index].argmax())
        assert caption == f"image {index} is {int(measured.labels[index])} read as {guess}"


def test_it_needs_nothing_from_outside_and_opens_no_test_set(page: Path, finished_run: Path, other: Path) -> None:
    found = read(page)
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in found.references)
    assert len(found.ids) == len(set(found.ids))
    assert {name[1:] for name in found.references if name.startswith("#")} <= set(found.ids)
    assert [run_folder.open_run(folder).test_openings for folder in (finished_run, other)] == [0, 0]


def test_seeds_of_one_recipe_have_a_mean_and_no_verdict(
    finished_run: Path, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    second = tmp_path / finished_run.name  # a folder of the same name elsewhere
    trainer.train(replace(tiny_recipe, seed=1), second, Inputs(tiny_folder), device="cpu")
    out = write_comparison([finished_run, second], out=tmp_path / "seeds.html", data_folder=tiny_folder)
    text, (side,) = read(out).text, compare([finished_run, second], data_folder=tiny_folder).sides
    assert "These runs have one recipe" in text
    assert "mean of 2 seeds" in text
    assert "Verdicts" not in text
    assert f"{side.name} {100 * side.mean:.2f} % {100 * (side.deviation or 0):.2f} %" in text
    assert f"{tmp_path.name}/{second.name} {side.name}, seed 1" in text
    assert str(tmp_path) not in text


def test_extra_data_of_one_run_alone_is_named(finished_run: Path, other: Path, tiny_folder: Path) -> None:
    found = measure_runs([finished_run, other], data_folder=tiny_folder)
    images = load_images(found.runs[0], tiny_folder).validation
    first, second = found.runs
    assert "extra data" not in comparison.render(found, images)
    data = replace(second.recipe.data, extra="more", extra_classes=("a=0",))
    taught = replace(second, recipe=replace(second.recipe, data=data))
    text = Page(comparison.render(replace(found, runs=(first, taught)), images)).text
    assert "Learnt with extra data: slower. The others did not" in text


def test_runs_of_one_name_on_two_drives_have_their_whole_paths(
    finished_run: Path, other: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = measure_runs([finished_run, other], data_folder=tiny_folder)
    folders = [tmp_path.resolve() / drive / "run" for drive in ("c", "d")]
    runs = tuple(replace(run, folder=folder) for run, folder in zip(found.runs, folders, strict=True))
    found = replace(found, runs=runs)
    assert comparison._folder_names(found) == [str(Path("c", "run")), str(Path("d", "run"))]
    monkeypatch.setattr(comparison.os.path, "commonpath", lambda _: ntpath.commonpath([r"c:\run", r"d:\run"]))
    assert comparison._folder_names(found) == list(map(str, folders))


def test_many_runs_stay_apart_in_the_chart(finished_run: Path) -> None:
    history = run_folder.open_run(finished_run).history
    count = 2 * len(COLOURS)
    figure = laid_over([history] * count, list(range(count)), [f"run {number}" for number in range(count)])
    lines = [line for line in figure.axes[0].lines if line.get_linestyle() != "None"]
    looks = {(line.get_color(), line.get_linestyle(), str(line.get_marker())) for line in lines}
    assert len(looks) == count


def test_a_run_without_epochs_lies_within_the_chart(finished_run: Path) -> None:
    history = run_folder.open_run(finished_run).history
    figure = laid_over([history, [replace(history[0], epoch=0, step=0)]], [0, 1], ["trained", "fitted"])
    first, last = figure.axes[0].get_xlim()
    assert first < 0 < len(history) < last


def test_the_same_run_twice_is_refused(finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="named twice"):
        write_comparison([finished_run, finished_run], out=tmp_path / "x.html")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def opened(
    tmp_path_factory: pytest.TempPathFactory, finished_run: Path, other: Path, tiny_folder: Path
) -> tuple[Path, Path]:
    """Copies of the two runs that were evaluated on test, once each."""
    folder = tmp_path_factory.mktemp("opened")
    copies = folder / "first", folder / "second"
    for run, copy in zip((finished_run, other), copies, strict=True):
        shutil.copytree(run, copy)
        evaluate(copy, split="test", device="cpu", data_folder=tiny_folder)
    return copies


class TestOnTest:
    """Runs that were evaluated on test are shown and compared there, without another opening."""

    def test_the_page_says_what_compare_says(
        self, opened: tuple[Path, Path], tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "two.html"
        main(["report", *map(str, opened), "--split", "test", "--out", str(out), "--data-folder", str(tiny_folder)])
        assert capsys.readouterr().out == f"{out}\n"
        assert [run_folder.open_run(folder).test_openings for folder in opened] == [1, 1]
        text = read(out).text
        copies = [tmp_path / folder.name for folder in opened]
        for folder, copy in zip(opened, copies, strict=True):
            shutil.copytree(folder, copy)
        result = compare(copies, split="test", data_folder=tiny_folder)  # counts, and so is asked of copies
        assert "Measured on the 100 images of test" in text
        assert "Validation accuracy of each run" not in text
        for side in result.sides:
            assert f"{100 * side.mean:.2f} % test accuracy" in text

    def test_images_are_those_of_the_test_set(
        self, opened: tuple[Path, Path], tiny_folder: Path, tmp_path: Path
    ) -> None:
        measured = run_folder.open_run(opened[0]).measured("test")
        options = {"out": tmp_path / "x.svg", "data_folder": tiny_folder}
        found = modiste.show(opened[0], range(100), split="test", **options)
        assert [int(one.label) for one in found] == measured.labels.tolist()
        assert [int(one.answer) for one in found] == measured.logits.argmax(1).tolist()
        assert run_folder.open_run(opened[0]).test_openings == 1

    def test_a_test_set_that_was_not_opened_stays_closed(
        self, opened: tuple[Path, Path], other: Path, tiny_folder: Path, tmp_path: Path
    ) -> None:
        page, drawing = tmp_path / "x.html", tmp_path / "x.png"
        for ask in (
            lambda: modiste.show(other, [0], split="test", out=drawing, data_folder=tiny_folder),
            lambda: modiste.report([opened[0], other], split="test", out=page, data_folder=tiny_folder),
        ):
            with pytest.raises(RunError, match="not measured on test yet; first: modiste evaluate"):
                ask()
        assert run_folder.open_run(other).test_openings == 0
        assert not list(tmp_path.iterdir())

    def test_other_test_images_are_refused(self, opened: tuple[Path, Path], tiny_folder: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny_folder, tmp_path / "data")
        path = tmp_path / "data" / TEST_IMAGES
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
        with pytest.raises(RunError, match="the test images found are not those it was measured on"):
            modiste.show(opened[0], [0], split="test", out=tmp_path / "x.png", data_folder=tmp_path / "data")

    def test_the_report_of_one_run_has_both_splits(
        self, opened: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(RecipeError, match="test is for several runs, found one"):
            modiste.report(opened[0], split="test")
        with pytest.raises(SystemExit):
            main(["report", str(opened[0]), "--split", "test"])
        assert "expected several runs, found one" in capsys.readouterr().err


def test_from_python_and_from_the_command(
    finished_run: Path, other: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or len(opened) == 1)
    assert modiste.report([finished_run, other], data_folder=tiny_folder) == Path("comparison.html")
    first = Path("comparison.html").read_bytes()
    main(["report", str(finished_run), str(other), "--data-folder", str(tiny_folder), "--open"])
    assert Path("comparison.html").read_bytes() == first
    assert opened == [(tmp_path / "comparison.html").as_uri()]
    assert capsys.readouterr() == ("comparison.html\n", "")
    cli_report._open(Path("comparison.html"))  # now there is no browser
    assert "no browser was found; open comparison.html" in capsys.readouterr().err


class TestShow:
    def test_it_prints_and_draws_what_the_run_answered(
        self, finished_run: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "run"
        shutil.copytree(finished_run, folder)
        main(["show", str(folder), "3", "0", "--data-folder", str(tiny_folder)])
        first, second, path = capsys.readouterr().out.splitlines()
        measured = run_folder.open_run(folder).measured()
        shares = measured.logits.double().softmax(1)
        label, guess = int(measured.labels[3]), int(shares[3].argmax())
        verdict = "correct" if label == guess else f"read as {guess}"
        assert first.startswith(f"image 3: {label}, {verdict}; {guess} {float(shares[3].max()):.1%}, ")
        assert second.startswith(f"image 0: {int(measured.labels[0])}, ")
        assert Path(path) == folder / "images.png"
        assert Path(path).read_bytes().startswith(b"\x89PNG")

    def test_python_returns_every_probability(self, finished_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
        (answer,) = modiste.show(finished_run, [5], out=tmp_path / "x.svg", data_folder=tiny_folder)
        assert len(answer.probabilities) == 5
        assert sum(share for _, share in answer.probabilities) == pytest.approx(1)
        assert answer.answer == answer.probabilities[0][0]
        assert (tmp_path / "x.svg").read_bytes().startswith(b"<?xml")

    @pytest.mark.parametrize("number", [-1, 60_000])
    def test_a_number_that_no_image_has_is_named(self, number: int, finished_run: Path) -> None:
        with pytest.raises(RunError, match=rf"expected 0 to \d+, found {number}"):
            modiste.show(finished_run, [0, number])

    def test_another_ending_is_refused(self, finished_run: Path, tmp_path: Path) -> None:
        with pytest.raises(RunError, match=r"ends in \.png, \.svg, \.pdf, found \.doc"):
            modiste.show(finished_run, [0], out=tmp_path / "x.doc")
