"""Faster inference on a CPU: batch normalisation folded into the layer before it, and maps in oneDNN's memory layout.

With fixed statistics, batch normalisation multiplies and adds. A convolution or a dense layer can do both itself
(Jacob et al., 2018). torch computes convolutions with oneDNN but pools by itself. That is slow unless the maps are in
oneDNN's layout.
"""

import copy
from collections.abc import Mapping
from functools import partial
from itertools import takewhile
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from modiste.models.cnn import CNN
from modiste.models.dropconnect import DropConnectNet
from modiste.models.efficientnet_lite import Convolution, SamePadding
from modiste.models.layers import MaxPool
from modiste.models.own_network import is_own
from modiste.models.sprint import ResidualBlock, SprintNet

MOST_LAYOUTS = 6
"""Layouts of a convolution's weights that are kept, for batches of different sizes."""
FEW_IMAGES = 16
"""Below this many images, oneDNN's layout costs more than it saves."""
NETWORKS = (CNN, SprintNet, DropConnectNet)
"""Networks whose sequences of layers follow one another, with ``flatten_maps`` after the last."""
KNOWN = (nn.Sequential, nn.Conv2d, MaxPool, nn.ReLU, nn.Identity, ResidualBlock)
"""Layers that work on maps in oneDNN's layout."""


def fold(model: nn.Module) -> None:
    """Fold each batch normalisation into the convolution or dense layer before it, in place.

    Both must be in the same ``nn.Sequential``. Max-pooling may lie between them if no scale is negative, because the
    largest value then stays the largest. A normalisation without running statistics, or without scales, is kept. So is
    every one of a network that is not Modiste's: it may use its layers in another order.

    Args:
        model: In evaluation mode.
    """
    if is_own(model):
        return
    for layers in [layer for layer in model.modules() if isinstance(layer, nn.Sequential)]:
        for index in range(1, len(layers)):
            norm = layers[index]
            if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) or norm.running_mean is None or not norm.affine:
                continue
            pooled = index > 1 and isinstance(layers[index - 1], MaxPool) and bool((norm.weight >= 0).all())
            before = index - 1 - pooled
            layer = layers[before]
            if isinstance(layer, nn.Conv2d):
                layers[before], layers[index] = fuse_conv_bn_eval(layer, norm), nn.Identity()
            elif isinstance(layer, nn.Linear):
                layers[before], layers[index] = fuse_linear_bn_eval(layer, norm), nn.Identity()


def use_onednn_layout(model: nn.Module) -> None:
    """Keep maps in oneDNN's layout throughout each sequence of layers that oneDNN supports, in place.

    The convolutions of EfficientNet-Lite take their padding and their activation into the same pass. Other networks
    outside ``NETWORKS`` stay as they are, as does every network where torch has no oneDNN.

    Args:
        model: On the processor. It can no longer be trained afterwards.
    """
    for row in [layer for layer in model.modules() if isinstance(layer, Convolution) and computes_in(layer)]:
        padding = getattr(row, "padding", None)
        row.add_module(
            "convolution", FusedConvolution(row.convolution, padding, has_activation=hasattr(row, "activation"))
        )
        row.add_module("padding", nn.Identity())
        row.add_module("activation", nn.Identity())
    for network in [layer for layer in model.modules() if isinstance(layer, NETWORKS)]:
        for name, layers in list(network.named_children()):
            if isinstance(layers, nn.Sequential) and is_supported(layers):
                setattr(network, name, OneDNNSequential(layers))


def fuse_beginning(model: nn.Module, precision: torch.dtype) -> nn.Module:
    """Return a view of a model for training that computes its frozen beginning as inference does, without gradients.

    The convolutions of EfficientNet-Lite that come before every trained one are replaced by copies with batch
    normalisation and activation in the same pass. All other layers are those of the model. A model without such a
    beginning is returned itself.

    Args:
        model: On the processor, with its frozen weights in place. They may not change while the view is in use.
        precision: Precision of the frozen convolutions.
    """
    rows = [layer for layer in model.modules() if isinstance(layer, Convolution)]
    frozen = takewhile(lambda row: not any(weight.requires_grad for weight in row.parameters()), rows)
    return _with_others(model, {row: _fused(row, precision) for row in frozen})


def _fused(row: Convolution, precision: torch.dtype) -> nn.Module:
    copied = copy.deepcopy(row).eval()
    fold(copied)
    copied.to(precision)
    use_onednn_layout(copied)
    return copied


def _with_others(model: nn.Module, others: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """Return a module with descendants replaced by ``others``; it shares everything else with ``model``."""
    if model in others:
        return others[model]
    children = {name: _with_others(child, others) for name, child in model.named_children()}
    if all(child is model.get_submodule(name) for name, child in children.items()):
        return model
    view = copy.copy(model)
    view.__dict__["_modules"] = dict(model.named_children()) | children
    return view


def is_supported(layers: nn.Sequential) -> bool:
    """Return whether oneDNN supports every layer, and computes in the precision of their weights on this machine."""
    return computes_in(layers) and all(isinstance(layer, KNOWN) for layer in layers.modules())


def computes_in(layers: nn.Module) -> bool:
    """Return whether oneDNN computes in the precision of the layers' weights on this machine."""
    kinds = {weight.dtype for weight in layers.parameters()}
    if not torch.backends.mkldnn.is_available() or len(kinds) != 1:  # type: ignore[no-untyped-call]
        return False
    if kinds == {torch.bfloat16}:
        from modiste.compat import has_onednn_bfloat16  # a torch without oneDNN lacks it

        return bool(has_onednn_bfloat16())
    return True


class OneDNNSequential(nn.Module):
    """A sequence of layers in two forms: in oneDNN's layout for many images, unchanged for a few.

    Maps in oneDNN's layout are returned in that layout.

    Args:
        row: Layers that oneDNN supports, with weights all float32 or all bfloat16.
    """

    def __init__(self, row: nn.Sequential) -> None:
        super().__init__()
        self.row, self.packed = row, copy.deepcopy(row)
        self.precision = next(row.parameters()).dtype
        pack(self.packed)

    def __reduce__(self) -> tuple[type["OneDNNSequential"], tuple[nn.Sequential]]:
        return OneDNNSequential, (self.row,)  # tensors in oneDNN's layout can be neither copied nor pickled

    def forward(self, maps: Tensor) -> Tensor:
        row = self.packed
        if not maps.is_mkldnn and len(maps) < FEW_IMAGES:
            row = self.row
        elif not maps.is_mkldnn:
            maps = maps.to(self.precision).to_mkldnn()
        output: Tensor = row(maps)
        return output


class FusedConvolution(nn.Module):
    """A convolution, the padding before it and the ReLU6 after it in one pass; torch would write the maps each time.

    Args:
        layer: Layer of one precision, with a bias.
        padding: What pads the maps in place of the layer's own padding, if anything does.
        has_activation: Whether a ReLU6 follows.
    """

    def __init__(self, layer: nn.Conv2d, padding: SamePadding | None = None, *, has_activation: bool) -> None:
        super().__init__()
        self.layer, self.padding, self.has_activation = layer, padding, has_activation
        self.packed: dict[tuple[tuple[int, ...], int], tuple[Tensor, list[Any]]] = {}
        self.activation = ("hardtanh", [0.0, 6.0]) if has_activation else ("none", [])

    def __reduce__(self) -> tuple[Any, tuple[nn.Conv2d, SamePadding | None]]:
        made = partial(FusedConvolution, has_activation=self.has_activation)
        return made, (self.layer, self.padding)  # as OneDNNSequential

    def forward(self, maps: Tensor) -> Tensor:
        from modiste.compat import fused_convolution

        maps = maps.to(self.layer.weight.dtype, memory_format=torch.channels_last)
        weight, options = self._packed_for(maps)
        output: Tensor = fused_convolution(maps, weight, self.layer.bias, *options, *self.activation, "")
        return output

    def _weight_and_options(self, height: int, width: int) -> tuple[Tensor, list[Any]]:
        """Return weights and options of a convolution that pads maps of this size by itself.

        A convolution pads both sides alike. Where one more row or column of zeros follows the maps than comes before
        them, the kernel gets a first row or column of zeros, which lies over the additional padding.
        """
        layer, weight, padding = self.layer, self.layer.weight.detach(), list(self.layer.padding)
        if self.padding is not None:
            (above, below), (left, right) = self.padding.rows(height), self.padding.rows(width)
            weight, padding = F.pad(weight, (right - left, 0, below - above, 0)), [below, right]
        return weight, [padding, list(layer.stride), list(layer.dilation), layer.groups]

    def _packed_for(self, maps: Tensor) -> tuple[Tensor, list[Any]]:
        """Return weights in the layout that oneDNN chooses for such maps and this number of threads, then the options.

        In any other layout oneDNN would convert the weights in each call, which can take longer than the convolution.
        Numbers of images up to the same power of two share a layout.
        """
        from modiste.compat import pack_convolution

        images, *shape = maps.shape
        key = (1 << (images - 1).bit_length(), *shape), torch.get_num_threads()
        packed = self.packed.get(key)
        if packed is None:
            if len(self.packed) >= MOST_LAYOUTS:
                self.packed.clear()
            weight, options = self._weight_and_options(*shape[1:])
            self.packed[key] = packed = pack_convolution(weight, *options, key[0]), options
        return packed


class OneDNNConvolution(nn.Module):
    """A convolution with its weights in oneDNN's layout, for maps in that layout."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.weight = layer.weight.detach().to_mkldnn()
        self.bias = None if layer.bias is None else layer.bias.detach().to_mkldnn()
        self.options = layer.stride, layer.padding, layer.dilation, layer.groups

    def forward(self, maps: Tensor) -> Tensor:
        return torch.conv2d(maps, self.weight, self.bias, *self.options)  # type: ignore[arg-type]


def pack(model: nn.Module) -> None:
    """Replace each convolution by one in oneDNN's layout and let each ReLU overwrite its input, in place."""
    for name, layer in list(model.named_children()):
        if isinstance(layer, nn.Conv2d):
            setattr(model, name, OneDNNConvolution(layer))
        elif isinstance(layer, nn.ReLU):
            layer.inplace = True
        else:
            pack(layer)
