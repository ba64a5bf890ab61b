"""What a source of data gives: images with labels, as NumPy arrays."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxtyping import Int64, Integer, UInt8
from numpy import ndarray

from modiste.recipes.recipe import DataRecipe


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """The development part of a data set, or its test part.

    Attributes:
        name: Name of the data set.
        images: Grey levels, (N, H, W), or channels, (N, C, H, W); from 0 to 255.
        labels: Labels of each image, from 0.
        class_names: One per label.
        fingerprint: Hash of the content; the same content has the same hash, wherever it lies.
        validation: Number of validation images, which are the last ones; None if the source does not divide.
        files: Name of each picture file; empty if the images are no picture files.
        digests: SHA-256 of each picture file; None if the images are no picture files.
        notes: Warnings for the user.
        published: Whether these are Fashion-MNIST's published images and labels, in their order.
        groups: Number of each image's group of near duplicates; None if the source does not draw whole groups.
    """

    name: str
    images: UInt8[ndarray, "n h w"] | UInt8[ndarray, "n c h w"]
    labels: Integer[ndarray, " n"]
    class_names: tuple[str, ...]
    fingerprint: str
    validation: int | None = None
    files: tuple[str, ...] = ()
    digests: UInt8[ndarray, "n 32"] | None = None
    notes: tuple[str, ...] = ()
    published: bool = False
    groups: Int64[ndarray, " n"] | None = None


@runtime_checkable
class DevelopmentSource(Protocol):
    """A kind of source, without its test part.

    Attributes:
        name: Name of the kind; unique.
        layout: What such a source is, for messages: "a folder of IDX files".
    """

    name: str
    layout: str

    def detect(self, path: Path) -> bool:
        """Return whether the folder or file at ``path`` is of this kind. Looks at names and first bytes alone."""

    def load(self, path: Path, recipe: DataRecipe) -> LabelledImages:
        """Read the images that training may use, training images first. Raises DataError."""


@runtime_checkable
class Source(DevelopmentSource, Protocol):
    """A kind of source of your own, with its test part: see ``sources.add``."""

    def load_test(self, path: Path, recipe: DataRecipe) -> LabelledImages:
        """Read the held-out images, with the class names of ``load``. Only evaluation on test calls it."""
