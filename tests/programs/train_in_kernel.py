"""Trains in the kernel of a notebook, and prints what the cell showed, message by message, as JSON.

Argument: the folder of images. The last line printed is a list of pairs: type of the message, its HTML or its text.
"""

import json
import sys
from typing import Any

import nbformat
from nbclient import NotebookClient

CELL = """
import modiste
run = modiste.train("mlp", "run", device="cpu", data_folder={folder!r}, epochs=2, data__source="tiny")
"""


class Watching(NotebookClient):
    """Keeps every message that changes the output of a cell."""

    shown: list[tuple[str, str]] = []  # noqa: RUF012 - there is one

    def process_message(self, msg: dict[str, Any], *arguments: Any) -> Any:
        content = msg["content"]
        if "data" in content:
            self.shown.append((msg["msg_type"], content["data"].get("text/html", "")))
        elif "text" in content:
            self.shown.append((msg["msg_type"], content["text"]))
        return super().process_message(msg, *arguments)


notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL.format(folder=sys.argv[1]))])  # type: ignore[no-untyped-call]
client = Watching(notebook, timeout=100, kernel_name="python3")
client.execute()
(cell,) = notebook.cells
print(json.dumps({"shown": client.shown, "kept": [output["data"] for output in cell.outputs]}))
