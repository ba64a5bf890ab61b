"""What the tests of a catalogue share: the model that answers, pictures, and their answers."""

from pathlib import Path

import pytest
from small_catalogue import InThisProcess, network, shards, write_small_pictures

from modiste.catalogue.catalogue import answer_catalogue
from modiste.catalogue.model import CatalogueModel


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file, which no test changes."""
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    path.write_bytes(network())
    return path


@pytest.fixture(scope="module")
def pictures(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of ``COUNT`` pictures, a constant of the module that tests."""
    folder = tmp_path_factory.mktemp("pictures")
    write_small_pictures(folder, request.module.COUNT)
    return folder


@pytest.fixture(scope="module")
def calm(
    request: pytest.FixtureRequest, model: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The shards, of ``ROWS`` pictures, of a run that nothing disturbed, in one process."""
    out = tmp_path_factory.mktemp("calm") / "answers"
    answer_catalogue(CatalogueModel(model), pictures, out, shard_rows=request.module.ROWS, workers=InThisProcess)
    return shards(out)
