"""The script for a lent machine, tried at a tiny size: it stops when its time is up, goes on, and finishes."""

import argparse
import ast
import contextlib
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
import torch

from commands_and_data import run_script
from modiste.evaluation.ensemble import evaluate_together
from modiste.runs.run_folder import open_run

ROOT = Path(__file__).parents[2]


def zoo(runs: Path, source: Path, seconds: float) -> "subprocess.CompletedProcess[str]":
    words = ["mlp", "resnet", "--seeds", "2", "--epochs", "3", "--source", source, "--runs", runs]
    return run_script(ROOT / "benchmarks" / "gpu" / "zoo.py", *words, "--budget-seconds", seconds, timeout=200)


@pytest.mark.slow
def test_it_stops_goes_on_and_finishes_every_run(tmp_path: Path, tiny_folder: Path) -> None:
    runs = tmp_path / "runs"
    stopped = zoo(runs, tiny_folder, 0.01)
    assert "time is up" in stopped.stdout + stopped.stderr
    finished = zoo(runs, tiny_folder, 180)
    assert finished.returncode == 0, finished.stderr
    for name in ("mlp-0", "mlp-1", "resnet-0", "resnet-1"):
        assert open_run(runs / name).test_openings == 1
    again = zoo(runs, tiny_folder, 180)
    assert again.returncode == 0
    assert open_run(runs / "resnet-1").test_openings == 1, "the test set was opened again"


@pytest.mark.slow
def test_seeds_are_added_to_those_of_the_record_or_take_their_place(tmp_path: Path, tiny_folder: Path) -> None:
    assert zoo(tmp_path / "runs", tiny_folder, 180).returncode == 0
    of_both, of_one = tmp_path / "runs", tmp_path / "one"
    of_one.mkdir()
    (of_both / "mlp-1").rename(of_one / "mlp-1")
    options = ["--out", tmp_path, "--baseline", of_both / "resnet-0"]
    found, pairs = [], []
    for words in (["--runs", of_both], ["--runs", of_one, "--add"], ["--runs", of_one]):
        done = run_script(ROOT / "benchmarks" / "systems_record.py", *options, *words)
        assert done.returncode == 0, done.stderr
        record = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
        found.append([(row["recipe"], row["seed"]) for row in record["runs"]])
        pairs.append(record["against_paper"])
    resnets = [("resnet", 0), ("resnet", 1)]
    assert found == [[("mlp", 0), *resnets], [("mlp", 0), ("mlp", 1), *resnets], [("mlp", 1), *resnets]]
    assert pairs[0]["resnet"]["difference"] == 0, "a run differs from itself"
    assert pairs[0] == pairs[1], "a second seed is not compared"
    assert [set(one) for one in pairs] == [{"mlp", "resnet"}] * 3


def test_a_record_without_runs_is_refused(tmp_path: Path) -> None:
    words = ["--runs", tmp_path, "--baseline", tmp_path / "paper-0", "--out", tmp_path / "out"]
    done = run_script(ROOT / "benchmarks" / "systems_record.py", *words)
    assert done.returncode != 0
    assert "no finished run" in done.stderr
    assert "paper_record.py" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_sprints_are_timed_and_measured_and_not_again(tmp_path: Path, tiny_folder: Path) -> None:
    script, out = ROOT / "benchmarks" / "gpu" / "sprint.py", tmp_path / "out"
    options = ["--epochs", "1", "--source", tiny_folder, "--runs", tmp_path / "runs", "--out", out]
    for recipes in (["sprint", "--seeds", "2", "--teams", "2"], ["sprint", "mlp", "--seeds", "0", "--alone", "3"]):
        done = run_script(script, *recipes, *options, timeout=200)
        assert done.returncode == 0, done.stderr
    sprint, teams, mlp = json.loads((out / "record.json").read_text(encoding="utf-8"))["results"]
    counts = [(found["recipe"], found["n"]) for found in (sprint, teams, mlp)]
    assert counts == [("sprint", 4), ("sprint, 2 together", 2), ("mlp", 3)]
    assert all(row["seconds"] > row["train_seconds"] > 0 for row in sprint["alone"])
    assert sprint["together"]["seconds"] > sprint["together"]["train_seconds"] > 0
    assert mlp["together"] is None
    folders = [next((tmp_path / "runs").glob(f"call-*/sprint-{seed}")) for seed in range(4)]
    assert [open_run(folder).test_openings for folder in folders] == [1, 1, 1, 1]
    pairs = [evaluate_together(folders[first : first + 2], split="test").accuracy for first in (0, 2)]
    assert teams["test_accuracy"]["values"] == pairs
    assert teams["parameters"] == 2 * sprint["parameters"]
    page = (out / "README.md").read_text(encoding="utf-8")
    assert page.count("\n| `") == 3
    assert f"{sprint['test_accuracy']['mean']:.2%}" in page


def test_the_sprints_of_a_recipe_that_was_interrupted_are_trained_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second call once recorded the seconds in which it found finished runs."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "gpu")
    sprint, folders = importlib.import_module("sprint"), list[Path]()

    def stop(_: str, options: argparse.Namespace) -> NoReturn:
        folders.append(options.runs)
        raise KeyboardInterrupt

    monkeypatch.setattr(sprint, "measure", stop)
    monkeypatch.setattr(sprint.lent, "time_limit", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(sys, "argv", ["sprint.py", "mlp", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path)])
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            sprint.main()
    assert {folder.parent for folder in folders} == {tmp_path / "runs"}
    assert len(set(folders)) == 2
    assert not any(list(folder.iterdir()) for folder in folders)


@pytest.mark.slow
def test_arms_are_trained_once_each_with_their_changes_and_the_test_set_closed(
    tmp_path: Path, tiny_folder: Path
) -> None:
    plan, out = tmp_path / "plan.json", tmp_path / "out"
    arms = [{"recipe": "mlp", "changes": {"optimizer.learning_rate": rate}} for rate in (0.01, 1e-9)]
    script = ROOT / "benchmarks" / "gpu" / "arms.py"
    trained = []
    for known in (arms[:1], arms):
        plan.write_text(json.dumps(known))
        done = run_script(script, plan, "--source", tiny_folder, "--out", out, "--epochs", 2, timeout=200)
        assert done.returncode == 0, done.stderr
        trained.append([ast.literal_eval(line)["changes"] for line in done.stdout.splitlines()])
    assert trained == [[arm["changes"]] for arm in arms], "an arm was trained again"
    learnt, stood = json.loads((out / "arms.json").read_text(encoding="utf-8"))["arms"]
    assert [learnt["changes"], stood["changes"]] == [arm["changes"] for arm in arms]
    assert min(learnt["train_accuracy"]) > max(stood["train_accuracy"]) + 0.1
    assert len(learnt["validation_accuracy"]) == 2


def test_steps_of_both_kinds_are_set_side_by_side(tmp_path: Path, tiny_folder: Path) -> None:
    options = ["--source", tiny_folder, "--images", "100", "--epochs", "2", "--out", tmp_path]
    done = run_script(ROOT / "benchmarks" / "gpu" / "steps.py", "mlp", "sprint", "capsnet", *options)
    assert done.returncode == 0, done.stderr
    mlp, sprint, capsnet = json.loads((tmp_path / "steps.json").read_text(encoding="utf-8"))["results"]
    for found in (mlp, sprint):
        # Where a processor multiplies bfloat16, the sprint is trained in it. How far the weights come apart is a
        # figure of the record: steps of both kinds are compared in tests/training/test_cuda_graph.py, in float32.
        watched, *resident = found["losses"]
        assert resident[0] == pytest.approx(watched, rel=torch.finfo(torch.bfloat16).eps)
        assert found["twice_the_same"]
        assert resident[0] == resident[1]
        assert min(found["watched_milliseconds"], found["resident_milliseconds"]) > 0
    assert "failed" in capsnet, "its kernels of 9 x 9 pixels do not fit twice into 12 x 12"
    page = (tmp_path / "steps.md").read_text(encoding="utf-8")
    assert page.count("| yes |") == 2
    assert all(f"| {found['largest_weight_difference']:.2g} | yes |" in page for found in (mlp, sprint))
    assert "| `capsnet` | failed |" in page
