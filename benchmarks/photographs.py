"""Photographs simulated from the data set's images: various backgrounds, turned, shaded, compressed.

Each function takes an image, uint8 of shape (28, 28), and a generator. It returns the bytes of an image file, like
those of a camera or a shop.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

SIDE = 762
"""Pixels of a product photo's longer side."""
SHOP_WHITE = 253
"""#fdfdfd, the background of the data set's original product photos."""
MARGIN = 0.12
FADE = 24.0
"""Brightness from which a pixel of the garment is opaque."""

Pixels = np.ndarray
Maker = Callable[[Pixels, np.random.Generator], bytes]


def on_shop_white(image: Pixels, random: np.random.Generator) -> bytes:
    """Return a product photo: dark on #fdfdfd."""
    values = enlarged(image, MARGIN * random.random())
    return as_file(np.repeat((SHOP_WHITE * (1 - values / 255))[..., None], 3, 2), "PNG")


def on_colour(image: Pixels, random: np.random.Generator) -> bytes:
    """Return a photo with a plain background of any light colour."""
    return as_file(laid(image, random.uniform(130, 250, 3), random), "PNG")


def on_noise(image: Pixels, random: np.random.Generator) -> bytes:
    """Return a photo with a light background and sensor noise."""
    photo = laid(image, random.uniform(150, 250, 3), random)
    return as_file(photo + random.normal(0, 10, photo.shape), "PNG")


def on_dark(image: Pixels, random: np.random.Generator) -> bytes:
    """Return a photo of a light garment on a plain dark background."""
    return as_file(laid(image, random.uniform(5, 60, 3), random, light=True), "PNG")


def turned(image: Pixels, random: np.random.Generator) -> bytes:
    """Return a photo with a light background, turned by up to 15 degrees."""
    grown = Image.fromarray(np.pad(image, 8)).rotate(random.uniform(-15, 15), Image.Resampling.BICUBIC)
    return as_file(laid(np.asarray(grown), random.uniform(180, 250, 3), random), "PNG")


def shaded(image: Pixels, random: np.random.Generator) -> bytes:
    """Return a photo with a light background that gets darker to one side, by a third."""
    photo = laid(image, random.uniform(200, 250, 3), random)
    light = np.linspace(1, 0.67, photo.shape[1])[:: random.choice([-1, 1])]
    return as_file(photo * light[None, :, None], "PNG")


def compressed(image: Pixels, random: np.random.Generator) -> bytes:
    """Return a small JPEG of low quality."""
    photo = Image.fromarray(as_colours(laid(image, random.uniform(180, 250, 3), random)))
    photo.thumbnail((200, 200))
    return as_file(np.asarray(photo), "JPEG", quality=30)


MAKERS: dict[str, Maker] = {
    "shop": on_shop_white,
    "coloured": on_colour,
    "noisy": on_noise,
    "dark": on_dark,
    "turned": turned,
    "shaded": shaded,
    "JPEG": compressed,
}


def laid(image: Pixels, ground: Pixels, random: np.random.Generator, *, light: bool = False) -> Pixels:
    """Return the garment on a background of one colour: inverted, or with ``light`` as bright as in the image."""
    values = enlarged(image, MARGIN * random.random())
    cover = (values / FADE).clip(0, 1)[..., None]
    garment = values if light else 255 - values
    return cover * garment[..., None] + (1 - cover) * ground


def enlarged(image: Pixels, margin: float) -> Pixels:
    """Return the image enlarged to SIDE pixels; ``margin`` is a share of its side, on each side of it."""
    around = round(margin * len(image))
    picture = Image.fromarray(np.pad(image, around)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(picture, dtype=np.float64)


def as_colours(photo: Pixels) -> Pixels:
    return photo.round().clip(0, 255).astype(np.uint8)


def as_file(photo: Pixels, kind: str, **options: int) -> bytes:
    """Return the bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(as_colours(photo)).save(file, kind, **options)
    return file.getvalue()


def naive(content: bytes) -> Image.Image:
    """Return what is commonly done instead of a pipeline: grey, 28 x 28, inverted."""
    return Image.eval(Image.open(io.BytesIO(content)).convert("L").resize((28, 28)), lambda value: 255 - value)
