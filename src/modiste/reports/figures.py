"""The five figures of the paper by number, the effect of augmentation, and what a run's network sees, as files."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure
from torch import nn

from modiste.data.dataset import Development, load_development
from modiste.evaluation.run_images import development_of
from modiste.models.registry import Task, build_model
from modiste.recipes import named
from modiste.recipes.plain import demand_known
from modiste.recipes.recipe import Recipe
from modiste.reports import augmentations
from modiste.reports.architecture import trace
from modiste.reports.block_diagram import block_diagram, inside
from modiste.reports.charts import learning_curves
from modiste.reports.concepts import activation_curves, neural_network
from modiste.reports.images import choose_samples, sample_grid
from modiste.reports.network_diagram import network_diagram
from modiste.reports.style import UNDATED, save
from modiste.reports.views.registry import draw_views
from modiste.runs import run_folder
from modiste.runs.run_folder import Run

SAMPLES = 25
Drawings = dict[str, Callable[[], Figure]]
"""Functions that draw a figure, by the name of its file without the ending."""


def write_figures(
    out: Path,
    *,
    recipe: Recipe | None = None,
    run: Path | None = None,
    data_folder: Path | None = None,
    format: str = "png",  # noqa: A002 - the word that users look for
) -> list[Path]:
    """Write the five figures of the paper and some more, a file each, and return the files' paths.

    The files are ``figure-1-layers`` to ``figure-5-curves``, and also:

    - ``network-part``: the inside of the network's characteristic block, if it has one;
    - ``augmentations``: the effect of each field of the augmentation;
    - ``augmentation-of-NAME``: training images as the recipe augments them, if it does;
    - ``sees-NAME``: what the run's network sees (``modiste.reports.views``).

    Learning curves (figure 5) and what the network sees need a run.

    Args:
        out: Folder for the figures; made if missing.
        recipe: Recipe whose network and augmentation are shown; by default the run's, without a run the paper's.
        run: Folder of a finished run.
        data_folder: Folder of the images, if they are not where ``load_dataset`` looks for them.
        format: ``png`` (300 dots an inch), ``svg`` or ``pdf``.

    Raises:
        RecipeError: There is no such format.
        RunError: The run is unfinished or damaged.
        DataError: The images are missing or damaged.
        StorageError: A figure cannot be written.

    Example::

        write_figures(Path("figures"), run=Path("runs/sprint"), format="pdf")
    """
    demand_known(format, "format", UNDATED)
    finished = None if run is None else run_folder.open_run(run)
    recipe = recipe or (finished.recipe if finished else named.paper())
    development = development_of(finished, data_folder) if finished else load_development(recipe.data, data_folder)
    draw = _network_figures(_model(recipe, development), development)
    if finished:
        draw["figure-5-curves"] = lambda: curves_figure(finished)
    draw |= _augmentation_figures(recipe, development)
    written = [save(figure(), out / f"{name}.{format}") for name, figure in draw.items()]
    views = draw_views(finished, development) if finished else ()
    return written + [save(figure, out / f"sees-{view.name}.{format}") for view, figure in views]


def _network_figures(model: nn.Module, development: Development) -> Drawings:
    """Return the figures of a network and its images, by the names of their files."""
    draw: Drawings = {
        "figure-1-layers": neural_network,
        "figure-2-activations": activation_curves,
        "figure-3-network": lambda: network_figure(model, development.image_shape),
        "figure-4-samples": lambda: samples_figure(development),
    }
    part = inside(model)
    if part:
        draw["network-part"] = lambda: block_diagram(part[1])
    return draw


def _augmentation_figures(recipe: Recipe, development: Development) -> Drawings:
    """Return the figures of every augmentation, and of the recipe's if it has one, by the names of their files."""
    draw: Drawings = {"augmentations": lambda: augmentations.every_field(development)}
    if augmentations.changes(recipe.augmentation):
        draw[f"augmentation-of-{recipe.name}"] = lambda: augmentations.of_recipe(development, recipe)
    return draw


def network_figure(model: nn.Module, image_shape: tuple[int, int, int]) -> Figure:
    """Return figure 3: the diagram of a model."""
    return network_diagram(trace(model, image_shape))


def samples_figure(development: Development) -> Figure:
    """Return figure 4: training images of every class, the same on every call."""
    train = development.train
    chosen = choose_samples(train.labels, SAMPLES)
    return sample_grid(train.images[chosen], train.labels[chosen].tolist(), development.class_names)


def curves_figure(run: Run) -> Figure:
    """Return figure 5: the learning curves of a run."""
    return learning_curves(run.history, run.picked)


def _model(recipe: Recipe, development: Development) -> nn.Module:
    task = Task(image_shape=development.image_shape, class_names=development.class_names)
    return build_model(recipe.model, task)
