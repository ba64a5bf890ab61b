"""Images of a run by their numbers: class, answer and probabilities, as text and as a figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from modiste.data.dataset import ImageSet
from modiste.errors import RunError
from modiste.evaluation.assessment import Split, class_names
from modiste.reports.images import captioned_grid
from modiste.reports.report import load_measured_images
from modiste.reports.style import percent, save, shorten
from modiste.runs import run_folder
from modiste.runs.run_folder import Run

IMAGES = "images.png"
WRITTEN = 3
"""Classes whose probabilities stand beneath an image."""
ENDINGS = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class ImageAnswer:
    """What a run answers for one image of a split.

    Attributes:
        index: Number of the image, from 0.
        label: Its class.
        answer: The most probable class.
        probabilities: Every class with its probability, 0 to 1, most probable first.
    """

    index: int
    label: str
    answer: str
    probabilities: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        verdict = "correct" if self.label == self.answer else f"read as {self.answer}"
        shares = [f"{name} {share:.1%}" for name, share in self.probabilities[:WRITTEN]]
        return f"image {self.index}: {self.label}, {verdict}; {', '.join(shares)}"


def write_images(
    folder: Path,
    numbers: Sequence[int],
    *,
    split: Split = "validation",
    out: Path | None = None,
    data_folder: Path | None = None,
) -> tuple[Path, list[ImageAnswer]]:
    """Draw images of a finished run by their numbers; return the file's path, and the answers.

    Args:
        folder: Folder of a finished run.
        numbers: Numbers of the images, from 0, as ``modiste compare`` prints them.
        split: ``validation``; or ``test``, if the run was already evaluated on test. No evaluation is counted.
        out: Path of the figure, .png, .svg or .pdf; by default ``images.png`` in the run's folder.
        data_folder: Folder of the images, if they are not where ``load_dataset`` looks for them.

    Raises:
        RunError: The run is unfinished or damaged, was not measured on this split, or has no image of that number.
        DataError: The images are missing or damaged.
        StorageError: The figure cannot be written.

    Example::

        path, answers = write_images(Path("runs/sprint"), [7, 21])
    """
    run = run_folder.open_run(folder)
    path = out or run.folder / IMAGES
    if path.suffix not in ENDINGS:
        raise RunError(f"{path}: expected a name that ends in {', '.join(ENDINGS)}, found {path.suffix or 'no ending'}")
    found = read_answers(run, numbers, split)
    return save(draw_answers(load_measured_images(run, split, data_folder), found), path), found


def read_answers(run: Run, numbers: Sequence[int], split: Split = "validation") -> list[ImageAnswer]:
    """Return a run's stored answers for images of a split by number; RunError if there is no such image."""
    measured, names = run.measured(split), class_names(run)
    count = len(measured.labels)
    if not numbers or min(numbers) < 0 or max(numbers) >= count:
        wrong = next((number for number in numbers if not 0 <= number < count), "none")
        raise RunError(f"{run.folder}: image number: expected 0 to {count - 1:,}, found {wrong}; see modiste compare")
    probabilities = measured.logits[list(numbers)].double().softmax(1)
    order = probabilities.argsort(dim=1, descending=True, stable=True)
    return [
        ImageAnswer(
            number,
            names[int(measured.labels[number])],
            names[ranked[0]],
            tuple((names[one], float(shares[one])) for one in ranked),
        )
        for number, shares, ranked in zip(numbers, probabilities, order.tolist(), strict=True)
    ]


def draw_answers(images: ImageSet, answers: Sequence[ImageAnswer]) -> Figure:
    """Return a figure of these images of a split, each with number, class and the most probable answers."""
    captions = [[f"{one.index}: {shorten(one.label, 12)}", *_shares(one)] for one in answers]
    return captioned_grid(images.images[[one.index for one in answers]], captions)


def _shares(answer: ImageAnswer) -> list[str]:
    return [f"{shorten(name, 15)} {percent(share, 1)}" for name, share in answer.probabilities[:WRITTEN]]
