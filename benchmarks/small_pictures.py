"""A folder of small pictures for a catalogue: training images of Fashion-MNIST as PNG files, 1,000 in each folder."""

from pathlib import Path

import numpy as np
from PIL import Image

from modiste.data.dataset import load_development

IN_A_FOLDER = 1000


def write_small_pictures(root: Path, count: int, data_folder: Path | None = None) -> list[str]:
    """Write ``count`` pictures of 28 x 28 pixels below ``root``; return their names, sorted.

    Pictures beyond the number of training images are mirror images. A picture that exists is kept.

    Args:
        root: Folder of the pictures; created if missing.
        count: Number of pictures.
        data_folder: Folder of Fashion-MNIST, if not a usual one.
    """
    names = [f"{number // IN_A_FOLDER:04d}/{number:07d}.png" for number in range(count)]
    images = load_development(folder=data_folder).train.images.numpy()[:, 0]
    for number, name in enumerate(names):
        image = images[number % len(images)]
        mirrored = number // len(images) % 2
        path = root / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(image[:, ::-1] if mirrored else image)).save(path, compress_level=1)
    return names
