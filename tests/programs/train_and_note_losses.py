"""Trains ``recipe.json`` and writes the loss of every step. Arguments: folders of the run, of images, of teachers."""

import json
import os
import sys
from pathlib import Path

from modiste.recipes.recipe import load
from modiste.training import step as steps
from modiste.training import trainer
from modiste.training.setup import Inputs

losses, check = list[float](), steps._check_finite


def note(loss: float, norm: float, step: int) -> None:
    """Keep the loss of a step, and check it as training does."""
    losses.append(loss)
    check(loss, norm, step)


steps._check_finite = note
trainer.train(load(Path("recipe.json")), sys.argv[1], Inputs(sys.argv[2], teachers=sys.argv[3:]), device="cpu")
if os.environ.get("RANK", "0") == "0":
    Path(sys.argv[1] + ".losses").write_text(json.dumps(losses), encoding="utf-8")
