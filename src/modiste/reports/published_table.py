"""The paper's figures beside those of a run of the recipe ``paper``."""

from dataclasses import dataclass

from modiste.evaluation.assessment import Assessment
from modiste.models.registry import count_parameters
from modiste.recipes.claims import (
    PAPER_EPOCHS,
    PAPER_PARAMETERS,
    PAPER_TABLE_2,
    PAPER_TEST_ACCURACY,
    PAPER_TEST_LOSS,
    PAPER_TRAIN_ACCURACY,
    PAPER_TRAIN_LOSS,
    PAPER_VALIDATION_ACCURACY,
    PAPER_VALIDATION_LOSS,
)
from modiste.reports.style import percent
from modiste.runs.run_folder import Run

RECIPE = "paper"
NOT_MEASURED = "not evaluated"


@dataclass(frozen=True)
class Beside:
    """The paper's figures beside a run's.

    Attributes:
        rows: What, the paper's figure, the run's figure.
        classes: Class name, the paper's F1 on test, the run's F1.
        split: The images of the run's F1: ``test`` if the run was evaluated on test, else ``validation``.
    """

    rows: tuple[tuple[str, str, str], ...]
    classes: tuple[tuple[str, str, str], ...]
    split: str


def published_beside(run: Run, validation: Assessment, test: Assessment | None) -> Beside | None:
    """Return the paper's figures beside a run's; None unless it is of recipe ``paper`` on the paper's classes."""
    if run.recipe.name != RECIPE or tuple(validation.per_class) != tuple(PAPER_TABLE_2):
        return None
    measured = test or validation
    classes = tuple(
        (name, f"{figures[2]:.2f}", "no images" if f1 is None else f"{f1:.4f}")
        for (name, figures), f1 in zip(
            PAPER_TABLE_2.items(), (scores.f1 for scores in measured.per_class.values()), strict=True
        )
    )
    return Beside((*_training_rows(run), *_test_rows(run, test)), classes, measured.split)


def _training_rows(run: Run) -> tuple[tuple[str, str, str], ...]:
    last = run.history[-1]
    parameters = count_parameters(run.load_model()[0])
    return (
        ("trainable parameters", f"{PAPER_PARAMETERS:,}", f"{parameters:,}"),
        ("epochs", str(PAPER_EPOCHS), str(last.epoch)),
        ("training accuracy, last epoch", percent(PAPER_TRAIN_ACCURACY), percent(last.train_accuracy)),
        ("training loss, last epoch", f"{PAPER_TRAIN_LOSS:.4f}", f"{last.train_loss:.4f}"),
        (
            "validation accuracy, last epoch",
            percent(PAPER_VALIDATION_ACCURACY),
            percent(last.validation_accuracy),
        ),
        ("validation loss, last epoch", f"{PAPER_VALIDATION_LOSS:.4f}", f"{last.validation_loss:.4f}"),
    )


def _test_rows(run: Run, test: Assessment | None) -> tuple[tuple[str, str, str], ...]:
    epoch = run.picked.epoch
    return (
        (
            f"test accuracy, this run at epoch {epoch}",
            percent(PAPER_TEST_ACCURACY),
            percent(test.accuracy) if test else NOT_MEASURED,
        ),
        (
            f"test loss, this run at epoch {epoch}",
            f"{PAPER_TEST_LOSS:.4f}",
            f"{test.loss:.4f}" if test else NOT_MEASURED,
        ),
    )
