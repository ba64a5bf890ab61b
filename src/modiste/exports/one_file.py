"""A classifier in one HTML file: the network, the preparation of pictures, and the page of ``modiste serve``.

The page asks nothing of anyone: its Content-Security-Policy allows only its own scripts, by their hashes.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from html import escape
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from modiste.errors import RunError
from modiste.exports import onnxruntime_web
from modiste.exports.onnx_graph import OperatorError, describe, parse, read_graph
from modiste.photo import background, garment, opening, separation
from modiste.photo.preparation import CHANNELS
from modiste.photo.regions import gaussian_weights
from modiste.runs.checkpoint import ModelInfo
from modiste.version import __version__

if TYPE_CHECKING:
    from onnx import ModelProto

SCRIPTS = ("exports/page/preparation.js", "serving/page/samples.js", "serving/page/page.js", "exports/page/one_file.js")
"""In the order in which the browser reads them, after those that compute. Two are shared with the server."""
LIMITS = {
    opening: ("LONGEST_SIDE", "LEAST_SIDE", "MOST_ASPECT"),
    background: (
        *("WORKING_SIDE", "RING", "LEAST_CONTRAST", "NOISE_FACTOR", "LEAST_AREA", "MOST_AREA", "MOST_EDGE"),
        *("MOST_SCATTER", "LOWERED", "LEAST_STEADINESS", "THRESHOLDS", "CLOSED", "UNCLEAR", "FITS", "FIRST_FIT"),
    ),
    separation: ("LEAST_OTHER", "LEAST_CUT", "SEVERAL", "CUT_OFF"),
    garment: ("SHARPNESS",),
}
"""Constants of the preparation that the page takes from Python, by their module."""
SERVER_ONLY = ('  <form id="token-form"', "  </form>\n\n")
KEPT = "; the server keeps no copy."
FORMATS = "JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP, GIF or PPM"
ICON, STYLE = '<link rel="icon" href="icon.svg" type="image/svg+xml">', '<link rel="stylesheet" href="page.css">'
SERVED_SCRIPTS = "".join(f'<script src="{name}.js" defer></script>\n' for name in ("samples", "page", "server"))
API = ' <a href="api">API</a>'


class Engine(NamedTuple):
    """What computes the network in a page.

    Attributes:
        scripts: Define the class ``Network``.
        graph: First argument of its constructor, a JSON value.
        weights: Second argument.
        more: Other content that the scripts read, by the id of its element.
        reads_blobs: Whether the scripts make others, and a program in WebAssembly, from what the page holds.
        notice: Licence of the scripts, if they are not Modiste's.
    """

    scripts: tuple[str, ...]
    graph: dict[str, Any] | None
    weights: bytes
    more: Mapping[str, bytes] = MappingProxyType({})
    reads_blobs: bool = False
    notice: str = ""


def one_file_page(onnx_content: bytes, info: ModelInfo) -> bytes:
    """Return a page in UTF-8 that classifies pictures by itself.

    Args:
        onnx_content: The exported network, from bytes to probabilities.
        info: Info on the run.

    Raises:
        RunError: The page cannot compute the network, or cannot prepare pictures as its training did.
    """
    data, (channels, height, width) = info.recipe.data, info.task.image_shape
    if channels not in CHANNELS or height != width:
        raise RunError(
            f"export: html: the page takes square images of 1 or 3 channels, this network {channels} x {height} x "
            f"{width}; choose --to onnx"
        )
    if data.background != "plain":
        raise RunError(
            f"export: html: the page finds garments on plain backgrounds only, this run by {data.background!r}; "
            "choose --to onnx"
        )
    parsed = parse(onnx_content)
    engine = _engine(onnx_content, parsed)
    outputs, metadata = describe(parsed)
    model = {
        "name": info.recipe.name,
        "modiste": __version__,
        "classes": info.task.class_names,
        "image_shape": [channels, height],
        "outputs": outputs,
        "drawing_limit": float(metadata.get("drawing_limit", "1")),
        "preparation": {"way": data.pictures, "decoder": data.decoder, "limits": preparation_limits()},
        "graph": engine.graph,
    }
    return _assembled(as_json(model), engine).encode()


def _engine(onnx_content: bytes, parsed: "ModelProto") -> Engine:
    """Return what computes a network: Modiste's own script, or ONNX Runtime where an operator is none of that script's.

    Raises:
        RunError, DataError: ONNX Runtime is needed, and cannot be had.
    """
    try:
        graph = read_graph(parsed)
    except OperatorError:
        runtime = onnxruntime_web.load_runtime()
        content = {"program": gzip.compress(runtime.program, mtime=0), "glue": runtime.glue}
        scripts = (runtime.script, _resource("exports/page/onnxruntime.js"))
        return Engine(scripts, None, gzip.compress(onnx_content, mtime=0), content, True, onnxruntime_web.NOTICE)
    return Engine((_resource("exports/page/network.js"),), graph.plain, graph.weights)


def as_json(value: Any) -> str:
    """Return JSON in ASCII in which no text can end or begin an element of HTML."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e")


def preparation_limits() -> dict[str, Any]:
    """Return the constants of the preparation by name, with the weights of its two Gaussian filters."""
    found = {name: getattr(module, name) for module, names in LIMITS.items() for name in names}
    found["VERTICAL_FIRST"] = _is_resized_vertically_first()
    return {**found, "SMOOTHING": _half_kernel(0.7, 3), "BLUR": _half_kernel(1.0, 1)}


def _is_resized_vertically_first() -> bool:
    """Return whether this Pillow resizes tall pictures vertically first, as it does since version 13."""
    from PIL import Image

    tall, box = Image.fromarray(np.arange(20 * 100, dtype=np.float32).reshape(100, 20) ** 2), Image.Resampling.BOX
    across_first = tall.resize((7, 100), box).resize((7, 30), box)
    return not np.array_equal(np.asarray(tall.resize((7, 30), box)), np.asarray(across_first))


def _half_kernel(deviation: float, radius: int) -> list[float]:
    """Return the weights of the Gaussian blur from the middle outwards, to the last bit."""
    weights: list[float] = gaussian_weights(deviation, radius)[radius:].tolist()
    return weights


def _assembled(model: str, engine: Engine) -> str:
    """Return the server's page with everything that it would load, the network, and without what needs a server."""
    scripts = [*engine.scripts, *map(_resource, SCRIPTS)]
    policy = "; ".join(
        (
            "default-src 'none'",
            "img-src data: blob:",
            "style-src 'unsafe-inline'",
            "script-src "
            + " ".join([*map(_hash, scripts), *(["blob:", "'wasm-unsafe-eval'"] if engine.reads_blobs else [])]),
            *(["connect-src blob:"] if engine.reads_blobs else []),  # blobs are made by this page, and by no other
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    icon = "data:image/svg+xml;base64," + base64.b64encode(_resource("serving/page/icon.svg").encode()).decode()
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<link rel="icon" href="{icon}">\n<style>\n{_resource("serving/page/page.css")}</style>\n'
    )
    body = (
        "<noscript><p>This page needs JavaScript.</p></noscript>\n"
        f'<script id="model" type="application/json">{model}</script>\n'
        + "".join(_stored(name, content) for name, content in {"weights": engine.weights, **engine.more}.items())
        + "".join(f"<script>{script}</script>\n" for script in scripts)
    )
    page = _resource("serving/page/page.html")
    first, last = (page.index(mark) for mark in SERVER_ONLY)
    page = page[:first] + page[last + len(SERVER_ONLY[1]) :]
    changes = {
        f"{ICON}\n{STYLE}\n{SERVED_SCRIPTS}": head,
        'src="icon.svg"': f'src="{icon}"',
        FORMATS: "JPEG, PNG, WebP, and what else your browser can read",
        KEPT: "; nothing leaves this page.",
        API: f" Made by Modiste {__version__}; works offline.{_folded(engine.notice)}",
        "</body>": f"{body}</body>",
    }
    for before, after in changes.items():
        assert page.count(before) == 1, before  # page.html has changed, and this file must follow
        page = page.replace(before, after)
    return page


def _stored(name: str, content: bytes) -> str:
    return f'<script id="{name}" type="text/plain">{base64.b64encode(content).decode()}</script>\n'


def _folded(notice: str) -> str:
    """Return a licence that is read by opening its first sentence; empty if there is none."""
    if not notice:
        return ""
    title, _, text = notice.partition("\n\n")
    return f" Computed by:</p><details><summary>{escape(title)}</summary><p>{escape(text)}</p></details><p>"


def _resource(path: str) -> str:
    return (resources.files("modiste") / path).read_text("utf-8")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
