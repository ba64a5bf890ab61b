"""Bodies that a client compressed."""

import zlib

CODINGS = {"identity": 0, "gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""Content codings of HTTP, and what zlib calls them."""


def unpacked(content: bytes, coding: str, *, most: int) -> bytes:
    """Return at most the first ``most`` bytes of what was compressed; ValueError where it is damaged."""
    reader = zlib.decompressobj(CODINGS[coding])
    try:
        plain = reader.decompress(content, most)
    except zlib.error:
        raise ValueError(f"the body is not {coding}, or damaged") from None
    if len(plain) < most and (not reader.eof or reader.unused_data):
        raise ValueError(f"the body is not the whole of one {coding} stream")
    return plain
