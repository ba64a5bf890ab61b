"""Samples of a data set for which the order of its files does not matter: the classes take turns in them."""

import torch
from jaxtyping import Int64
from torch import Tensor

from modiste import machine


def turns(labels: Int64[Tensor, " n"], purpose: str) -> Int64[Tensor, " n"]:
    """Return each image's place, from 0, in an order drawn for the images of its class.

    Args:
        labels: of the images.
        purpose: what the generator is seeded by; the same purpose always gives the same order.
    """
    labels = labels.cpu()
    order = torch.randperm(len(labels), generator=machine.generator(0, purpose))
    by_class, sizes = order[labels[order].argsort(stable=True)], torch.bincount(labels)
    places = torch.empty_like(order)
    places[by_class] = torch.arange(len(order)) - (sizes.cumsum(0) - sizes)[labels[by_class]]
    return places


def in_turn(labels: Int64[Tensor, " n"], purpose: str) -> Int64[Tensor, " n"]:
    """Return every position once, in an order in which the classes take turns, at random within each class.

    The first images of that order hold as many of one class as of any other, or all that a class has. Class folders
    are read one after the other, so the first images of a data set may be of a single class.
    """
    ties = torch.rand(len(labels), generator=machine.generator(0, purpose, 1), dtype=torch.float64)
    return (turns(labels, purpose) + ties).argsort()


def drawn(labels: Int64[Tensor, " n"], count: int, purpose: str) -> Int64[Tensor, " m"]:
    """Return the positions of ``count`` images drawn by ``in_turn``, ascending; all when there are no more."""
    return in_turn(labels, purpose)[:count].sort().values
