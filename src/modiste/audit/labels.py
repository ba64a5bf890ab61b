"""Labels that are likely wrong, by confident learning (Northcutt, Jiang and Chuang, 2021).

The threshold of a class is its mean probability over the images labelled with it. Each image counts for the most
probable class whose threshold it reaches. These counts estimate how many images of each label belong to each other
class (the confident joint). That number of images is suspicious, those with the largest margin of the other class over
their label. The paper calls this "prune by noise rate".
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class Suspicion(NamedTuple):
    """An image by its index, the class it looks like, and the margin of that class's probability over its label's."""

    image: int
    looks_like: int
    margin: float


def suspicious_labels(probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> list[Suspicion]:
    """Return the suspicious labels, those with the largest margin first.

    Args:
        probabilities: of each class, from networks that were not trained on the image.
        labels: as given in the data set.
    """
    margins = probabilities - probabilities.gather(1, labels[:, None])
    chosen = torch.zeros_like(margins, dtype=torch.bool)
    for label, row in enumerate(confident_joint(probabilities, labels).round().long().tolist()):
        members = (labels == label).nonzero().squeeze(1)
        for other, count in enumerate(row):
            if other != label:
                chosen[members[margins[members, other].topk(count).indices], other] = True
    best = margins.masked_fill(~chosen | (margins <= 0), 0.0).max(1)
    order = best.values.argsort(descending=True, stable=True)[: int((best.values > 0).sum())]
    rows = zip(order.tolist(), best.indices[order].tolist(), best.values[order].tolist(), strict=True)
    return [Suspicion(*row) for row in rows]


def confident_joint(
    probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]
) -> Float[Tensor, "classes classes"]:
    """Return the estimated number of images of each label (row) that belong to each class (column).

    Each row adds up to the number of images with that label, including those that reach no threshold.
    """
    classes = probabilities.shape[1]
    counted = confident_classes(probabilities, labels)
    sure = counted >= 0
    joint = torch.zeros(classes, classes, dtype=torch.float64)
    ones = torch.ones(int(sure.sum()), dtype=torch.float64)
    joint.index_put_((labels[sure], counted[sure]), ones, accumulate=True)
    sizes = torch.bincount(labels, minlength=classes).double()
    return (joint / joint.sum(1, keepdim=True).clamp(min=1) * sizes[:, None]).float()


def confident_classes(probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """Return the most probable class whose threshold each image reaches; -1 if it reaches none."""
    own = torch.zeros_like(probabilities).scatter_(1, labels[:, None], probabilities.gather(1, labels[:, None]))
    counts = torch.bincount(labels, minlength=probabilities.shape[1]).clamp(min=1)
    thresholds = own.sum(0) / counts
    thresholds[torch.bincount(labels, minlength=probabilities.shape[1]) == 0] = torch.inf
    reached = probabilities.masked_fill(probabilities < thresholds, -1.0)
    best = reached.max(1)
    return torch.where(best.values >= 0, best.indices, torch.full_like(best.indices, -1))
