"""The pages of docs/models name every field, show only what exists, and give commands that work."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from commands_and_data import run_script
from modiste.cli.arguments import NoOptions, parse_with_recipe
from modiste.recipes.named import RECIPES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MODELS = sorted((DOCS / "models").glob("*.md"))
PAGES = [*MODELS, DOCS / "augmentation.md", DOCS / "systems.md"]
KINDS = {make().model.KIND for make in RECIPES.values()}


def test_the_pages_are_as_code_and_records_say() -> None:
    result = run_script(ROOT / "benchmarks" / "model_pages.py", "--check")
    assert result.returncode == 0, result.stderr


def test_every_recipe_of_the_papers_systems_is_on_its_page() -> None:
    assert {path.stem for path in MODELS} == KINDS
    for name, make in RECIPES.items():
        text = (DOCS / "models" / f"{make().model.KIND}.md").read_text(encoding="utf-8")
        assert f"`{name}`" in text, name
        for item in fields(make().model):
            assert f"| `{item.name}` |" in text, f"{name}: {item.name}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_what_a_page_refers_to_exists(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert target.startswith("http") or (path.parent / target).exists(), target


def test_pictures_are_small_and_used() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    for path in (DOCS / "images" / "models").glob("*.png"):
        assert path.stat().st_size < 200_000, path
        assert path.name in text, path
    assert (DOCS / "images" / "augmentations.png").stat().st_size < 200_000


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_its_commands_are_understood(path: Path) -> None:
    commands = re.findall(r"^modiste train (\S+)(.*?)(?:#.*)?$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert commands
    for name, flags in commands:
        parse_with_recipe(NoOptions(), RECIPES[name](), flags.split(), "modiste train")
