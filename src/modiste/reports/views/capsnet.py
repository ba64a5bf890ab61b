"""What class capsules represent: images decoded from them, and the effect of each of their dimensions."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from matplotlib.figure import Figure
from torch import Tensor

from modiste.models.capsnet import CapsNet
from modiste.reports.image_rows import Row, image_rows
from modiste.reports.style import WIDTH
from modiste.reports.views.scene import Scene

IMAGES = 10
STEPS = torch.arange(-5, 6) * 0.05
"""Added to a dimension, as in Sabour, Frosst and Hinton, "Dynamic Routing Between Capsules", 2017."""


@torch.no_grad()
def reconstructions(scene: Scene) -> Figure:
    """Return a figure of images, and below each the image decoded from the capsule of its class."""
    images, labels = scene.examples(IMAGES)
    network = scene.network_as(CapsNet)
    decoded = decode(network, network.encode(scene.standardize(images)), labels, images.shape)
    rows = [Row("image", images), Row("decoded", decoded)]
    return image_rows(rows, heads=scene.names(labels, 10), width=1.2 * WIDTH, label_width=0.7)


@torch.no_grad()
def dimensions(scene: Scene) -> Figure:
    """Return a figure with a row for each dimension of one class capsule, shifted by -0.25 to 0.25 and decoded."""
    images, labels = scene.sample(1)
    network = scene.network_as(CapsNet)
    capsules = network.encode(scene.standardize(images))
    rows = []
    for dimension in range(capsules.shape[2]):
        moved = capsules.repeat(len(STEPS), 1, 1)
        moved[:, labels[0], dimension] += STEPS
        decoded = decode(network, moved, labels.expand(len(STEPS)), (len(STEPS), *images.shape[1:]))
        rows.append(Row(f"{dimension + 1}", decoded))
    return image_rows(rows, heads=[f"{step:+.2f}" if step else "0" for step in STEPS.tolist()], label_width=0.3)


def decode(
    network: CapsNet, capsules: Float[Tensor, "n classes d"], labels: Int64[Tensor, " n"], shape: tuple[int, ...]
) -> Float[Tensor, "n c h w"]:
    """Return the images decoded from the capsules of ``labels``."""
    targets = F.one_hot(labels, capsules.shape[1]).to(capsules.dtype)
    return network.reconstruct(capsules, targets).view(shape)
