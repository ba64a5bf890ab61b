"""Faster inference on a CPU: normalisation folded into the layer before it, and maps kept in oneDNN's own layout.

With a fixed mean and deviation, normalisation multiplies and adds, which a convolution or a dense layer can do itself
(Jacob et al., 2018). torch uses oneDNN for convolutions but pools by itself, which is slow unless the maps are in
oneDNN's layout.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from modiste.models.cnn import CNN
from modiste.models.dropconnect import DropConnectNet
from modiste.models.layers import MaxPool
from modiste.models.sprint import ResidualBlock, SprintNet


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


FEW_IMAGES = 16
"""Below this many, oneDNN's layout costs more than it saves."""

NETWORKS = (CNN, SprintNet, DropConnectNet)
"""Their rows of layers follow one another, and ``in_a_row`` follows the last."""
KNOWN = (nn.Sequential, nn.Conv2d, MaxPool, nn.ReLU, nn.Identity, ResidualBlock)


class OneDNNConvolution(nn.Module):
    """A convolution with its weights in oneDNN's layout, for maps in that layout."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.weight = layer.weight.detach().to_mkldnn()
        self.bias = None if layer.bias is None else layer.bias.detach().to_mkldnn()
        self.options = layer.stride, layer.padding, layer.dilation, layer.groups

    def forward(self, maps: Tensor) -> Tensor:
        return torch.conv2d(maps, self.weight, self.bias, *self.options)  # type: ignore[arg-type]


class InOneDNN(nn.Module):
    """A row of layers twice: for many images in oneDNN's layout, in which their maps are left, for a few as it was.

    Args:
        row: of layers that oneDNN knows, with weights all float32 or all bfloat16.
    """

    def __init__(self, row: nn.Sequential) -> None:
        super().__init__()
        self.row, self.packed = row, copy.deepcopy(row)
        self.precision = next(row.parameters()).dtype
        pack(self.packed)

    def __reduce__(self) -> tuple[type["InOneDNN"], tuple[nn.Sequential]]:
        return InOneDNN, (self.row,)  # what lies in oneDNN's layout can be neither copied nor pickled

    def forward(self, maps: Tensor) -> Tensor:
        row = self.packed
        if not maps.is_mkldnn and len(maps) < FEW_IMAGES:
            row = self.row
        elif not maps.is_mkldnn:
            maps = maps.to(self.precision).to_mkldnn()
        left: Tensor = row(maps)
        return left


def hand_over(model: nn.Module) -> None:
    """Let each row of layers that oneDNN knows keep its maps there, in place; nothing, where torch has no oneDNN.

    Args:
        model: on the processor, never to be trained again.
    """
    for network in [layer for layer in model.modules() if isinstance(layer, NETWORKS)]:
        for name, row in list(network.named_children()):
            if isinstance(row, nn.Sequential) and is_known(row):
                setattr(network, name, InOneDNN(row))


def is_known(row: nn.Sequential) -> bool:
    """Tell whether oneDNN knows every layer of the row, and computes in the precision of its weights here."""
    kinds = {weight.dtype for weight in row.parameters()}
    if not torch.backends.mkldnn.is_available() or len(kinds) != 1:  # type: ignore[no-untyped-call]
        return False
    if kinds == {torch.bfloat16}:
        from modiste.compat import has_onednn_bfloat16  # a torch without oneDNN lacks it

        if not has_onednn_bfloat16():
            return False
    return all(isinstance(layer, KNOWN) for layer in row.modules())


def pack(model: nn.Module) -> None:
    """Put the weights of each convolution in oneDNN's layout, and let ReLU overwrite what it is given, in place."""
    for name, layer in list(model.named_children()):
        if isinstance(layer, nn.Conv2d):
            setattr(model, name, OneDNNConvolution(layer))
        elif isinstance(layer, nn.ReLU):
            layer.inplace = True
        else:
            pack(layer)
