"""What a process does with memory that it frees."""

import platform

import pytest

from commands_and_data import run_python

FAULTS = """
import resource, sys
import torch
from modiste import machine

def take_and_free():
    maps = [torch.empty(3, 1024, 1024).fill_(1) for _ in range(6)]

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "keep":
    machine.keep_memory()
for _ in range(10):
    before = faults()
    take_and_free()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_memory_that_is_kept_is_not_taken_anew_page_by_page() -> None:
    at_once = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}  # else by chance
    given_back, kept = (run_python("-c", FAULTS, word, **at_once) for word in ("give back", "keep"))
    assert kept.returncode == given_back.returncode == 0, kept.stderr + given_back.stderr
    assert int(kept.stdout) < int(given_back.stdout) / 10  # how many pages those are is the system's affair
