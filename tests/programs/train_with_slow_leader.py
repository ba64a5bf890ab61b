"""Trains ``recipe.json`` in several processes, of which the leader takes a second to finish the run; each opens it.

Arguments: folders of the run and of the images.
"""

import os
import sys
import time
from pathlib import Path

import modiste
from modiste.runs import run_folder

write = run_folder.write_manifest


def write_late(folder: Path) -> None:
    """Write the manifest of a finished run, in the leader after a second."""
    if os.environ["RANK"] == "0":
        time.sleep(1)
    write(folder)


run_folder.write_manifest = write_late
run = modiste.train("recipe.json", sys.argv[1], device="cpu", data_folder=sys.argv[2], quiet=True)
Path(f"{sys.argv[1]}.{os.environ['RANK']}").write_text(str(run.folder), encoding="utf-8")
