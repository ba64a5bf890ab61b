"""Evaluates a run, compares it with a twin, exports it, and learns its detector, whatever may be written.

Arguments: the run, the twin, the folder of images, the file to export. Prints a result a line.
"""

import sys
from pathlib import Path

from modiste.evaluation.assessment import Weights, evaluate
from modiste.evaluation.comparison import compare
from modiste.exports import export
from modiste.inference.predictor import Predictor

run, twin, data, out = map(Path, sys.argv[1:])
both: tuple[Weights, Weights] = ("picked", "last")
for weights in both:
    print(evaluate(run, split="test", weights=weights, data_folder=data).test_openings)
    print(len(compare([run, twin], weights=weights, data_folder=data).contrasts))
print(export.export(run, out, to="safetensors", data_folder=data).path.stat().st_size > 0)
print(Predictor.load(run).with_novelty(run, data).novelty is not None)
