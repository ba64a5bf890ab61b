"""The record of the yardsticks has every run's figures, and a page with them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from few_kinds import keep_kinds

import modiste
import yardsticks_record
from modiste.benchmarks import run
from modiste.benchmarks.result import from_plain
from modiste.benchmarks.settings import Settings
from modiste.errors import DataError
from modiste.runs.run_folder import WEIGHTS, open_run


def test_the_record(finished_run: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_kinds(monkeypatch, "fog")
    copied = shutil.copytree(finished_run, tmp_path / "run")
    found = modiste.benchmark_all(
        copied, split="validation", attacked=10, steps=1, data_folder=tiny_folder, device="cpu"
    )
    yardsticks_record.write_record(tmp_path, found, ["python first.py", "python second.py"])
    plain = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert [one["name"] for one in plain["benchmarks"]] == [one.name for one in found]
    assert "Made by\n`python first.py`,\n`python second.py`." in page
    assert "| published | figure | source |" in page
    for one in found:
        assert f"## {one.title}" in page
        for cell in one.table().rows[0]:
            assert f" {cell} " in page


def test_what_was_measured_is_kept_and_recipes_are_joined(
    finished_run: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_kinds(monkeypatch, "fog")
    settings, keywords = Settings(attacked=10, steps=1), {"data_folder": tiny_folder, "device": "cpu"}
    copies = [shutil.copytree(finished_run, tmp_path / f"tiny-{seed}") for seed in range(2)]
    working, failed = run.BENCHMARKS["ood"], dict[str, Exception]()

    def fail(*_: object) -> NoReturn:
        raise DataError("gone")

    monkeypatch.setitem(run.BENCHMARKS, "ood", replace(working, measure=fail))
    yardsticks_record.measure(copies[:1], settings, tmp_path / "tiny.json", failed, **keywords)
    assert list(failed) == ["ood"]
    before = json.loads((tmp_path / "tiny.json").read_text(encoding="utf-8"))["benchmarks"]
    assert list(before) == [name for name in run.all_names(settings) if name != "ood"]
    monkeypatch.setitem(run.BENCHMARKS, "ood", working)
    monkeypatch.setitem(
        run.BENCHMARKS, "robust", replace(run.BENCHMARKS["robust"], measure=fail)
    )  # is not called again
    for _ in range(2):
        yardsticks_record.measure(copies[:1], settings, tmp_path / "tiny.json", {}, **keywords)
    assert open_run(copies[0]).test_openings == 2
    after = json.loads((tmp_path / "tiny.json").read_text(encoding="utf-8"))["benchmarks"]
    assert {name: after[name] for name in before} == before
    renamed = {name: one | {"groups": {"paper": [0]}} for name, one in after.items()}
    for one in renamed.values():
        one["runs"] = [one["runs"][0] | {"recipe": "paper"}]
    shutil.copytree(finished_run, tmp_path / "paper-0")
    own = {"seeds": 1, "models": [open_run(finished_run).files[WEIGHTS["picked"]]]}
    other = own | {"settings": yardsticks_record.plain(settings), "command": "python", "benchmarks": renamed}
    (tmp_path / "paper.json").write_text(json.dumps(other))
    (tmp_path / "old.json").write_text(json.dumps(other | {"seeds": 3}))
    contents = yardsticks_record.kept(tmp_path, settings, 1)
    found = yardsticks_record.joined(map(yardsticks_record.benchmarks_of, contents))
    assert [one.name for one in found] == run.all_names(settings)
    for one in found:
        assert one.groups == {"paper": (0,), "tiny": (1,)}
        assert [row.recipe for row in one.runs] == ["paper", "tiny"]
    assert found[0].runs[1].figures["mean corruption error"].value == 1  # the same network
    yardsticks_record.write_record(tmp_path / "record", found, ["python"])
    assert "| recipe | paper | tiny |" in (tmp_path / "record" / "README.md").read_text(encoding="utf-8")
    yardsticks_record.measure(copies[:1], replace(settings, steps=2), tmp_path / "tiny.json", failed, **keywords)
    stated = json.loads((tmp_path / "tiny.json").read_text(encoding="utf-8"))
    assert "robust" not in stated["benchmarks"]  # other settings: anew


def test_figures_of_other_weights_are_measured_again(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, settings = list[list[str]](), Settings()
    monkeypatch.setattr(yardsticks_record, "each_benchmark", lambda names, *_, **__: asked.append(names) or [])
    names, own = run.all_names(settings), open_run(finished_run).files[WEIGHTS["picked"]]
    stated = {"settings": yardsticks_record.plain(settings), "seeds": 1, "benchmarks": {key: {} for key in names}}
    for weights in ({"models": [own]}, {"models": ["0" * 64]}, {}):
        (tmp_path / "tiny.json").write_text(json.dumps(stated | weights))
        yardsticks_record.measure([finished_run], settings, tmp_path / "tiny.json", {})
    assert asked == [names, names]


def test_figures_of_runs_that_are_gone_or_new_leave_the_record(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recipe that a call did not name once kept its figures, whatever had become of its runs."""
    settings, own = Settings(), open_run(finished_run).files[WEIGHTS["picked"]]
    content = {"settings": yardsticks_record.plain(settings), "seeds": 1, "benchmarks": {}}
    for name, weights in {"same": own, "new": "0" * 64, "gone": own}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content | {"models": [weights]}))
        if name != "gone":
            shutil.copytree(finished_run, tmp_path / f"{name}-0")
    assert yardsticks_record.kept(tmp_path, settings, 1) == [content | {"models": [own]}]
    printed = capsys.readouterr().out
    for name in ("new", "gone"):
        assert (
            f"{name}.json: left out, as its runs are gone or have other weights; name {name} to measure it again\n"
            in printed
        )


def test_a_result_is_the_same_after_json(finished_run: Path, tiny_folder: Path) -> None:
    found = modiste.benchmark("conformal", finished_run, split="validation", data_folder=tiny_folder)
    again = from_plain(json.loads(json.dumps(found.as_plain())))
    assert replace(again, tables=found.tables) == replace(found, runs=again.runs)
    assert again.table() == found.table()
    assert json.dumps(again.as_plain()) == json.dumps(found.as_plain())
