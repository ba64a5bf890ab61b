"""An exported network, pictures for it, and servers that serve it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from server_process import Server, listening

import modiste
import photographs


@pytest.fixture(scope="session")
def model_file(exported_photo_run: Path) -> Path:
    return exported_photo_run / "model.onnx"


@pytest.fixture(scope="session")
def photos() -> list[bytes]:
    """Photographs of garments, of every kind in turn."""
    images, random = modiste.load_dataset().validation.images[:16, 0].numpy(), np.random.default_rng(0)
    makers = list(photographs.MAKERS.values())
    return [makers[number % len(makers)](image, random) for number, image in enumerate(images)]


@pytest.fixture(scope="session")
def server(model_file: Path) -> Iterator[Server]:
    with listening(model_file) as server:
        yield server


@pytest.fixture(scope="session")
def stated(model_file: Path) -> Iterator[Server]:
    """A server whose answers have the sets of possible classes for a coverage of 99.9 %."""
    with listening(model_file, "--coverage", "0.999") as server:
        yield server
