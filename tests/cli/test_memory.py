"""What a process does with memory that it frees."""

import platform

import pytest

from commands_and_data import PROGRAMS, run_python


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_memory_that_is_kept_is_not_taken_anew_page_by_page() -> None:
    at_once = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}  # else by chance
    done = run_python(PROGRAMS / "count_page_faults.py", **at_once)
    assert done.returncode == 0, done.stderr
    given_back, kept = map(int, done.stdout.split())
    assert kept < given_back / 10  # how many pages those are is the system's affair
