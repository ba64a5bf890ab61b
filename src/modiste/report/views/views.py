"""What a trained network sees: drawings of its inside, made from validation images; a table of them by kind of network.

A view is a function of a Scene; it returns a figure, or None where the run holds nothing to draw.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from modiste.data.dataset import Development
from modiste.recipes.networks import (
    CapsNetRecipe,
    CNNRecipe,
    DBNRecipe,
    DropConnectRecipe,
    FashionNetRecipe,
    InceptionRecipe,
    MLPRecipe,
    ModelRecipe,
    PatchGraphRecipe,
    ResNetRecipe,
    SprintRecipe,
    SuperpixelGraphRecipe,
)
from modiste.report.views import (
    capsnet,
    cnn,
    dbn,
    dropconnect,
    fashionnet,
    inception,
    patch_graph,
    resnet,
    superpixel_graph,
)
from modiste.report.views.scene import Scene
from modiste.runs.run_folder import Run


@dataclass(frozen=True)
class View:
    """One drawing: its name in files and pages, what is written beneath it, and how it is drawn."""

    name: str
    caption: str
    draw: Callable[[Scene], Figure | None]


SIGNED = "Orange is positive, blue negative, white zero; full colour from the strongest hundredth on."
HEAT = "Each map in its own range, dark is most."
TUNED = "Only a frozen stack still has the weights that contrastive divergence left; fine-tuning moves them."
CONVOLUTIONAL = (
    View("filters", f"The kernels of the first convolution. {SIGNED}", cnn.filters),
    View("maps", f"The three most active maps of each convolution, on images of several classes. {HEAT}", cnn.maps),
)
VIEWS: dict[type[ModelRecipe], tuple[View, ...]] = {
    CNNRecipe: CONVOLUTIONAL,
    SprintRecipe: CONVOLUTIONAL,
    MLPRecipe: (
        View(
            "weights",
            f"The weights from the pixels to the classes, or to the first forty hidden units. {SIGNED}",
            cnn.weights,
        ),
    ),
    InceptionRecipe: (
        View(
            "branches", f"Mean activation of the branches of the first and the last module. {HEAT}", inception.branches
        ),
        View(
            "silenced",
            f"Answers that change when one branch is silent. Share of {inception.SAMPLE} validation images.",
            inception.silenced,
        ),
    ),
    ResNetRecipe: (
        View(
            "stages",
            "Mean magnitude after each stage, and what each place adds to the answer's logit beyond the mean class's. "
            f"{HEAT} In the last row orange speaks for the class that is written beneath, blue against it.",
            resnet.stages,
        ),
    ),
    DropConnectRecipe: (
        View(
            "masks",
            f"What moment matching stands for. Probability of the favoured class over {dropconnect.DRAWS:,} masks and "
            f"over as many draws of the Gaussian that replaces them, for the surest and the least sure of "
            f"{dropconnect.SAMPLE:,} validation images.",
            dropconnect.masks,
        ),
    ),
    CapsNetRecipe: (
        View("reconstructions", "Images decoded from the capsule of their class.", capsnet.reconstructions),
        View(
            "dimensions",
            "One capsule of a validation image, decoded while one number at a time is moved. A row for each of "
            "its dimensions.",
            capsnet.dimensions,
        ),
    ),
    FashionNetRecipe: (
        View("keypoints", "Keypoints on images of each class, by index.", fashionnet.keypoints),
        View(
            "clouds",
            f"Keypoints of {fashionnet.MANY} images of each class, on the class's mean image. A keypoint that keeps "
            "its meaning lies in the same part of the garment throughout a class.",
            fashionnet.clouds,
        ),
    ),
    PatchGraphRecipe: (
        View(
            "edges",
            "Edges of two nodes in the first and in the last block. Blue: those of the middle node; orange: those of "
            "one near the corner; shaded: the neighbours found by features.",
            patch_graph.edges,
        ),
    ),
    SuperpixelGraphRecipe: (
        View(
            "regions",
            "Superpixels, and the mean intensity of each. The network gets that mean, where the region lies, how large "
            "it is, and how far its pixels and their intensities spread; of its outline nothing else. A region may be "
            "of several pieces.",
            superpixel_graph.regions,
        ),
        View(
            "attention",
            "Attention of two regions in the first and in the last block. A line is as wide as the attention that the "
            "region gives to one it touches, averaged over heads; its dot grows with what it gives to itself. Blue: "
            "the largest region; orange: the one that differs most from those it touches.",
            superpixel_graph.attention,
        ),
    ),
    DBNRecipe: (
        View("filters", f"Weights of the first machine's first forty hidden units. {SIGNED} {TUNED}", dbn.filters),
        View(
            "chains",
            "Images, their reconstructions by the first machine, and where Gibbs chains from them lead. Visible biases "
            f"are found again from the mean image, as the model file keeps none. {TUNED}",
            dbn.chains,
        ),
        View("errors", "Reconstruction error by epoch of pre-training.", dbn.errors),
    ),
}


def draw_views(run: Run, development: Development) -> Iterator[tuple[View, Figure]]:
    """Draw every view of a run's network that there is something to draw for."""
    scene = scene_of(run, development)
    for view in VIEWS.get(type(run.recipe.model), ()):
        figure = view.draw(scene)
        if figure is not None:
            yield view, figure


def scene_of(run: Run, development: Development) -> Scene:
    """Return a run's network, and the validation images that it was picked by."""
    model, info = run.load_model()
    standardize, network = model.eval().children()
    known = development.validation, info.task.class_names, tuple(run.pretraining())
    return Scene(standardize, network, *known)  # type: ignore[arg-type]
