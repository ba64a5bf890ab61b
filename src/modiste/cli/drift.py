"""``modiste drift``."""

from dataclasses import dataclass
from pathlib import Path

from modiste.cli.arguments import parse, print_json
from modiste.cli.streams import say


@dataclass(frozen=True, kw_only=True)
class _DriftOptions:
    model: Path
    """ONNX file that was served, or the folder of its run."""
    log: Path
    """Folder that modiste serve --log wrote."""
    since: str = ""
    """First day (UTC) of the answers, such as 2026-11-28; unset, the earliest."""
    until: str = ""
    """Last day of the answers; unset, the latest."""
    baseline_since: str = ""
    """Compare with earlier answers of the log instead of validation: their first day."""
    baseline_until: str = ""
    """Last day of these earlier answers."""
    out: Path | None = None
    """HTML file to write, with charts."""
    json: bool = False
    """Print JSON."""


def drift(arguments: list[str]) -> None:
    """Tell whether a served model's answers have drifted from those on validation: in what, how sure, what to do.

    Examples:
      modiste drift runs/sprint answers
      modiste drift model.onnx answers --since 2026-11-22 --out drift.html
      modiste drift model.onnx answers --since 2026-11-22 --baseline-until 2026-11-14
    """
    options = parse(_DriftOptions, arguments, "modiste drift", drift)
    from modiste.api.results import drift as compare

    days = {name: getattr(options, name) or None for name in ("since", "until", "baseline_since", "baseline_until")}
    found = compare(options.model, options.log, **days, out=options.out)
    if options.json:
        print_json(found.as_plain())
    else:
        say(*str(found).splitlines())
        if options.out is not None:
            say(options.out)
