"""``modiste serve``."""

import contextlib
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modiste.cli.arguments import DataFolderOption, parse
from modiste.cli.streams import say, warn


@dataclass(frozen=True, kw_only=True)
class _ServeOptions(DataFolderOption):
    source: Path
    """Folder of a finished run, or an ONNX file of modiste export."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    host: str = "127.0.0.1"
    """Address to listen on; any but this machine's own needs a token."""
    token: str = ""
    """Token that requests must send as Authorization: Bearer TOKEN; other users cannot see it in MODISTE_TOKEN."""
    background: Literal["trained", "plain", "network", "auto"] = "trained"
    """How to find the garment: on a plain background; by a segmentation network, on any; auto takes what holds."""
    coverage: float | None = None
    """Also answer with a set of classes that holds the right one with this probability, such as 0.95."""
    allow_host: tuple[str, ...] = ()
    """Further host names that requests may use."""
    allow_origin: tuple[str, ...] = ()
    """Sites whose pages may send requests and read the answers, such as https://shop.example."""
    root_path: str = ""
    """Path under which a proxy offers the server, such as /clothes."""
    log: Path | None = None
    """Folder for probabilities and novelty of all answers, never pictures, for modiste drift; unset, no log."""


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
        host=options.host,
        port=options.port,
        token=options.token or os.environ.get("MODISTE_TOKEN", ""),
        allow_hosts=options.allow_host,
        allow_origins=options.allow_origin,
        root_path=options.root_path,
        background=None if options.background == "trained" else options.background,
        coverage=options.coverage,
        data_folder=options.data_folder,
        log=options.log,
        say=lambda text: say(*text.splitlines()),
        warn=lambda text: warn(f"modiste: {text}"),
    )
    _leave()


def _leave() -> None:
    """End this process at once: a thread that still decodes a picture would keep it alive."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(0)
