"""Time the predictor of a finished run, or its ONNX file; print one JSON object on the last line.

python benchmarks/prediction.py {predictor,bfloat16,onnx,int8} RUN DATA_FOLDER
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from modiste.data.dataset import load_development
from modiste.evaluation.inference import BATCH_IMAGES
from modiste.recipes.recipe import Precision
from peers.protocol import median_seconds

Logits = Callable[[np.ndarray], np.ndarray]
FILES = {"onnx": "model.onnx", "int8": "model-int8.onnx"}
"""Files of a run's folder by kind of predictor."""


def predictor(run: Path, precision: Precision | None) -> Logits:
    """Return a function that predicts with ``modiste.Predictor``."""
    from modiste import Predictor

    loaded = Predictor.load(run, device="cpu", precision=precision)
    return lambda images: loaded.logits(images).numpy()


def onnx(file: Path) -> Logits:
    """Return a function that predicts with an ONNX file, in batches of the predictor's size."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def logits(images: np.ndarray) -> np.ndarray:
        starts = range(0, len(images), BATCH_IMAGES)
        parts = [session.run(["logits"], {"images": images[start : start + BATCH_IMAGES]})[0] for start in starts]
        return np.concatenate(parts)

    return logits


def main() -> None:
    kind, run, folder = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    predict = onnx(run / FILES[kind]) if kind in FILES else predictor(run, "bfloat16" if kind == "bfloat16" else None)
    validation = load_development(folder=folder).validation
    images = validation.images.numpy()
    found = {
        "validation_accuracy": float((predict(images).argmax(1) == validation.labels.numpy()).mean()),
        "batch_seconds": median_seconds(lambda: predict(images), 5),
        "single_seconds": median_seconds(lambda: predict(images[:1]), 200),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
