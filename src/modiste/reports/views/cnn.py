"""What a convolutional or a dense network sees: weights of its first layer, feature maps of its convolutions."""

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn

from modiste.models.cnn import CNN
from modiste.models.layers import ACTIVATIONS
from modiste.models.mlp import MLP
from modiste.models.sprint import SprintNet
from modiste.reports.image_rows import Row, image_rows
from modiste.reports.style import shorten
from modiste.reports.views.scene import MOST, Scene, heat, signed, tile_grid, weight_images

IMAGES, MAPS, FILTERS = 8, 3, 64


def filters(scene: Scene) -> Figure:
    """Return a figure of the first convolution's kernels on one scale, averaged over the image's channels."""
    first = next(layer for layer in convolutions(scene) if isinstance(layer, nn.Conv2d))
    kernels = first.weight.detach()[:FILTERS].mean(1, keepdim=True)
    return tile_grid(signed(kernels), columns=8, scale="signed")


def maps(scene: Scene) -> Figure:
    """Return a figure of images, and below them each convolution's three maps of highest mean activation."""
    images, labels = scene.examples(IMAGES)
    rows = [Row("image", images)]
    for depth, activations in enumerate(stage_maps(scene, images), start=1):
        for index in activations.mean((0, 2, 3)).topk(min(MAPS, activations.shape[1])).indices.tolist():
            rows.append(Row(f"convolution {depth},\nmap {index + 1}", heat(activations[:, index]), scale="heat"))
    return image_rows(rows, heads=scene.names(labels))


def weights(scene: Scene) -> Figure:
    """Return a figure of the first layer's weights: of each class without a hidden layer, else of forty units."""
    network = scene.network_as(MLP)
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Linear))
    _, *shape = scene.validation.images.shape
    pictures = weight_images(first.weight, (shape[0], shape[1], shape[2]))
    if first is not network.head:
        return tile_grid(pictures[:MOST], columns=8, scale="signed")
    names = tuple(shorten(name, 14) for name in scene.class_names)
    return tile_grid(pictures, columns=5, scale="signed", captions=names)


@torch.no_grad()
def stage_maps(scene: Scene, images: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n d i j"]]:
    """Return the feature maps after each activation."""
    x, found = scene.standardize(images), []
    for layer in convolutions(scene):
        x = layer(x)
        if isinstance(layer, tuple(ACTIVATIONS.values())):
            found.append(x)
    return found


def convolutions(scene: Scene) -> nn.Sequential:
    """Return the network's convolutions with the layers between them."""
    assert isinstance(scene.network, CNN | SprintNet)
    return scene.network.convolutions
