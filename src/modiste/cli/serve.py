"""``modiste serve``."""

import contextlib
import logging
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from modiste.cli.arguments import DataFolderOption, parse
from modiste.cli.streams import say, warn
from modiste.serving.settings import ServerSettings


@dataclass(frozen=True, kw_only=True)
class _ServeOptions(ServerSettings, DataFolderOption):
    source: Path
    """Folder of a finished run, or an ONNX file of modiste export."""


def serve(arguments: list[str]) -> None:
    """Serve a finished run as a web page and an API; an exported run needs no torch.

    Examples:
      modiste serve runs/paper
      modiste serve runs/paper/model.onnx --port 9000
      modiste serve runs/paper --log answers
    """
    options = parse(_ServeOptions, arguments, "modiste serve", serve)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # the response already says what is wrong with a form
    from modiste.serving.serve import serve as run

    run(
        options.source,
        replace(options, token=options.token or os.environ.get("MODISTE_TOKEN", "")),
        data_folder=options.data_folder,
        say=lambda text: say(*text.splitlines()),
        warn=lambda text: warn(f"modiste: {text}"),
    )
    _leave()


def _leave() -> None:
    """End this process at once: a thread that still decodes a picture would keep it alive."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(0)
