"""ONNX files: the same answers as the run for every kind of network and any number of images, and what is inside."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from modiste import export, run_folder, storage, training
from modiste.checkpoint import ModelInfo
from modiste.errors import MissingExtraError, RunError
from modiste.export import Answers, as_onnx, compare
from modiste.model_recipe import CNNRecipe, ModelRecipe
from modiste.models import Task, build_model
from modiste.recipe import Recipe
from modiste.run_folder import open_run
from networks import SMALL
from workbench import run_modiste

NETWORKS = [*SMALL, CNNRecipe(filters=(3, 4), pools=1, hidden=(5,), batch_norm=True)]
TASK = Task(image_shape=(2, 12, 16), class_names=("a", "b", "ü"), mean=0.3, deviation=0.4)


def test_every_kind_of_network_is_tried() -> None:
    assert {type(recipe) for recipe in NETWORKS} == set(ModelRecipe.__args__)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda recipe: recipe.KIND)
def test_the_file_answers_like_the_network_for_any_number_of_images(network: ModelRecipe) -> None:
    answers = Answers(build_model(network, TASK, seed=3).eval(), mirror=True, temperature=0.7).eval()
    content = as_onnx(answers, ModelInfo(Recipe(name="tried", model=network), TASK, 4, "f" * 64))
    images = np.random.RandomState(5).randint(0, 256, (131, *TASK.image_shape)).astype(np.uint8)
    difference, agreement = compare(content, answers, torch.from_numpy(images))
    assert difference < 1e-5
    assert agreement == 1


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def test_the_file_of_a_run(run: Path, tiny_folder: Path) -> None:
    done = export.export(run, data_folder=tiny_folder)
    assert done.path == run / "model.onnx"
    assert done.size_bytes == done.path.stat().st_size
    assert done.agreement == 1
    assert "model.onnx" in open_run(run).files
    proto = onnx.load(done.path)
    onnx.checker.check_model(proto, full_check=True)
    told = {item.key: item.value for item in proto.metadata_props}
    info = open_run(run).load_info()
    assert json.loads(told["class_names"]) == list(info.task.class_names)
    assert told["recipe"] == "tiny"
    assert told["fingerprint"] == info.fingerprint
    session = onnxruntime.InferenceSession(done.path, providers=["CPUExecutionProvider"])
    assert [(item.name, item.type) for item in session.get_inputs()] == [("images", "tensor(uint8)")]
    assert [item.name for item in session.get_outputs()] == ["logits", "probabilities"]


def test_its_logits_are_those_of_the_run_and_its_probabilities_tempered(run: Path, tiny_folder: Path) -> None:
    mirrored = replace(open_run(run).recipe, mirror=True, epochs=1)
    other = run.parent / "mirrored"
    training.run(mirrored, other, device="cpu", data_folder=tiny_folder)
    for folder in (run, other):
        done = export.export(folder, folder.parent / "elsewhere.onnx", data_folder=tiny_folder)
        assert "model.onnx" not in open_run(folder).files
        images = export.load_own_development(open_run(folder), tiny_folder).validation.images
        logits, probabilities = onnxruntime.InferenceSession(done.path).run(None, {"images": images.numpy()})
        stored, _ = run_folder.read_logits(folder / run_folder.logits_name("validation"))
        np.testing.assert_allclose(logits, stored, atol=1e-5)
        np.testing.assert_allclose(probabilities, (stored / done.temperature).softmax(1), atol=1e-5)


def test_a_file_that_answers_otherwise_is_not_written(
    run: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = export.as_onnx

    def of_another_network(answers: Answers, info: ModelInfo) -> bytes:
        other = build_model(info.recipe.model, info.task, seed=99).eval()
        return honest(Answers(other, mirror=False, temperature=answers.temperature), info)

    monkeypatch.setattr(export, "as_onnx", of_another_network)
    with pytest.raises(RunError, match=r"answers otherwise than the run.*nothing was written"):
        export.export(run, data_folder=tiny_folder)
    assert not (run / "model.onnx").exists()


def test_without_the_packages(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'modiste\[export\]'"):
        export.export(run)


def test_the_command(run: Path, tiny_folder: Path) -> None:
    done = run_modiste("export", run, "--data-folder", tiny_folder)
    assert done.returncode == 0, done.stderr
    assert "same class for 100.00%" in done.stdout
    assert done.stderr == ""
    again = run_modiste("export", run, "--data-folder", tiny_folder)
    assert again.stdout == done.stdout
    assert storage.sha256(run / "model.onnx") == open_run(run).files["model.onnx"]
    missing = run_modiste("export", run / "nowhere")
    assert missing.returncode == 4
    assert "no run here" in missing.stderr
