"""Safetensors files with a header that lies, and Modiste's own with nonsense in what they say of themselves."""

import json
import struct
from collections.abc import Callable
from typing import Any

from hostile_cases import Shelf, Sound

Header = dict[str, Any]
Change = Callable[[Header], None]


def parts(content: bytes) -> tuple[Header, bytes]:
    """Divide a file into its header and its numbers."""
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def whole(header: object, numbers: bytes = b"") -> bytes:
    """Put a file together."""
    text = header.encode() if isinstance(header, str) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def first(header: Header) -> Header:
    """Return what is said of the first tensor."""
    found: Header = next(value for name, value in header.items() if name != "__metadata__")
    return found


def setting(**values: Any) -> Change:
    return lambda header: first(header).update(values)


def overlapping(header: Header) -> None:
    offsets = [value["data_offsets"] for name, value in header.items() if name != "__metadata__"]
    offsets[1][:] = offsets[0]


def saying(**values: Any) -> Change:
    """Change what a file of Modiste's says of itself."""

    def change(header: Header) -> None:
        plain = json.loads(header["__metadata__"]["modiste"])
        for name, value in values.items():
            *path, last = name.split("__")
            inner = plain
            for step in path:
                inner = inner[step]
            inner[last] = value
        header["__metadata__"]["modiste"] = json.dumps(plain)

    return change


LIES: dict[str, Change] = {
    "offsets that overlap": overlapping,
    "negative offsets": setting(data_offsets=[-8, 0]),
    "offsets backwards": setting(data_offsets=[64, 0]),
    "offsets past the end": setting(data_offsets=[0, 10**12]),
    "offsets beyond 64 bits": setting(data_offsets=[0, 2**70]),
    "offsets that are words": setting(data_offsets=["0", "../../etc/passwd"]),
    "a negative shape": setting(shape=[-1]),
    "a shape beyond 64 bits": setting(shape=[2**33, 2**33]),
    "a shape of broken numbers": setting(shape=[1.5]),
    "a shape for other numbers": setting(shape=[3]),
    "a thousand dimensions": setting(shape=[1] * 1000 + [7]),
    "an unknown format": setting(dtype="OBJECT"),
    "a class for a format": setting(dtype="os.system"),
    "a path for numbers": setting(data_offsets="/etc/passwd"),
    "metadata in tables": lambda header: header["__metadata__"].update(more={"a": 1}),
}
NONSENSE: dict[str, Change] = {
    "a class for a network": saying(recipe__model={"kind": "os.system"}),
    "a path for a network": saying(recipe__model={"kind": "../../evil.py"}),
    "no recipe": saying(recipe=None),
    "a list for a task": saying(task=[]),
    "a word for a shape": saying(task__image_shape="abc"),
    "an endless shape": saying(task__image_shape=[1, 10**9, 10**9]),
    "a negative shape of images": saying(task__image_shape=[1, -12, -12]),
    "a broken shape of images": saying(task__image_shape=[1, 12.5, 12]),
    "a number of names": saying(task__class_names=5),
    "numbers for names": saying(task__class_names=[1, 2, 3, 4, 5]),
    "a million names": saying(task__class_names=["a"] * 10**6),
    "no deviation": saying(task__deviation=0.0),
    "no number for a mean": saying(task__mean=float("nan")),
    "words for a temperature": saying(temperature="__import__('os')"),
    "an endless temperature": saying(temperature=float("inf")),
    "a table for an epoch": saying(epoch={"__class__": "os.system"}),
    "a network too large for memory": saying(recipe__model__hidden=[10**6, 10**6]),
    "a network beyond 64 bits": saying(recipe__model__hidden=[2**52]),
    "a network without end": saying(recipe__model={"kind": "resnet", "depth": 6 * 10**9 + 4}),
    "blocks without end": saying(recipe__model={"kind": "sprint", "blocks": 10**12}),
    "lines and colours in a field's name": saying(recipe={"\n\x1b[31mname": 1}),
    "a later format": saying(format=10**9),
}
DEPTH = 100_000


def add(shelf: Shelf, sound: Sound) -> None:
    header, numbers = parts(sound.model)
    for reader in ("model", "weights"):
        for name, change in {**LIES, **NONSENSE}.items():
            changed = json.loads(json.dumps(header))
            change(changed)
            shelf.file(name, reader, "given.safetensors", whole(changed, numbers))
        for name, content in _torn(header, numbers).items():
            shelf.file(name, reader, "given.safetensors", content)


def _torn(header: Header, numbers: bytes) -> dict[str, bytes]:
    text = json.dumps(header)
    name = json.dumps(next(one for one in header if one != "__metadata__"))
    twice = text[:-1] + f", {name}: {json.dumps(first(header))}" + "}"
    return {
        "nothing": b"",
        "a header of exabytes": struct.pack("<Q", 2**63) + text.encode(),
        "a header of gigabytes": struct.pack("<Q", 2**32) + text.encode(),
        "a header of nothing": struct.pack("<Q", 0) + numbers,
        "a tensor named twice": whole(twice, numbers),
        "endless brackets": whole("[" * DEPTH),
        "endless tables": whole('{"a":' * DEPTH),
        "a number for a header": whole("1" * 5000),
        "no table": whole([header]),
        "numbers cut": whole(header, numbers[:-4]),
        "numbers in excess": whole(header, numbers + bytes(64)),
        "a file within a file": whole(header, whole(header, numbers)),
        "no UTF-8": struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc",
        "a script": b"#!/bin/sh\ntouch mark\n",
    }
