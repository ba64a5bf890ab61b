"""``modiste data``."""

from dataclasses import dataclass
from pathlib import Path

from modiste.cli.words import parse


@dataclass(frozen=True, kw_only=True)
class _DataOptions:
    source: str = "fashion-mnist"
    """A known data set, or a folder that holds a training and a test set in IDX form."""
    data_folder: Path | None = None
    """Where Fashion-MNIST lies, if not in one of the usual places."""


def data(words: list[str]) -> None:
    """Find Fashion-MNIST or fetch it, verify every byte, and describe it."""
    options: _DataOptions = parse(_DataOptions, words, "modiste data")
    from modiste.data import dataset, sealed, sources

    parts = {
        "training": sources.load_training(options.source, options.data_folder),
        "test": sealed.load_sealed(options.source, options.data_folder),
    }
    for note in parts["training"].notes:
        print(f"passed over: {note}")
    for file in (file for raw in parts.values() for file in raw.files):
        verified = "verified" if file.published else "well formed"
        print(f"{verified}  {file.path}  {file.size_bytes:,} bytes  SHA-256 {file.sha256[:16]}")
    for part, raw in parts.items():
        images = dataset.as_image_set(raw).images
        mean, deviation = dataset.mean_and_deviation(images)
        count, _, height, width = images.shape
        print(f"{part}: {count:,} images of {height} x {width}, mean {mean:.4f}, standard deviation {deviation:.4f}")
        counts = zip(raw.class_names, dataset.class_counts(raw), strict=True)
        print("    " + ", ".join(f"{name} {number:,}" for name, number in counts))
