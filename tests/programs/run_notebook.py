"""Execute a notebook in the current folder; an exception in a cell is the exit."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(Path(sys.argv[1]), as_version=4)  # type: ignore[no-untyped-call]
NotebookClient(notebook, timeout=800, kernel_name="python3").execute()
