"""The table of warm starts, each of which changes a new network before the first training step."""

from collections.abc import Callable

import torch
from torch import nn

from modiste.data.dataset import Development, require_in_memory
from modiste.recipes.recipe import Recipe
from modiste.training.warm_start import contrastive_divergence, simclr, whitening
from modiste.training.warm_start.progress import Progress, linear_head


def nothing(_model: nn.Module, _development: Development, _recipe: Recipe, _progress: Progress) -> None:
    """Leave the network as initialised."""


@torch.no_grad()
def class_prior(model: nn.Module, development: Development, _recipe: Recipe, _progress: Progress) -> None:
    """Set the last layer's bias to the logarithm of each class's share of the images.

    Training then starts from the frequencies of the classes (after Lin et al., 2017, section 4.1). That matters if the
    classes are unbalanced. A class without images counts as if it had one.
    """
    head = linear_head(model, "class-prior")
    counts = torch.bincount(development.train.labels, minlength=head.out_features).clamp(min=1)
    head.bias.copy_((counts / counts.sum()).log())


def whitened_patches(model: nn.Module, development: Development, _recipe: Recipe, _progress: Progress) -> None:
    """Set the first convolution's filters from patches of the images; labels are not used."""
    whitening.whiten(model, development.unlabelled)


def unsupervised_stack(model: nn.Module, development: Development, recipe: Recipe, progress: Progress) -> None:
    """Train a deep belief network's stack by contrastive divergence; labels are not used."""
    require_in_memory(development.unlabelled, "warm_start contrastive-divergence")
    contrastive_divergence.pretrain(model, development.unlabelled, recipe, progress)


def self_supervised(model: nn.Module, development: Development, recipe: Recipe, progress: Progress) -> None:
    """Train everything before the last layer by SimCLR; labels are not used."""
    simclr.pretrain(model, development.unlabelled, recipe, progress)


WARM_STARTS: dict[str, Callable[[nn.Module, Development, Recipe, Progress], None]] = {
    "none": nothing,
    "class-prior": class_prior,
    "whitening": whitened_patches,
    "contrastive-divergence": unsupervised_stack,
    "simclr": self_supervised,
}
