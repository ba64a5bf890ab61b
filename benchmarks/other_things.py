"""Out-of-distribution pictures, generated: noise, textures, digits, letters, drawn faces."""

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 160
FONTS = sorted((Path(matplotlib.get_data_path()) / "fonts" / "ttf").glob("DejaVuSans*.ttf"))
FONTS = [path for path in FONTS if "Display" not in path.name]
LETTERS = "ABCDEFGHKLMNPQRSTUVWXYZabdefghk"

Pixels = np.ndarray
Maker = Callable[[np.random.Generator], Pixels]


def noise(random: np.random.Generator) -> Pixels:
    """Return random pixels of one of three kinds."""
    kind = random.integers(3)
    if kind == 0:
        return random.integers(0, 256, (SIDE, SIDE))
    if kind == 1:
        return random.normal(128, 50, (SIDE, SIDE))
    coarse = Image.fromarray(random.integers(0, 256, (7, 7)).astype(np.uint8))
    return np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def texture(random: np.random.Generator) -> Pixels:
    """Return stripes, waves, a chequerboard or a gradient, at any angle."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    angle, period = random.uniform(0, np.pi), random.uniform(0.1, 0.4)
    along, across = np.cos(angle) * columns + np.sin(angle) * rows, np.cos(angle) * rows - np.sin(angle) * columns
    waves = np.sin(2 * np.pi * along / period)
    crossed = waves * np.sin(2 * np.pi * across / period)
    return 127 + 120 * [waves, crossed, np.sign(crossed), along][random.integers(4)]


def digit(random: np.random.Generator) -> Pixels:
    """Return a printed digit."""
    return _glyph("0123456789", random)


def letter(random: np.random.Generator) -> Pixels:
    """Return a printed letter."""
    return _glyph(LETTERS, random)


def face(random: np.random.Generator) -> Pixels:
    """Return an oval with eyes, nose and mouth, sometimes with hair."""
    image = Image.new("L", (SIDE, SIDE), 250)
    draw = ImageDraw.Draw(image)
    middle, half, skin, ink = SIDE // 2, int(random.integers(48, 66)), int(random.integers(90, 200)), 20
    draw.ellipse((middle - half, 14, middle + half, SIDE - 14), fill=skin)
    if random.random() < 0.5:
        draw.chord((middle - half, 14, middle + half, 90), 180, 360, fill=ink + 20)
    eye = int(random.integers(4, 10))
    for side in (-1, 1):
        place = middle + side * 24
        draw.ellipse((place - eye, 58 - eye, place + eye, 58 + eye), fill=ink)
    draw.line((middle, 66, middle - 3, 86), fill=ink, width=3)
    draw.arc((middle - 24, 86, middle + 24, 118), 10, 170, fill=ink, width=int(random.integers(3, 7)))
    return np.asarray(image)


MAKERS: dict[str, Maker] = {"noise": noise, "textures": texture, "digits": digit, "letters": letter, "faces": face}


def as_file(pixels: Pixels) -> bytes:
    """Return the bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels).round().clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _glyph(characters: str, random: np.random.Generator) -> Pixels:
    image = Image.new("L", (SIDE, SIDE), 250)
    font = ImageFont.truetype(FONTS[random.integers(len(FONTS))], int(random.integers(80, 120)))
    character = characters[random.integers(len(characters))]
    ink = int(random.integers(0, 135))
    ImageDraw.Draw(image).text((SIDE / 2, SIDE / 2), character, fill=ink, font=font, anchor="mm")
    return np.asarray(image)
