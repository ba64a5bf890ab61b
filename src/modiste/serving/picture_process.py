"""A process that prepares pictures for the server: files come on its standard input, the network's images go out.

A message is the lengths of two parts, four bytes each, a header in JSON, and a body of bytes.
"""

import base64
import io
import json
import os
import queue
import signal
import struct
import sys
import threading
from dataclasses import asdict, replace
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from modiste.inference.answers import prepared
from modiste.photo.garment import Prepared
from modiste.photo.preparation import Preparation

LENGTHS = struct.Struct(">II")
SHOWN_SIDE = 256
"""Longer side, in pixels, of a step's picture in a response."""


class PreparedUpload(NamedTuple):
    """A picture as the network sees it, or the reason why it cannot be read; and its steps, each a name and a PNG."""

    picture: Prepared | str
    steps: list[tuple[str, str]]


def message(header: dict[str, Any], body: bytes) -> bytes:
    """Return a message."""
    text = json.dumps(header).encode()
    return b"".join([LENGTHS.pack(len(text), len(body)), text, body])


def question(content: bytes, *, steps: bool) -> bytes:
    """Return the message that asks for a picture file, and for its steps."""
    return message({"steps": steps}, content)


def answer(content: bytes, preparation: Preparation, *, steps: bool) -> bytes:
    """Prepare a picture file, and return the message that answers it."""
    found = prepared(content, preparation)
    if isinstance(found, str):
        return message({"fault": found}, b"")
    shown = [(name, png(step)) for name, step in found.steps.items()] if steps else []
    facts = asdict(replace(found, steps={}, image=found.image[:0]))
    facts |= {"image": found.image.shape, "steps": shown}
    return message(facts, found.image.tobytes())


def read_answer(header: bytes, body: bytes) -> PreparedUpload:
    """Return what a message of ``answer`` holds."""
    facts = json.loads(header)
    if "fault" in facts:
        return PreparedUpload(facts["fault"], [])
    image = np.frombuffer(body, np.uint8).reshape(facts.pop("image"))
    shown = [(name, picture) for name, picture in facts.pop("steps")]
    return PreparedUpload(Prepared(image=image, steps={}, **facts), shown)


def png(picture: np.ndarray) -> str:
    """Return a picture as a data: URL of a PNG, at most SHOWN_SIDE pixels high and wide."""
    from PIL import Image

    image, file = Image.fromarray(picture), io.BytesIO()
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.BOX)
    image.save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def main() -> None:
    """Answer messages until the server ends; the argument is the preparation's fields in JSON."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the server's work is finished first
    preparation = Preparation(**json.loads(sys.argv[1]))
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no part of an answer
    asked = queue.SimpleQueue[tuple[bool, bytes]]()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, asked), daemon=True).start()
    while True:
        steps, content = asked.get()
        output.write(answer(content, preparation, steps=steps))
        output.flush()


def _receive(source: BinaryIO, asked: "queue.SimpleQueue[tuple[bool, bytes]]") -> None:
    """Pass on each question; end the process with the server, even while a decoder works."""
    while len(lengths := source.read(LENGTHS.size)) == LENGTHS.size:
        header, body = map(source.read, LENGTHS.unpack(lengths))
        asked.put((json.loads(header)["steps"], body))
    os._exit(0)


if __name__ == "__main__":
    main()
