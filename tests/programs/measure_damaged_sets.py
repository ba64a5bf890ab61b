"""Reads each damaged data set, and prints its name, how much memory that took, and the size of its largest file.

Arguments: a folder to write them into, and folders where ``test_damaged.py`` and what it imports lie.
"""

import json
import sys
from pathlib import Path

from process_memory import memory_bytes

sys.path[:0] = sys.argv[2:]
from test_damaged import CASES, DataError, load, make  # type: ignore[import-not-found]  # noqa: E402

for number, case in enumerate(CASES):
    folder = make(Path(sys.argv[1]) / str(number), case.change)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew
    before = memory_bytes("VmRSS")
    try:
        load(case, folder)
    except DataError:
        files = [path.stat().st_size for path in folder.iterdir() if path.is_file()]
        print(json.dumps([case.name, memory_bytes("VmHWM") - before, max(files, default=0)]))
