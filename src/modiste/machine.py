"""The machine: device, precision, memory, random seeds, and the facts to record with a result."""

import contextlib
import ctypes
import hashlib
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modiste.compat import has_amx, has_avx512_bfloat16
from modiste.errors import RecipeError
from modiste.recipes.recipe import Recipe
from modiste.system import posix
from modiste.version import __version__


def choose_device(name: str = "auto") -> torch.device:
    """Return the named device; ``auto`` is the first GPU, or the CPU if there is none.

    Raises:
        RecipeError: The device does not exist or cannot be used.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    check_device(name)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        if device.type == "meta":
            raise RuntimeError("it holds no numbers")  # noqa: TRY301  (one message for every fault)
    except (RuntimeError, AssertionError, ImportError) as error:  # some devices need packages
        raise _unusable(name, error) from error
    return torch.device("cpu") if device.type == "cpu" else device  # there is one, which ``cpu:1`` names too


def check_device(name: str) -> None:
    """Raise RecipeError unless this is ``auto`` or the name of a device, which need not be on this machine."""
    if name == "auto":
        return
    try:
        torch.device(name)
    except RuntimeError as error:
        raise _unusable(name, error) from error


def _unusable(name: str, error: Exception) -> RecipeError:
    reason, other = str(error).splitlines()[0], "cpu"
    if name.lower().startswith("gpu"):
        reason, other = "a GPU is called cuda", "cuda"
    return RecipeError(f"device {name!r} cannot be used here ({reason}); try --device {other}")


def fast_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 in hardware, which makes it faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(has_avx512_bfloat16() or has_amx())
    return False


def settle_precision(recipe: Recipe, device: torch.device) -> Recipe:
    """Replace the precision ``auto`` by bfloat16 if the device is faster with it, else by float32.

    Args:
        recipe: A recipe with any precision.
        device: The device that trains it.

    Returns:
        The recipe with a definite precision.
    """
    if recipe.precision != "auto":
        return recipe
    return replace(recipe, precision="bfloat16" if fast_bfloat16(device) else "float32")


@contextlib.contextmanager
def threads_restored() -> Iterator[None]:
    """Restore the number of torch's threads at the end of the block."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _find_mallopt() -> Callable[[int, int], int] | None:
    with contextlib.suppress(AttributeError, OSError, TypeError):
        return ctypes.CDLL(None).mallopt
    return None


MALLOPT = _find_mallopt()
"""glibc's ``mallopt``, or None. Resolved at import, because code that reads untrusted files must not load symbols."""


def keep_memory() -> None:
    """Let this process keep the memory that it frees, if the C library is glibc; this lasts until the process ends.

    Each step of training, or batch of prediction, frees its feature maps and allocates them again. With glibc's
    defaults some runs return most of that memory to the system each time and fetch it again page by page. This takes
    up to a sixth of a training step and a third of a prediction.
    """
    trim_threshold, mmap_max = -1, -4  # mallopt(3); blocks with a mapping of their own would be returned when freed
    if MALLOPT is not None:
        MALLOPT(mmap_max, 0)
        MALLOPT(trim_threshold, 2**31 - 1)


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which a network computes in ``precision``; its weights stay float32."""
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def gpu_arithmetic(device: torch.device) -> Iterator[None]:
    """On a GPU, use deterministic kernels, and round the factors of float32 products to TF32.

    TF32 is torch's default for convolutions, and TensorFlow's for matrix products too.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.deterministic
    try:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.deterministic = True
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.deterministic = before[1]


def seed_for(seed: int, purpose: str, *indices: int) -> int:
    """Return an independent 63-bit seed for (seed, purpose, indices), the same on every machine.

    Randomness in Modiste has no state. The order of an epoch, an augmentation and a dropout mask each come from a
    generator with its own seed, so a resumed run needs only its step number.
    """
    text = ":".join([str(seed), purpose, *map(str, indices)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def generator(seed: int, purpose: str, *indices: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator seeded for (seed, purpose, indices)."""
    return torch.Generator(device).manual_seed(seed_for(seed, purpose, *indices))


@contextlib.contextmanager
def random_numbers_kept(device: torch.device) -> Iterator[None]:
    """Restore the state of torch's global random numbers after the block."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def facts(device: torch.device) -> dict[str, Any]:
    """Return the machine and the versions that a measured figure depends on, as plain data."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": _processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": posix.memory_bytes(),
        "fast_bfloat16": fast_bfloat16(device),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "modiste": __version__,
        "commit": _commit(),
    }


def peak_memory_bytes() -> int:
    """Return the peak resident memory of this process, in bytes."""
    return posix.peak_memory_bytes()


def _processor_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Return the commit of the source checkout, with ``-dirty`` if it has changes; None for an installed package."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    return None
