"""Balanced samples of a data set, independent of the order of its files.

Class folders are read one after the other, so the first images of a data set may all belong to one class.
"""

import torch
from jaxtyping import Int64
from torch import Tensor

from modiste import machine


def balanced_sample(labels: Int64[Tensor, " n"], count: int, purpose: str) -> Int64[Tensor, " m"]:
    """Return the indices of ``count`` images of ``balanced_order``, ascending; all indices if there are no more."""
    return balanced_order(labels, purpose)[:count].sort().values


def balanced_order(labels: Int64[Tensor, " n"], purpose: str) -> Int64[Tensor, " n"]:
    """Return all indices in an order in which the classes alternate, random within each class.

    Any first part of that order holds equally many images of each class (give or take one), or all of a small class.

    Args:
        labels: of the images.
        purpose: seeds the order; the same purpose always gives the same order.
    """
    ties = torch.rand(len(labels), generator=machine.generator(0, purpose, 1), dtype=torch.float64)
    return (rank_within_class(labels, purpose) + ties).argsort()


def rank_within_class(labels: Int64[Tensor, " n"], purpose: str) -> Int64[Tensor, " n"]:
    """Return each image's rank, from 0, in a random order of its class's images; arguments as ``balanced_order``."""
    labels = labels.cpu()
    order = torch.randperm(len(labels), generator=machine.generator(0, purpose))
    by_class, sizes = order[labels[order].argsort(stable=True)], torch.bincount(labels)
    ranks = torch.empty_like(order)
    ranks[by_class] = torch.arange(len(order)) - (sizes.cumsum(0) - sizes)[labels[by_class]]
    return ranks
