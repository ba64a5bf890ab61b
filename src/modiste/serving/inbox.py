"""The bytes that a client has sent and the server has not parsed, cut so that each piece ends within one request."""

HEAD_END = b"\r\n\r\n"


class Inbox:
    """The unparsed bytes of one connection.

    A head ends with an empty line, and so does a chunked body. For a body of a stated length, the bytes are counted.

    Attributes:
        framing_bytes: bytes of the current request since its last byte of payload: head, chunk headers, trailers.
    """

    def __init__(self) -> None:
        self.framing_bytes = 0
        self._bytes, self._at, self._last = b"", 0, b""
        self._payload_left = 0

    def __len__(self) -> int:
        """Return the number of unparsed bytes."""
        return len(self._bytes) - self._at

    def put(self, data: bytes) -> None:
        """Add received bytes."""
        self._bytes, self._at = self._bytes[self._at :] + data, 0

    def clear(self) -> None:
        """Drop all unparsed bytes."""
        self._bytes, self._at = b"", 0

    def expect(self, payload_bytes: int) -> None:
        """Begin a body of this length; 0 if its length is not stated."""
        self.framing_bytes, self._payload_left, self._last = 0, payload_bytes, b""

    def cut(self, most: int) -> bytes:
        """Take the bytes up to the next place where a request may end, at most ``most`` of them."""
        if self._payload_left:
            piece = self._taken(min(self._payload_left, most))
            self._payload_left -= len(piece)
            return piece
        piece = self._taken(min(self._frame_bytes(most), most))
        self._last = (self._last + piece)[1 - len(HEAD_END) :]
        self.framing_bytes += len(piece)
        return piece

    def _taken(self, size: int) -> bytes:
        piece = self._bytes[self._at : self._at + size]
        self._at += len(piece)
        if not self:
            self.clear()
        return piece

    def _frame_bytes(self, most: int) -> int:
        """Return the distance to the end of the next empty line, or at least ``most`` if none is that near.

        The empty line may begin in the piece before.
        """
        begun = len(self._last)
        start = self._last + self._bytes[self._at : self._at + len(HEAD_END) - 1]
        if (end := start.find(HEAD_END)) >= 0:
            return end + len(HEAD_END) - begun
        end = self._bytes.find(HEAD_END, self._at, self._at + most)
        return most if end < 0 else end + len(HEAD_END) - self._at
