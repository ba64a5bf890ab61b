"""The limit of the novelty score for drawings of garments.

A silhouette of one colour lies further from the training images than photos do: the usual limit refuses half of those
that are drawn well. How far depends on the network, and so each exported file has a limit of its own.
"""

from pathlib import Path

import torch

from modiste.data.idx.idx_source import CLASS_NAMES
from modiste.data.idx.reader import read_idx
from modiste.evaluation.out_of_distribution.novelty import Answers
from modiste.runs.checkpoint import ModelInfo

DRAWINGS = Path(__file__).with_name("drawings.idx3-ubyte.gz")
"""400 silhouettes of the ten classes as the network sees them, written by ``benchmarks/drawing_record.py --write``."""
ACCEPTED = 0.96
"""Share of them that the limit accepts. Of other drawings it should accept 95 in a hundred."""


def drawing_limit(answers: Answers, info: ModelInfo) -> float:
    """Return the novelty above which a drawing is out of distribution, at least 1.

    It is 1, the limit of photos, for networks without a detector, and for those that do not see garments of the ten
    classes of Fashion-MNIST as its images are.

    Args:
        answers: Answers of the network, on the CPU, with its detector.
        info: Info on the same network.
    """
    sees_garments = info.recipe.data.pictures == "garment" and info.task.image_shape == (1, 28, 28)
    if answers.novelty is None or info.task.class_names != CLASS_NAMES or not sees_garments:
        return 1.0
    images = torch.from_numpy(read_idx(DRAWINGS, dimensions=3, what="drawings").array)[:, None]
    with torch.inference_mode():
        _, _, novelty = answers(images)
    return max(1.0, torch.quantile(novelty, ACCEPTED, interpolation="higher").item())
