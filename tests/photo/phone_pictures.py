"""Files as phones, scanners and photo programs write them: HEIC, AVIF, TIFF and PNM, and those that only look so."""

import io
import struct
from collections.abc import Callable

import numpy as np
import pillow_heif
from pictures import BLACK, ORIENTATION, garment, saved, transparent
from PIL import Image, ImageCms
from profiles import ADOBE_GAMMA, ADOBE_RGB, DISPLAY_P3, SRGB_CURVE, gamma, grey_profile, ink_profile, screen_profile

P3_PROFILE = screen_profile(DISPLAY_P3, SRGB_CURVE)
ADOBE_PROFILE = screen_profile(ADOBE_RGB, gamma(ADOBE_GAMMA))
GREY_PROFILE = grey_profile(1.8)
INKS = {(0, 0, 0, 0): (100.0, 0.0, 0.0), (1, 0, 0, 0): (60.0, -20.0, -30.0), (0, 1, 0, 0): (50.0, 60.0, 0.0)}
INK_PROFILE = ink_profile({**INKS, (0, 0, 1, 0): (88.0, -5.0, 60.0), (1, 1, 0, 0): (40.0, 10.0, -40.0)})
ENTRY = {1: "B", 3: "H", 4: "I"}


def heic(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, **options)
    return file.getvalue()


def two_heic() -> bytes:
    both, file = pillow_heif.from_pillow(garment()), io.BytesIO()
    both.add_from_pillow(BLACK)
    both.save(file)
    return file.getvalue()


def tiff(tags: dict[int, tuple[int, list[int]]], pixels: bytes, order: str = "<") -> bytes:
    """A TIFF of these tags, each with its type and values; its pixels begin at byte 8."""
    start = 8 + len(pixels) + len(pixels) % 2
    entries, beyond = b"", b""
    after = start + 6 + 12 * len(tags)
    for tag, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{ENTRY[kind]}", *values)
        if len(packed) > 4:
            packed, beyond = struct.pack(f"{order}I", after + len(beyond)), beyond + packed
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return head + pixels.ljust(start - 8, b"\0") + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + beyond


def plain_tiff(order: str = "<", **changes: tuple[int, list[int]]) -> bytes:
    """A TIFF in colour of one strip; ``changes`` are tags by ``t`` and their number."""
    pixels = garment().tobytes()
    tags: dict[int, tuple[int, list[int]]] = {
        256: (3, [80]), 257: (3, [100]), 258: (3, [8, 8, 8]), 259: (3, [1]), 262: (3, [2]), 273: (4, [8]),
        277: (3, [3]), 278: (3, [100]), 279: (4, [len(pixels)]),
    }  # fmt: skip
    return tiff({**tags, **{int(name[1:]): value for name, value in changes.items()}}, pixels, order)


def tiled_tiff() -> bytes:
    """Tiles of 64 pixels, which reach beyond the image at its right and its lower edge."""
    pixels = np.pad(np.asarray(garment()), ((0, 28), (0, 48), (0, 0)))
    tiles = [pixels[top : top + 64, left : left + 64].tobytes() for top in (0, 64) for left in (0, 64)]
    size = len(tiles[0])
    return tiff(
        {
            256: (3, [80]), 257: (3, [100]), 258: (3, [8, 8, 8]), 259: (3, [1]), 262: (3, [2]), 277: (3, [3]),
            322: (3, [64]), 323: (3, [64]), 324: (4, [8 + size * number for number in range(4)]), 325: (4, [size] * 4),
        },
        b"".join(tiles),
    )  # fmt: skip


def turned(kind: Callable[..., bytes], value: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return kind(garment(), exif=exif.tobytes())


def avif(image: Image.Image, **options: object) -> bytes:
    return saved(image, "AVIF", **options)


def announced(whole: bytes, width: int, height: int) -> bytes:
    """The same HEIC or AVIF with another size in its header."""
    changed = bytearray(whole)
    at = whole.index(b"ispe") + 8
    changed[at : at + 8] = struct.pack(">II", width, height)
    return bytes(changed)


def with_content(whole: bytes, content: bytes) -> bytes:
    """The same AVIF or HEIC of one item, with other data at the file's end as its picture."""
    changed = bytearray(whole + struct.pack(">I", 8 + len(content)) + b"mdat" + content)
    at = whole.index(b"iloc")
    base_bytes = whole[at + 9] >> 4
    place = at + 16  # after version, sizes, count, and the item with its origin
    changed[place : place + base_bytes] = bytes(base_bytes)
    place += base_bytes + 2
    changed[place : place + 8] = struct.pack(">II", len(whole) + 8, len(content))
    return bytes(changed)


def content_of(whole: bytes) -> bytes:
    at = whole.index(b"mdat")
    (size,) = struct.unpack_from(">I", whole, at - 4)
    return whole[at + 4 : at - 4 + size]


def av1_sequence(side: int, bits: int = 16) -> bytes:
    """A sequence header of AV1 for still pictures of so many pixels a side."""
    fields = [(0, 3), (1, 1), (1, 1), (0, 5), (bits - 1, 4), (bits - 1, 4), (side - 1, bits), (side - 1, bits), (0, 40)]
    value = width = 0
    for number, size in fields:
        value, width = value << size | number, width + size
    body = (value << -width % 8).to_bytes(-(-width // 8))
    return b"\x0a" + bytes((len(body),)) + body


def hidden_frames(count: int) -> bytes:
    """An AVIF whose frames come again and again before the one that is shown."""
    whole = avif(garment(1000, 1000), speed=10)
    content = content_of(whole)
    return with_content(whole, content * count)


def hidden_pictures(count: int) -> bytes:
    whole = heic(garment())
    return with_content(whole, content_of(whole) * count)


def many_parameters(count: int) -> bytes:
    """A HEIC whose first parameter set is there so many times, by its number."""
    whole = bytearray(heic(garment()))
    at = whole.index(b"hvcC") + 4 + 23 + 1
    whole[at : at + 2] = struct.pack(">H", count)
    return bytes(whole)


def many_links(count: int) -> bytes:
    """A HEIC of tiles whose grid names so many of them."""
    whole = bytearray(heic(garment(240, 300), tile_size=64))
    at = whole.index(b"dimg") + 6
    whole[at : at + 2] = struct.pack(">H", count)
    return bytes(whole)


def boxes(count: int) -> bytes:
    """A HEIC with so many empty boxes."""
    return heic(garment()) + b"\0\0\0\x08free" * count


PHONE_GOOD: dict[str, Callable[[], bytes]] = {
    "heic": lambda: heic(garment()),
    "heic in full colour": lambda: heic(garment(), chroma=444),
    "heic without loss": lambda: heic(garment(), quality=-1),
    "grey heic": lambda: heic(garment().convert("L")),
    "alpha heic": lambda: heic(transparent()),
    "heic of tiles": lambda: heic(garment(240, 300), tile_size=64),
    "two pictures in a heic": two_heic,
    "heic of a phone's colours": lambda: heic(with_profile(garment(), P3_PROFILE)),
    "heic with a second orientation": lambda: turned(heic, 6),
    "avif": lambda: avif(garment()),
    "avif in full colour": lambda: avif(garment(), subsampling="4:4:4"),
    "grey avif": lambda: avif(garment().convert("L")),
    "alpha avif": lambda: avif(transparent()),
    "animated avif": lambda: avif(garment(), save_all=True, append_images=[BLACK]),
    "turned avif": lambda: turned(avif, 6),
    "avif of a phone's colours": lambda: avif(garment(), icc_profile=P3_PROFILE),
    **{
        f"{way} tiff": (lambda way=way: saved(garment(), "TIFF", compression=way))
        for way in ("raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits")
    },
    "grey tiff": lambda: saved(garment().convert("L"), "TIFF", compression="tiff_lzw"),
    "grey tiff, not packed": lambda: saved(garment().convert("L"), "TIFF"),
    "one bit tiff": lambda: saved(garment().convert("1"), "TIFF"),
    "alpha tiff": lambda: saved(transparent(), "TIFF", compression="tiff_lzw"),
    "palette tiff": lambda: saved(garment().quantize(8), "TIFF"),
    "cmyk tiff": lambda: saved(garment().convert("CMYK"), "TIFF"),
    "lab tiff": lambda: saved(in_lab(garment()), "TIFF"),
    "tiff of pages": lambda: saved(garment(), "TIFF", save_all=True, append_images=[BLACK.copy()]),
    "tiff in the other byte order": lambda: plain_tiff(">"),
    "tiff of tiles": tiled_tiff,
    "tiff with a row a strip": lambda: saved(garment(), "TIFF", compression="tiff_lzw", strip_size=240),
    "turned tiff": lambda: plain_tiff(t274=(3, [6])),
    "tiff of a camera's colours": lambda: saved(garment(), "TIFF", icc_profile=ADOBE_PROFILE),
    "ppm": lambda: saved(garment(), "PPM"),
    "pgm": lambda: saved(garment().convert("L"), "PPM"),
    "pbm": lambda: saved(garment().convert("1"), "PPM"),
    "16 bit pgm": lambda: saved(garment().convert("L").convert("I;16").point(lambda value: value * 256), "PPM"),
    "ppm of few levels": lambda: b"P6 # scanned\n80 100\n63\n" + bytes(value // 4 for value in garment().tobytes()),
    "ppm as text": lambda: b"P3\n80 100\n# text\n255\n" + " ".join(map(str, garment().tobytes())).encode(),
    "pgm as text": lambda: b"P2 80 100 255\n" + "\n".join(map(str, garment().convert("L").tobytes())).encode(),
    "pbm as text": lambda: b"P1 80 100\n" + bytes(49 - (value > 127) for value in garment().convert("L").tobytes()),
    "jpeg of a phone's colours": lambda: saved(garment(), "JPEG", icc_profile=P3_PROFILE),
    "png of a camera's colours": lambda: saved(garment(), "PNG", icc_profile=ADOBE_PROFILE),
    "webp of a phone's colours": lambda: saved(garment(), "WEBP", icc_profile=P3_PROFILE),
    "jpeg in a printer's inks": lambda: saved(garment().convert("CMYK"), "JPEG", icc_profile=INK_PROFILE),
    "grey jpeg with a profile": lambda: saved(garment().convert("L"), "JPEG", icc_profile=GREY_PROFILE),
    "jpeg with a profile of another kind": lambda: saved(garment(), "JPEG", icc_profile=INK_PROFILE),
    "jpeg with a profile that is none": lambda: saved(garment(), "JPEG", icc_profile=b"acsp" * 100),
    "png with a profile cut short": lambda: saved(garment(), "PNG", icc_profile=P3_PROFILE[:300]),
    "jpeg with a profile too large": lambda: saved(garment(), "JPEG", icc_profile=P3_PROFILE + bytes(5 * 2**20)),
    "large tiff": lambda: saved(garment(3000, 4000), "TIFF", compression="tiff_lzw"),
}


def with_profile(image: Image.Image, content: bytes) -> Image.Image:
    image.info["icc_profile"] = content
    return image


def in_lab(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")


PHONE_BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "half a heic": (lambda: heic(garment())[:400], "damaged"),
    "half an avif": (lambda: avif(garment())[:330], "damaged"),
    "half a tiff": (lambda: plain_tiff()[:5000], "damaged"),
    "half a packed tiff": (lambda: saved(garment(), "TIFF", compression="tiff_lzw")[:700], "damaged"),
    "half a ppm": (lambda: saved(garment(), "PPM")[:5000], "pixels are missing"),
    "half a ppm as text": (lambda: b"P3 80 100 255\n" + b"7 " * 100, "pixels are missing"),
    "a ppm of words": (lambda: b"P3 80 100 255\n" + b"red " * 24_000, "its pixels are no numbers"),
    "a ppm of level 0": (lambda: b"P6 80 100 0\n" + bytes(24_000), "its largest value is 0"),
    "a ppm without a size": (lambda: b"P6\n# " + b"x" * 20_000, "its header is no PBM"),
    "a film of a phone": (lambda: b"\0\0\0\x18ftypqt  " + bytes(16), "found a film"),
    "a ppm bomb": (lambda: b"P6 65535 65535 255\n", "65,535 x 65,535; expected at most 24"),
    "a tiff bomb": (lambda: plain_tiff(t256=(4, [65_535]), t257=(4, [65_535])), "too large"),
    "a large tiff": (lambda: plain_tiff(t256=(3, [5000]), t257=(3, [5000])), "5,000 x 5,000; expected at most 24"),
    "a tiff bomb of tiles": (
        lambda: plain_tiff(t322=(4, [2**20]), t323=(4, [2**20]), t324=(4, [8]), t325=(4, [100])),
        "tiles of 1,048,576 x 1,048,576",
    ),
    "a tiff bomb of strips": (lambda: plain_tiff(t273=(4, [8] * 60_000), t279=(4, [9] * 60_000)), "60,000 values"),
    "a tiff bomb of one strip again": (
        lambda: plain_tiff(t273=(4, [8] * 100), t278=(3, [1]), t279=(4, [24_000] * 100)),
        "its parts are larger than the file",
    ),
    "a tiff bomb of colours": (lambda: plain_tiff(t320=(3, [0] * 20_000)), "20,000 values of TIFF tag 320"),
    "a tiff of a jpeg": (lambda: saved(garment(), "TIFF", compression="jpeg"), "compression 7; expected none, LZW"),
    "a raw file": (lambda: plain_tiff(t50706=(1, [1, 4, 0, 0])), "a camera raw file"),
    "a raw file's preview": (lambda: plain_tiff(t254=(4, [1])), "a camera raw file"),
    "a big tiff": (lambda: b"II+\0\x08\0\0\0" + bytes(500), "not a readable image"),
    "a tiff without a directory": (lambda: b"II*\0\xff\xff\xff\xff" + bytes(100), "cut short"),
    "a heic bomb": (lambda: announced(heic(garment()), 65_535, 65_535), "expected at most 52 million pixels"),
    "an avif bomb": (lambda: announced(avif(garment()), 65_535, 65_535), "expected at most 52 million pixels"),
    "an avif bomb behind a small header": (
        lambda: with_content(avif(garment()), av1_sequence(65_536) + content_of(avif(garment()))),
        "expected at most 52 million pixels",
    ),
    "an avif bomb of frames": (lambda: hidden_frames(500), "too many parts for its size"),
    "a heic bomb of pictures": (lambda: hidden_pictures(50), "it holds 50 pictures in one"),
    "a heic bomb of parameters": (lambda: many_parameters(60_000), "60,000 sets of parameters; expected at most 16"),
    "a heic bomb of links": (lambda: many_links(60_000), "more than 20,000 parts"),
    "a heic bomb of boxes": (lambda: boxes(30_000), "more than 20,000 parts"),
    "a heic of another size": (lambda: announced(heic(garment()), 800, 1000), "damaged"),
    "a small heic": (lambda: announced(heic(garment()), 3, 100), "expected at least 4 pixels a side"),
}
