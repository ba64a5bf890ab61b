"""The README says what is there: its tree names every file, its results are those of the records."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "modiste"
SHIPPED = (".py", ".html", ".css", ".js", ".svg")


def test_the_tree_names_every_file_once():
    text = (ROOT / "README.md").read_text()
    tree = text.split("src/modiste/\n")[1].split("```")[0]
    named = []
    folders: dict[int, str] = {0: ""}
    for line in tree.splitlines():
        match = re.match(r"( +)([\w.]+/?)  +\S", line)
        if match is None:
            continue
        depth, name = len(match[1]) // 2, match[2]
        within = folders[depth - 1]
        if name.endswith("/"):
            folders[depth] = within + name
        else:
            named.append(within + name)
    real = [str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*") if path.suffix in SHIPPED]
    missing_is_fine = {path for path in real if path.endswith("/__init__.py")}
    assert sorted(set(named) | missing_is_fine) == sorted(real)
    assert len(named) == len(set(named))


def test_the_results_are_those_of_the_records():
    script = ROOT / "benchmarks" / "readme_results.py"
    subprocess.run([sys.executable, str(script), "--check"], check=True)


NEEDED = {  # extras of each command in the README, with all that it lists
    "predict": {"photo", "report"},
    "evaluate": {"evaluation"},
    "compare": {"evaluation"},
    "report": {"report"},
    "figures": {"report"},
    "reproduce": {"report", "evaluation"},
    "search": {"search"},
    "export": {"export"},
    "serve": {"serve", "export", "photo"},
}


def test_make_demo_installs_what_the_commands_below_it_need():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    listed = re.search(r"--editable '\.\[([\w,]+)\]'", (ROOT / "Makefile").read_text())[1].split(",")
    needed = [line for extra in listed for line in extras[extra]]
    installed = {*listed, *(name for line in needed for name in re.findall(r"modiste\[(\w+)\]", line))}
    start = (ROOT / "README.md").read_text().split("## Start")[1].split("## ")[0]
    commands = set(re.findall(r"^modiste (\w+)", start, re.MULTILINE))
    assert commands > NEEDED.keys()
    assert {extra for needed in NEEDED.values() for extra in needed} <= installed


def test_every_linked_file_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert target.startswith("http") or (ROOT / target).exists(), target
