"""``modiste reproduce``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modiste.cli.arguments import WorkerOptions, parse
from modiste.cli.streams import say, silence

if TYPE_CHECKING:
    from modiste.searches.trial import TrialOutcome


@dataclass(frozen=True, kw_only=True)
class _ReproduceOptions(WorkerOptions):
    quick: bool = False
    """A preview in about ten minutes, with few images and few epochs; every page says so."""
    out: Path | None = None
    """Folder for runs, page and figures; by default runs/reproduction, or runs/reproduction-quick."""
    experiments: tuple[str, ...] = ()
    """Those to train, by default all seven: learning-rate, batch-size, dropout, batch-normalisation, kernel-size,
    filters, network. Others can be added later, in the same folder; the page shows those of earlier calls as well."""
    seeds: int = 3
    """Runs of each recipe."""
    study_epochs: int | None = None
    """Epochs of the experiments, if 50 take too long; every page says so."""
    precision: Literal["float32", "bfloat16", "auto"] | None = None
    """Number format of training, if the paper's float32 takes too long; every page says so."""
    page_only: bool = False
    """Write the page of the runs that are finished, even while another process trains the others; train nothing."""


def reproduce(arguments: list[str]) -> None:
    """Reproduce the paper: train its model and experiments, and judge every claim on one page.

    Examples:
      modiste reproduce --quick
      modiste reproduce --seeds 3 --workers 2
      modiste reproduce --experiments dropout batch-size
      modiste reproduce --page-only
    """
    options = parse(_ReproduceOptions, arguments, "modiste reproduce", reproduce)
    from modiste.api.studies import reproduce as run
    from modiste.reproduction.page import MARKDOWN
    from modiste.searches.trial import ignore

    with silence(options.quiet):
        page = run(
            options.out,
            quick=options.quick,
            experiments=options.experiments,
            seeds=options.seeds,
            study_epochs=options.study_epochs,
            precision=options.precision,
            workers=options.workers,
            **options.cluster,
            device=options.device,
            data_folder=options.data_folder,
            page_only=options.page_only,
            on_outcome=ignore if options.quiet else _print_progress,
        )
    if not options.quiet:
        say(page, page.with_name(MARKDOWN))


def _print_progress(outcome: "TrialOutcome", done: int, total: int) -> None:
    accuracy = "" if outcome.accuracy is None else f" {outcome.accuracy:.2%} on validation"
    reason = f" ({outcome.reason})" if outcome.reason else ""
    say(f"{done} of {total}: {outcome.values['run']} {outcome.state}{accuracy}{reason}")
