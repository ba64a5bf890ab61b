"""Time a finished run's predictor or its ONNX file, in this process; one JSON object on the last line of output.

python benchmarks/prediction.py {predictor,onnx} RUN DATA_FOLDER
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from modiste.data.dataset import load_development
from modiste.evaluation.inference import BATCH_IMAGES
from peers.protocol import median_seconds


def predictor(run: Path) -> Callable[[np.ndarray], object]:
    """Return what predicts as Python's users do."""
    from modiste import Predictor

    return Predictor.load(run, device="cpu").logits


def onnx(run: Path) -> Callable[[np.ndarray], object]:
    """Return what runs the exported file, in batches of the predictor's size."""
    import onnxruntime

    session = onnxruntime.InferenceSession(run / "model.onnx", providers=["CPUExecutionProvider"])

    def logits(images: np.ndarray) -> object:
        starts = range(0, len(images), BATCH_IMAGES)
        return [session.run(["logits"], {"images": images[start : start + BATCH_IMAGES]}) for start in starts]

    return logits


def main() -> None:
    door, run, folder = sys.argv[1:]
    predict = {"predictor": predictor, "onnx": onnx}[door](Path(run))
    images = load_development(folder=folder).validation.images.numpy()
    batch = median_seconds(lambda: predict(images), 5)
    single = median_seconds(lambda: predict(images[:1]), 200)
    print(json.dumps({"batch_seconds": batch, "single_seconds": single}))


if __name__ == "__main__":
    main()
