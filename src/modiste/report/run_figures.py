"""The pictures of a report: each with its caption, and a description for those who cannot see it."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from markupsafe import Markup
from matplotlib.figure import Figure
from torch import Tensor, nn

from modiste.data.dataset import Development
from modiste.evaluation.assessment import Assessment
from modiste.models.registry import count_parameters
from modiste.report import augmentations
from modiste.report.block_diagram import block_diagram, inside
from modiste.report.charts import accuracy_floor, confusion_matrix, reliability_diagram
from modiste.report.figures import curves_figure, network_figure, samples_figure
from modiste.report.images import cell_rows, largest_cells, mistake_grid, most_confident, sureness
from modiste.report.interpretation import Reading
from modiste.report.style import inline_svg, number_of, percent
from modiste.report.views.views import draw_views
from modiste.runs.run_folder import Run

MISTAKES = 16
POOLED_FIRST = " Pooling comes before the activation: the values are those of the other order, at less cost."
CELLS, IMAGES_A_CELL = 6, 8


@dataclass(frozen=True)
class PageFigure:
    """One figure of the page, as an ``<svg>`` element, with what is written beneath it."""

    svg: Markup
    caption: str
    wide: bool = False


def picture(figure: Figure, name: str, *, caption: str, description: str, wide: bool = False) -> PageFigure:
    """Turn a figure into a picture; the caption's first sentence is its title, ``wide`` lets a phone scroll it."""
    title = caption.partition(". ")[0].removesuffix(".")
    return PageFigure(Markup(inline_svg(figure, name, title, description)), caption, wide)


def curves(run: Run, reading: Reading) -> PageFigure:
    """Figure 5: the learning curves."""
    caption = (
        f"Loss and accuracy by epoch. Training loss is {run.recipe.objective}, validation loss cross-entropy in nats. "
        "Dotted line: lowest validation loss; solid line: the picked epoch. "
        f"The accuracy axis begins at {percent(accuracy_floor(run.history), 0)}."
    )
    return picture(curves_figure(run), "curves", caption=caption, description=" ".join(reading.sentences))


def confusion(result: Assessment) -> PageFigure:
    """Which class is taken for which."""
    names = list(result.per_class)
    errors = [
        (count, names[row], names[column])
        for row, counts in enumerate(result.confusion)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    worst = sorted(errors, key=lambda item: -item[0])[:CELLS]
    return picture(
        confusion_matrix(result.confusion, names),
        "confusion",
        caption="Confusion matrix. Rows: the true class; columns: the class predicted. "
        "Grey: right; orange: the share of the row that went to this class. Empty cells are zero.",
        description="Commonest: "
        + "; ".join(f"{label} read as {guess} {count:,} times" for count, label, guess in worst),
        wide=True,
    )


def reliability(result: Assessment) -> PageFigure:
    """Whether stated confidence is met."""
    rows = "; ".join(
        f"at {percent(item.confidence, 0)} confidence {percent(item.accuracy, 0)} right ({item.count:,})"
        for item in result.calibration
    )
    return picture(
        reliability_diagram(result.calibration),
        "reliability",
        caption="Reliability diagram. Below the dashed line the network is surer than it is "
        "right, above it less sure. Lower panel: share of the images by confidence.",
        description=rows,
    )


def mistakes(
    development: Development, logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]
) -> PageFigure | None:
    """The surest mistakes on validation images; None when there are no mistakes."""
    names, found = development.class_names, most_confident(logits, labels, MISTAKES)
    if not found:
        return None
    images = development.validation.images[[item.index for item in found]]
    rows = [f"{names[item.label]} read as {names[item.predicted]}, {sureness(item)}" for item in found]
    return picture(
        mistake_grid(images, found, names),
        "mistakes",
        caption=f"The {number_of(len(found), 'mistake')} made with most confidence.",
        description="; ".join(rows),
    )


def cells(
    development: Development, logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]
) -> PageFigure | None:
    """Validation images of the commonest confusions; None when there are no mistakes."""
    names, found = development.class_names, largest_cells(logits, labels, cells=CELLS, images=IMAGES_A_CELL)
    if not found:
        return None
    images = [development.validation.images[list(cell.indices)] for cell in found]
    rows = [f"{names[cell.label]} read as {names[cell.predicted]}: {number_of(cell.count, 'image')}" for cell in found]
    return picture(
        cell_rows(images, found, names),
        "cells",
        caption=f"The commonest confusions. The first {IMAGES_A_CELL} of each, in the order of the file, not chosen.",
        description="; ".join(rows),
    )


def samples(development: Development) -> PageFigure:
    """Figure 4: a sample of the training images."""
    return picture(
        samples_figure(development),
        "samples",
        caption="Sample of the training images. The first of every class in turn, with label and class name.",
        description=f"Classes: {', '.join(development.class_names)}",
    )


def augmented(run: Run, development: Development) -> PageFigure | None:
    """What the network got in training for a few images; None when they were left as they are."""
    changes = augmentations.changes(run.recipe.augmentation)
    if not changes:
        return None
    return picture(
        augmentations.of_recipe(development, run.recipe),
        "augmented",
        caption="Training images as the network met them. First as they are, then in five draws of the recipe's "
        "augmentation; shares beneath an image are its target.",
        description=f"The augmentation: {changes}",
        wide=True,
    )


def views(run: Run, development: Development) -> list[PageFigure]:
    """What the run's network sees in validation images."""
    return [
        picture(figure, f"sees{view.name}", caption=view.caption, description=view.caption, wide=True)
        for view, figure in draw_views(run, development)
    ]


def network(run: Run) -> PageFigure:
    """Figure 3: the network."""
    model, info = run.load_model()
    caption = (
        "The network that this recipe builds. Faces are in proportion to height and width of the output, depths and "
        "bars to the logarithm of channels and units."
        + POOLED_FIRST
        * any(isinstance(layer, nn.MaxPool2d) for layer in model.modules())
    )
    return picture(
        network_figure(model, info.task.image_shape),
        "network",
        caption=caption,
        description=f"{count_parameters(model):,} trainable parameters",
    )


def part(run: Run) -> PageFigure | None:
    """The inside of what makes the network; None for a plain one."""
    found = inside(run.load_model()[0])
    if found is None:
        return None
    name, steps = found
    words = "; ".join(step if isinstance(step, str) else " or ".join(map(", ".join, step.branches)) for step in steps)
    return picture(block_diagram(steps), "part", caption=f"{name}, its inside.", description=words)
