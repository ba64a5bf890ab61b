"""The scripts that measure a catalogue: what they compute, and which differences they find."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kill_catalogue import Task, difference
from time_catalogue import Moment, measured, summary

NAMES = ["a.png", "b.png", "c.png"]


def shard(*paths: str) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"path": list(paths)}), file)
    return file.getvalue()


def test_speed_is_counted_after_the_start() -> None:
    warm = Moment(seconds=12.0, done=100, ours=3.0, busy=20.0)
    end = Moment(seconds=22.0, done=1100, ours=15.5, busy=36.5)
    found = measured(10.0, warm, end)
    assert found == {
        "pictures_per_second": 100.0,
        "pictures_per_core_second": 80.0,
        "seconds": 12.0,
        "cores_ours": 1.25,
        "cores_of_others": 0.4,
    }


def test_the_ratio_is_that_of_each_round() -> None:
    rounds = {1: [{"pictures_per_second": 100.0}, {"pictures_per_second": 80.0}]}
    rounds[2] = [{"pictures_per_second": 190.0}, {"pictures_per_second": 120.0}]
    ratio = summary(rounds, 1000, 100)["throughput_ratio"]
    assert (ratio["lowest"], ratio["highest"]) == (1.5, 1.9)


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ({"0": shard("a.png", "b.png"), "1": shard("c.png")}, ""),
        ({"0": shard("a.png", "b.png")}, "1 pictures without an answer, 0 with more than one"),
        ({"0": shard("a.png", "b.png"), "1": shard("c.png", "a.png")}, "0 pictures without an answer, 1 with more"),
        ({"0": shard("b.png", "a.png"), "1": shard("c.png")}, "answers in another order"),
        ({"0": shard("a.png"), "1": shard("b.png", "c.png")}, "2 shards with other bytes"),
    ],
)
def test_a_picture_that_is_missing_or_there_twice_is_found(found: dict[str, bytes], problem: str) -> None:
    expected = {"0": shard("a.png", "b.png"), "1": shard("c.png")}
    said = difference(Task(Path("m"), Path("p"), NAMES, 2, expected), found)
    assert said.startswith(problem)
    assert bool(said) == bool(problem)
