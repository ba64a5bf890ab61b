"""What happens to a fresh network before the first step."""

from collections.abc import Callable

import torch
from torch import nn

from modiste.data.dataset import ImageSet


def none(_model: nn.Module, _train: ImageSet) -> None:
    """Leave the network as it was initialised."""


@torch.no_grad()
def class_prior(model: nn.Module, train: ImageSet) -> None:
    """Set the last layer's bias to the logarithm of each class's share, so that training starts at chance for the data.

    Matters where classes are unbalanced (after Lin et al., 2017, section 4.1); a class without images counts as one.
    """
    head = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    counts = torch.bincount(train.labels, minlength=head.out_features).clamp(min=1)
    head.bias.copy_((counts / counts.sum()).log())


WARM_STARTS: dict[str, Callable[[nn.Module, ImageSet], None]] = {
    "none": none,
    "class-prior": class_prior,
}
