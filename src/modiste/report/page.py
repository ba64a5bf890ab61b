"""Self-contained pages, without network access or JavaScript: the templates, and the page of an audit."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.image
import numpy as np

from modiste.audit.audit import Findings
from modiste.errors import shown
from modiste.report.style import breakable, number_of, percent
from modiste.runs import storage
from modiste.version import __version__


def render(template: str, **content: Any) -> str:
    """Return a page; everything that enters it is escaped, and what the template misses is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("modiste", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, number_of=number_of, breakable=breakable)
    return environment.get_template(template).render(version=__version__, **content)


MOST_LABELS, MOST_DUPLICATES = 120, 60
MOST_COPIES = 6
"""Of one image so many are drawn."""


@dataclass(frozen=True)
class Shown:
    """A picture of the page: what it shows as a data URI, and the lines beneath it."""

    source: str
    lines: tuple[str, ...]


def write_audit(found: Findings, page: Path, plain: Path) -> Path:
    """Write what an audit found as a page and as JSON; return the page's path."""
    storage.write_json(plain, found.as_plain())
    storage.write_text(page, text(found, plain.name))
    return page


def text(found: Findings, plain: str) -> str:
    """Return the page; ``plain`` names the file that lists everything."""
    exact = sorted(found.exact, key=found.crosses, reverse=True)
    near = sorted(found.near, key=lambda pair: (found.crosses(pair[:2]), pair.likeness), reverse=True)
    parts = {part: sum(item.split == part for item in found.items) for part in ("training", "validation", "test")}
    return render(
        "audit.html",
        name=found.name,
        parts=", ".join(f"{count:,} {part}" for part, count in parts.items() if count),
        opened=bool(parts["test"]),
        notes=found.notes,
        plain=plain,
        labels=[
            _picture(found, one.image, f"looks like {found.class_names[one.looks_like]}", f"by {one.margin:.2f}")
            for one in found.suspicious[:MOST_LABELS]
        ],
        exact=[[_picture(found, index) for index in group[:MOST_COPIES]] for group in exact[:MOST_DUPLICATES]],
        near=[
            (f"{pair.likeness:.4f}", [_picture(found, index) for index in pair[:2]]) for pair in near[:MOST_DUPLICATES]
        ],
        counts={
            "labels": len(found.suspicious),
            "asked": len(found.probabilities),
            "exact": len(exact),
            "exact_across": sum(map(found.crosses, exact)),
            "near": len(near),
            "near_across": sum(found.crosses(pair[:2]) for pair in near),
        },
    )


def _picture(found: Findings, index: int, *more: str) -> Shown:
    item = found.items[index]
    lines = (shown(item.name), f"{shown(item.label)}, {item.split}", *more)
    return Shown(as_uri(found.images.images[index].cpu().numpy()), lines)


def as_uri(planes: np.ndarray) -> str:
    """Return a (C, H, W) image of bytes as a PNG that a page can hold."""
    file = io.BytesIO()
    pixels = np.moveaxis(planes, 0, 2) if len(planes) == 3 else np.repeat(planes[0][..., None], 3, 2)
    matplotlib.image.imsave(file, np.ascontiguousarray(pixels), format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
