"""Decodes pictures into a mapped cache file, and is killed after some.

Arguments: the folder of the pictures, the cache's folder, the number of pictures before the kill.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from modiste.data.pictures import picture_cache, picture_file
from modiste.photo.preparation import Preparation

folder, cache, left = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
add = picture_file.Writer.add


def add_or_die(writer: picture_file.Writer, images: Any) -> None:
    """Add a picture; the process ends with the last one, which has reached the disk."""
    global left
    add(writer, images)
    left -= 1
    if not left:
        writer.file.flush()
        os.kill(os.getpid(), signal.SIGKILL)


picture_file.Writer.add = add_or_die  # type: ignore[method-assign, assignment]
picture_cache.picture_cache_folder = lambda: cache  # type: ignore[attr-defined]
names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
picture_cache.decode_cached(folder, names, Preparation("whole", 12, 3), "development", mapped=True)
