"""What a view is drawn from: a trained network and validation images; weights as tiles, and evidence maps.

The evidence for a class at each place is exact where a mean over the image is followed by one linear layer. Class
activation maps: Zhou, Khosla, Lapedriza, Oliva and Torralba, "Learning Deep Features for Discriminative Localization",
2016.
"""

from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, Int64
from matplotlib.figure import Figure
from torch import Tensor, nn

from modiste.data.batch import as_floats
from modiste.data.dataset import ImageSet
from modiste.data.sampling import balanced_sample
from modiste.models.layers import Standardize
from modiste.report.image_rows import Row, Scale, image_rows
from modiste.report.images import choose_samples
from modiste.report.style import WIDTH, shorten
from modiste.runs.run_folder import PretrainingRow

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Scene:
    """A network on the processor, and images that it did not learn from.

    Attributes:
        standardize: the model's first layer.
        network: what follows it, in evaluation mode.
        validation: images with labels.
        class_names: one per label.
        pretraining: what the run's warm start noted, a row per epoch.
    """

    standardize: Standardize
    network: nn.Module
    validation: ImageSet
    class_names: tuple[str, ...]
    pretraining: tuple[PretrainingRow, ...] = ()

    def network_as(self, kind: type[Network]) -> Network:
        """Return the network, which the table of views promises to be of this kind."""
        assert isinstance(self.network, kind)
        return self.network

    def examples(self, count: int) -> tuple[Float[Tensor, "n c h w"], Int64[Tensor, " n"]]:
        """Return images in [0, 1] with labels: the first of every class in turn, always the same."""
        return self._floats(torch.tensor(choose_samples(self.validation.labels, count)))

    def sample(self, count: int) -> tuple[Float[Tensor, "n c h w"], Int64[Tensor, " n"]]:
        """Return validation images in [0, 1] with labels, drawn of every class alike; all when there are no more."""
        return self._floats(balanced_sample(self.validation.labels, count, "view"))

    def names(self, labels: Int64[Tensor, " n"], length: int = 12) -> list[str]:
        """Return the class names of labels, cut to ``length``."""
        return [shorten(self.class_names[label], length) for label in labels.tolist()]

    def _floats(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        part = self.validation[chosen]
        return as_floats(part.images), part.labels


MOST = 40


def signed(weights: Float[Tensor, "n *rest"]) -> Float[Tensor, "n *rest"]:
    """Scale all alike; the hundredth part of largest magnitude is cut to 1, so that a few do not make the rest pale."""
    largest = weights.abs().flatten().quantile(0.99)
    return (weights / largest.clamp(min=1e-12)).clamp(-1, 1)


def each_signed(maps: Float[Tensor, "n *rest"]) -> Float[Tensor, "n *rest"]:
    """Scale each picture by itself so that its largest magnitude is 1."""
    return maps / maps.abs().flatten(1).amax(1).clamp(min=1e-12).view(-1, *[1] * (maps.ndim - 1))


def heat(maps: Float[Tensor, "n h w"]) -> Float[Tensor, "n 1 h w"]:
    """Scale each map by itself from its least value, 0, to its largest, 1."""
    low, high = maps.flatten(1).aminmax(dim=1)
    scaled = (maps - low[:, None, None]) / (high - low).clamp(min=1e-12)[:, None, None]
    return scaled.unsqueeze(1)


def tile_grid(
    pictures: Float[Tensor, "n c h w"], *, columns: int, scale: Scale, captions: tuple[str, ...] = ()
) -> Figure:
    """Draw pictures side by side in rows, captions beneath them."""
    starts = range(0, len(pictures), columns)
    rows = [Row("", pictures[i : i + columns], captions[i : i + columns], scale) for i in starts]
    return image_rows(rows, width=WIDTH, label_width=0.0)


def weight_images(
    weights: Float[Tensor, "units pixels"], image_shape: tuple[int, int, int]
) -> Float[Tensor, "units 1 h w"]:
    """Return the weights of dense units as pictures, in proportion to one another; channels are averaged."""
    return signed(weights.detach().view(-1, *image_shape).mean(1, keepdim=True))


def evidence(maps: Float[Tensor, "n d h w"], head: nn.Linear, classes: Int64[Tensor, " n"]) -> Float[Tensor, "n 1 h w"]:
    """Return what each place adds to the logit of a class beyond what it adds to the mean logit.

    The mean over the places is that difference of the logits, but for the biases.
    """
    weights = head.weight - head.weight.mean(0)
    return torch.einsum("ndhw,nd->nhw", maps, weights[classes]).unsqueeze(1)
