"""Execute a notebook in the current folder; an exception in a cell is the exit.

Arguments: the notebook, a text of it, and the text that is executed in its place.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

path, old, new = Path(sys.argv[1]), *sys.argv[2:]
notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
changed = [cell for cell in notebook.cells if old in cell.source]
if len(changed) != 1:
    sys.exit(f"{path}: expected one cell with {old!r}, found {len(changed)}")
changed[0].source = changed[0].source.replace(old, new)
NotebookClient(notebook, timeout=800, kernel_name="python3").execute()
