"""What a run came to, for people: the report, a page of its own, and the five figures of the paper.

Matplotlib and Jinja are needed here and by what imports this; ``pip install 'modiste[report]'`` brings them. Importing
this package imports them, and raises MissingExtraError where they are not installed.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from modiste.recipes.recipe import Recipe

if TYPE_CHECKING:
    from modiste.audit.audit import Findings


def write_report(folder: Path, *, data_folder: Path | None = None) -> Path:
    """Write ``report.html`` into a finished run's folder: one file that needs nothing else; return its path.

    Test figures come from logits that ``modiste evaluate --split test`` stored, pictures from training and validation
    images; the test set is not opened.

    Args:
        folder: a finished run's.
        data_folder: as ``load_dataset`` takes it: of Fashion-MNIST, or of data that have moved.

    Raises:
        MissingExtraError: matplotlib or jinja2 is not installed.
        RunError: the run is unfinished or damaged, or the data are not those it was trained on.
        DataError: the images are missing or damaged.
        StorageError: the page cannot be written.
    """
    from modiste.report import run_page

    return run_page.write_report(folder, data_folder=data_folder)


def write_figures(
    out: Path,
    *,
    recipe: Recipe | None = None,
    run: Path | None = None,
    data_folder: Path | None = None,
    format: str = "png",  # noqa: A002 - the word that a person looks for
) -> list[Path]:
    """Write the five figures of the paper, ``figure-1-layers`` to ``figure-5-curves``, each alone; return their paths.

    Without a run there are no learning curves, and figure 5 is left out. Beside them: ``augmentations``, what each
    field of the augmentation does to images; ``augmentation-of-NAME``, what the recipe's network gets, if it augments;
    ``network-part``, the inside of a network's characteristic part, if it has one;
    and of a run ``sees-NAME``, what its network sees (see ``modiste.report.views``).

    Args:
        out: folder for the figures; made if missing.
        recipe: whose network and augmentation are shown; the run's if None, the paper's without a run.
        run: folder of a finished run, for its learning curves and what its network sees.
        data_folder: as ``load_dataset`` takes it: of Fashion-MNIST, or of data that have moved.
        format: ``png`` (300 dots an inch), ``svg`` or ``pdf``.

    Raises:
        MissingExtraError, RunError, DataError, StorageError.
    """
    from modiste.report import figures

    return figures.write_figures(out, recipe=recipe, run=run, data_folder=data_folder, kind=format)


def write_audit(found: "Findings", page: Path, plain: Path) -> Path:
    """Write what an audit of a data set found, as a page that needs nothing else and as JSON; return the page's path.

    Raises MissingExtraError, StorageError.
    """
    from modiste.report import page as pages

    return pages.write_audit(found, page, plain)
