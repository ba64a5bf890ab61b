"""The scripts that time, tried at small sizes: every figure lands where the page says."""

import json
import sys
from pathlib import Path

import pytest
import torch

import clock
import prediction
import time_beside
import time_own_classes
import time_prediction
import time_to_accuracy
import time_training
from commands_and_data import run_modiste, run_script
from modiste.data.idx import idx_source
from modiste.runs.run_folder import open_run

BENCHMARKS = Path(clock.__file__).parent


@pytest.mark.slow
def test_the_way_to_an_accuracy(tmp_path: Path) -> None:
    folder = idx_source.load_training("fashion-mnist").folder
    for seeds in (1, 2, 2):
        words = [folder, "sprint", "--seeds", seeds, "--keras-epochs", 0, "--out", tmp_path]
        done = run_script(BENCHMARKS / "time_to_accuracy.py", *words)
        assert done.returncode == 0, done.stderr
    assert not done.stdout  # the third call found everything done
    record = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    shown = "DATA_FOLDER sprint --seeds 2 --keras-epochs 0 --out FOLDER"
    assert record["command"] == f"python benchmarks/time_to_accuracy.py {shown}"
    (found,), runs = record["results"], record["runs"]["sprint"]
    assert [row["seed"] for row in runs] == [0, 1]
    assert all(row["seconds"] > row["train_seconds"] > 0 and row["test_accuracy"] > 0.9 for row in runs)
    assert found["test_accuracy"]["mean"] == pytest.approx(sum(row["test_accuracy"] for row in runs) / 2)
    assert found["seconds"] == pytest.approx(sum(row["seconds"] for row in runs) / 2)
    assert "| `sprint` | 91.32 % |" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_ratios_are_to_the_whole_and_to_the_first_pass() -> None:
    keras = {
        "seconds": 100.0,  # with its evaluation
        "commit": "a",
        "epochs": [{"at_seconds": 10.0 * epoch, "test_accuracy": 0.90 + epoch / 100} for epoch in range(1, 4)],
    }
    runs = [
        {"seconds": seconds, "train_seconds": 1.0, "test_accuracy": 0.92, "peak_memory_bytes": 1, "commit": "a"}
        for seconds in (1.0, 4.0, 5.0, 6.0, 900.0)
    ]
    facts = {"device": "cpu", "cores": 4}
    found = time_to_accuracy.result("sprint", runs, keras, facts)
    assert found["seconds"] == 5.0
    assert time_to_accuracy.result("sprint", runs[:3], keras, facts)["seconds"] == 10 / 3
    assert found["training"] == "1.0 s, 4 cores"
    assert found["keras_whole_ratio"] == 6
    assert found["keras_first_pass_ratio"] == 4
    assert time_to_accuracy.result("sprint-94", runs, keras, facts)["keras_first_pass_ratio"] is None
    elsewhen = time_to_accuracy.result("sprint", [*runs, runs[0] | {"commit": "b"}], keras, facts)
    assert (elsewhen["commits"], elsewhen["keras_whole_ratio"]) == (["a", "b"], None)


def test_listing1s_page_has_ratios_and_shares() -> None:
    seconds = {arm.name: [10.0, 20.0, 40.0] for arm in time_training.ARMS}
    seconds["Modiste, float32"] = [10.0, 10.0, 10.0]
    rates = {name: [1e12] for name in time_training.PRECISIONS}
    found = time_training.summary(seconds, rates)
    ours = found["arms"]["Modiste, float32"]
    assert ours["against_keras"] == 2
    assert ours["share_of_rate"] == pytest.approx(5_000 * found["flop_per_image"] / 1e12)
    assert 45e6 < found["flop_per_image"] < 55e6
    assert "| Modiste, float32 | 5,000 (5,000 to 5,000) | 2.00 |" in time_training.as_markdown(found)


def test_predictions_page_has_speed_ups() -> None:
    slow = {"batch_seconds": 1.0, "single_seconds": 0.05}
    fast = {"batch_seconds": 0.25, "single_seconds": 0.001, "validation_accuracy": 0.92}
    found = time_prediction.summary(
        {("Listing 1", time_prediction.BASELINE): [slow] * 3, ("`sprint`", "ours"): [fast] * 3}
    )
    assert (
        "| `sprint` | ours | 250 (250 to 250) | 4.0 | 1.000 (1.000 to 1.000) | 50.0 | 92.00% |"
        in time_prediction.as_markdown(found)
    )


@pytest.mark.slow
def test_our_own_prediction_is_timed(tmp_path: Path) -> None:
    folder = idx_source.load_training("fashion-mnist").folder
    run = tmp_path / "run"
    few = ("--epochs", 1, "--data.images-per-class", 500)
    rounded = ("export", run, "--int8", "--out", run / prediction.FILES["int8"])
    for words in (("train", "perceptron", *few, "--quiet", "--out", run), ("export", run), rounded):
        done = run_modiste(*words)
        assert done.returncode == 0, done.stderr
    reached = open_run(run).picked.validation_accuracy
    for kind in time_prediction.PREDICTORS:
        done = run_script(BENCHMARKS / "prediction.py", kind, run, folder)
        assert done.returncode == 0, done.stderr
        found = clock.Timed(0.0, 0, done.stdout).last_line()
        assert min(found["single_seconds"], found["batch_seconds"]) > 0
        assert found["validation_accuracy"] == pytest.approx(reached, abs=0.01)


@pytest.mark.slow
def test_a_profile_shares_out_the_whole_step(tmp_path: Path) -> None:
    folder = idx_source.load_training("fashion-mnist").folder
    done = run_script(BENCHMARKS / "profile_layers.py", folder, "--steps", 3, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))
    for kind, last_phase in (("steps", "backward"), ("predictions", "batch, forward")):
        for arm in record[kind].values():
            assert sum(arm["phases"].values()) == pytest.approx(arm["milliseconds"])
            assert min(arm["phases"].values()) > 0
            assert any(row["phase"] == last_phase and "convolution" in row["operation"] for row in arm["operations"])
    assert (tmp_path / "profile.md").read_text(encoding="utf-8").count("\n## ") == 4 + 3


def test_a_failed_process_and_a_missing_peer_are_reported() -> None:
    with pytest.raises(SystemExit, match="failed with status 3"):
        clock.time_process((sys.executable, "-c", "raise SystemExit(3)"))
    with pytest.raises(SystemExit, match="make peers"):
        clock.peer("nowhere", "script.py")


def test_the_machines_rate_is_that_of_a_product() -> None:
    assert clock.matrix_multiply_rate(torch.float32, side=256, repetitions=2) > 0


def test_slowdown_is_compared_with_the_share_of_cores_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_beside, "available_cores", lambda: {0, 1, 2, 3})
    rows = ([2.0, 9.0, 1.0], 4), ([5.0, 3.0, 4.0], 3)
    alone, beside = ([{"train_seconds": value, "threads": threads} for value in values] for values, threads in rows)
    found = time_beside.summary({"alone": alone, "beside a busy process": beside})
    assert (found["slower"], found["in_proportion"]) == (2.0, 4 / 3)
    page = time_beside.as_markdown(found)
    assert "2.00 times slower" in page
    assert "| beside a busy process | 3 | 4.00 (3.00 to 5.00) | 3 |" in page


@pytest.mark.slow
def test_a_search_on_one_node_and_on_two(tmp_path: Path) -> None:
    folder = idx_source.load_training("fashion-mnist").folder
    small = ["--trials", 2, "--rounds", 1, "--empty", 2, "--images-per-class", 20]
    done = run_script(BENCHMARKS / "time_search.py", folder, *small, "--out", tmp_path, timeout=200)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    one, two = (record["seconds"][str(nodes)]["median"] for nodes in (1, 2))
    assert record["throughput_ratio"]["median"] == pytest.approx(one / two)
    assert len(record["empty_seconds"]) == 2
    assert f"{one / two:.2f} times the throughput" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_a_row_of_own_classes_has_the_medians_of_its_arm(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("validation", 1)):
        (tmp_path / split / "bag").mkdir(parents=True)
        for number in range(count):
            (tmp_path / split / "bag" / f"{number}.jpg").touch()
    arms = [time_own_classes.ours("best", tmp_path, tmp_path).name, time_own_classes.PEER]
    found = {
        name: [
            (clock.Timed(seconds * 10.0**place, 2**30, ""), accuracy)
            for seconds, accuracy in ((1, 0.7), (4, 0.9), (2, 0.8))
        ]
        for place, name in enumerate(arms)
    }
    new = time_own_classes.summary(found, {arms[0]: 0.95})
    record = time_own_classes.joined(None, new, tmp_path)
    page = time_own_classes.as_markdown(record)
    assert record["photos"] == {"train": 3, "validation": 1}
    accuracy = "80.00% (70.00% to 90.00%)"
    assert f"| {arms[0]} | {accuracy} | 95.00% | 2.0 (1.0 to 4.0) | 10.0 | 1.0 GiB |" in page
    assert f"| {arms[1]} | {accuracy} |  | 20.0 (10.0 to 40.0) | 1.0 | 1.0 GiB |" in page
    later = new | {"arms": {arms[1]: new["arms"][arms[1]] | {"time": "later"}}}
    page = time_own_classes.as_markdown(time_own_classes.joined(record, later, tmp_path))
    assert f"| {arms[0]} | {accuracy} | 95.00% | 2.0 (1.0 to 4.0) |  | 1.0 GiB |" in page, "the peer is of a later call"
    assert f"| {arms[1]} | {accuracy} |  | 20.0 (10.0 to 40.0) | 1.0 | 1.0 GiB |" in page
    elsewhere = new | {"machine": new["machine"] | {"processor": "another"}, "arms": {"a third": new["arms"][arms[1]]}}
    both = time_own_classes.joined(record, new | {"arms": {"a third": new["arms"][arms[1]]}}, tmp_path)
    both = time_own_classes.joined(both, elsewhere, tmp_path)
    assert [list(one["arms"]) for one in both["machines"].values()] == [[*arms, "a third"], ["a third"]]
