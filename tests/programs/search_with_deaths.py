"""Searches, and kills a worker after each of the first outcomes. Arguments: how many deaths, the folder of images.

It stands in the folder of ``plan.json``.
"""

import os
import signal
import sys
import threading
import time
from multiprocessing import active_children
from pathlib import Path

from modiste.recipes.plain import build
from modiste.runs import storage
from modiste.searches.plan import Plan
from modiste.searches.search import search


def kill_workers(deaths: int) -> None:
    """Kill a worker each time that there is one outcome more."""
    for count in range(1, 1 + deaths):
        while len(list(Path("s").glob("outcomes/*.json"))) < count:
            time.sleep(0.02)
        os.kill(active_children()[0].pid or 0, signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=kill_workers, args=(int(sys.argv[1]),), daemon=True).start()
    plan = build(Plan, storage.read_json(Path("plan.json")))
    print([row.state for row in search(plan, "s", device="cpu", data_folder=sys.argv[2])])
