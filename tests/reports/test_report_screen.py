"""The report in a real browser: curves on the first screen, nothing wider than a phone."""

from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from modiste.evaluation.assessment import evaluate
from modiste.recipes.recipe import Recipe
from modiste.reports.comparison import write_comparison
from modiste.reports.report import write_report
from modiste.training import trainer
from modiste.training.setup import Inputs

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def pages(
    tmp_path_factory: pytest.TempPathFactory, finished_run: Path, tiny_recipe: Recipe, tiny_folder: Path
) -> dict[str, Path]:
    """The report of a run with a long title, and the page about two runs."""
    folder = tmp_path_factory.mktemp("pages")
    other = folder / "a-run-in-a-folder-with-a-rather-long-name"
    trainer.train(replace(tiny_recipe, epochs=1, label_smoothing=0.1), other, Inputs(tiny_folder), device="cpu")
    evaluate(other, split="test", device="cpu", data_folder=tiny_folder)  # a second result stands beside the curves
    names = {"title": "Practical work in machine learning: garments", "author": "Ada Lovelace and Charles Babbage"}
    return {
        "run": write_report(other, data_folder=tiny_folder, out=folder / "run.html", **names),
        "two": write_comparison([finished_run, other], data_folder=tiny_folder, out=folder / "two.html", **names),
    }


@pytest.mark.parametrize("name", ["run", "two"])
def test_result_and_curves_are_on_the_first_screen(name: str, browser: Browser, pages: dict[str, Path]) -> None:
    page = browser.new_page(viewport=DESKTOP)
    page.goto(pages[name].as_uri())
    for selector in ("h1", ".score .number", "section.first svg"):
        box = page.locator(selector).first.bounding_box()
        assert box
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= DESKTOP["height"]
    drawing = page.locator("section.first svg").bounding_box()
    assert drawing
    assert drawing["width"] > 400  # its text stays legible
    page.close()


@pytest.mark.parametrize("name", ["run", "two"])
def test_nothing_is_wider_than_a_phone_and_folded_fields_open(
    name: str, browser: Browser, pages: dict[str, Path]
) -> None:
    page = browser.new_page(viewport=PHONE)
    page.goto(pages[name].as_uri())
    if name == "run":
        assert not page.get_by_text("gibbs_steps").is_visible()
        page.get_by_text("Show all fields").click()
        assert page.get_by_text("gibbs_steps").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.close()


def test_a_printed_report_has_every_field(browser: Browser, pages: dict[str, Path]) -> None:
    page = browser.new_page()
    page.goto(pages["run"].as_uri())
    shown = """document.evaluate("//details//th[.='gibbs_steps']", document).iterateNext()
        .checkVisibility({ contentVisibilityAuto: true })"""
    assert not page.evaluate(shown)
    page.emulate_media(media="print")
    page.wait_for_function(shown)  # a busy browser applies the medium later
    page.close()
