"""Colour profiles made by script, and the sRGB colours that they stand for, computed without a colour library."""

import struct
from collections.abc import Sequence

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""XYZ of red, green and blue, adapted to D50."""
ADOBE_GAMMA = 563 / 256


def fixed(values: Sequence[float]) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(65_536 * value) for value in values))


def profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A profile of these tables, version 2.4 (ICC.1:2022, section 7)."""
    texts = {b"desc": b"desc\0\0\0\0\0\0\0\x05test\0" + bytes(78), b"cprt": b"text\0\0\0\0none\0"}
    body, table = b"", b""
    start = 132 + 12 * len(tags | texts)
    for name, content in (tags | texts).items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s12s4s", start + len(body), b"", 0x02400000, kind, space, connection, b"", b"acsp")
    whole = head + bytes(28) + fixed(D50)
    return whole + bytes(128 - len(whole)) + struct.pack(">I", len(tags | texts)) + table + body


def xyz(values: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + fixed(values)


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * value))


SRGB_CURVE = b"para\0\0\0\0\0\x03\0\0" + fixed((2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))


def screen_profile(colours: Sequence[Sequence[float]], curve: bytes) -> bytes:
    """Of a screen or a camera: the XYZ of its red, green and blue, and one curve for all."""
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    primaries = dict(zip(names, map(xyz, colours), strict=True))
    return profile(b"mntr", b"RGB ", b"XYZ ", {b"wtpt": xyz(D50), **primaries, **curves})


def grey_profile(power: float) -> bytes:
    return profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": xyz(D50), b"kTRC": gamma(power)})


def ink_profile(colours: dict[tuple[int, int, int, int], tuple[float, float, float]]) -> bytes:
    """Of a printer: the Lab of each of the sixteen combinations of full inks; those left out are black."""
    line = bytes(range(256))
    table = b""
    for number in range(16):
        inks = (number >> 3 & 1, number >> 2 & 1, number >> 1 & 1, number & 1)
        light, a, b = colours.get(inks, (0, 0, 0))
        table += bytes((round(2.55 * light), round(128 + a), round(128 + b)))
    lut = b"mft1\0\0\0\0\x04\x03\x02\0" + fixed((1, 0, 0, 0, 1, 0, 0, 0, 1)) + 4 * line + table + 3 * line
    return profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": xyz(D50), b"A2B0": lut, b"A2B1": lut})


def srgb_of_xyz(values: np.ndarray) -> np.ndarray:
    """The bytes of sRGB for XYZ relative to D50, clipped to what a screen shows."""
    linear = (values @ np.linalg.inv(np.array(SRGB))).clip(0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (255 * curved).round()


def srgb_of_screen(pixels: np.ndarray, colours: Sequence[Sequence[float]], power: float | None) -> np.ndarray:
    """The bytes of sRGB for the bytes of a screen; without a power its curve is that of sRGB."""
    values = pixels / 255
    curved = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = curved if power is None else values**power
    return srgb_of_xyz(linear @ np.array(colours))


def srgb_of_lab(lab: Sequence[float]) -> np.ndarray:
    middle = (lab[0] + 16) / 116
    roots = np.array((middle + lab[1] / 500, middle, middle - lab[2] / 200))
    cubes = np.where(roots > 6 / 29, roots**3, 3 * (6 / 29) ** 2 * (roots - 4 / 29))
    return srgb_of_xyz(cubes * np.array(D50))
