"""scikit-learn's multilayer perceptron with its default hidden layer of 100 units, on pixels in [0, 1]."""

import pickle
from argparse import Namespace
from pathlib import Path
from typing import Any

import fashion_files
import numpy as np
import protocol
import sklearn
from sklearn.neural_network import MLPClassifier


def train(options: Namespace) -> dict[str, Any]:
    files = fashion_files.load(options.data)
    images, test = (flat(files[f"{part}-images"]) for part in ("train", "t10k"))
    labels, count, end = files["train-labels"], options.images or fashion_files.TRAINING, fashion_files.TRAINING
    model, epochs = MLPClassifier(random_state=options.seed), protocol.Epochs()
    for _ in range(options.epochs):
        epochs.begin()
        model.partial_fit(images[:count], labels[:count], classes=np.arange(10))
        epochs.end(lambda: model.score(test, files["t10k-labels"]))
    Path(options.model).write_bytes(pickle.dumps(model))
    held_out = float(model.score(images[end:], labels[end:]))
    return {"images": count, "validation_accuracy": held_out, "epochs": epochs.rows, **versions()}


def predict(options: Namespace) -> dict[str, Any]:
    model = pickle.loads(Path(options.model).read_bytes())
    images = flat(fashion_files.load(options.data)["t10k-images"])
    return {
        "batch_seconds": protocol.median_seconds(lambda: model.predict_proba(images), 5),
        "single_seconds": protocol.median_seconds(lambda: model.predict_proba(images[:1]), 50),
        **versions(),
    }


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) / np.float32(255)


def versions() -> dict[str, str]:
    return {"sklearn": sklearn.__version__}


if __name__ == "__main__":
    protocol.run(train, predict)
