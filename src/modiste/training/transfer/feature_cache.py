"""Features of images in a folder of the user's cache, so that the same network computes them once for the same images.

The name of the folder is a hash of everything that a feature's last bit depends on: pixels, weights, the network's
fields, precision, the processor and its threads, the versions. No hash covers all that code which is not Modiste's may
call, so features of such a network are not kept. Every few seconds the features computed since then are written to a
file, whole or not at all. What a process that was killed had computed is read by the next one, and the result is the
same.
"""

import contextlib
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from torch import Tensor, nn

from modiste import machine
from modiste.data.batch import blocks, read_floats
from modiste.data.paths import feature_cache_folder
from modiste.data.pictures.picture_file import release_pages
from modiste.errors import StorageError
from modiste.evaluation.inference import parts
from modiste.models.own_network import is_own
from modiste.recipes.recipe import Precision
from modiste.runs import storage
from modiste.training.warm_start.progress import Progress

SECONDS_BETWEEN_FILES = 5.0
"""Features that take less time are not kept."""
MOST_BYTES = 2 * 2**30
"""Of all features in the cache; the oldest are deleted."""
LOG = logging.getLogger(__name__)


class FeatureCache:
    """The features of the images of one call, in their order.

    Args:
        folder: Folder of these features; it may be missing. None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder, self.found = folder, torch.empty(0, 0) if folder is None else _stored(folder)
        self.new: list[Tensor] = []
        self.count, self.saved_at = len(self.found), time.monotonic()

    def take(self, first: int, last: int) -> Float[Tensor, "n d"] | None:
        """Return the stored features of the images ``first`` to ``last - 1``; None if they must be computed."""
        return self.found[first:last] if last <= len(self.found) else None

    def add(self, features: Float[Tensor, "n d"]) -> None:
        """Add features of the next images; those of the last seconds are written together."""
        self.new.append(features)
        if time.monotonic() - self.saved_at >= SECONDS_BETWEEN_FILES:
            self.save()

    def __enter__(self) -> "FeatureCache":
        return self

    def __exit__(self, *_error: object) -> None:
        """Write the last features, if those before them were written."""
        if self.new and self.count:
            self.save()

    def save(self) -> None:
        """Write the new features. A disk that refuses costs a warning, and later the time to compute them again."""
        if self.folder is None:
            return
        features = torch.cat(self.new)
        content = safetensors.torch.save({"features": features})
        digest = hashlib.sha256(content).hexdigest()[:16]
        try:
            storage.make_private(self.folder.parent)
            storage.write_bytes(self.folder / f"{self.count:010d}-{digest}.safetensors", content)
            with contextlib.suppress(OSError):  # another process deletes them too
                _delete_oldest(self.folder)
        except StorageError as error:
            LOG.warning("features will be computed again next time: %s", error)
            self.folder = None
        self.new, self.count, self.saved_at = [], self.count + len(features), time.monotonic()


def open_cache(
    images: UInt8[Tensor, "n c h w"], model: nn.Module, device: torch.device, choices: dict[str, Any]
) -> FeatureCache:
    """Return the cache for the features of these images; one that keeps nothing if the network is not Modiste's.

    Args:
        images: As bytes.
        model: Whose features they are; its last layer has no part in them.
        device: That computes.
        choices: All else that the features depend on, as plain data: the recipe's fields of the network too, which
            neither its layers nor its weights need show.
    """
    if is_own(model):  # its code, and all that this calls, may have been edited since
        return FeatureCache(None)
    pixels = hashlib.sha256(str(tuple(images.shape)).encode())
    for some in blocks(images):
        pixels.update(some.contiguous().cpu().numpy().data)
        release_pages()
    facts = machine.facts(device)
    same = {name: facts[name] for name in ("device", "processor", "threads", "torch", "modiste")}
    capability = torch.backends.cpu.get_cpu_capability()
    content = {"pixels": pixels.hexdigest(), "weights": _hash_of(model), "capability": capability, **same, **choices}
    name = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
    return FeatureCache(feature_cache_folder() / name)


@torch.inference_mode()
def outputs(
    images: UInt8[Tensor, "n c h w"],
    compute: Callable[[Tensor], Tensor],
    precision: Precision,
    cache: FeatureCache,
    progress: Progress,
    *,
    with_mirror_images: bool = False,
) -> Float[Tensor, "m d"]:
    """Return what ``compute`` makes of the images, float32 on the CPU; what the cache holds is not computed again.

    Args:
        images: As bytes.
        compute: Takes images in [0, 1], on the device, and returns a row of numbers for each.
        precision: In which it computes.
        cache: Cache of these images and this computation.
        progress: Is notified of each batch.
        with_mirror_images: Whether the rows of the mirror images follow those of the images.
    """
    device, found, count = images.device, list[Tensor](), 0
    some = parts(images, device, precision)
    with machine.autocast(precision, device), machine.gpu_arithmetic(device), cache:
        for number in range(len(some) * (1 + with_mirror_images)):
            part = some[number % len(some)]
            own = cache.take(count, count + len(part))
            if own is None:
                own = compute(read_floats(part if number < len(some) else part.flip(3))).float().cpu()
                cache.add(own)
            found.append(own)
            count += len(part)
            progress.step_done()
    return torch.cat(found).clone()


def _hash_of(model: nn.Module) -> str:
    """Return a hash of a network's layers and weights, without those of its last layer, which is called head."""
    digest = hashlib.sha256(str(model).encode())
    for name, tensor in model.state_dict().items():
        if "head" not in name.split("."):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().contiguous().cpu().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _stored(folder: Path) -> Tensor:
    """Return the features in a folder, from the first image to the first gap or damaged file."""
    found, count = list[Tensor](), 0
    while path := next(folder.glob(f"{count:010d}-*.safetensors"), None):
        try:
            found.append(_read(path))
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            LOG.warning("%s: damaged (%s); its features are computed again", path, error)
            path.unlink(missing_ok=True)
            break
        count += len(found[-1])
    return torch.cat(found) if found else torch.empty(0, 0)


def _read(path: Path) -> Tensor:
    """Return the features in a file; ValueError or an error of the system or the format if it is damaged."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest()[:16] != path.stem[-16:]:
        raise ValueError("its content does not match the hash in its name")
    return safetensors.torch.load(content)["features"]


def _delete_oldest(kept: Path) -> None:
    """Delete the features that are oldest until all take at most MOST_BYTES; those in ``kept`` stay."""
    found = [path for path in kept.parent.iterdir() if path.is_dir()]  # a stray file is not ours
    folders = {folder: sum(path.stat().st_size for path in folder.iterdir()) for folder in found}
    for folder in sorted(folders.keys() - {kept}, key=lambda folder: folder.stat().st_mtime):
        if sum(folders.values()) <= MOST_BYTES:
            break
        shutil.rmtree(folder, ignore_errors=True)
        del folders[folder]
