"""The page: it says what the run says, needs nothing else, and never opens the test set."""

import importlib
import re
import shutil
import sys
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from page_reader import read

import modiste
from commands_and_data import PROGRAMS, run_python, run_script
from fault_counter import slow_case
from modiste.cli.main import main
from modiste.errors import MissingExtraError, RunError
from modiste.evaluation.assessment import Assessment, evaluate
from modiste.recipes import claims, named
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import Recipe, TransferRecipe
from modiste.reports import report
from modiste.reports.comparison import write_comparison
from modiste.reports.figures import write_figures
from modiste.reports.recipe_table import MAIN, changed_fields, main_fields, recipe_parts
from modiste.reports.style import breakable
from modiste.runs import run_folder
from modiste.training import trainer
from modiste.training.setup import Inputs

HOSTILE = ("<script>alert(1)</script>", "$x^2$ & y", "\"quoted\" 'name'", "{{ 7 * 7 }}", "衣服")

_opened: list[str] = []
_watching = False


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event == "open":
        _opened.append(str(arguments[0]))


@pytest.fixture(scope="module")
def untested(tmp_path_factory: pytest.TempPathFactory, finished_run: Path, tiny_folder: Path) -> Path:
    """The report of a run whose test set nobody opened."""
    folder = tmp_path_factory.mktemp("untested") / "run"
    shutil.copytree(finished_run, folder)
    return report.write_report(folder, data_folder=tiny_folder)


@pytest.fixture(scope="module")
def tested(
    tmp_path_factory: pytest.TempPathFactory, finished_run: Path, tiny_folder: Path
) -> tuple[Path, Assessment, list[str]]:
    """The report of a run that was measured on test, what was measured, and the files that the report opened.

    It has a title and an author, which the other report has not.
    """
    global _watching
    folder = tmp_path_factory.mktemp("tested") / "run"
    shutil.copytree(finished_run, folder)
    result = evaluate(folder, split="test", device="cpu", data_folder=tiny_folder)
    sys.addaudithook(_watch)  # for good: Python offers no way to take one off
    _opened.clear()
    _watching = True
    try:
        path = report.write_report(folder, data_folder=tiny_folder, title="Homework <3", author="Ada & Co")
    finally:
        _watching = False
    return path, result, list(_opened)


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def test_it_shows_what_validation_says(untested: Path, tiny_folder: Path) -> None:
    result = evaluate(untested.parent, device="cpu", data_folder=tiny_folder)
    text = read(untested).text
    assert f"Validation accuracy {percent(result.accuracy)}" in text
    low, high = map(percent, result.accuracy_interval)
    assert f"interval {low} to {high}, {result.images} images" in text
    assert "The test set has not been opened for this run." in text
    assert "Test accuracy" not in text


def test_it_shows_what_test_says_once_it_was_measured(tested: tuple[Path, Assessment, list[str]]) -> None:
    path, result, _ = tested
    text = read(path).text
    assert f"Test accuracy {percent(result.accuracy)}" in text
    assert "The test set has been opened once for this run; an evaluation that was killed" in text


def test_tables_and_pictures_are_of_validation_whether_test_was_measured(
    tested: tuple[Path, Assessment, list[str]], untested: Path, tiny_folder: Path
) -> None:
    """The images of the mistakes are, and the matrix beside them must be of the same."""
    path, _, _ = tested
    text, result = read(path).text, evaluate(path.parent, device="cpu", data_folder=tiny_folder)
    for name, scores in {**result.per_class, "macro mean": result.macro, "weighted mean": result.weighted}.items():
        row = f"{name} {scores.precision:.4f} {scores.recall:.4f} {scores.f1:.4f} {scores.support}"
        assert row in text
    assert f"Expected calibration error {result.expected_calibration_error:.4f}" in text
    assert text.count("of the validation images alone") == 1
    _, _, below = text.partition("of the validation images alone")
    assert not re.search(r"\b(on|of) [\d,]* ?(test|validation) images", below)
    assert "Confusion matrix. Rows" in below


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path, tiny_recipe: Recipe) -> Path:
    """The report of a run of hostile names; the last class has no validation images."""
    folder = tmp_path_factory.mktemp("strange")
    images, run = folder / "images", folder / "<b>run"
    shutil.copytree(tiny_folder, images)
    (images / "classes.txt").write_text("\n".join(HOSTILE), encoding="utf-8")
    path = images / "train-labels-idx1-ubyte"
    head, labels = path.read_bytes()[:8], bytearray(path.read_bytes()[8:])
    for place in [place for place, label in enumerate(labels) if label == 4][2:]:
        labels[place] = 0
    path.write_bytes(head + labels)
    trainer.train(replace(tiny_recipe, epochs=1), run, Inputs(images), device="cpu")
    return report.write_report(run, data_folder=images)


def test_the_report_and_the_table_of_a_fit_speak_of_no_epoch(
    finished_run: Path, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probe = replace(tiny_recipe, epochs=0, transfer=TransferRecipe(linear_probe=True))
    trainer.train(probe, tmp_path / "run", Inputs(tiny_folder), device="cpu")
    fitted = modiste.Run.open(tmp_path / "run")
    assert ["epoch", "none; the last layer was fitted"] in fitted.table().rows
    main(["evaluate", str(tmp_path / "run"), "--data-folder", str(tiny_folder)])
    assert "picked weights (the last layer was fitted)" in capsys.readouterr().out
    alone = read(modiste.report(fitted, data_folder=tiny_folder)).text
    assert "validation selected the penalty, the validation accuracy above is slightly optimistic" in alone
    assert "weights of epoch" not in alone
    page = modiste.report([fitted, finished_run], out=tmp_path / "both.html", data_folder=tiny_folder)
    assert re.search(r"seed 0 [\d.]+ % [\d.]+ % to [\d.]+ % [\d.]+ none ", read(page).text)


def test_a_class_without_validation_images_has_no_figures(strange: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = HOSTILE[4]
    assert evaluate(strange.parent).per_class[name].support == 0
    main(["evaluate", str(strange.parent)])
    assert re.search(rf"^{name} +- +- +- +no images$", capsys.readouterr().out, re.MULTILINE)
    assert f"{name} no images" in read(strange).text


def test_it_does_not_open_the_test_files(tested: tuple[Path, Assessment, list[str]]) -> None:
    path, _, opened = tested
    assert any("train-images" in name for name in opened)
    assert not [name for name in opened if "t10k" in name]
    assert run_folder.open_run(path.parent).test_openings == 1


def test_it_needs_nothing_from_outside(tested: tuple[Path, Assessment, list[str]]) -> None:
    page = read(tested[0])
    assert page.references
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in page.references)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert "@import" not in tested[0].read_text(encoding="utf-8")


def test_every_id_is_there_once_and_every_reference_has_its_target(tested: tuple[Path, Assessment, list[str]]) -> None:
    page = read(tested[0])
    assert len(page.ids) == len(set(page.ids))
    assert {name[1:] for name in page.references if name.startswith("#")} <= set(page.ids)


def test_every_drawing_has_a_title_and_every_table_a_caption(tested: tuple[Path, Assessment, list[str]]) -> None:
    source, page = tested[0].read_text(encoding="utf-8"), read(tested[0])
    assert page.tags.count("svg") == page.tags.count("figure") == 9
    assert (
        len(re.findall(r'<svg [^>]*role="img" aria-labelledby="(\w+)-title"[^>]*><title id="\1-title">\S', source)) == 9
    )
    assert page.tags.count("caption") == page.tags.count("table")
    assert page.tags.count("h1") == 1


def test_parts_stand_in_their_order(tested: tuple[Path, Assessment, list[str]]) -> None:
    names = re.findall(r'<h2 id="(\w+)"', tested[0].read_text(encoding="utf-8"))
    expected = "learning recipe classes confusions calibration surest images sample layers sees machine fields"
    assert names == expected.split()
    assert re.findall(r'<li><a href="#(\w+)"', tested[0].read_text(encoding="utf-8")) == names


def test_title_author_date_and_changes_stand_on_top(tested: tuple[Path, Assessment, list[str]]) -> None:
    run = run_folder.open_run(tested[0].parent)
    head = read(tested[0]).text.partition("Test accuracy")[0]
    assert "Homework <3 Ada & Co . Trained " in head
    assert re.search(rf"Trained \d+ \w+ 20\d\d, in {run.folder.name}\. Recipe tiny; changed: ", head)
    assert f"epochs {run.recipe.epochs} (usually 50)" in head
    assert re.search(r"; and \d+ more\.", head)


def test_a_date_that_was_not_recorded_is_left_out(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_folder.open_run(finished_run)
    monkeypatch.setattr(type(run), "facts", lambda _: [{"time": "2026-02-03T23:59:00+00:00"}])
    assert report.training_date(run) == "3 February 2026"
    monkeypatch.setattr(type(run), "facts", lambda _: [{"processor": "old"}])
    assert report.training_date(run) == ""


def test_changed_and_main_fields_are_shown_and_the_rest_is_folded(untested: Path, tiny_recipe: Recipe) -> None:
    source = untested.read_text(encoding="utf-8")
    shown, _, folded = source.partition("<details>")
    assert folded.count("<details") == 0
    parts = recipe_parts(tiny_recipe)
    for field in changed_fields(parts):
        assert f'<tr class="changed"><th scope="row">{breakable(field.name)}</th>' in shown
    assert {"data.source", "model.filters", "epochs"} <= {field.name for field in changed_fields(parts)}
    paths = {field.name for field in (*changed_fields(parts), *main_fields(parts))}
    assert set(MAIN) <= paths
    assert len(MAIN) == 10
    assert "gibbs_<wbr>steps" not in shown
    assert "gibbs_<wbr>steps" in folded


def test_a_precision_that_the_machine_chose_is_no_change() -> None:
    recipe = replace(named.get("sprint"), precision="bfloat16")
    assert named.get("sprint").precision == "auto"
    assert changed_fields(recipe_parts(recipe)) == []
    slower = replace(recipe, epochs=2)
    assert [(field.name, field.value) for field in changed_fields(recipe_parts(slower))] == [("epochs", "2")]


def test_only_a_run_of_the_paper_stands_beside_the_paper(
    untested: Path, tiny_recipe: Recipe, tmp_path: Path, tiny_folder: Path
) -> None:
    assert "of the paper" not in untested.read_text(encoding="utf-8")
    assert "Mendez" not in untested.read_text(encoding="utf-8")
    images = tmp_path / "images"
    shutil.copytree(tiny_folder, images)
    (images / "classes.txt").write_text("\n".join(claims.PAPER_TABLE_2), encoding="utf-8")
    recipe = replace(tiny_recipe, name="paper", epochs=1)
    path = tmp_path / "run"
    trainer.train(recipe, path, Inputs(images), device="cpu")
    text = read(report.write_report(path, data_folder=images)).text
    last = run_folder.open_run(path).history[-1]
    assert f"validation accuracy, last epoch 91.41 % {percent(last.validation_accuracy)}" in text
    assert "test accuracy, this run at epoch 1 91.32 % not evaluated" in text
    assert "this run's on validation" in text
    assert f"Dress 0.91 {evaluate(path).per_class['Dress'].f1:.4f}" in text
    assert "Shirt 0.76 no images" in text
    assert "Figure 5 of the paper shows the same kind of drawing" in text


def test_every_field_of_the_recipe_is_there_and_changes_are_marked(untested: Path, tiny_recipe: Recipe) -> None:
    text = read(untested).text
    plain = to_plain(tiny_recipe)
    assert all(name in text for part in plain.values() if isinstance(part, dict) for name in part)
    assert all(name in text for name in plain)
    parts = recipe_parts(replace(tiny_recipe, name="paper"))
    marked = {f"{part}.{item.name}": item.usual for part, items in parts.items() for item in items if item.usual}
    assert marked["training.epochs"] == "50"
    assert marked["model.filters"] == "32, 64, 128"
    assert "model.kernel_size" not in marked


def test_the_same_run_gives_the_same_page(untested: Path, tiny_folder: Path) -> None:
    before = untested.read_bytes()
    assert report.write_report(untested.parent, data_folder=tiny_folder).read_bytes() == before


def test_names_from_outside_stay_text(strange: Path) -> None:
    page = read(strange)
    assert "script" not in page.tags
    for name in HOSTILE:
        assert name in page.text
    assert "in <b>run" in page.text


def test_other_images_are_refused(untested: Path, tiny_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_folder, other)
    labels = other / "train-labels-idx1-ubyte"
    content = bytearray(labels.read_bytes())
    content[-1] = (content[-1] + 1) % 5
    labels.write_bytes(content)
    with pytest.raises(RunError, match="not those it was trained on"):
        report.write_report(untested.parent, data_folder=other)


@pytest.mark.parametrize("name", ["log.jsonl", "manifest.json", "model.onnx"])
def test_no_page_replaces_a_part_of_a_run(name: str, untested: Path, tiny_folder: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(untested.parent, tmp_path / "run"))
    run_folder.keep(run_folder.open_run(run), {"model.onnx": b"exported"})
    for write in (
        partial(report.write_report, run),
        partial(write_comparison, [run, untested.parent]),
    ):
        with pytest.raises(RunError, match=f"{name}: is part of the run and is not replaced"):
            write(data_folder=tiny_folder, out=run / name)
    run_folder.open_run(run)


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run here"):
        report.write_report(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_a_missing_package_is_named_with_its_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("modiste.reports") or name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'modiste[report]'")):
        importlib.import_module("modiste.reports.style")


def test_a_fields_name_breaks_between_its_words(untested: Path) -> None:
    page = untested.read_text(encoding="utf-8")
    assert '<th scope="row">learning_<wbr>rate_<wbr>factor</th>' in page
    assert not re.search(r"<(th|caption)[^>]*>\w*[a-z]_[a-z]\w*<", page)
    assert breakable("<a_b>") == "&lt;a_<wbr>b&gt;"


@pytest.mark.parametrize(
    ("module", "wanted", "kept"),
    [
        ("modiste.reports", "module://matplotlib_inline.backend_inline", None),
        slow_case("modiste.reports", "pdf", "pdf"),
        slow_case("modiste.reproduction.reproduction", "no-such", None),
        slow_case("modiste.reports.style,modiste.searches.plots", "no-such", None),
    ],
)
def test_figures_are_drawn_whatever_backend_a_notebook_asks_for(module: str, wanted: str, kept: str | None) -> None:
    if "inline" in wanted and find_spec("matplotlib_inline"):
        kept = wanted
    done = run_python(PROGRAMS / "draw_as_notebook.py", module, wanted, MPLBACKEND=wanted)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(kept)


@pytest.mark.parametrize(
    ("missing", "words", "extra"),
    [
        ("matplotlib", ("report", "."), "report"),
        slow_case("PIL", ("report", "."), "report"),
        slow_case("jinja2", ("figures",), "report"),
        slow_case("matplotlib", ("reproduce", "--quick"), "report"),
        slow_case("scipy,scipy.stats", ("reproduce", "--quick"), "evaluation"),
    ],
)
def test_a_missing_package_is_named_in_a_line_before_any_work(
    missing: str, words: tuple[str, ...], extra: str, tmp_path: Path
) -> None:
    done = run_script(PROGRAMS / "without_packages.py", missing, *words, cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("modiste: ")
    assert done.stderr.count("\n") == 1
    assert f"pip install 'modiste[{extra}]'" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [slow_case("png"), "svg"])
def test_the_papers_figures_alone(kind: str, untested: Path, tiny_folder: Path, tmp_path: Path) -> None:
    paths = write_figures(tmp_path, run=untested.parent, data_folder=tiny_folder, format=kind)
    assert [path.name for path in paths] == [
        f"figure-1-layers.{kind}",
        f"figure-2-activations.{kind}",
        f"figure-3-network.{kind}",
        f"figure-4-samples.{kind}",
        f"figure-5-curves.{kind}",
        f"augmentations.{kind}",
        f"sees-filters.{kind}",
        f"sees-maps.{kind}",
    ]
    assert all(path.stat().st_size > 1000 for path in paths)
