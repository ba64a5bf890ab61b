"""Benchmarks of finished runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modiste.api.own import Code, register
from modiste.api.run import RunLike, folders_of
from modiste.machine import check_device
from modiste.runs import storage

if TYPE_CHECKING:
    from modiste.benchmarks.result import Benchmark


def benchmark(
    name: str,
    runs: RunLike | Sequence[RunLike],
    *,
    out: Path | str | None = None,
    device: str = "auto",
    data_folder: Path | str | None = None,
    network: Code | None = None,
    **settings: Any,
) -> "Benchmark":
    """Measure finished runs by a yardstick beyond accuracy, and return the figures; see docs/benchmarks.md.

    On test, this counts as one evaluation on test for each run.

    Args:
        name: ``corruptions``, ``ood``, ``conformal``, ``robust``, ``human`` or ``noise``.
        runs: A run, or several; runs that differ only in the seed are taken together.
        out: Folder for a page and a JSON file; None writes nothing.
        device: Where networks compute.
        data_folder: Folder of Fashion-MNIST, or of data that have moved.
        network: The code of a network that is not Modiste's, unless this process has trained with it.
        settings: Fields of ``benchmarks.settings.Settings``, such as ``split="validation"``.

    Raises:
        RecipeError: There is no such benchmark or setting.
        RunError, DataError: The runs or the images are damaged, or do not fit together.
        MissingExtraError: A page is to be written, and Matplotlib or Jinja is not installed.
        StorageError: ``out`` cannot be written.

    Example::

        print(modiste.benchmark("corruptions", ["runs/paper", "runs/sprint"], split="validation"))
    """
    register(network)
    page = None if out is None else Path(out) / f"benchmark-{name}"
    return _run([name], runs, settings, page, device=device, data_folder=data_folder)[0]


def benchmark_all(
    runs: RunLike | Sequence[RunLike],
    *,
    out: Path | str | None = None,
    device: str = "auto",
    data_folder: Path | str | None = None,
    network: Code | None = None,
    **settings: Any,
) -> "tuple[Benchmark, ...]":
    """Measure finished runs by every yardstick, which counts as one evaluation on test for each run.

    ``noise``, which trains, is left out, and ``human`` unless ``labels`` names its file. A yardstick that fails is left
    out, with a warning, and the page says why. Arguments and errors are those of ``benchmark``.

    Example::

        for one in modiste.benchmark_all("runs/sprint", split="validation", out="page"):
            print(one)
    """
    register(network)
    page = None if out is None else Path(out) / "benchmark-all"
    return _run(None, runs, settings, page, device=device, data_folder=data_folder)


def _run(
    names: Sequence[str] | None,
    runs: RunLike | Sequence[RunLike],
    values: Mapping[str, Any],
    page: Path | None,
    *,
    device: str,
    data_folder: Path | str | None,
) -> "tuple[Benchmark, ...]":
    """Run benchmarks, by default all, and write the page if its path, without an ending, is given."""
    from modiste.benchmarks.run import all_names, report_failures, run_benchmarks
    from modiste.benchmarks.settings import from_names

    check_device(device)
    settings = from_names(values)
    if page is not None:  # before the test set is opened: what a page needs, and its place
        from modiste.reports.page import write_benchmarks

        storage.check_writable(page.parent)
    wanted = all_names(settings) if names is None else names
    failed: dict[str, Exception] | None = {} if names is None else None
    found = run_benchmarks(wanted, folders_of(runs), settings, device=device, data_folder=data_folder, failed=failed)
    if page is not None and found:
        write_benchmarks(found, page.parent, page.name, failed)
    report_failures(failed or {})
    return found
