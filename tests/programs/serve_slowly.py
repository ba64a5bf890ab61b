"""The command ``modiste serve`` where some pictures take for ever, and the server waits for little."""

import functools
import sys
import time
from pathlib import Path
from typing import Any

import modiste.serving.serve
from modiste.cli.main import main
from modiste.serving import picture_pool, server, uploads
from modiste.serving.settings import Limits

server.EXIT_SECONDS = 0.5
picture_pool.SLOW_SECONDS = 0.2
picture_pool.COMMAND = (str(Path(__file__).with_name("prepare_slowly.py")),)
answered = uploads.answered  # type: ignore[attr-defined]


def answer_slowly(*arguments: Any) -> Any:
    """Answer, and hold the whole process for ever if the picture's name is "stuck"."""
    if arguments[1] == ["stuck"]:
        print("stuck", flush=True)
        time.sleep(600)
    return answered(*arguments)


uploads.answered = answer_slowly  # type: ignore[attr-defined, assignment]
limits = Limits(drain_seconds=0.2, finish_seconds=1.0)
modiste.serving.serve.serve = functools.partial(modiste.serving.serve.serve, limits=limits)
main(["serve", *sys.argv[1:]])
