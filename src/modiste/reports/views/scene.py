"""What views share: the network and images that they are drawn from, colour scales, tiles, and evidence maps."""

from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, Int64
from matplotlib.figure import Figure
from torch import Tensor, nn

from modiste.data.batch import as_floats
from modiste.data.dataset import ImageSet, balanced_sample
from modiste.models.layers import Standardize
from modiste.reports.image_rows import Row, Scale, image_rows
from modiste.reports.images import choose_samples
from modiste.reports.style import WIDTH, shorten
from modiste.runs.run_folder import PretrainingRow

Network = TypeVar("Network", bound=nn.Module)

MOST = 40
"""Most units whose weights are shown."""
MOST_MAGNITUDES = 2**24
"""torch finds no percentile of more numbers."""


@dataclass(frozen=True)
class Scene:
    """A network on the CPU, and validation images.

    Attributes:
        standardize: The model's first layer.
        network: The other layers, in evaluation mode.
        validation: Images with labels.
        class_names: One name per label.
        pretraining: Log of the run's warm start, a row per epoch.
    """

    standardize: Standardize
    network: nn.Module
    validation: ImageSet
    class_names: tuple[str, ...]
    pretraining: tuple[PretrainingRow, ...] = ()

    def network_as(self, kind: type[Network]) -> Network:
        """Return the network as an instance of ``kind``, which the table of views guarantees."""
        assert isinstance(self.network, kind)
        return self.network

    def examples(self, count: int) -> tuple[Float[Tensor, "n c h w"], Int64[Tensor, " n"]]:
        """Return ``count`` images in [0, 1] with labels: the first of every class in turn, the same on every call."""
        return self._floats(torch.tensor(choose_samples(self.validation.labels, count)))

    def sample(self, count: int) -> tuple[Float[Tensor, "n c h w"], Int64[Tensor, " n"]]:
        """Return ``count`` random images in [0, 1] with labels, balanced over classes; all if there are fewer."""
        return self._floats(balanced_sample(self.validation.labels, count, "view"))

    def names(self, labels: Int64[Tensor, " n"], length: int = 12) -> list[str]:
        """Return the class names of labels, cut to ``length`` characters."""
        return [shorten(self.class_names[label], length) for label in labels.tolist()]

    def evidence_row(self, maps: Float[Tensor, "n d h w"], head: nn.Linear) -> Row:
        """Return a row of the evidence for each image's predicted class, which stands beneath; see ``evidence``."""
        predicted = head(maps.mean((2, 3))).argmax(1)
        pictures = each_signed(evidence(maps, head, predicted))
        return Row("evidence for\nprediction", pictures, tuple(self.names(predicted)), "signed")

    def _floats(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        part = self.validation[chosen]
        return as_floats(part.images), part.labels


def signed(weights: Float[Tensor, "n *rest"]) -> Float[Tensor, "n *rest"]:
    """Scale all weights by the 99th percentile of their magnitudes, of very many a part, and clip them to [-1, 1]."""
    magnitudes = weights.abs().flatten()
    some = magnitudes[:: -(-len(magnitudes) // MOST_MAGNITUDES)]
    largest = some.quantile(0.99)
    return (weights / largest.clamp(min=1e-12)).clamp(-1, 1)


def each_signed(maps: Float[Tensor, "n *rest"]) -> Float[Tensor, "n *rest"]:
    """Scale each picture on its own so that its largest magnitude is 1."""
    return maps / maps.abs().flatten(1).amax(1).clamp(min=1e-12).view(-1, *[1] * (maps.ndim - 1))


def heat(maps: Float[Tensor, "n h w"]) -> Float[Tensor, "n 1 h w"]:
    """Scale each map on its own so that its values span [0, 1]."""
    low, high = maps.flatten(1).aminmax(dim=1)
    scaled = (maps - low[:, None, None]) / (high - low).clamp(min=1e-12)[:, None, None]
    return scaled.unsqueeze(1)


def tile_grid(
    pictures: Float[Tensor, "n c h w"], *, columns: int, scale: Scale, captions: tuple[str, ...] = ()
) -> Figure:
    """Return a figure of pictures in rows, with captions beneath them."""
    starts = range(0, len(pictures), columns)
    rows = [Row("", pictures[i : i + columns], captions[i : i + columns], scale) for i in starts]
    return image_rows(rows, width=WIDTH, label_width=0.0)


def weight_images(
    weights: Float[Tensor, "units pixels"], image_shape: tuple[int, int, int]
) -> Float[Tensor, "units 1 h w"]:
    """Return the weights of dense units as pictures on one scale, averaged over channels."""
    return signed(weights.detach().view(-1, *image_shape).mean(1, keepdim=True))


def evidence(maps: Float[Tensor, "n d h w"], head: nn.Linear, classes: Int64[Tensor, " n"]) -> Float[Tensor, "n 1 h w"]:
    """Return what each position adds to the logit of a class, minus what it adds to the mean logit.

    This is exact where one linear layer follows a mean over positions: the mean of the evidence is then the difference
    of the two logits, apart from their biases. Class activation maps: Zhou, Khosla, Lapedriza, Oliva and Torralba,
    "Learning Deep Features for Discriminative Localization", 2016.

    Args:
        maps: Feature maps before the mean over positions.
        head: The linear layer.
        classes: One class for each image.
    """
    weights = head.weight - head.weight.mean(0)
    return torch.einsum("ndhw,nd->nhw", maps, weights[classes]).unsqueeze(1)
