"""The peers' scripts, tried on few images in this environment; Keras stands on torch here, which it has."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from idx_files import IMAGES, LABELS, TEST_IMAGES, TEST_LABELS, idx, write

from fault_counter import slow_case
from modiste.data import held_out
from modiste.data.idx import idx_source
from peers import fashion_files

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"
MEASURED = 500


@pytest.fixture(scope="module")
def few_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of Fashion-MNIST with few images to measure the accuracy with: that takes longer than the training."""
    train, test = idx_source.load_training("fashion-mnist"), held_out.load_held_out("fashion-mnist")
    end = fashion_files.TRAINING + MEASURED
    parts = {IMAGES: train.images[:end], LABELS: train.labels[:end]}
    parts |= {TEST_IMAGES: test.images[:MEASURED], TEST_LABELS: test.labels[:MEASURED]}
    return write(tmp_path_factory.mktemp("few") / "files", {name: idx(part) for name, part in parts.items()})


@pytest.mark.parametrize(
    "script",
    [
        slow_case("listing1_keras.py"),
        slow_case("listing1_pytorch.py"),
        "mlp_scikit_learn.py",
    ],
)
def test_a_peer_learns_measures_and_saves(script: str, few_files: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.keras"
    words = [sys.executable, PEERS / script, "train", few_files, model, "--epochs", "2", "--images", "1280"]
    environment = {**os.environ, "KERAS_BACKEND": "torch", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert model.stat().st_size > 10_000
    assert [set(row) for row in found["epochs"]] == [{"train_seconds", "at_seconds", "test_accuracy"}] * 2
    assert found["epochs"][0]["at_seconds"] < found["epochs"][1]["at_seconds"] < found["seconds"]
    assert found["epochs"][1]["test_accuracy"] > 0.4
    assert found["validation_accuracy"] > 0.4
