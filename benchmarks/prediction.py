"""Time a finished run's predictor or an ONNX file of it, in this process; one JSON object on the last line of output.

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
"""In a run's folder: what the doors of that name run."""


def predictor(run: Path, precision: Precision | None) -> Logits:
    """Return what predicts as Python's users do."""
    from modiste import Predictor

    loaded = Predictor.load(run, device="cpu", precision=precision)
    return lambda images: loaded.logits(images).numpy()


def onnx(file: Path) -> Logits:
    """Return what runs an exported file, in batches of the predictor's size."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def logits(images: np.ndarray) -> np.ndarray:
        starts = range(0, len(images), BATCH_IMAGES)
        parts = [session.run(["logits"], {"images": images[start : start + BATCH_IMAGES]})[0] for start in starts]
        return np.concatenate(parts)

    return logits


def main() -> None:
    door, run, folder = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    predict = onnx(run / FILES[door]) if door in FILES else predictor(run, "bfloat16" if door == "bfloat16" else None)
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
