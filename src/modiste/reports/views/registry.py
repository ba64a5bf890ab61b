"""The table of views by kind of network.

A view shows what a trained network sees in validation images. It is a function of a ``Scene`` that returns a figure,
or None if the run has no data for it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from modiste.data.dataset import Development
from modiste.recipes import networks
from modiste.reports.views import (
    capsnet,
    cnn,
    dbn,
    dropconnect,
    fashionnet,
    inception,
    patch_graph,
    stages,
    superpixel_graph,
)
from modiste.reports.views.scene import Scene
from modiste.runs.run_folder import Run


@dataclass(frozen=True)
class View:
    """One visualization: its name in files and pages, its caption, and the function that draws it."""

    name: str
    caption: str
    draw: Callable[[Scene], Figure | None]


SIGNED = "Orange is positive, blue negative, white zero; the strongest hundredth has full colour."
HEAT = "Each map has its own range; dark is high."
EVIDENCE = (
    "the evidence of each position for the predicted class: what it adds to that logit, minus what it adds to the mean "
    f"logit. {HEAT} In the last row orange is evidence for the class that is written beneath, blue against it."
)
TUNED = "Only a frozen stack still has the weights of contrastive divergence; fine-tuning changes them."
CONVOLUTIONAL = (
    View("filters", f"The kernels of the first convolution. {SIGNED}", cnn.filters),
    View("maps", f"The three most active maps of each convolution, on images of several classes. {HEAT}", cnn.maps),
)
VIEWS: dict[type[networks.ModelRecipe], tuple[View, ...]] = {
    networks.CNNRecipe: CONVOLUTIONAL,
    networks.SprintRecipe: CONVOLUTIONAL,
    networks.MLPRecipe: (
        View(
            "weights",
            f"The weights from the pixels to the classes, or to the first forty hidden units. {SIGNED}",
            cnn.weights,
        ),
    ),
    networks.InceptionRecipe: (
        View(
            "branches", f"Mean activation of the branches of the first and the last module. {HEAT}", inception.branches
        ),
        View(
            "silenced",
            f"Predictions that change when one branch is zeroed. Share of up to {inception.SAMPLE} validation images.",
            inception.silenced,
        ),
    ),
    networks.ResNetRecipe: (
        View(
            "stages",
            f"Mean magnitude after each stage, and {EVIDENCE}",
            stages.stages,
        ),
    ),
    networks.EfficientNetLiteRecipe: (
        View(
            "sizes",
            f"Mean magnitude of the last maps of each size, and {EVIDENCE}",
            stages.sizes,
        ),
    ),
    networks.DropConnectRecipe: (
        View(
            "masks",
            f"Moment matching compared with sampling. Probability of the predicted class over {dropconnect.DRAWS:,} "
            f"masks and over {dropconnect.DRAWS:,} draws of the Gaussian that replaces them. Shown are the most and "
            f"the least confident prediction for up to {dropconnect.SAMPLE:,} validation images.",
            dropconnect.masks,
        ),
    ),
    networks.CapsNetRecipe: (
        View("reconstructions", "Images decoded from the capsule of their class.", capsnet.reconstructions),
        View(
            "dimensions",
            "One capsule of a validation image, decoded while one of its dimensions is changed. A row for each "
            "dimension.",
            capsnet.dimensions,
        ),
    ),
    networks.FashionNetRecipe: (
        View(
            "keypoints", f"Keypoints on images of up to {fashionnet.CLASSES} classes, by index.", fashionnet.keypoints
        ),
        View(
            "clouds",
            f"Keypoints of up to {fashionnet.MANY} images of a class, on the class's mean image. Shown are up to "
            f"{fashionnet.CLASSES} classes. A keypoint with a stable meaning lies in the same part of the garment "
            "throughout a class.",
            fashionnet.clouds,
        ),
    ),
    networks.PatchGraphRecipe: (
        View(
            "edges",
            "Edges of two nodes in the first and in the last block. Blue: the middle node; orange: a node near the "
            "corner; shaded: their nearest neighbours by features.",
            patch_graph.edges,
        ),
    ),
    networks.SuperpixelGraphRecipe: (
        View(
            "regions",
            "Superpixels, and the mean intensity of each. The network gets this mean, the region's position and size, "
            "and the spread of its pixels and of their intensities, but not its outline. A region may consist of "
            "several pieces.",
            superpixel_graph.regions,
        ),
        View(
            "attention",
            "Attention of two regions in the first and in the last block. The width of a line is the attention to an "
            "adjacent region, averaged over heads; the size of the dot is the attention to the region itself. Blue: "
            "the largest region; orange: the one that differs most from its neighbours.",
            superpixel_graph.attention,
        ),
    ),
    networks.DBNRecipe: (
        View("filters", f"Weights of the first machine's first forty hidden units. {SIGNED} {TUNED}", dbn.filters),
        View(
            "chains",
            "Images, their reconstructions by the first machine, and samples of Gibbs chains from them. The model file "
            f"holds no visible biases; they are estimated from the mean image. {TUNED}",
            dbn.chains,
        ),
        View("errors", "Reconstruction error by epoch of pre-training.", dbn.errors),
    ),
}


def draw_views(run: Run, development: Development) -> Iterator[tuple[View, Figure]]:
    """Yield every view of a run's network with its figure; views without data are left out."""
    scene = scene_of(run, development)
    for view in VIEWS.get(type(run.recipe.model), ()):
        figure = view.draw(scene)
        if figure is not None:
            yield view, figure


def scene_of(run: Run, development: Development) -> Scene:
    """Return a run's network and the validation images that selected its weights."""
    model, info = run.load_model()
    standardize, network = model.eval().children()
    known = development.validation, info.task.class_names, tuple(run.pretraining())
    return Scene(standardize, network, *known)  # type: ignore[arg-type]
