"""Measures a run, answers with its exported file, and goes on with a run that has begun: on another machine.

Arguments: the run, the run that has begun, the exported file, the folder of images. Logits and probabilities go into
a file of the run's folder; losses and accuracies are printed.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

import modiste
from modiste.data.dataset import load_development
from modiste.runs.run_folder import open_run
from modiste.training import trainer
from modiste.training.setup import Inputs

run, begun, file, data = map(Path, sys.argv[1:])
images = load_development(open_run(run).recipe.data, data).validation.images
predictor = modiste.Predictor.load(run, device="cpu")
logits, probabilities = predictor.logits(images), predictor.probabilities(images)
(exported,) = onnxruntime.InferenceSession(file).run(["probabilities"], {"images": images.numpy()})
np.savez(run / "there", logits=logits, probabilities=probabilities, exported=exported)
selected = modiste.evaluate(run, weights="picked", device="cpu", data_folder=data)
last = modiste.evaluate(run, weights="last", device="cpu", data_folder=data)
print(json.dumps([{"loss": one.loss, "accuracy": one.accuracy} for one in (selected, last)]))
trainer.train(open_run(run).recipe, begun, Inputs(data), device="cpu")
