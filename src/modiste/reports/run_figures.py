"""The figures of a report's page, each with a caption and a description for screen readers."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from markupsafe import Markup
from matplotlib.figure import Figure
from torch import Tensor

from modiste.data.dataset import Development
from modiste.evaluation.assessment import Assessment
from modiste.models.layers import NON_DECREASING
from modiste.models.registry import count_parameters
from modiste.reports import augmentations
from modiste.reports.architecture import trace
from modiste.reports.block_diagram import block_diagram, inside
from modiste.reports.charts import accuracy_floor, confusion_matrix, reliability_diagram
from modiste.reports.figures import SAMPLES, curves_figure, samples_figure
from modiste.reports.images import cell_rows, confidence_text, largest_cells, mistake_grid, most_confident
from modiste.reports.interpretation import Reading
from modiste.reports.network_diagram import network_diagram
from modiste.reports.style import inline_svg, number_of, percent
from modiste.reports.views.registry import draw_views
from modiste.runs.run_folder import Run

MISTAKES = 16
POOLED_FIRST = " Pooling comes before the activation: this order gives the same values at less cost."
CELLS, IMAGES_A_CELL = 6, 8


@dataclass(frozen=True)
class PageFigure:
    """One figure of a page: its ``<svg>`` element, its caption, and whether a phone may scroll it sideways."""

    svg: Markup
    caption: str
    wide: bool = False


def page_figure(figure: Figure, name: str, *, caption: str, description: str, wide: bool = False) -> PageFigure:
    """Return a figure as one of a page, with the caption's first sentence as its title."""
    title = caption.partition(". ")[0].removesuffix(".")
    return PageFigure(Markup(inline_svg(figure, name, title, description)), caption, wide)


def curves(run: Run, reading: Reading) -> PageFigure:
    """Return figure 5: the learning curves."""
    name = run.recipe.loss_name
    training = "Both losses are" if name == "cross-entropy" else f"Training loss is {name}, validation loss"
    caption = (
        f"Loss and accuracy by epoch. {training} cross-entropy in nats. "
        "Dotted line: lowest validation loss; solid line: the selected epoch. "
        f"The accuracy axis begins at {percent(accuracy_floor(run.history), 0)}."
    )
    return page_figure(curves_figure(run), "curves", caption=caption, description=" ".join(reading.sentences))


def confusion(result: Assessment) -> PageFigure:
    """Return the confusion matrix."""
    names = list(result.per_class)
    errors = [
        (count, names[row], names[column])
        for row, counts in enumerate(result.confusion)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    worst = sorted(errors, key=lambda item: -item[0])[:CELLS]
    return page_figure(
        confusion_matrix(result.confusion, names),
        "confusion",
        caption="Confusion matrix. Rows: the true class; columns: the predicted class. "
        "Grey: correct; orange: the share of the row that was predicted as this class. Empty cells are zero.",
        description="Most frequent: "
        + "; ".join(f"{label} predicted as {guess} {count:,} times" for count, label, guess in worst),
        wide=True,
    )


def reliability(result: Assessment) -> PageFigure:
    """Return the reliability diagram."""
    rows = "; ".join(
        f"at {percent(item.confidence, 0)} confidence {percent(item.accuracy, 0)} correct ({item.count:,})"
        for item in result.calibration
    )
    return page_figure(
        reliability_diagram(result.calibration),
        "reliability",
        caption="Reliability diagram. Below the dashed line the network is overconfident, above it underconfident. "
        "Lower panel: share of the images by confidence.",
        description=rows,
    )


def mistakes(
    development: Development, logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]
) -> PageFigure | None:
    """Return the most confident mistakes on validation images; None if there are no mistakes."""
    names, found = development.class_names, most_confident(logits, labels, MISTAKES)
    if not found:
        return None
    images = development.validation.images[[item.index for item in found]]
    rows = [f"{names[item.label]} predicted as {names[item.predicted]}, {confidence_text(item)}" for item in found]
    return page_figure(
        mistake_grid(images, found, names),
        "mistakes",
        caption=f"The {number_of(len(found), 'mistake')} of highest confidence. Beneath each image: its number, its "
        "class, and what the network takes it for.",
        description="; ".join(rows),
    )


def cells(
    development: Development, logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]
) -> PageFigure | None:
    """Return images of the most frequent confusions on validation; None if there are no mistakes."""
    names, found = development.class_names, largest_cells(logits, labels, cells=CELLS, images=IMAGES_A_CELL)
    if not found:
        return None
    images = [development.validation.images[list(cell.indices)] for cell in found]
    rows = [
        f"{names[cell.label]} predicted as {names[cell.predicted]}: {number_of(cell.count, 'image')}" for cell in found
    ]
    return page_figure(
        cell_rows(images, found, names),
        "cells",
        caption=f"The most frequent confusions. The first {IMAGES_A_CELL} images of each, in the order of the file.",
        description="; ".join(rows),
    )


def samples(development: Development) -> PageFigure:
    """Return figure 4: a sample of the training images."""
    classes = "every class" if len(development.class_names) <= SAMPLES else f"each of the first {SAMPLES} classes"
    return page_figure(
        samples_figure(development),
        "samples",
        caption=f"Sample of the training images. The first of {classes} in turn, with label and class name.",
        description=f"Classes: {', '.join(development.class_names)}",
    )


def augmented(run: Run, development: Development) -> PageFigure | None:
    """Return a few training images as the recipe augments them; None if it augments none."""
    changes = augmentations.changes(run.recipe.augmentation)
    if not changes:
        return None
    return page_figure(
        augmentations.of_recipe(development, run.recipe),
        "augmented",
        caption="Training images as the network gets them. First the originals, then five draws of the recipe's "
        "augmentation; the shares beneath an image are its target.",
        description=f"The augmentation: {changes}",
        wide=True,
    )


def views(run: Run, development: Development) -> list[PageFigure]:
    """Return the views of the run's network, drawn from validation images."""
    return [
        page_figure(figure, f"sees{view.name}", caption=view.caption, description=view.caption, wide=True)
        for view, figure in draw_views(run, development)
    ]


def network(run: Run) -> PageFigure:
    """Return figure 3: the diagram of the network."""
    model, info = run.load_model()
    caption = (
        "The network that this recipe builds. Faces are in proportion to height and width of the output, depths and "
        "bars to the logarithm of channels and units."
    )
    stages = trace(model, info.task.image_shape)
    if any(stage.name == "Max-pooling" and NON_DECREASING.intersection(stage.notes[:1]) for stage in stages):
        caption += POOLED_FIRST
    return page_figure(
        network_diagram(stages),
        "network",
        caption=caption,
        description=f"{count_parameters(model):,} trainable parameters",
    )


def part(run: Run) -> PageFigure | None:
    """Return the inside of the network's characteristic block; None if it has none."""
    found = inside(run.load_model()[0])
    if found is None:
        return None
    name, steps = found
    words = "; ".join(step if isinstance(step, str) else " or ".join(map(", ".join, step.branches)) for step in steps)
    return page_figure(block_diagram(steps), "part", caption=f"{name}: the inside.", description=words)
