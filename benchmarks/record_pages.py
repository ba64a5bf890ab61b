"""Write the pages of ``records`` again from their numbers, after the text of a script has changed.

python benchmarks/record_pages.py
"""

import json
import runpy
import shlex
import sys
from pathlib import Path

from modiste.runs import storage
from record import ROOT

OF_MORE = ("benchmarks/record", "paper/record", "reliability/results", "transfer/record")
"""Records from which alone no function writes the page."""
sys.path.append(str(ROOT / "benchmarks" / "gpu"))  # its scripts import one another


def commands() -> dict[str, str]:
    """Return the command that made each record, by the record's path in the checkout."""
    found = {path: json.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "records").rglob("*.json"))}
    return {
        str(path.relative_to(ROOT)): content["command"]
        for path, content in found.items()
        if isinstance(content, dict) and "command" in content
    }


def page_of(record: str, command: str) -> tuple[Path, str]:
    """Return the page of a record, and the text that its script writes from the numbers today."""
    script, path = ROOT / shlex.split(command)[1], ROOT / record
    page = path.with_name("README.md") if path.name == "record.json" else path.with_suffix(".md")
    content = json.loads(path.read_text(encoding="utf-8"))
    return page, runpy.run_path(str(script))["as_markdown"](content)


def with_pages() -> dict[str, str]:
    """Return the commands of the records from which alone a page is written."""
    return {name: made for name, made in commands().items() if not any(f"/{more}." in name for more in OF_MORE)}


def main() -> None:
    for record, command in with_pages().items():
        page, text = page_of(record, command)
        if page.read_text(encoding="utf-8") != text:
            storage.write_text(page, text)
            print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
