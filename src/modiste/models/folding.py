"""Normalisation folded into the layer before it, for a network that only answers (Jacob et al., 2018).

With fixed means and deviations it multiplies and adds, which a convolution or a dense layer can do by itself.
"""

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from modiste.models.layers import MaxPool


def fold(model: nn.Module) -> None:
    """Fold each batch normalisation that follows a convolution or a dense layer in a row of layers, in place.

    A maximum may lie between them where no scale is negative: there the larger value stays the larger.

    Args:
        model: in evaluation mode.
    """
    for row in [layer for layer in model.modules() if isinstance(layer, nn.Sequential)]:
        for index in range(1, len(row)):
            norm = row[index]
            if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                continue
            pooled = index > 1 and isinstance(row[index - 1], MaxPool) and bool((norm.weight >= 0).all())
            before = index - 1 - pooled
            layer = row[before]
            if isinstance(layer, nn.Conv2d):
                row[before], row[index] = fuse_conv_bn_eval(layer, norm), nn.Identity()
            elif isinstance(layer, nn.Linear):
                row[before], row[index] = fuse_linear_bn_eval(layer, norm), nn.Identity()
