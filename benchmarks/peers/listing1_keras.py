"""The paper's Listing 1 in Keras, on the backend that KERAS_BACKEND names."""

from argparse import Namespace
from typing import Any

import fashion_files
import keras
import numpy as np
import protocol
from keras import layers


def network() -> keras.Model:
    return keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(128, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )


class Marks(keras.callbacks.Callback):
    """Starts and stops the clock of each epoch."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        super().__init__()
        self.images, self.labels, self.epochs = images, labels, protocol.Epochs()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self.epochs.begin()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop the clock, then measure the accuracy on test."""
        self.epochs.end(lambda: accuracy(self.model, self.images, self.labels))


def train(options: Namespace) -> dict[str, Any]:
    keras.utils.set_random_seed(options.seed)
    files = fashion_files.load(options.data)
    images, test = (floats(files[f"{part}-images"]) for part in ("train", "t10k"))
    labels, count, end = files["train-labels"], options.images or fashion_files.TRAINING, fashion_files.TRAINING
    model = network()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(), metrics=["accuracy"])
    marks = Marks(test, files["t10k-labels"])
    model.fit(images[:count], labels[:count], batch_size=128, epochs=options.epochs, verbose=0, callbacks=[marks])
    held_out = accuracy(model, images[end:], labels[end:])
    model.save(options.model)
    return {"images": count, "validation_accuracy": held_out, "epochs": marks.epochs.rows, **versions()}


def predict(options: Namespace) -> dict[str, Any]:
    model = keras.models.load_model(options.model)
    images = floats(fashion_files.load(options.data)["t10k-images"])
    return {
        "batch_seconds": protocol.median_seconds(lambda: model.predict(images, batch_size=1000, verbose=0), 5),
        "single_seconds": protocol.median_seconds(lambda: model.predict(images[:1], verbose=0), 50),
        "single_call_seconds": protocol.median_seconds(lambda: np.asarray(model(images[:1], training=False)), 50),
        **versions(),
    }


def accuracy(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    return float(model.evaluate(images, labels, batch_size=1000, verbose=0)[1])


def floats(images: np.ndarray) -> np.ndarray:
    return images[..., None] / np.float32(255)


def versions() -> dict[str, str]:
    return {"keras": keras.version(), "backend": keras.backend.backend()}


if __name__ == "__main__":
    protocol.run(train, predict)
