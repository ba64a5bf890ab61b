"""What a process does with memory that it frees."""

import platform

import pytest

from commands_and_data import PROGRAMS, run_python


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_memory_that_is_kept_is_not_taken_anew_page_by_page() -> None:
    at_once = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}  # else by chance
    given_back, kept = (
        run_python(PROGRAMS / "count_page_faults.py", word, **at_once) for word in ("give back", "keep")
    )
    assert kept.returncode == given_back.returncode == 0, kept.stderr + given_back.stderr
    assert int(kept.stdout) < int(given_back.stdout) / 10  # how many pages those are is the system's affair
