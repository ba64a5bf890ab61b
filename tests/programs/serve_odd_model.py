"""Serves a model that tells other things of itself, has other class names, or gives one value everywhere."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from modiste.inference.onnx_model import OnnxModel
from modiste.serving.serve import serve
from modiste.serving.settings import ServerSettings

parser = argparse.ArgumentParser()
parser.add_argument("source")
parser.add_argument("--port", type=int)
parser.add_argument("--metadata", type=json.loads, default={})
parser.add_argument("--names", type=json.loads)
parser.add_argument("--value", type=float)
chosen = parser.parse_args()
load, run = OnnxModel.load, OnnxModel.run


def load_odd(path: Path) -> OnnxModel:
    """Load a model, and change what was asked for."""
    model = load(path)
    names = model.names if chosen.names is None else tuple(chosen.names)
    return dataclasses.replace(model, metadata={**model.metadata, **chosen.metadata}, names=names)


def answer_with_the_value(self: OnnxModel, images: Any) -> dict[str, Any]:
    """Answer as the model does, with the value in place of every number."""
    return {name: np.full_like(values, chosen.value) for name, values in run(self, images).items()}


OnnxModel.load = load_odd  # type: ignore[method-assign]
if chosen.value is not None:
    OnnxModel.run = answer_with_the_value  # type: ignore[method-assign]
serve(chosen.source, ServerSettings(port=chosen.port), say=lambda text: print(text, flush=True))
