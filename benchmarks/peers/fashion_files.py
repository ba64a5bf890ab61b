"""The four files of Fashion-MNIST as arrays, for the peers."""

import gzip
from pathlib import Path

import numpy as np

TRAINING = 50_000
"""Number of training images; the next 10,000 are for validation, as in the paper."""


def load(folder: str) -> dict[str, np.ndarray]:
    """Return uint8 images (N, 28, 28) and labels (N) of ``train`` and ``t10k``, under names such as train-images."""
    return {
        f"{part}-{kind}": _read(Path(folder), f"{part}-{kind}-idx{dimensions}-ubyte", shape)
        for part in ("train", "t10k")
        for kind, dimensions, shape in (("images", 3, (-1, 28, 28)), ("labels", 1, (-1,)))
    }


def _read(folder: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    packed = folder / f"{name}.gz"
    content = gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / name).read_bytes()
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
