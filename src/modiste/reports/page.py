"""Self-contained HTML pages, without network access or JavaScript: templates, and the pages of audit and benchmarks."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.image
import numpy as np

from modiste.audits.audit import Findings
from modiste.benchmarks.result import Benchmark
from modiste.errors import shown
from modiste.reports.style import breakable, number_of, percent
from modiste.runs import storage
from modiste.version import __version__


def render(template: str, **content: Any) -> str:
    """Return the page of a template as HTML; all content is escaped, and an undefined name raises an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("modiste", "reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, number_of=number_of, breakable=breakable)
    return environment.get_template(template).render(version=__version__, **content)


def as_uri(planes: np.ndarray) -> str:
    """Return an image, uint8 of shape (C, H, W) with one or three channels, as the data URI of a PNG."""
    file = io.BytesIO()
    pixels = np.moveaxis(planes, 0, 2) if len(planes) == 3 else np.repeat(planes[0][..., None], 3, 2)
    matplotlib.image.imsave(file, np.ascontiguousarray(pixels), format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


MOST_LABELS, MOST_DUPLICATES, MOST_COPIES = 120, 60, 6
"""Limits of an audit's page: suspicious labels, groups and pairs of duplicates, copies of one image."""


@dataclass(frozen=True)
class AuditImage:
    """One image of an audit's page: a data URI, and the lines of text beneath it."""

    source: str
    lines: tuple[str, ...]


def write_audit(found: Findings, page: Path, plain: Path) -> Path:
    """Write the findings of an audit as a page and as JSON.

    Args:
        found: What ``modiste.audits.audit`` returned.
        page: Path of the HTML file.
        plain: Path of the JSON file, which lists everything.

    Returns:
        ``page``.

    Raises:
        StorageError: A file cannot be written.
    """
    storage.write_json(plain, found.as_plain())
    storage.write_text(page, render_audit(found, plain.name))
    return page


def render_audit(found: Findings, plain: str) -> str:
    """Return the page of an audit as HTML; ``plain`` is the name of the JSON file that lists everything."""
    exact = sorted(found.exact, key=lambda group: (found.disagrees(group), found.crosses(group)), reverse=True)
    near = sorted(
        found.near,
        key=lambda pair: (found.disagrees(pair[:2]), found.crosses(pair[:2]), pair.likeness),
        reverse=True,
    )
    parts = {part: sum(item.split == part for item in found.items) for part in ("training", "validation", "test")}
    return render(
        "audit.html",
        name=found.name,
        parts=", ".join(f"{count:,} {part}" for part, count in parts.items() if count),
        opened=bool(parts["test"]),
        notes=found.notes,
        plain=plain,
        labels=[
            _image(
                found,
                one.image,
                f"looks like {found.class_names[one.looks_like]}",
                f"{one.wrong_share} of such labels are wrong",
            )
            for one in found.suspicious[:MOST_LABELS]
        ],
        exact=[
            ([_image(found, index) for index in _shown_copies(found, group)], max(0, len(group) - MOST_COPIES))
            for group in exact[:MOST_DUPLICATES]
        ],
        near=[
            (f"{pair.likeness:.4f}", [_image(found, index) for index in pair[:2]]) for pair in near[:MOST_DUPLICATES]
        ],
        counts={
            "labels": len(found.suspicious),
            "wrong": found.wrong_labels,
            "share": found.wrong_share,
            "asked": len(found.probabilities),
            "exact": len(exact),
            "exact_differ": sum(map(found.disagrees, exact)),
            "exact_across": sum(map(found.crosses, exact)),
            "near": len(near),
            "near_differ": sum(found.disagrees(pair[:2]) for pair in near),
            "near_across": sum(found.crosses(pair[:2]) for pair in near),
        },
    )


def _shown_copies(found: Findings, group: Sequence[int]) -> list[int]:
    """Return at most MOST_COPIES images of a group: the first of each label and part, then the others in order."""
    first = {(found.items[index].label, found.items[index].split): index for index in reversed(group)}
    shown_first = set(first.values())
    return sorted(group, key=lambda index: index not in shown_first)[:MOST_COPIES]


def _image(found: Findings, index: int, *more: str) -> AuditImage:
    item = found.items[index]
    lines = (shown(item.name), f"{shown(item.label)}, {item.split}", *more)
    return AuditImage(as_uri(found.images.images[index].cpu().numpy()), lines)


def write_benchmarks(
    results: Sequence[Benchmark], folder: Path, name: str, failed: Mapping[str, Exception] | None = None
) -> Path:
    """Write the results of one or several benchmarks as a page and as JSON, and return the path of the page.

    Args:
        results: At least one.
        folder: Folder of both files; made if missing.
        name: Name of both files, without ending: ``benchmark-corruptions``.
        failed: The error of each benchmark that failed, by its name; the page shows them.

    Raises:
        StorageError: A file cannot be written.
    """
    page, plain = folder / f"{name}.html", folder / f"{name}.json"
    storage.write_json(plain, [one.as_plain() for one in results])
    storage.write_text(page, render_benchmarks(results, plain.name, failed or {}))
    return page


def render_benchmarks(results: Sequence[Benchmark], plain: str, failed: Mapping[str, Exception]) -> str:
    """Return the page as HTML; ``plain`` is the name of the JSON file, ``failed`` the errors of what failed."""
    return render(
        "benchmark.html",
        title=f"Benchmark: {results[0].title}" if len(results) == 1 else "Benchmarks",
        entries=[(one.name, one.title) for one in results],
        runs=[run.folder for run in results[0].runs],
        results=results,
        plain=plain,
        failed=failed,
    )
