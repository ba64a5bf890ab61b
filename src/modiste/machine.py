"""The machine: device, precision, seeds derived from a purpose, and the facts that a result must carry."""

import contextlib
import ctypes
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modiste.compat import has_amx, has_avx512_bfloat16
from modiste.errors import RecipeError
from modiste.recipes.recipe import Recipe, load
from modiste.version import __version__


def choose_device(name: str = "auto") -> torch.device:
    """Return the named device, or for ``auto`` the first GPU if there is one, else the processor."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(f"device {name!r} cannot be used here ({reason}); try --device cpu") from error
    return device


def fast_bfloat16(device: torch.device) -> bool:
    """Tell whether the device multiplies bfloat16 in hardware, so that it is faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(has_avx512_bfloat16() or has_amx())
    return False


def settle_precision(recipe: Recipe, device: torch.device, begun: Path | None = None) -> Recipe:
    """Turn precision ``auto`` into bfloat16 where the device is faster with it, else float32.

    Args:
        recipe: any.
        device: where it is trained.
        begun: the recipe of a run to go on with, if there is one. A run keeps its precision on every machine.

    Raises:
        RecipeError: the recipe of the run cannot be read.
    """
    if recipe.precision != "auto":
        return recipe
    if begun is not None and begun.exists() and replace(before := load(begun), precision="auto") == recipe:
        return before
    return replace(recipe, precision="bfloat16" if fast_bfloat16(device) else "float32")


@contextlib.contextmanager
def threads_restored() -> Iterator[None]:
    """Leave the number of torch's threads as it was, whatever happens inside."""
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
"""The C library's, where it is glibc; looked up here, for whoever reads a stranger's file looks nothing up."""


def keep_memory() -> None:
    """Let the process keep what it frees, where the C library is glibc; it stays so until the process ends.

    A step of training, or a batch of prediction, frees its maps and asks for them again. As glibc decides by itself,
    some runs give most of that back to the system each time and take it anew page by page, thousands of them: up to a
    sixth of a step, a third of a prediction.
    """
    trim_threshold, mmap_max = -1, -4  # mallopt(3); what is mapped by itself goes back when it is freed
    if MALLOPT is not None:
        MALLOPT(mmap_max, 0)
        MALLOPT(trim_threshold, 2**31 - 1)


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return the context in which a network computes in ``precision``; weights stay float32."""
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def gpu_arithmetic(device: torch.device) -> Iterator[None]:
    """On a GPU choose kernels that sum in the same order every time, and round factors of float32 products to TF32.

    Convolutions are rounded so by torch's default, and matrix products as well in TensorFlow's.
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
    """Derive an independent 63-bit seed from (seed, purpose, indices), the same on every machine.

    Randomness in Modiste has no state: the order of an epoch, an augmentation, a dropout mask each come from a
    generator seeded here, so that a resumed run needs nothing but its step number.
    """
    text = ":".join([str(seed), purpose, *map(str, indices)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def generator(seed: int, purpose: str, *indices: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator seeded for (seed, purpose, indices)."""
    return torch.Generator(device).manual_seed(seed_for(seed, purpose, *indices))


def facts(device: torch.device) -> dict[str, Any]:
    """Describe the machine and the versions that a measured figure depends on, as plain data."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": _processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "fast_bfloat16": fast_bfloat16(device),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "modiste": __version__,
        "commit": _commit(),
    }


def peak_memory_bytes() -> int:
    """Return the largest resident memory that this process has had so far."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _processor_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Name the commit of the source checkout that runs, with ``-dirty`` when it has changes; None when installed."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    return None
