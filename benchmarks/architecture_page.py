"""Write the map of the packages in ``docs/architecture.md`` from the layers contract and the packages' docstrings.

    python benchmarks/architecture_page.py [--check]

An arrow means "imports". Arrows that follow from others are left out of the drawing; the table has them all.
"""

import argparse
import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "modiste"
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- map: written by benchmarks/architecture_page.py -->", "<!-- end of map -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page differs from the source")
    check = parser.parse_args().check
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    _, after = rest.split(END)
    imports = imports_between(layers())
    wanted = f"{before}{START}\n{drawing(imports)}\n\n{table(imports)}\n{END}{after}"
    if not check:
        PAGE.write_text(wanted, encoding="utf-8")
    elif text != wanted:
        sys.exit("docs/architecture.md: differs from the source; run: python benchmarks/architecture_page.py")


def layers() -> list[str]:
    """Return the packages and modules right below ``modiste``, in the order of the layers contract, highest first."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    [contract] = [one for one in tool["importlinter"]["contracts"] if one["type"] == "layers"]
    return [name.strip() for layer in contract["layers"] for name in layer.split("|")]


def imports_between(names: list[str]) -> dict[str, list[str]]:
    """Return which of ``names`` each of them imports, directly and anywhere in its files."""
    found = {name: imported_by(name) - {name} for name in names}
    return {name: [other for other in names if other in found[name]] for name in names}


def imported_by(name: str) -> set[str]:
    """Return the packages and modules right below ``modiste`` that the files of ``name`` import."""
    found: set[str] = set()
    for path in files_of(name):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            found |= {module.split(".")[1] for module in modules if module.startswith("modiste.")}
    return found


def files_of(name: str) -> list[Path]:
    """Return the Python files of a package, or the one file of a module."""
    module = SOURCE / f"{name}.py"
    return [module] if module.exists() else sorted((SOURCE / name).rglob("*.py"))


def drawing(imports: dict[str, list[str]]) -> str:
    """Return a Mermaid flowchart of the packages without the arrows that follow from others."""
    arrows = [f"    {name} --> {other}" for name, others in imports.items() for other in direct(others, imports)]
    return "\n".join(["```mermaid", "flowchart TD", *arrows, "```"])


def direct(others: list[str], imports: dict[str, list[str]]) -> list[str]:
    """Return those of ``others`` that none of the rest leads to."""
    return [other for other in others if not any(other in reachable(rest, imports) for rest in others)]


def reachable(name: str, imports: dict[str, list[str]]) -> set[str]:
    """Return everything that ``name`` imports, directly or through others."""
    found = set(imports[name])
    return found.union(*(reachable(other, imports) for other in found))


def table(imports: dict[str, list[str]]) -> str:
    """Return a Markdown table with a row per package, subpackages below their package."""
    lines = ["| package | what it is | imports |", "|---|---|---|"]
    for name, others in imports.items():
        module = SOURCE / f"{name}.py"
        path = module if module.exists() else SOURCE / name / "__init__.py"
        lines.append(f"| {link(path)} | {summary(path)} | {', '.join(others)} |")
        below = sorted((SOURCE / name).rglob("*/__init__.py")) if path != module else []
        lines += [f"| {link(one)} | {summary(one)} | |" for one in below]
    return "\n".join(lines)


def link(path: Path) -> str:
    """Return a link from the page to a module, or to the folder of a package."""
    target = path.parent if path.name == "__init__.py" else path
    return f"[{target.relative_to(SOURCE)}](../{target.relative_to(ROOT)})"


def summary(path: Path) -> str:
    """Return the first paragraph of a module's docstring on one line."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return re.sub(r"``(.+?)``", r"`\1`", paragraph).replace("|", "\\|")


if __name__ == "__main__":
    main()
