"""What a perceptron has learnt: the weights of its first layer as pictures."""

from matplotlib.figure import Figure
from torch import nn

from modiste.models.mlp import MLP
from modiste.report.views.scene import Scene
from modiste.report.views.tiles import MOST, tile_grid, weight_images
from modiste.report.wording import shorten


def weights(scene: Scene) -> Figure:
    """Draw the first layer's units: one per class and named where there is no hidden layer, else the first forty."""
    network = scene.network_as(MLP)
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Linear))
    _, *shape = scene.validation.images.shape
    pictures = weight_images(first.weight, (shape[0], shape[1], shape[2]))
    if first is not network.head:
        return tile_grid(pictures[:MOST], columns=8, scale="signed")
    names = tuple(shorten(name, 14) for name in scene.class_names)
    return tile_grid(pictures, columns=5, scale="signed", captions=names)
