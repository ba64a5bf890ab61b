"""Which places speak for a class, exact where a mean over the image goes straight into a linear layer.

Class activation maps: Zhou, Khosla, Lapedriza, Oliva and Torralba, "Learning Deep Features for Discriminative
Localization", 2016.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn


def evidence(maps: Float[Tensor, "n d h w"], head: nn.Linear, classes: Int64[Tensor, " n"]) -> Float[Tensor, "n 1 h w"]:
    """Return what each place adds to the logit of a class beyond what it adds to the mean logit.

    The mean over the places is that difference of the logits, but for the biases.
    """
    weights = head.weight - head.weight.mean(0)
    return torch.einsum("ndhw,nd->nhw", maps, weights[classes]).unsqueeze(1)
