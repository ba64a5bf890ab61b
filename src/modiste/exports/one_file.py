"""A classifier in one HTML file: the network, the preparation of pictures, and the page of ``modiste serve``.

The page asks nothing of anyone: its Content-Security-Policy allows only its own scripts, by their hashes.
"""

import base64
import hashlib
import json
from importlib import resources
from typing import Any

import numpy as np

from modiste.errors import RunError
from modiste.exports.onnx_graph import read_graph
from modiste.photo import background, garment, opening, separation
from modiste.photo.preparation import CHANNELS
from modiste.photo.regions import gaussian_weights
from modiste.runs.checkpoint import ModelInfo
from modiste.version import __version__

SCRIPTS = ("exports/page/network.js", "exports/page/preparation.js", "serving/page/page.js", "exports/page/one_file.js")
"""In the order in which the browser reads them. The third is the page's own, shared with the server."""
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
SERVED_SCRIPTS = '<script src="page.js" defer></script>\n<script src="server.js" defer></script>\n'
API = ' <a href="openapi.json">API</a>'


def one_file_page(onnx_content: bytes, info: ModelInfo) -> bytes:
    """Return a page in UTF-8 that classifies pictures by itself.

    Args:
        onnx_content: the exported network, from bytes to probabilities.
        info: of the run.

    Raises:
        RunError: the page cannot compute the network, or cannot prepare pictures as its training did.
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
    graph = read_graph(onnx_content)
    model = {
        "name": info.recipe.name,
        "modiste": __version__,
        "classes": info.task.class_names,
        "image_shape": [channels, height],
        "preparation": {"way": data.pictures, "decoder": data.decoder, "limits": preparation_limits()},
        "graph": graph.plain,
    }
    return _assembled(as_json(model), base64.b64encode(graph.weights).decode()).encode()


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


def _assembled(model: str, weights: str) -> str:
    """Return the server's page with everything that it would load, the network, and without what needs a server."""
    scripts = [_resource(path) for path in SCRIPTS]
    policy = "; ".join(
        (
            "default-src 'none'",
            "img-src data: blob:",
            "style-src 'unsafe-inline'",
            "script-src " + " ".join(map(_hash, scripts)),
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
        f'<script id="weights" type="text/plain">{weights}</script>\n'
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
        API: f" Made by Modiste {__version__}; works offline.",
        "</body>": f"{body}</body>",
    }
    for before, after in changes.items():
        assert page.count(before) == 1, before  # page.html has changed, and this file must follow
        page = page.replace(before, after)
    return page


def _resource(path: str) -> str:
    return (resources.files("modiste") / path).read_text("utf-8")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
