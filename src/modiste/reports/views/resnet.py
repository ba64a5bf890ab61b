"""What a residual network sees: activation after each stage, and the evidence for its prediction."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from modiste.models.resnet import STAGES, ResNet
from modiste.reports.image_rows import Row, image_rows
from modiste.reports.views.scene import Scene, heat

IMAGES = 8


@torch.no_grad()
def stages(scene: Scene) -> Figure:
    """Return a figure of images, the mean magnitude over channels after each stage, and the evidence by position."""
    network = scene.network_as(ResNet)
    images, labels = scene.examples(IMAGES)
    found = stage_outputs(network, scene.standardize(images))
    rows = [Row("image", images)]
    for number, maps in enumerate(found, start=1):
        size = f"{maps.shape[2]} × {maps.shape[3]}"
        rows.append(Row(f"stage {number},\n{size}", heat(maps.abs().mean(1)), scale="heat"))
    rows.append(scene.evidence_row(F.relu(network.norm(found[-1])), network.head))
    return image_rows(rows, heads=scene.names(labels))


def stage_outputs(network: ResNet, images: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n d i j"]]:
    """Return the residual stream after the last block of each stage."""
    x, found = network.stem(images), []
    blocks = len(network.stages) // len(STAGES)
    for number, block in enumerate(network.stages, start=1):
        x = block(x)
        if number % blocks == 0:
            found.append(x)
    return found
