"""What a view is drawn from: a trained network and validation images."""

from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from modiste.data.batch import as_floats
from modiste.data.dataset import ImageSet
from modiste.data.drawing import drawn
from modiste.models.layers import Standardize
from modiste.report.mistakes import choose_samples
from modiste.report.wording import shorten
from modiste.run_folder import PretrainingRow

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
        return self._floats(drawn(self.validation.labels, count, "view"))

    def names(self, labels: Int64[Tensor, " n"], length: int = 12) -> list[str]:
        """Return the class names of labels, cut to ``length``."""
        return [shorten(self.class_names[label], length) for label in labels.tolist()]

    def _floats(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        part = self.validation[chosen]
        return as_floats(part.images), part.labels
