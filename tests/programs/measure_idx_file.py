"""Reads an IDX file, and prints how much memory that took, how much was unpacked, and what the error says."""

import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np  # noqa: F401 - its memory is none of the reader's
from process_memory import memory_bytes

from modiste.data.idx.reader import read_idx
from modiste.errors import DataError


class Counted:
    """A decompressor that counts what it unpacks."""

    unpacked = 0

    def __init__(self, make: Callable[..., Any] = zlib.decompressobj, **words: Any) -> None:
        self.own = make(**words)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    def decompress(self, *arguments: Any) -> bytes:
        """Unpack as the decompressor does."""
        block: bytes = self.own.decompress(*arguments)
        Counted.unpacked += len(block)
        return block


zlib.decompressobj = Counted  # type: ignore[assignment]
before, complaint = memory_bytes("VmRSS"), ""
try:
    read_idx(Path(sys.argv[1]))
except DataError as error:
    complaint = str(error)
print(json.dumps({"bytes": memory_bytes("VmHWM") - before, "unpacked": Counted.unpacked, "said": complaint}))
