"""The pages for people are true: generated parts are up to date, commands are known, files that they name exist."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest

from modiste.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "modiste"
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "records/README.md")]
PAGES += [ROOT / "records" / "speed" / "LOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
OF_A_CHECKOUT = ("py", "sh", "c", "toml", "txt", "lock", "md", "html")
"""Endings of the files that a checkout holds; the others, such as ``json``, are mostly those of run folders."""
NOT_HERE = {
    "torch.py",
    "report.html",
    "reproduction.html",
    "audit/audit.html",
    "benchmark-NAME.html",
    "NAME-unfinished.html",
    "results.md",
    "space.toml",
    "classes.txt",
    "classifier.html",
    "llms.txt",
}
"""Names in the pages of files that a user has or a command writes."""
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@pytest.mark.parametrize("script", ["readme_results", "architecture_page", "gallery"])
def test_generated_parts_are_up_to_date(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, which has loaded what the scripts need; one that finds a difference exits with a line."""
    monkeypatch.setattr("sys.argv", [f"{script}.py", "--check"])
    try:
        importlib.import_module(script).main()
    except SystemExit as left:
        assert not left.code, left.code  # noqa: PT017 - a script may also leave with 0


@every_page
def test_every_linked_file_exists(page: Path) -> None:
    for target, fragment in re.findall(r"\]\(([^)#]*)(#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        linked = page.parent / target if target else page
        assert linked.exists(), target
        if fragment:
            assert fragment in anchors(linked.read_text(encoding="utf-8")), f"{target}{fragment}"


def anchors(text: str) -> set[str]:
    """The fragments by which GitHub reaches a page's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_every_file_that_is_named_exists(page: Path) -> None:
    for name in named_files(page.read_text(encoding="utf-8")) - NOT_HERE:
        places = (ROOT, SOURCE, SOURCE.parent, ROOT / "benchmarks", page.parent)
        assert any((place / name).exists() for place in places), name


def named_files(text: str) -> set[str]:
    """What stands between backticks and looks like a file of the checkout, and paths in commands."""
    quoted = re.findall(rf"`([\w./-]+\.(?:{'|'.join(OF_A_CHECKOUT)}))`", text)
    paths = re.findall(r"(?<!records/)\b(?:benchmarks|tests|src/modiste)/[\w./-]*\w", text)
    return {*quoted, *paths}


def test_every_name_in_the_architecture_page_exists() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    code = "".join(
        path.read_text(encoding="utf-8") for folder in ("src", "tests", "benchmarks") for path in python_files(folder)
    )
    for name in re.findall(r"`(?:\w+\.)*(_?[A-Za-z]\w+)`", page):
        assert re.search(rf"\b{name}\b", code) or (SOURCE / name).is_dir(), name


def python_files(folder: str) -> list[Path]:
    return [path for path in (ROOT / folder).rglob("*.py") if ".venvs" not in path.parts]


@every_page
def test_every_command_is_known(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"^\s*modiste ([a-z][a-z-]*)", text, re.MULTILINE)) <= COMMANDS.keys()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE)) <= targets


NEEDED = {  # extras of each command in the README, with all that it lists
    "predict": {"photo", "report"},
    "data": {"photo", "report"},
    "evaluate": {"evaluation"},
    "compare": {"evaluation"},
    "report": {"report"},
    "figures": {"report"},
    "reproduce": {"report", "evaluation"},
    "search": {"search"},
    "export": {"export"},
    "serve": {"serve", "export", "photo"},
}


def test_make_demo_installs_what_the_readmes_commands_need() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    [listed] = re.findall(r"--editable '\.\[(evaluation[\w,]+)\]'", (ROOT / "Makefile").read_text(encoding="utf-8"))
    needed = [line for extra in listed.split(",") for line in extras[extra]]
    installed = {*listed.split(","), *(name for line in needed for name in re.findall(r"modiste\[(\w+)\]", line))}
    commands = set(re.findall(r"^modiste (\w+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert commands > NEEDED.keys()
    assert {extra for needed in NEEDED.values() for extra in needed} <= installed


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
