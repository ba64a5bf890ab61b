"""The process that prepares pictures; a picture that holds the word "slow" takes for ever, and "fatal" ends it."""

import os
import signal
import time
from typing import Any

from modiste.serving import picture_process

prepared = picture_process.prepared  # type: ignore[attr-defined]


def prepare_slowly(content: bytes, preparation: Any) -> Any:
    if content == b"slow":
        time.sleep(600)
    if content == b"fatal":
        os.kill(os.getpid(), signal.SIGKILL)
    return prepared(content, preparation)


picture_process.prepared = prepare_slowly  # type: ignore[attr-defined, assignment]
picture_process.main()
