"""The five figures of the paper, each by its number; what augmentation does, and what a run's network sees."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure
from torch import nn

from modiste.data.dataset import Development, load_development
from modiste.evaluation.run_images import development_of
from modiste.models.registry import Task, build_model
from modiste.recipes import named
from modiste.recipes.recipe import Recipe
from modiste.report import augmentations
from modiste.report.architecture import trace
from modiste.report.block_diagram import block_diagram, inside
from modiste.report.charts import learning_curves
from modiste.report.concepts import activation_curves, neural_network
from modiste.report.images import choose_samples, sample_grid
from modiste.report.network_diagram import network_diagram
from modiste.report.style import save
from modiste.report.views.views import draw_views
from modiste.runs import run_folder
from modiste.runs.run_folder import Run

SAMPLES = 25


def write_figures(
    out: Path, *, recipe: Recipe | None, run: Path | None, data_folder: Path | None, kind: str
) -> list[Path]:
    """Write the figures into ``out`` as ``kind`` and return their paths; see ``report.write_figures``."""
    finished = None if run is None else run_folder.open_run(run)
    recipe = recipe or (finished.recipe if finished else named.paper())
    development = development_of(finished, data_folder) if finished else load_development(recipe.data, data_folder)
    model = _model(recipe, development)
    draw: dict[str, Callable[[], Figure]] = {
        "figure-1-layers": neural_network,
        "figure-2-activations": activation_curves,
        "figure-3-network": lambda: network_figure(model, development.image_shape),
        "figure-4-samples": lambda: samples_figure(development),
    }
    part = inside(model)
    if part:
        draw["network-part"] = lambda: block_diagram(part[1])
    if finished:
        draw["figure-5-curves"] = lambda: curves_figure(finished)
    draw["augmentations"] = lambda: augmentations.every_field(development)
    if augmentations.changes(recipe.augmentation):
        draw[f"augmentation-of-{recipe.name}"] = lambda: augmentations.of_recipe(development, recipe)
    written = [save(figure(), out / f"{name}.{kind}") for name, figure in draw.items()]
    if finished:
        found = draw_views(finished, development)
        written += [save(figure, out / f"sees-{view.name}.{kind}") for view, figure in found]
    return written


def network_figure(model: nn.Module, image_shape: tuple[int, int, int]) -> Figure:
    """Draw Figure 3 of a model."""
    return network_diagram(trace(model, image_shape))


def samples_figure(development: Development) -> Figure:
    """Draw Figure 4: training images of every class, always the same."""
    train = development.train
    chosen = choose_samples(train.labels, SAMPLES)
    return sample_grid(train.images[chosen], train.labels[chosen].tolist(), development.class_names)


def curves_figure(run: Run) -> Figure:
    """Draw Figure 5 of a run."""
    return learning_curves(run.history, run.picked)


def _model(recipe: Recipe, development: Development) -> nn.Module:
    task = Task(image_shape=development.image_shape, class_names=development.class_names)
    return build_model(recipe.model, task)
