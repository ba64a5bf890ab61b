"""Prints how many pages a process takes anew as it fills and frees memory for the tenth time: at first, and if kept."""

import resource

import torch

from modiste import machine


def take_and_free() -> None:
    """Fill six tensors of 12 MB."""
    _maps = [torch.empty(3, 1024, 1024).fill_(1) for _ in range(6)]


def count_faults() -> int:
    """Return the number of pages that were taken so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def faults_of_the_tenth() -> int:
    """Return the number of pages that are taken as memory is filled and freed for the tenth time."""
    before = 0
    for _ in range(10):
        before = count_faults()
        take_and_free()
    return count_faults() - before


print(faults_of_the_tenth())
machine.keep_memory()
print(faults_of_the_tenth())
