"""A folder of pictures like a user's own, made from the data set's images: enlarged, coloured, with planted faults.

The faults are damaged files, exact and near duplicates, and wrong labels; ``write_folder`` returns all of them.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

GROUND = np.array([235, 232, 224])
"""Colour of the background."""


@dataclass
class Planted:
    """The planted faults, by names of files.

    Attributes:
        damaged: Files that are not pictures.
        exact: Pairs of files with the same pixels.
        near: Pairs of a picture and its scaled, compressed copy.
        mislabelled: Files in the folder of another class.
    """

    damaged: list[str] = field(default_factory=list)
    exact: list[tuple[str, str]] = field(default_factory=list)
    near: list[tuple[str, str]] = field(default_factory=list)
    mislabelled: list[str] = field(default_factory=list)


def colours_of(names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return a different colour for each class."""
    random = np.random.default_rng(5)
    return {name: random.uniform(20, 160, 3) for name in names}


def enlarged(image: np.ndarray, colour: np.ndarray, random: np.random.Generator) -> Image.Image:
    """Return an image, uint8 of shape (28, 28), as a coloured picture of 100 to 162 pixels a side."""
    side = int(random.integers(100, 140))
    wide, tall = side + int(random.integers(0, 24)), side + int(random.integers(0, 24))
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    cover = np.zeros((tall, wide))
    cover[(tall - side) // 2 :, (wide - side) // 2 :][:side, :side] = np.asarray(small) / 255
    own = colour * random.uniform(0.8, 1.2, 3)
    shade = cover[..., None] * 0.6 + 0.4
    values = (
        GROUND * (1 - np.minimum(1, 4 * cover[..., None])) + np.minimum(1, 4 * cover[..., None]) * own * shade * 1.4
    )
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def write_folder(
    root: Path, images: np.ndarray, labels: np.ndarray, names: Sequence[str], *, faults: int = 6, seed: int = 0
) -> Planted:
    """Write class folders into ``root`` with ``faults`` faults of each kind; return the faults."""
    random, planted = np.random.default_rng(seed), Planted()
    colours = colours_of(names)
    wrong = set(random.choice(len(images), faults, replace=False).tolist())
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        given = (int(label) + 1) % len(names) if number in wrong else int(label)
        name = f"{names[given]}/{number:04d}.png"
        write(root / name, enlarged(image, colours[names[int(label)]], random))
        if number in wrong:
            planted.mislabelled.append(name)
    written = sorted(path for path in root.rglob("*.png"))
    chosen = [written[place] for place in random.choice(len(written), 2 * faults, replace=False)]
    for path in chosen[:faults]:
        write(path.with_name(f"copy-{path.name}"), Image.open(path))
        planted.exact.append(pair(root, path, path.with_name(f"copy-{path.name}")))
    for path in chosen[faults:]:
        again = Image.open(path)
        other = path.with_name(f"again-{path.stem}.jpg")
        write(other, again.resize((again.width * 4 // 5, again.height * 4 // 5), Image.Resampling.LANCZOS))
        planted.near.append(pair(root, path, other))
    for number, content in enumerate(damaged(written[0].read_bytes(), faults)):
        path = root / names[number % len(names)] / f"damaged-{number}.png"
        path.write_bytes(content)
        planted.damaged.append(str(path.relative_to(root)))
    return planted


def write(path: Path, picture: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    picture.save(file, "JPEG" if path.suffix == ".jpg" else "PNG", **({"quality": 80} if path.suffix == ".jpg" else {}))
    path.write_bytes(file.getvalue())


def pair(root: Path, one: Path, other: Path) -> tuple[str, str]:
    first, second = sorted(str(path.relative_to(root)) for path in (one, other))
    return first, second


def damaged(content: bytes, count: int) -> Iterator[bytes]:
    """Yield contents of files that are not pictures: truncated, text, empty."""
    kinds = (content[: len(content) // 2], b"no picture at all", b"")
    for number in range(count):
        yield kinds[number % len(kinds)]
