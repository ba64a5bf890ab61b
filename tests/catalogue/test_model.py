"""The ONNX file that a catalogue makes of a run answers as the run does, and the run's weights identify it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from modiste.catalogue.model import CatalogueModel
from modiste.errors import RunError
from modiste.inference.onnx_model import OnnxModel
from modiste.inference.predictor import Predictor
from modiste.runs import storage


@pytest.mark.slow
def test_a_run_becomes_a_file_that_answers_as_it_does(finished_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))  # it keeps its detector, which others must not find
    images = np.random.RandomState(0).randint(0, 256, (20, 1, 12, 12)).astype(np.uint8)
    found = OnnxModel.from_bytes(CatalogueModel(run, tiny_folder).onnx()[0], threads=1).classify(images)
    expected = Predictor.load(run, device="cpu").with_novelty(run, tiny_folder).classify(images)
    assert found.novelty is not None
    assert expected.novelty is not None
    assert found.class_names == expected.class_names
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-3)
    np.testing.assert_allclose(found.novelty, expected.novelty, rtol=1e-2)
    assert CatalogueModel(run).digest() == storage.sha256(run / "model.safetensors")


def test_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such file; expected a run, a model file, or an ONNX file"):
        CatalogueModel(tmp_path / "nothing.onnx").digest()
