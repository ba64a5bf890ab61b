"""The record of the yardsticks has every run's figures, and a page with them."""

import json
import shutil
from pathlib import Path

import pytest
from few_kinds import keep_kinds

import modiste
import yardsticks_record


def test_the_record(finished_run: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_kinds(monkeypatch, "fog")
    run = shutil.copytree(finished_run, tmp_path / "run")
    found = modiste.benchmark_all(run, split="validation", attacked=10, steps=1, data_folder=tiny_folder, device="cpu")
    yardsticks_record.write_record(tmp_path, found)
    plain = json.loads((tmp_path / "record.json").read_text())
    page = (tmp_path / "README.md").read_text()
    assert [one["name"] for one in plain["benchmarks"]] == [one.name for one in found]
    assert "| published | figure | source |" in page
    for one in found:
        assert f"## {one.title}" in page
        for cell in one.table().rows[0]:
            assert f" {cell} " in page
