"""What networks of stages see (ResNet, EfficientNet-Lite): activation after each stage, and the evidence."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from modiste.models.efficientnet_lite import EfficientNetLite
from modiste.models.resnet import STAGES, ResNet
from modiste.reports.image_rows import Row, image_rows
from modiste.reports.views.scene import Scene, heat

IMAGES = 8
Maps = Float[Tensor, "n d i j"]


@torch.no_grad()
def stages(scene: Scene) -> Figure:
    """Return a figure of images, the mean magnitude over channels after each stage, and the evidence by position."""
    network = scene.network_as(ResNet)
    images, labels = scene.examples(IMAGES)
    found = stage_outputs(network, scene.standardize(images))
    rows = [Row("image", images)]
    rows += [_magnitude(maps, f"stage {number},\n") for number, maps in enumerate(found, start=1)]
    rows.append(scene.evidence_row(F.relu(network.norm(found[-1])), network.head))
    return image_rows(rows, heads=scene.names(labels))


@torch.no_grad()
def sizes(scene: Scene) -> Figure:
    """Return a figure of images, the mean magnitude of the last maps of each size, and the evidence by position."""
    network = scene.network_as(EfficientNetLite)
    images, labels = scene.examples(IMAGES)
    found = maps_by_size(network, scene.standardize(images))
    rows = [Row("image", images)]
    rows += [_magnitude(maps) for maps in found]
    rows.append(scene.evidence_row(network.features(found[-1]), network.head))
    return image_rows(rows, heads=scene.names(labels))


def stage_outputs(network: ResNet, images: Float[Tensor, "n c h w"]) -> list[Maps]:
    """Return the residual stream after the last block of each stage."""
    x, found = network.stem(images), []
    blocks = len(network.stages) // len(STAGES)
    for number, block in enumerate(network.stages, start=1):
        x = block(x)
        if number % blocks == 0:
            found.append(x)
    return found


def maps_by_size(network: EfficientNetLite, images: Float[Tensor, "n c h w"]) -> list[Maps]:
    """Return the last maps of each size, from the stem to the last block."""
    found = [network.stem(images)]
    for block in network.blocks:
        maps = block(found[-1])
        if maps.shape[2:] == found[-1].shape[2:]:
            found[-1] = maps
        else:
            found.append(maps)
    return found


def _magnitude(maps: Maps, before: str = "") -> Row:
    """Return a row of the mean magnitude over channels; its name ends with the size of the maps."""
    return Row(f"{before}{maps.shape[2]} × {maps.shape[3]}", heat(maps.abs().mean(1)), scale="heat")
