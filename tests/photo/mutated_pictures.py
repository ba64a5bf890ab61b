"""A process of its own, with little memory and time, that opens pictures changed at random, or bombs.

    python mutated_pictures.py FIRST COUNT    so many mutants; each follows from its number alone
    python mutated_pictures.py NAME ...       pictures that are none, by name

It prints how many were read and refused, or what each took; anything but a picture or a PhotoError is a traceback.
"""

import json
import random
import resource
import signal
import struct
import sys
import zlib
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parent))
from phone_pictures import PHONE_BAD, PHONE_GOOD
from pictures import BAD, GOOD

from modiste.errors import PhotoError
from modiste.photo.garment import prepare

MEMORY_BYTES = 2**30
SECONDS = 10
LARGEST_SPECIMEN_BYTES = 12_000
TELLING = (0, 1, 2, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 254, 255)
PNG = b"\x89PNG\r\n\x1a\n"


def specimens() -> list[bytes]:
    pictures = [make() for name, make in (GOOD | PHONE_GOOD).items() if "large" not in name]
    return [picture for picture in pictures if len(picture) <= LARGEST_SPECIMEN_BYTES]


def mutant(number: int, pictures: list[bytes]) -> bytes:
    draw = random.Random(number)
    changed = bytearray(draw.choice(pictures))
    for _ in range(draw.randint(1, 6)):
        change(changed, draw)
    return mended(bytes(changed)) if changed.startswith(PNG) and draw.random() < 0.7 else bytes(changed)


def change(content: bytearray, draw: random.Random) -> None:
    """Change, cut or lengthen, near the beginning, where most is decided, as often as in all the rest."""
    at = draw.randrange(min(len(content), 120) if draw.random() < 0.5 else len(content)) if content else 0
    match draw.randrange(6):
        case 0 if content:
            content[at] ^= 1 << draw.randrange(8)
        case 1:
            content[at : at + 1] = bytes([draw.choice(TELLING)])
        case 2:
            del content[at : at + draw.randint(1, 12)]
        case 3:
            content[at:at] = draw.randbytes(draw.randint(1, 12))
        case 4:
            content[at:at] = content[at : at + draw.randint(1, 400)]
        case _ if draw.random() < 0.3:
            del content[at + 1 :]


def mended(content: bytes) -> bytes:
    """Give each chunk of a PNG the checksum that it should have, so that a change is looked at and not only noticed."""
    pieces, at = [PNG], len(PNG)
    while at + 12 <= len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        body = content[at + 4 : at + 8 + size]
        pieces.append(content[at : at + 4] + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + size
    return b"".join([*pieces, content[at:]])


def is_photo(content: bytes) -> bool:
    """Open it within the time; True for a picture, False for a refusal, and nothing else."""
    signal.alarm(SECONDS)
    try:
        image = prepare(content).image
    except PhotoError as error:
        told = str(error)
        if not told.isprintable():
            raise ValueError(repr(told)) from error
        return False
    finally:
        signal.alarm(0)
    assert image.shape == (28, 28)
    assert image.dtype == np.uint8
    return True


def main(first: int, count: int) -> dict[str, int]:
    pictures, read = specimens(), 0
    for number in range(first, first + count):
        try:
            read += is_photo(mutant(number, pictures))
        except BaseException:
            print(f"mutant {number}", file=sys.stderr)
            raise
    return {"photos": read, "refused": count - read}


def one(name: str) -> dict[str, float]:
    """Refuse a picture, and say how much memory that took."""
    content = (BAD | PHONE_BAD)[name][0]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = not is_photo(content)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return {"refused": refused, "bytes": grown}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    if sys.argv[1].isdecimal():
        print(json.dumps(main(*map(int, sys.argv[1:]))))
    else:
        for name in ("jpeg", "heic", "avif", "tiff_lzw tiff"):  # so that everything is loaded
            is_photo((GOOD | PHONE_GOOD)[name]())
        for name in sys.argv[1:]:
            print(json.dumps(one(name)))
