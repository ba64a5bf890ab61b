"""The command, and afterwards every path that it has opened, and whether the module of the test set was loaded."""

import sys
from typing import Any

opened = set[str]()


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note the path of a file that is opened."""
    if event in ("open", "os.open") and isinstance(arguments[0], (str, bytes)):
        path = arguments[0]
        opened.add(path if isinstance(path, str) else path.decode(errors="replace"))


assert "modiste" not in sys.modules, "what it opens as it is loaded counts too"
sys.addaudithook(watch)

from modiste.cli.main import main  # noqa: E402 - it is loaded under watch

if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    finally:
        print("held_out was loaded" if "modiste.data.held_out" in sys.modules else "held_out was not loaded")
        print(*sorted(opened), sep="\n")
