"""Trains with each optimizer, evaluates, predicts, and prints which modules of torch's compiler that has loaded.

Arguments: the folder of images, a folder for the runs.
"""

import sys
from dataclasses import replace
from pathlib import Path

import modiste

folder, out = map(Path, sys.argv[1:])
for name in ("adam", "adamw", "sgd"):
    recipe = modiste.get_recipe("perceptron")
    recipe = replace(
        recipe, epochs=1, data=replace(recipe.data, source="tiny"), optimizer=replace(recipe.optimizer, name=name)
    )
    modiste.train(recipe, out / name, data_folder=folder)
    modiste.evaluate(out / name, data_folder=folder)
    modiste.Predictor.load(out / name)
print(sorted(name for name in sys.modules if name.startswith(("torch._dynamo", "torch._inductor"))))
