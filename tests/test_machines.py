"""What is promised of a run on a machine of another kind: another processor's kernels, another number of threads.

The other machine is a process whose libraries are kept from this processor's newest instructions.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import modiste
from commands_and_data import PROGRAMS, run_python
from listeners import StopAfter
from modiste import machine
from modiste.cli.main import main
from modiste.errors import StoppedError
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import Recipe
from modiste.runs import run_folder, storage
from modiste.runs.run_folder import open_run
from modiste.training import trainer
from modiste.training.seeds import train_seeds
from modiste.training.setup import Inputs

OTHER = {
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "ATEN_CPU_CAPABILITY": "default",
    "OMP_NUM_THREADS": "3",
    "MKL_DYNAMIC": "FALSE",
}


def rounding(run: Path) -> float:
    """Return how far logits may lie apart by rounding, in shares of the largest: an epsilon for each term of a sum."""
    model, _ = open_run(run).load_model()
    return torch.finfo(torch.float32).eps * max(weight[0].numel() for weight in model.parameters() if weight.ndim > 1)


@pytest.mark.slow
def test_a_run_answers_and_goes_on_within_rounding_on_another_machine(
    exported_run: Path, tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    run, begun = Path(shutil.copytree(exported_run, tmp_path / "run")), tmp_path / "begun"
    with pytest.raises(StoppedError):
        trainer.train(tiny_recipe, begun, Inputs(tiny_folder), device="cpu", listeners=[StopAfter(30)])
    done = run_python(PROGRAMS / "answer_and_go_on.py", run, begun, run / "model.onnx", tiny_folder, **OTHER)
    assert done.returncode == 0, done.stderr
    there, here = np.load(run / "there.npz"), modiste.Predictor.load(run, device="cpu")
    stored, _ = run_folder.read_logits(run / run_folder.logits_name("validation"))
    apart = rounding(run) * stored.abs().max().item()
    np.testing.assert_allclose(there["logits"], stored, rtol=0, atol=apart)
    probabilities = (stored / here.temperature).softmax(1)
    for name in ("probabilities", "exported"):  # one moves by less than half of what a logit over temperature does
        np.testing.assert_allclose(there[name], probabilities, rtol=0, atol=max(apart, apart / here.temperature))
    picked, last = json.loads(done.stdout)
    assert picked == {name: pytest.approx(getattr(modiste.evaluate(run), name)) for name in picked}
    row = open_run(run).history[-1]
    assert last["loss"] == pytest.approx(row.validation_loss, abs=apart)
    assert abs(last["accuracy"] - row.validation_accuracy) <= 1 / len(stored)
    for found, expected in zip(open_run(begun).history, open_run(run).history, strict=True):
        assert found.train_loss == pytest.approx(expected.train_loss, abs=1e-3)
        assert found.validation_loss == pytest.approx(expected.validation_loss, abs=1e-3)


def test_a_run_keeps_its_precision_where_the_processor_would_choose_another(
    tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = replace(tiny_recipe.data, source=str(tiny_folder))
    recipe = replace(tiny_recipe, name="run", epochs=2, precision="auto", data=data)
    storage.write_json(tmp_path / "recipe.json", to_plain(recipe))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "fast_bfloat16", lambda _device: True)
    train_seeds(recipe, [4], "runs", device="cpu")
    with pytest.raises(StoppedError):
        trainer.train(recipe, "runs/run", device="cpu", listeners=[StopAfter(30)])
    monkeypatch.setattr(machine, "fast_bfloat16", lambda _device: False)
    main(["train", "recipe.json", "--device", "cpu", "--quiet"])
    assert trainer.train(recipe, "runs/run", device="cpu").folder == Path("runs/run")
    train_seeds(recipe, [4, 5], "runs", device="cpu")
    found = {path.name: open_run(path).recipe.precision for path in Path("runs").iterdir()}
    assert found == {"run": "bfloat16", "run-4": "bfloat16", "run-5": "float32"}
