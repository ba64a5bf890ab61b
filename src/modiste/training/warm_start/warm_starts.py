"""What happens to a fresh network before the first step."""

from collections.abc import Callable

import torch
from torch import nn

from modiste.data.dataset import Development
from modiste.recipes.recipe import Recipe
from modiste.training.warm_start import contrastive_divergence, simclr, whitening
from modiste.training.warm_start.progress import Progress, linear_head


def nothing(_model: nn.Module, _development: Development, _recipe: Recipe, _progress: Progress) -> None:
    """Leave the network as it was initialised."""


@torch.no_grad()
def class_prior(model: nn.Module, development: Development, _recipe: Recipe, _progress: Progress) -> None:
    """Set the last layer's bias to the logarithm of each class's share, so that training starts at chance for the data.

    Matters where classes are unbalanced (after Lin et al., 2017, section 4.1); a class without images counts as one.
    """
    head = linear_head(model, "class-prior")
    counts = torch.bincount(development.train.labels, minlength=head.out_features).clamp(min=1)
    head.bias.copy_((counts / counts.sum()).log())


def whitened_patches(model: nn.Module, development: Development, _recipe: Recipe, _progress: Progress) -> None:
    """Set the first convolution's filters from patches of the images; only images are handed on."""
    whitening.whiten(model, development.unlabelled)


def unsupervised_stack(model: nn.Module, development: Development, recipe: Recipe, progress: Progress) -> None:
    """Train a deep belief network's stack by contrastive divergence; only images are handed on."""
    contrastive_divergence.pretrain(model, development.unlabelled, recipe, progress)


def self_supervised(model: nn.Module, development: Development, recipe: Recipe, progress: Progress) -> None:
    """Train everything before the last layer by SimCLR; only images are handed on."""
    simclr.pretrain(model, development.unlabelled, recipe, progress)


WARM_STARTS: dict[str, Callable[[nn.Module, Development, Recipe, Progress], None]] = {
    "none": nothing,
    "class-prior": class_prior,
    "whitening": whitened_patches,
    "contrastive-divergence": unsupervised_stack,
    "simclr": self_supervised,
}
