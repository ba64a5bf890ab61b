"""What the tests of a catalogue share: the model that answers."""

from pathlib import Path

import pytest
from small_catalogue import network


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file, which no test changes."""
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    path.write_bytes(network())
    return path
