"""An archive as mirrors offer them, small, and a process that fetches it."""

import hashlib
import os
from pathlib import Path

from idx_files import idx, packed

from modiste.data.idx.download import Connection, download
from modiste.data.idx.files import PublishedFile

PLAIN = idx(list(range(200)) * 400)
ARCHIVE = packed(PLAIN)
FILE = PublishedFile(
    name="train-labels-idx1-ubyte",
    size_bytes=len(PLAIN),
    sha256=hashlib.sha256(PLAIN).hexdigest(),
    archive_md5=hashlib.md5(ARCHIVE, usedforsecurity=False).hexdigest(),
)


def fetch(folder: str, mirror: str) -> None:
    """Fetch it from a mirror on loopback."""
    os.environ.pop("MODISTE_OFFLINE")
    download([FILE], Path(folder), mirrors=(mirror,), connection=Connection(loopback=True))
