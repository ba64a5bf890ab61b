"""What an EfficientNet-Lite sees: activation at each size of its maps, and the evidence for its prediction."""

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from modiste.models.efficientnet_lite import EfficientNetLite
from modiste.reports.image_rows import Row, image_rows
from modiste.reports.views.scene import Scene, heat

IMAGES = 8


@torch.no_grad()
def sizes(scene: Scene) -> Figure:
    """Return a figure of images, the mean magnitude of the last maps of each size, and the evidence by position."""
    network = scene.network_as(EfficientNetLite)
    images, labels = scene.examples(IMAGES)
    found = maps_by_size(network, scene.standardize(images))
    rows = [Row("image", images)]
    rows += [Row(f"{maps.shape[2]} × {maps.shape[3]}", heat(maps.abs().mean(1)), scale="heat") for maps in found]
    rows.append(scene.evidence_row(network.features(found[-1]), network.head))
    return image_rows(rows, heads=scene.names(labels))


def maps_by_size(network: EfficientNetLite, images: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n d i j"]]:
    """Return the last maps of each size, from the stem to the last block."""
    found = [network.stem(images)]
    for block in network.blocks:
        maps = block(found[-1])
        if maps.shape[2:] == found[-1].shape[2:]:
            found[-1] = maps
        else:
            found.append(maps)
    return found
