"""The documentation site: it builds without a warning, has every public name and command, and its notebooks run."""

import ast
import html
import itertools
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import pytest

import modiste
from commands_and_data import check_flags, run_python
from modiste.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "docs" / "extensions"))

import flowchart  # noqa: E402 - after the path

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def test_there_are_three_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["own-network", "paper", "scikit-learn"]


@every_notebook
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    for cell in code_cells(path):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        assert "execution" not in cell["metadata"]


@every_notebook
def test_a_notebook_begins_with_what_it_needs(path: Path) -> None:
    first = "".join(code_cells(path)[0]["source"])
    assert re.search(r"^# %pip install '\./modiste\[[a-z,]+\]'$", first, re.MULTILINE)  # it is on no package index


@every_notebook
def test_what_a_notebook_takes_of_modiste_is_there(path: Path) -> None:
    tree = ast.parse("\n".join("".join(cell["source"]) for cell in code_cells(path)))
    taken: dict[str, object] = {"modiste": modiste}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("modiste"):
            taken |= {name.asname or name.name: resolve_name(f"{node.module}.{name.name}") for name in node.names}
    asked = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    for node in asked:
        if isinstance(module := taken.get(node.value.id), ModuleType):
            assert hasattr(module, node.attr), f"{node.value.id}.{node.attr}"


SMALLER = {
    "own-network": [
        'FEW = {"data.images_per_class": 500, "epochs": 3}',
        'FEW = {"data.images_per_class": 50, "epochs": 1}',
    ],
    "paper": ["epochs=4, data__images_per_class=1500", "epochs=1, data__images_per_class=100"],
    "scikit-learn": [
        "train.images[:5000, 0].numpy(), train.labels[:5000]",
        "train.images[:500, 0].numpy(), train.labels[:500]",
    ],
}
"""What a notebook says, and what it says instead when it is tried: it runs alike on fewer images."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@every_notebook
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    program = ROOT / "tests" / "programs" / "run_notebook.py"
    done = run_python(program, path, *SMALLER[path.stem], cwd=tmp_path, timeout=880)
    assert done.returncode == 0, done.stderr


PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if "gallery" not in path.parts)]


def commands_of(page: Path) -> list[list[str]]:
    """Return the words of the page's commands of Modiste, in their order."""
    found = []
    for block in re.findall(r"^```[a-z]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        lines = [line for line in block.replace("\\\n", " ").splitlines() if re.match(r"\s*modiste [a-z]", line)]
        found += [shlex.split(line, comments=True) for line in lines]
    return found


def folder_of(command: list[str]) -> str | None:
    """Return the folder that a command fills, without the number that a second one of a name gets."""
    if "--out" in command and command[1] in ("train", "search", "reproduce", "predict", "cross-validate"):
        return command[command.index("--out") + 1]
    return f"runs/{Path(command[2]).stem}" if command[1] == "train" and not command[2].startswith("-") else None


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_folder_that_a_page_reads_is_that_of_one_command(page: Path) -> None:
    """Whoever types the commands of a page in their order once measured the first of three runs as the third."""
    made: dict[str, list[list[str]]] = {}
    for command in commands_of(page):
        for word in command[2:]:
            filled_by = made.get(word.rstrip("/*"), [])
            assert len(filled_by) < 2, f"{' '.join(command)}: {word} is filled by each of {filled_by}"
        folder = folder_of(command)
        if folder is not None and command not in made.setdefault(folder, []):
            made[folder].append(command)
            assert "--out" not in command or len(made[folder]) == 1, f"{folder} is filled by each of {made[folder]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_flags_of_every_command_of_a_page_exist(page: Path) -> None:
    for command in commands_of(page):
        check_flags(command[1:])


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
DRAWN = ARCHITECTURE.partition("```mermaid\n")[2].partition("```")[0].splitlines()


class TestFlowchart:
    def test_every_box_and_arrow_is_drawn(self) -> None:
        arrows = flowchart.read_arrows(DRAWN)
        assert len(arrows) == len(DRAWN) - 1 > 20
        svg = flowchart.drawing(arrows)
        names = {name for arrow in arrows for name in arrow}
        assert sorted(re.findall(r">([^<>]+)</text>", svg)) == sorted(names)
        assert svg.count("marker-end") == len(arrows)
        assert len(re.findall("<rect", svg)) == len(names)

    def test_boxes_stand_apart_and_arrows_point_downward(self) -> None:
        middles, ways = flowchart.layout(flowchart.read_arrows(DRAWN))
        for row in {place[2] for place in middles}:
            row_of = sorted((middle, flowchart.width(place)) for place, middle in middles.items() if place[2] == row)
            for (left, width), (right, other) in itertools.pairwise(row_of):
                assert right - left >= (width + other) / 2 + flowchart.GAP - 1e-6
        assert all([place[2] for place in way] == list(range(way[0][2], way[-1][2] + 1)) for way in ways.values())

    def test_least_squares(self) -> None:
        """Two boxes that want the same place stand on both sides of it; a third one is not moved."""
        row = [("a", "a", 0), ("b", "b", 0), ("c", "c", 0)]
        placed = list(flowchart.spread(row, [0.0, 0.0, 500.0]).values())
        apart = flowchart.width(row[0]) + flowchart.GAP
        assert placed == pytest.approx([-apart / 2, apart / 2, 500.0])

    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            ([], "expected 'flowchart TD' first"),
            (["graph LR", "a --> b"], "expected 'flowchart TD' first"),
            (["flowchart TD", "a --- b"], "expected 'box --> box', found 'a --- b'"),
            (["flowchart TD", "a --> b", "b --> a"], "found a circle"),
        ],
    )
    def test_what_cannot_be_drawn_is_refused(self, lines: list[str], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            flowchart.read_arrows(lines)


@pytest.fixture(scope="module")
def site(shared_folder: Callable[..., Path]) -> Path:
    """The site without the outputs of its notebooks, which have a test of their own."""

    def build(folder: Path) -> None:
        doctrees = str(folder.with_name("doctrees"))
        options = ["-W", "--keep-going", "-q", "-D", "nb_execution_mode=off", "-c", "docs", "-d", doctrees]
        done = run_python("-m", "sphinx", *options, ".", folder, cwd=ROOT, timeout=880)
        assert done.returncode == 0, done.stderr

    return shared_folder("site", build)


@pytest.mark.slow
@pytest.mark.timeout(900)
class TestSite:
    def test_every_public_name_is_in_the_reference(self, site: Path) -> None:
        found = identifiers(site / "docs" / "reference" / "functions.html")
        modules = {"modiste.photo": "module-modiste.photo"}
        names = {f"modiste.{name}" for name in modiste.__all__ if name != "__version__"}
        assert {modules.get(name, name) for name in names | {"modiste.sklearn.ModisteClassifier"}} <= found

    def test_the_help_of_every_command_is_in_the_reference(self, site: Path) -> None:
        page = (site / "docs" / "reference" / "commands.html").read_text(encoding="utf-8")
        text = html.unescape(re.sub(r"<[^>]+>", "", page))
        for name in COMMANDS:
            assert re.search(rf"^usage: modiste {name}\b", text, re.MULTILINE), name
        assert "--optimizer.learning-rate" in text

    def test_every_link_inside_the_site_leads_somewhere(self, site: Path) -> None:
        broken = [
            f"{page.relative_to(site)}: {link}"
            for page in sorted(site.rglob("*.html"))
            for link in set(re.findall(r'(?:href|src)="([^"]+)"', page.read_text(encoding="utf-8")))
            if not leads_somewhere(page, html.unescape(link))
        ]
        assert broken == []

    def test_pages_load_nothing_from_other_sites(self, site: Path) -> None:
        loaded = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="((?:https?:)?//[^"]+)""")
        found = {link for page in site.rglob("*.html") for link in loaded.findall(page.read_text(encoding="utf-8"))}
        assert found == set()

    def test_the_packages_are_drawn(self, site: Path) -> None:
        page = (site / "docs" / "architecture.html").read_text(encoding="utf-8")
        assert flowchart.drawing(flowchart.read_arrows(DRAWN)) in page

    def test_every_page_is_in_the_navigation(self, site: Path) -> None:
        index = (site / "docs" / "index.html").read_text(encoding="utf-8")
        navigation = index.partition('class="sidebar-tree"')[2].partition("</aside>")[0]
        pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
        assert {name for name in pages if f'href="{name}"' not in navigation} == {Path("index.html")}

    def test_there_is_a_list_for_language_models(self, site: Path) -> None:
        text = (site / "llms.txt").read_text(encoding="utf-8")
        assert text.startswith("# Modiste")
        linked = [target for target in re.findall(r"\]\(([^)]+)\)", text) if "python" in target]
        assert linked
        assert all((site / target.lstrip("/")).exists() for target in linked)


def identifiers(page: Path) -> set[str]:
    """The fragments by which a page is linked."""
    return set(re.findall(r'\bid="([^"]+)"', page.read_text(encoding="utf-8")))


def leads_somewhere(page: Path, link: str) -> bool:
    """Whether a link leads to a file of the site, and to a place that it has; links to other sites are not followed."""
    if re.match(r"[a-z]+:|//", link):
        return True
    path, _, fragment = link.partition("#")
    target = page.parent / unquote(path.partition("?")[0]) if path else page
    if not target.is_file():
        return False
    return not fragment or target.suffix != ".html" or unquote(fragment) in identifiers(target)
