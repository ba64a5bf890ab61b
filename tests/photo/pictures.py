"""Files as people have them, made by script: those that are photos, and those that are not, with the reason said."""

import base64
import gzip
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from modiste.photo.opening import MOST_BYTES, WEB_FORMATS

ORIENTATION = 0x0112
SAVED = ("JPEG", *WEB_FORMATS, "AVIF", "TIFF", "PPM")


def garment(width: int = 80, height: int = 100) -> Image.Image:
    """A dark shape that no turn or mirror leaves as it is, on a light ground."""
    pixels = np.full((height, width, 3), 240, np.uint8)
    pixels[height // 5 : -height // 5, width // 4 : width // 2] = (60, 40, 90)
    pixels[height // 5 : height // 3, width // 4 : -width // 5] = (90, 60, 60)
    return Image.fromarray(pixels)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def oriented(value: int) -> bytes:
    """The same scene as a camera held in each of eight ways stores it."""
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[value]
    stored = garment() if undo is None else garment().transpose(undo)
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return saved(stored, "PNG", exif=exif)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int, colours: int, rows: bytes, *, interlaced: bool = False) -> bytes:
    """A PNG of rows that are filtered already, its pixels in chunks of 100 bytes."""
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, interlaced)
    data = zlib.compress(rows)
    pieces = b"".join(chunk(b"IDAT", data[at : at + 100]) for at in range(0, len(data), 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pieces + chunk(b"IEND", b"")


def header_only(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds none."""
    return png(width, height, 8, 2, b"")


def unfiltered(pixels: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def deep(kind: str, colours: int) -> bytes:
    """A PNG of sixteen bits a channel."""
    pixels = np.asarray(transparent().convert(kind) if "A" in kind else garment().convert(kind)).astype(">u2") * 257
    return png(80, 100, 16, colours, unfiltered(pixels))


def interlaced() -> bytes:
    """A PNG whose pixels come in Adam's seven passes."""
    pixels = np.asarray(garment())
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = b"".join(unfiltered(pixels[top::down, left::right]) for top, left, down, right in passes)
    return png(80, 100, 8, 2, rows, interlaced=True)


def with_chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG with one more chunk before its pixels."""
    whole = saved(garment(), "PNG")
    return whole[:33] + chunk(kind, content) + whole[33:]


def upside_down_bmp() -> bytes:
    """A BMP whose first row is the top one, as a negative height says."""
    whole = bytearray(saved(garment().transpose(Image.Transpose.FLIP_TOP_BOTTOM), "BMP"))
    whole[22:26] = struct.pack("<i", -100)
    return bytes(whole)


def with_exif(kind: str, value: int) -> bytes:
    """A photo with its camera's notes, among them that it was held upright."""
    exif = Image.Exif()
    exif[ORIENTATION] = value
    exif[0x010F], exif[0x0110] = "a maker", "a camera"
    return saved(garment(), kind, exif=exif)


def animated_bomb() -> bytes:
    still = header_only(65_535, 65_535)
    return still[:33] + chunk(b"acTL", struct.pack(">II", 2, 0)) + still[33:]


BLACK = Image.new("RGB", (80, 100))
COLOUR_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def jpeg_bomb() -> bytes:
    whole = bytearray(saved(garment(), "JPEG"))
    frame = whole.index(b"\xff\xc0")
    whole[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    return bytes(whole)


def gif_bomb() -> bytes:
    whole = bytearray(saved(garment(), "GIF"))
    whole[6:10] = b"\xff\xff\xff\xff"
    return bytes(whole)


def bmp_bomb(width: int = 65_535, height: int = 65_535) -> bytes:
    whole = bytearray(saved(garment(), "BMP"))
    whole[18:26] = struct.pack("<ii", width, height)
    return bytes(whole)


def riff(kind: bytes, content: bytes) -> bytes:
    body = b"WEBP" + kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def lossy_webp_bomb() -> bytes:
    """Its sides have fourteen bits each."""
    whole = bytearray(saved(garment(), "WEBP"))
    frame = whole.index(b"\x9d\x01\x2a")
    whole[frame + 3 : frame + 7] = struct.pack("<HH", 16_383, 16_383)
    return bytes(whole)


def lossless_webp_bomb() -> bytes:
    return riff(b"VP8L", b"\x2f" + struct.pack("<I", 16_383 | 16_383 << 14) + bytes(100))


def extended_webp_bomb() -> bytes:
    side = struct.pack("<I", 65_534)[:3]
    return riff(b"VP8X", bytes(4) + side + side) + bytes(100)


def scans_again(count: int, *, side: int = 100, **options: object) -> bytes:
    """A JPEG whose last scan comes ``count`` times more."""
    whole = saved(garment(side, side), "JPEG", **options)
    at = whole.rindex(b"\xff\xda")
    return whole[:-2] + count * whole[at:-2] + whole[-2:]


def empty_scans(count: int, side: int) -> bytes:
    """The same, without any data in those scans, ten bytes each, and sides that the data do not fill."""
    whole = bytearray(saved(garment(), "JPEG", progressive=True))
    frame, at = whole.index(b"\xff\xc2"), whole.rindex(b"\xff\xda")
    whole[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    (size,) = struct.unpack_from(">H", whole, at + 2)
    return bytes(whole[:-2] + count * whole[at : at + 2 + size] + whole[-2:])


def hidden_scans() -> bytes:
    """Scans behind a marker that has no length, though two bytes after it look like one."""
    whole = scans_again(600, progressive=True)
    at = whole.index(b"\xff\xda")
    return whole[:at] + b"\xff\x01\xff\xff" + whole[at:]


def segments(count: int, name: bytes = b"Exif\0\0notes") -> bytes:
    """A JPEG with so many notes."""
    whole = saved(garment(), "JPEG")
    return whole[:2] + count * (b"\xff\xe1" + struct.pack(">H", 2 + len(name)) + name) + whole[2:]


def packed_notes(kind: bytes, count: int) -> bytes:
    """A PNG with notes that each unpack to a megabyte."""
    packed = b"x\0\0" + zlib.compress(bytes(2**20 - 10), 9)
    whole, note = saved(garment(), "PNG"), chunk(kind, packed)
    return whole[:33] + count * note + whole[33:]


def many_chunks(count: int, *, last: bool = False) -> bytes:
    """A PNG with empty chunks before its pixels or after them."""
    whole, at = saved(garment(), "PNG"), -12 if last else 33
    return whole[:at] + count * chunk(b"prVt", b"") + whole[at:]


def gif_comments(count: int) -> bytes:
    whole = saved(garment(), "GIF")
    at = 13 + 3 * (2 << (whole[10] & 7))
    return whole[:at] + count * b"!\xfe\x01x\0" + whole[at:]


def runs(side: int) -> bytes:
    """A BMP of runs: in each row a pixel, and the rest left out."""
    palette, body = b"".join(bytes((i, i, i, 0)) for i in range(256)), b"\x01\x07\0\0" * side
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(body), 0, 0, 1078) + header + palette + body


def directory(entries: int, size: int) -> bytes:
    """Notes as TIFF keeps them, each of whose fields claims all of their bytes."""
    fields = b"".join(struct.pack("<HHII", 0x8000 + field, 7, size - 8, 8) for field in range(entries))
    notes = b"II*\0" + struct.pack("<IH", 8, entries) + fields + bytes(4)
    return notes + bytes(size - len(notes))


def with_preview(width: int, height: int) -> bytes:
    """A photo with a second, small picture behind it, as phones store theirs."""
    return saved(garment(width, height), "MPO", save_all=True, append_images=[BLACK])


def transparent() -> Image.Image:
    image = garment().convert("RGBA")
    pixels = np.asarray(image).copy()
    pixels[pixels[..., 0] == 240] = (0, 0, 0, 0)
    return Image.fromarray(pixels)


def sixteen_bit() -> Image.Image:
    return Image.fromarray(np.asarray(garment().convert("L")).astype(np.uint16) * 257)


def with_text() -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("comment", "x" * 5000)
    return saved(garment(), "PNG", pnginfo=notes)


NO_IMAGE = "not a readable image"
BLANK = "nothing stands out from the background"
SMALL = "expected at least 4 pixels a side"
POINT = Image.new("RGB", (1, 1))
GOOD: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved(garment(), "JPEG", quality=92),
    "progressive jpeg": lambda: saved(garment(), "JPEG", progressive=True),
    "grey jpeg": lambda: saved(garment().convert("L"), "JPEG"),
    "cmyk jpeg": lambda: saved(garment().convert("CMYK"), "JPEG"),
    "large jpeg": lambda: saved(garment(4000, 5000), "JPEG"),
    "png": lambda: saved(garment(), "PNG"),
    "grey png": lambda: saved(garment().convert("L"), "PNG"),
    "16 bit png": lambda: saved(sixteen_bit(), "PNG"),
    "palette png": lambda: saved(garment().quantize(8), "PNG"),
    "one bit png": lambda: saved(garment().convert("1"), "PNG"),
    "alpha png": lambda: saved(transparent(), "PNG"),
    "grey alpha png": lambda: saved(transparent().convert("LA"), "PNG"),
    "transparent palette png": lambda: saved(transparent().quantize(8), "PNG"),
    "annotated png": with_text,
    "webp": lambda: saved(garment(), "WEBP"),
    "lossless webp": lambda: saved(garment(), "WEBP", lossless=True),
    "alpha webp": lambda: saved(transparent(), "WEBP", lossless=True),
    "bmp": lambda: saved(garment(), "BMP"),
    "gif": lambda: saved(garment(), "GIF"),
    "animated gif": lambda: saved(garment(), "GIF", save_all=True, append_images=[Image.new("RGB", (80, 100))]),
    "animated png": lambda: saved(garment(), "PNG", save_all=True, append_images=[Image.new("RGB", (80, 100))]),
    "trailing rubbish": lambda: saved(garment(), "JPEG") + b"rubbish" * 100,
    "small": lambda: saved(garment(12, 16), "PNG"),
    "strip": lambda: saved(garment(40, 400), "PNG"),
    "jpeg in full colour": lambda: saved(garment(), "JPEG", subsampling=0),
    "jpeg in quarter colour": lambda: saved(garment(), "JPEG", subsampling=2),
    "small jpeg": lambda: saved(garment(), "JPEG", quality=30),
    "optimised jpeg": lambda: saved(garment(), "JPEG", optimize=True),
    "jpeg with restarts": lambda: saved(garment(), "JPEG", restart_marker_blocks=1),
    "jpeg with notes": lambda: with_exif("JPEG", 1),
    "jpeg with an orientation that is none": lambda: with_exif("JPEG", 9),
    "jpeg with a profile": lambda: saved(garment(), "JPEG", icc_profile=COLOUR_PROFILE),
    "jpeg with a comment": lambda: saved(garment(), "JPEG", comment=b"x" * 60_000),
    "two pictures in a jpeg": lambda: saved(garment(), "MPO", save_all=True, append_images=[BLACK]),
    "large jpeg with a preview": lambda: with_preview(5000, 5000),
    "jpeg without its end": lambda: saved(garment(), "JPEG")[:-2],
    "jpeg with half its end": lambda: saved(garment(), "JPEG")[:-1],
    "progressive jpeg without its end": lambda: saved(garment(), "JPEG", progressive=True)[:-2],
    "jpeg with restarts without its end": lambda: saved(garment(), "JPEG", restart_marker_blocks=1)[:-2],
    "jpeg of a hundred scans": lambda: scans_again(90, progressive=True),
    "jpeg with many notes": lambda: segments(400, bytes(1000)),
    "jpeg with notes that claim too much": lambda: segments(1, b"Exif\0\0" + directory(5000, 65_000)),
    "png with notes that claim too much": lambda: with_chunk(b"eXIf", directory(1000, 2**20)),
    "png with many notes": lambda: packed_notes(b"iCCP", 50),
    "jpeg of odd size": lambda: saved(garment(81, 103), "JPEG"),
    "png in one chunk, not packed": lambda: saved(garment(), "PNG", compress_level=0),
    "png packed hard": lambda: saved(garment(), "PNG", optimize=True),
    "interlaced png": interlaced,
    "png of many chunks": lambda: png(80, 100, 8, 2, unfiltered(np.asarray(garment()))),
    "16 bit colour png": lambda: deep("RGB", 2),
    "16 bit alpha png": lambda: deep("RGBA", 6),
    "16 bit grey alpha png": lambda: deep("LA", 4),
    "two bit png": lambda: saved(garment().quantize(4), "PNG", bits=2),
    "four bit png": lambda: saved(garment().quantize(16), "PNG", bits=4),
    "png with a transparent colour": lambda: with_chunk(b"tRNS", bytes(6)),
    "png with a profile": lambda: saved(garment(), "PNG", icc_profile=COLOUR_PROFILE),
    "png with gamma": lambda: with_chunk(b"gAMA", struct.pack(">I", 45_455)),
    "png with a foreign chunk": lambda: with_chunk(b"prVt", b"anything"),
    "png with notes": lambda: with_exif("PNG", 1),
    "png with bytes after its end": lambda: saved(garment(), "PNG") + bytes(1000),
    "palette png with alphas": lambda: saved(garment().quantize(8), "PNG", transparency=bytes([255] * 8)),
    "animated png of one": lambda: saved(garment(), "PNG", save_all=True),
    "poor webp": lambda: saved(garment(), "WEBP", quality=5),
    "lossy alpha webp": lambda: saved(transparent(), "WEBP"),
    "animated webp": lambda: saved(garment(), "WEBP", save_all=True, append_images=[BLACK]),
    "webp with notes": lambda: with_exif("WEBP", 1),
    "webp with a profile": lambda: saved(garment(), "WEBP", icc_profile=COLOUR_PROFILE),
    "grey bmp": lambda: saved(garment().convert("L"), "BMP"),
    "palette bmp": lambda: saved(garment().quantize(8), "BMP"),
    "one bit bmp": lambda: saved(garment().convert("1"), "BMP"),
    "bmp of 32 bits": lambda: saved(garment().convert("RGBA"), "BMP"),
    "bmp from the top": upside_down_bmp,
    "grey gif": lambda: saved(garment().convert("L"), "GIF"),
    "transparent gif": lambda: saved(transparent(), "GIF"),
    "gif not interlaced": lambda: saved(garment(), "GIF", interlace=False),
    "gif with a comment": lambda: saved(garment(), "GIF", comment=b"x" * 500),
    "wide": lambda: saved(garment(400, 40), "PNG"),
    "as long as may be": lambda: saved(garment(20, 1000), "PNG"),
    "large webp": lambda: saved(garment(1500, 2000), "WEBP"),
    "large gif": lambda: saved(garment(1500, 2000), "GIF"),
}
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "the file is empty"),
    "text": (lambda: b"not a picture at all\n" * 20, "not a readable image; expected JPEG, PNG"),
    "pdf": (lambda: b"%PDF-1.7\n" + b"0" * 500, "not a readable image"),
    "svg": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a readable image"),
    "html": (lambda: b"<!doctype html><img src=x>", "not a readable image"),
    "ico": (lambda: saved(garment(), "ICO"), "not a readable image"),
    "eps": (lambda: saved(garment(), "EPS"), "not a readable image"),
    "half a jpeg": (lambda: saved(garment(), "JPEG")[:900], "damaged"),
    "half a png": (lambda: saved(garment(), "PNG")[:150], "damaged"),
    "half a webp": (lambda: saved(garment(), "WEBP", lossless=True)[:60], "damaged"),
    "half a bmp": (lambda: saved(garment(), "BMP")[:5000], "damaged"),
    "a png without pixels": (lambda: header_only(80, 100), "damaged"),
    "a bomb": (lambda: header_only(65_535, 65_535), "the image is too large"),
    "a large png": (lambda: header_only(5000, 5000), "5,000 x 5,000; expected at most 24"),
    "one pixel": (lambda: saved(Image.new("RGB", (1, 1)), "PNG"), "expected at least 4 pixels a side"),
    "a hair": (lambda: saved(Image.new("RGB", (5, 20_000)), "PNG"), "no side 50 times the other"),
    "blank": (lambda: saved(Image.new("RGB", (90, 90), "white"), "PNG"), "nothing stands out from the background"),
    "black": (lambda: saved(Image.new("RGB", (90, 90)), "JPEG"), "nothing stands out from the background"),
    **{
        f"a {kind} file": (lambda kind=kind: saved(garment(), kind), NO_IMAGE)
        for kind in ("PCX", "TGA", "SGI", "DIB", "JPEG2000", "ICNS", "DDS", "SPIDER", "PDF")
    },
    **{f"one pixel of {kind}": (lambda kind=kind: saved(POINT, kind), SMALL) for kind in SAVED},
    **{
        f"blank {kind}": (lambda kind=kind: saved(Image.new("RGB", (90, 90), (200, 180, 160)), kind), BLANK)
        for kind in SAVED
    },
    **{f"the first bytes of {kind}": (lambda kind=kind: saved(garment(), kind)[:12], "image") for kind in SAVED},
    "half a gif": (lambda: saved(garment(), "GIF")[:90], "damaged"),
    "half an interlaced png": (lambda: interlaced()[:200], "damaged"),
    "a jpeg bomb": (jpeg_bomb, "too large"),
    "a gif bomb": (gif_bomb, "too large"),
    "a bmp bomb": (bmp_bomb, "too large"),
    "a bmp bomb from the top": (lambda: bmp_bomb(65_535, -65_535), "too large"),
    "a lossy webp bomb": (lossy_webp_bomb, "too large"),
    "a lossless webp bomb": (lossless_webp_bomb, "the image is"),
    "an extended webp bomb": (extended_webp_bomb, "image"),
    "a bomb of scans": (lambda: scans_again(600, progressive=True), "more than 100 scans"),
    "a bomb of empty scans": (lambda: empty_scans(30_000, 1000), "more than 100 scans"),
    "a bomb of scans, large": (lambda: empty_scans(20, 7900), "30 scans; expected at most 20 at this size"),
    "a bomb of scans, not progressive": (lambda: scans_again(600), "more than 100 scans"),
    "a bomb of hidden scans": (hidden_scans, "image"),
    "a bomb of segments": (lambda: segments(100_000), "more than 5,000 segments"),
    "a bomb of profiles": (lambda: packed_notes(b"iCCP", 1000), "more than 100 compressed notes"),
    "a bomb of texts": (lambda: packed_notes(b"zTXt", 1000), "more than 100 compressed notes"),
    "a bomb of chunks": (lambda: many_chunks(200_000), "too many parts"),
    "a bomb of last chunks": (lambda: many_chunks(100_000, last=True), "too many parts"),
    "a bomb of comments": (lambda: gif_comments(200_000), "too many parts"),
    "a bomb of runs": (lambda: runs(4800), "expected at most 4 million pixels"),
    "an animated bomb": (animated_bomb, "too large"),
    "a bomb of a side": (lambda: header_only(2**31 - 1, 1), "image"),
    "a column": (lambda: saved(Image.new("RGB", (1, 20_000)), "PNG"), "expected at least 4 pixels a side"),
    "a line": (lambda: saved(Image.new("RGB", (20_000, 1)), "PNG"), "expected at least 4 pixels a side"),
    "three pixels wide": (lambda: saved(garment(3, 100), "PNG"), "expected at least 4 pixels a side"),
    "a pixel too long": (lambda: saved(garment(20, 1001), "PNG"), "no side 50 times the other"),
    "a png of no width": (lambda: header_only(0, 100), "image"),
    "a png of no height": (lambda: header_only(100, 0), "image"),
    "a byte": (lambda: b"\xff", NO_IMAGE),
    "zeros": (lambda: bytes(5000), NO_IMAGE),
    "noise": (lambda: np.random.RandomState(3).bytes(5000), NO_IMAGE),
    "a zip archive": (lambda: b"PK\x03\x04" + bytes(500), NO_IMAGE),
    "a packed picture": (lambda: gzip.compress(saved(garment(), "PNG")), NO_IMAGE),
    "a picture in words": (lambda: base64.b64encode(saved(garment(), "PNG")), NO_IMAGE),
    "a film": (lambda: b"\0\0\0\x18ftypmp42" + bytes(500), "image"),
    "a heic photo without a picture": (lambda: b"\0\0\0\x18ftypheic" + bytes(500), "found a film or another container"),
    "a sound": (lambda: b"RIFF" + struct.pack("<I", 500) + b"WAVEfmt " + bytes(500), NO_IMAGE),
    "a program": (lambda: b"\x7fELF" + bytes(500), NO_IMAGE),
    "json": (lambda: b'{"image": "shirt.jpg"}', NO_IMAGE),
    "an email": (lambda: b"MIME-Version: 1.0\nContent-Type: image/png\n\n" + saved(garment(), "PNG"), NO_IMAGE),
    "too many bytes": (lambda: b"\xff\xd8" + b"0" * MOST_BYTES, "expected at most 20,971,520"),
}
