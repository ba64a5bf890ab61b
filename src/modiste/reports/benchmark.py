"""The page and the JSON file of benchmarks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from modiste.benchmarks.result import Benchmark
from modiste.reports.page import render
from modiste.runs import storage


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
