"""A bit flipped or a cut in a file of a run that has not finished: refused by name, or made good and said."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from run_equality import LONG, assert_same

from commands_and_data import damaged
from fault_counter import Faults
from listeners import StopAfter
from modiste.errors import RecipeError, RunError, StoppedError
from modiste.recipes.networks import MLPRecipe
from modiste.recipes.recipe import load
from modiste.runs import run_folder
from modiste.training import trainer
from modiste.training.setup import Inputs

RECIPE = replace(LONG, epochs=3, batch_size=100, model=MLPRecipe(hidden=(4,)))


@pytest.fixture
def begun(tiny_folder: Path, tmp_path: Path) -> Path:
    """A run that broke off in its third epoch, with two states."""
    with pytest.raises(StoppedError):
        trainer.train(RECIPE, tmp_path / "begun", Inputs(tiny_folder), device="cpu", listeners=[StopAfter(9)])
    return tmp_path / "begun"


@pytest.mark.usefixtures("without_type_checks")
def test_a_damaged_file_is_refused_or_made_good(
    begun: Path, tiny_folder: Path, memory_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, faults: Faults
) -> None:
    """Times are told by ``timing.jsonl`` alone and decide nothing: it is protected once the run has finished."""
    trainer.train(RECIPE, tmp_path / "calm", Inputs(tiny_folder), device="cpu")
    draw, run = random.Random(64), memory_path / "run"
    *states, newest = sorted(path.relative_to(begun) for path in begun.glob("checkpoints/step-*"))
    names = [Path("facts.json"), Path("recipe.json"), *states, newest]
    for _ in faults("saving: a bit flipped or a cut in a run that goes on", few=40, many=1_000):
        shutil.copytree(begun, run)
        name = draw.choice(names)
        (run / name).write_bytes(damaged((run / name).read_bytes(), draw))
        caplog.clear()
        fault = fault_in(run, tiny_folder)
        if name.parent == Path(run_folder.STATES):
            assert fault == ""
            assert (f"{run / name}: damaged" in caplog.text) == (name == newest)
            assert_same(run, tmp_path / "calm")
        else:  # 1e-7 and 1E-7 are one number
            assert str(run) in fault or load(run / name) == RECIPE, name
        shutil.rmtree(run)


def fault_in(run: Path, data: Path) -> str:
    """Go on with a run; return what is said against it."""
    try:
        trainer.train(RECIPE, run, Inputs(data), device="cpu")
    except (RunError, RecipeError) as error:
        return str(error)
    return ""
