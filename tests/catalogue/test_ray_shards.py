"""A catalogue on a real Ray cluster of two nodes: the bytes of one process, whatever dies."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from small_catalogue import shards

from commands_and_data import child_environment
from fault_counter import Faults
from modiste.catalogue.plan import FOLDER
from modiste.catalogue.shards import ShardTask, answer_shard
from modiste.errors import ClusterError
from modiste.runs.manifest import ONNX_FILE
from ray_nodes import nodes, order

COUNT, ROWS = 800, 8
"""Read by the fixtures too."""


def start(model: Path, pictures: Path, out: Path, address: str) -> "subprocess.Popen[str]":
    words = ["predict", model, pictures, "--out", out, "--shard-rows", ROWS, "--ray", address]
    return subprocess.Popen(
        [sys.executable, "-m", "modiste", *map(str, words)],
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_a_shard(out: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while not shards(out):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_a_driver_a_worker_and_a_node_that_are_killed_cost_only_what_they_had_at_work(
    model: Path, pictures: Path, calm: dict[str, bytes], tmp_path: Path, faults: Faults
) -> None:
    for number in faults("catalogue: driver, worker and node killed (Ray)", few=3, many=60, each=3):
        kill_each(model, pictures, calm, tmp_path / str(number))


def kill_each(model: Path, pictures: Path, calm: dict[str, bytes], out: Path) -> None:
    with nodes(2, environment=child_environment()) as (address, keeper):
        driver = start(model, pictures, out, address)
        wait_for_a_shard(out, driver)
        driver.kill()
        driver.communicate()
        before = shards(out)
        assert before.items() <= calm.items()
        again = start(model, pictures, out, address)
        kill_a_worker(psutil.Process(keeper.pid), again)
        order(keeper, "kill one")
        _, complaint = again.communicate(timeout=200)
    assert (again.returncode, complaint) == (0, "")
    assert shards(out) == calm


def kill_a_worker(cluster: psutil.Process, driver: "subprocess.Popen[str]") -> None:
    """Kill a process of the cluster while it answers a shard."""
    while not (workers := [one for one in cluster.children(recursive=True) if is_worker(one)]):
        assert driver.poll() is None, driver.communicate()
    workers[0].kill()


def is_worker(process: psutil.Process) -> bool:
    try:
        return "answer_shard" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def test_a_node_that_does_not_see_the_pictures_says_so(model: Path, tmp_path: Path) -> None:
    task = ShardTask(0, str(tmp_path), (b"a.png",), "plan", "onnx", stays_inside=True, witness=b"a.png")
    with pytest.raises(ClusterError, match=r"does not see .*a\.png; mount the pictures there at the same path"):
        answer_shard(task, model)


def test_no_cluster_is_said(model: Path, pictures: Path, tmp_path: Path) -> None:
    process = start(model, pictures, tmp_path / "answers", "127.0.0.1:1")
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == ClusterError.exit_code
    assert "no Ray cluster answers" in complaint
    assert len(complaint.splitlines()) == 1
    assert (tmp_path / "answers" / FOLDER / ONNX_FILE).exists()
