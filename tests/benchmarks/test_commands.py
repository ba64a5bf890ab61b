"""The commands that the records name: each script accepts its own, and writes its page from the record."""

import argparse
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from record import ROOT, Record, provenance, this_command, with_range
from record_pages import commands, page_of, with_pages


class ParsedError(Exception):
    """The script's parser has taken the command."""


@pytest.mark.parametrize("record", commands())
def test_a_recorded_command_is_taken_by_its_script(record: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, script, *words = shlex.split(commands()[record])
    if program == "make":
        assert re.search(rf"^{script}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return
    parse = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser) -> NoReturn:
        parse(parser)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", [script, *words])
    monkeypatch.setattr(sys, "path", [str((ROOT / script).parent), *sys.path])
    with pytest.raises(ParsedError):
        runpy.run_path(str(ROOT / script), run_name="__main__")


@pytest.mark.parametrize("record", with_pages())
def test_a_page_is_what_its_script_writes_from_its_record(record: str) -> None:
    page, text = page_of(record, commands()[record])
    assert page.read_text(encoding="utf-8") == text, "python benchmarks/record_pages.py writes it again"


def test_every_page_names_the_command_of_its_record() -> None:
    for record, command in commands().items():
        pages = [path.read_text(encoding="utf-8") for path in (ROOT / record).parent.glob("*.md")]
        if any("Made by `python" in page for page in pages) and command.startswith("python"):
            assert any(f"`{command}`" in page.replace("\n", " ") for page in pages), record


def test_the_command_is_given_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    script = ROOT / "benchmarks" / "time_search.py"
    monkeypatch.setattr(sys, "argv", [str(script), "/some where/data", "--trials", "8"])
    assert this_command() == "python benchmarks/time_search.py '/some where/data' --trials 8"


def test_a_place_outside_the_checkout_is_named_by_its_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {"data": "train-images-idx3-ubyte.gz", "run": "recipe.json", "photos": "coat.jpg"}
    for folder, file in files.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).touch()
    words = [*(str(tmp_path / folder) for folder in files), str(tmp_path / "photos" / "coat.jpg"), "tests", "8"]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [str(ROOT / "benchmarks" / "time_search.py"), *words])
    assert this_command() == "python benchmarks/time_search.py DATA_FOLDER RUN FOLDER FILE tests 8"


def test_a_record_is_read_as_it_was_saved(tmp_path: Path) -> None:
    files = Record(tmp_path, "speed.json", "speed.md")
    assert files.read() is None
    files.save(provenance() | {"seconds": [1.5]}, "# Speed\n")
    found = files.read()
    assert found is not None
    assert list(found) == ["command", "machine", "seconds"]
    assert found["seconds"] == [1.5]
    assert (tmp_path / "speed.md").read_text(encoding="utf-8") == "# Speed\n"


def test_a_range_is_written_behind_its_median() -> None:
    assert with_range({"median": 0.0041, "lowest": 0.0039, "highest": 0.0044}, ".1f", 1e3) == "4.1 (3.9 to 4.4)"
