"""Reads a JPEG's segments before it is decoded: the number of scans, the camera's metadata, and the rest."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from modiste.errors import PhotoError

START = b"\xff\xd8"
END = b"\xff\xd9"
MOST_SEGMENTS = 5_000
MOST_SCANS = 100
MOST_SCANNED_PIXELS = 20 * 64_000_000
"""Scans times pixels. A scan visits every pixel, however few bytes it has; usual progressive files have 10 to 20."""
_FILLER = b"\xa5\x5a\x96\x69" * 64
"""Arbitrary bytes; appended to a complete scan, they change no pixel."""
_RESTARTS = range(0xD0, 0xD8)
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Of a segment: stuffed bytes, fill bytes and restart markers belong to the data of a scan."""
_FIRST_WITH_LENGTH, _SOI, _EOI, _SOS, _COM = 0xC0, 0xD8, 0xD9, 0xDA, 0xFE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_METADATA = frozenset(range(0xE1, 0xF0)) - {0xEE} | {_COM}
"""Application segments and comments, except JFIF (0xE0) and Adobe (0xEE), which tell the decoder the colours."""
_EXIF, _XMP, _ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"


@dataclass
class Jpeg:
    """What the segments of a JPEG contain.

    Attributes:
        picture: The file without metadata, previews and what follows its end; it always has an end marker.
        scans: Number of passes over the pixels.
        ended: Whether the file has its end marker.
        info: ``exif`` and ``xmp``, the first segment of each.
        profile: The colour profile, joined from its segments; None if there is none, or some are missing.
        last_scan: Data of the last scan if the file lacks its end marker; otherwise empty.
    """

    picture: bytes = b""
    scans: int = 0
    ended: bool = False
    info: dict[str, bytes] = field(default_factory=dict)
    last_scan: bytes = b""
    _profile: dict[int, bytes] = field(default_factory=dict)
    _profile_parts: int = 0
    _components: int = 0
    _sent: set[tuple[int, int]] = field(default_factory=set)

    @property
    def profile(self) -> bytes | None:
        if not 0 < self._profile_parts == len(self._profile):
            return None
        return b"".join(part for _, part in sorted(self._profile.items()))

    @property
    def is_complete(self) -> bool:
        """Whether the scans contain every bit of every coefficient of every component."""
        return 0 < 64 * self._components == len(self._sent)

    @property
    def continued(self) -> bytes:
        """The picture with more data after its last scan; its pixels are the same only if that scan is complete."""
        last = max(_RESTARTS, key=lambda restart: self.last_scan.rfind(bytes([0xFF, restart])))
        following = last + 1 if bytes([0xFF, last]) in self.last_scan else _RESTARTS.start
        restart = bytes([0xFF, following if following in _RESTARTS else _RESTARTS.start])
        return self.picture.removesuffix(END) + _FILLER + restart + _FILLER + END

    def _add_frame(self, segment: bytes) -> None:
        self._components = segment[9] if len(segment) > 9 else 0

    def _add_scan(self, segment: bytes) -> None:
        self.scans += 1
        if self.scans > MOST_SCANS:
            raise PhotoError(f"the image has more than {MOST_SCANS} scans; expected a photo; save it again")
        count = segment[4] if len(segment) > 4 else 0
        components, (first, last, bits) = segment[5 : 5 + 2 * count : 2], (segment[5 + 2 * count :] + bytes(3))[:3]
        if bits & 15 == 0:
            self._sent |= {(one, index) for one in components for index in range(first, min(last, 63) + 1)}

    def _add_metadata(self, segment: bytes) -> None:
        for name, prefix in (("exif", _EXIF), ("xmp", _XMP)):
            if segment[1] == 0xE1 and segment.startswith(prefix, 4):
                self.info.setdefault(name, segment[4 + len(prefix) :])
        if segment[1] == 0xE2 and segment.startswith(_ICC, 4) and len(segment) > 4 + len(_ICC) + 2:
            number, parts = segment[4 + len(_ICC) : 6 + len(_ICC)]
            self._profile_parts = parts
            self._profile.setdefault(number, segment[6 + len(_ICC) :])


def read_jpeg(data: bytes) -> Jpeg:
    """Read a JPEG's segments; PhotoError if it has too many segments or scans."""
    found, kept, at, end, scan = Jpeg(), [], 0, len(data.rstrip(b"\xff")), 0
    for number, (marker, start, stop) in enumerate(segments(data)):
        if number == MOST_SEGMENTS:
            raise PhotoError(f"the image has more than {MOST_SEGMENTS:,} segments; expected a photo; save it again")
        segment = data[start:stop]
        if marker in _FRAMES:
            found._add_frame(segment)
        elif marker == _SOS:
            found._add_scan(segment)
            scan = stop
        elif marker == _EOI:
            found.ended, end = True, start
        elif marker in _METADATA and not found.scans:
            found._add_metadata(segment)
            kept.append(data[at:start])
            at = stop
    found.picture = b"".join([*kept, data[at:end], END])
    found.last_scan = b"" if found.ended else data[scan:end]
    return found


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the marker, start and end of each segment up to the end of the image, as libjpeg does."""
    at = len(START)
    while found := _MARKER.search(data, at):
        start, marker = found.start(), data[found.start() + 1]
        at = start + 2
        if marker >= _FIRST_WITH_LENGTH and marker not in (_SOI, _EOI):
            at += max(2, int.from_bytes(data[at : at + 2]))
        yield marker, start, min(at, len(data))
        if marker == _EOI:
            return
