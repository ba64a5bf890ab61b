"""Labels that are likely wrong, by confident learning (Northcutt, Jiang and Chuang, 2021).

A class's threshold is how sure networks are of it, in the mean over the images labelled with it. An image is counted
for the likeliest class whose threshold it reaches; where that is another than its label, the label is suspicious.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class Suspicion(NamedTuple):
    """An image by its index, the class that it looks like, and how much likelier that is than its label, 0 to 1."""

    image: int
    looks_like: int
    margin: float


def suspicious_labels(
    probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]
) -> tuple[list[Suspicion], Int64[Tensor, "classes classes"]]:
    """Return the suspicious labels, likeliest wrong first, and the confident joint: images by label and by class.

    Args:
        probabilities: by networks that have not learnt from the image.
        labels: as they are given.
    """
    classes = probabilities.shape[1]
    counted = confident_classes(probabilities, labels)
    joint = torch.zeros(classes, classes, dtype=torch.long)
    sure = counted >= 0
    joint.index_put_((labels[sure], counted[sure]), torch.tensor(1), accumulate=True)
    wrong = (sure & (counted != labels)).nonzero().squeeze(1)
    margins = probabilities[wrong, counted[wrong]] - probabilities[wrong, labels[wrong]]
    order = margins.argsort(descending=True, stable=True)
    rows = zip(wrong[order].tolist(), counted[wrong[order]].tolist(), margins[order].tolist(), strict=True)
    return [Suspicion(*row) for row in rows], joint


def confident_classes(probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """Return the likeliest class whose threshold each image reaches, -1 where it reaches none."""
    own = torch.zeros_like(probabilities).scatter_(1, labels[:, None], probabilities.gather(1, labels[:, None]))
    counts = torch.bincount(labels, minlength=probabilities.shape[1]).clamp(min=1)
    thresholds = own.sum(0) / counts
    thresholds[torch.bincount(labels, minlength=probabilities.shape[1]) == 0] = torch.inf
    reached = probabilities.masked_fill(probabilities < thresholds, -1.0)
    best = reached.max(1)
    return torch.where(best.values >= 0, best.indices, torch.full_like(best.indices, -1))
