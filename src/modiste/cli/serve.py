"""``modiste serve``."""

import contextlib
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from modiste.cli.arguments import DataFolderOption, parse
from modiste.cli.streams import say


@dataclass(frozen=True, kw_only=True)
class _ServeOptions(DataFolderOption):
    source: Path
    """Folder of a finished run, or an ONNX file of modiste export."""
    port: int = 8000
    """Port to listen at; 0 takes a free one."""
    host: str = "127.0.0.1"
    """Address to listen at; another than this machine's own needs a token."""
    token: str = ""
    """What requests must carry as Authorization: Bearer TOKEN; safer as MODISTE_TOKEN, seen by nobody else."""
    allow_host: tuple[str, ...] = ()
    """More names under which the server may be asked."""


def serve(words: list[str]) -> None:
    """Serve a finished run: a page for people, an API for programs; no torch needed once it is exported."""
    options: _ServeOptions = parse(_ServeOptions, words, "modiste serve")
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # the client hears what is wrong with its form
    from modiste.serving.serve import serve as run

    run(
        options.source,
        host=options.host,
        port=options.port,
        token=options.token or os.environ.get("MODISTE_TOKEN", ""),
        allow_hosts=options.allow_host,
        data_folder=options.data_folder,
        say=lambda text: say(*text.splitlines()),
    )
    _leave()


def _leave() -> None:
    """End this process: a thread that still decodes somebody's picture would hold it."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(0)
