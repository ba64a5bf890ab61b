"""Pickles under every name that is read: unpickled, each would import a module of its own or run a command."""

import gzip
import io
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hostile_cases import Shelf, Sound

from modiste.runs import checkpoint, manifest, storage

SUFFIXES = {
    "model": ("safetensors", "pt", "bin", "ckpt"),
    "weights": ("safetensors", "pth", "bin", "npz", "h5"),
    "exported": ("onnx", "pt2"),
    "recipe": ("json", "toml"),
    "space": ("json", "toml"),
    "pictures": ("jpg", "png", "webp", "bmp", "gif", "npy", "idx", "gz"),
    "archive": ("tar",),
    "table": ("npz", "parquet", "csv", "csv.gz", "jsonl"),
}
MODULE = "modiste_burglar"


class Burglar:
    """Pickled, a call of whatever it is made with."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


def pickles(mark: Path) -> Iterator[tuple[str, bytes]]:
    """Yield a pickle of every kind; read, each leaves the mark."""
    touch = Burglar(os.system, f"touch {mark}")
    by_name = b"c" + MODULE.encode() + b"\nenter\n(V" + str(mark).encode() + b"\ntR."
    yield "a module's name", by_name
    yield "protocol 5", pickle.dumps(touch)
    yield "within gzip", gzip.compress(pickle.dumps(touch), 1, mtime=0)
    for name, options in {"torch": {}, "old torch": {"_use_new_zipfile_serialization": False}}.items():
        file = io.BytesIO()
        torch.save({"weight": torch.ones(2), "more": touch}, file, **options)
        yield name, file.getvalue()
    file = io.BytesIO()
    np.save(file, np.array([touch], dtype=object), allow_pickle=True)
    yield "numpy", file.getvalue()
    file = io.BytesIO()
    np.savez(file, images=np.array([touch], dtype=object), labels=np.array([touch], dtype=object))
    yield "arrays of numpy", file.getvalue()


def add(shelf: Shelf, sound: Sound, mark: Path) -> None:
    for kind, content in pickles(mark):
        for reader, suffixes in SUFFIXES.items():
            for suffix in suffixes:
                shelf.file(f"{kind} as .{suffix}", reader, f"given.{suffix}", content)
        _add_within(shelf, sound, kind, content)


def _add_within(shelf: Shelf, sound: Sound, kind: str, content: bytes) -> None:
    """A pickle in the place of each file of a run and of a data set, with the right hash where there is one."""
    for name in ("recipe.json", "log.jsonl", "facts.json", "timing.jsonl", "model.safetensors", "manifest.json"):

        def run(place: Path, name: str = name) -> None:
            shutil.copytree(sound.run, place)
            (place / name).write_bytes(content)
            if name != manifest.NAME:
                files = storage.read_hashed_json(place / manifest.NAME)["files"]
                files[name] = storage.sha256(place / name)
                storage.write_hashed_json(place / manifest.NAME, {"files": files, "test_openings": 0})

        shelf.folder_of(f"{kind} as a run's {name}", "run", run)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz", "classes.txt"):

        def data(place: Path, name: str = name) -> None:
            shutil.copytree(sound.data, place)
            (place / name.removesuffix(".gz")).unlink(missing_ok=True)
            (place / name).write_bytes(content)

        shelf.folder_of(f"{kind} as {name}", "data", data)

    def states(place: Path) -> None:
        place.mkdir()
        checkpoint.save_state(place, 1, {}, {})
        (written,) = place.iterdir()
        written.write_bytes(content)
        written.rename(place / f"step-00000001-{storage.sha256(written)[:16]}.safetensors")

    shelf.folder_of(f"{kind} as a training state", "states", states)
