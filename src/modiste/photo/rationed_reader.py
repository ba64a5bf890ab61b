"""A file in memory that ends a decoder which reads too often or computes for too long."""

import io
import time

from modiste.errors import PhotoError

HEADER_READS = 10_000
"""Reads that an image's header may take; a camera's takes some hundred."""
PIXEL_READS = 200_000
"""Reads that the pixels, and what follows them, may take: about a second of Python."""
MOST_SECONDS = 20.0
"""Processor time of the thread that decodes. The largest photo takes two; a slow machine has the rest."""
PIECE_BYTES = 16 * 1024
"""A decoder can be ended between two pieces of its input."""


class RationedReader(io.BytesIO):
    """Serves a header first; ``serve_pixels`` goes on to the pixels."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads, self._ends = HEADER_READS, time.thread_time() + MOST_SECONDS

    def serve_pixels(self) -> None:
        """Allow the reads that decoding takes."""
        self._reads = PIXEL_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes; PhotoError when the ration is spent."""
        self._reads -= 1
        if self._reads < 0:
            raise PhotoError("the image has too many parts; expected a photo; save it anew")
        if time.thread_time() > self._ends:
            raise PhotoError(
                f"the image takes more than {MOST_SECONDS:.0f} s to decode; expected a photo; save it anew"
            )
        return super().read(size)
