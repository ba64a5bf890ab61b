"""Inference: the one place outside training that turns images into logits. Exported files hold the same computation."""

import copy
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from modiste import machine
from modiste.data.batch import as_floats, read_floats
from modiste.models.hooks import captured
from modiste.models.onednn import fold, use_onednn_layout
from modiste.models.own_network import is_own
from modiste.recipes.recipe import Precision, Recipe, Views

# The batch size is fixed: it can change the last bit of a sum, and stored logits should not depend on the caller. It is
# small enough for a layer's feature maps to stay in a processor's cache; with 1,000 images prediction was two to three
# times slower. In bfloat16 the maps take half the bytes, so a batch holds twice as many images. A GPU needs larger
# batches, because the time to launch a layer does not depend on the number of images.
BATCH_IMAGES = 250
GPU_BATCH_IMAGES = 1000
BATCH_PIXELS = 8 * 224 * 224
"""Most pixels of a batch on a CPU. With fewer than eight photographs, threads wait longer for one another."""


@torch.inference_mode()
def infer(model: nn.Module, images: UInt8[Tensor, "n c h w"], recipe: Recipe) -> Float[Tensor, "n classes"]:
    """Return the logits of ``images`` as float32 on the CPU. The model does not change.

    Args:
        model: Takes images in [0, 1]; on the same device as ``images``.
        images: As bytes.
        recipe: Sets the precision, and over which views of each image logits are averaged.
    """
    if images.device.type == "cpu":
        return ask(ready(model, recipe, images.new_zeros(1, *images.shape[1:])), images, recipe)
    was_training = model.training
    model.eval()
    logits = ask(model, images, recipe)
    model.train(was_training)
    return logits


@torch.inference_mode()
def ask(model: nn.Module, images: UInt8[Tensor, "n c h w"], recipe: Recipe) -> Float[Tensor, "n classes"]:
    """Return the logits of a model that is already in evaluation mode; see ``infer``."""
    with machine.autocast(recipe.precision, images.device), machine.gpu_arithmetic(images.device):
        some = parts(images, images.device, recipe.precision)
        return torch.cat([answer(model, read_floats(part), recipe.views) for part in some]).cpu()


def parts(
    images: UInt8[Tensor, "n c h w"], device: torch.device, precision: Precision = "float32"
) -> tuple[UInt8[Tensor, "_ c h w"], ...]:
    """Split images into the batches in which ``device`` computes."""
    pixels = images.shape[2] * images.shape[3]
    on_cpu = max(1, min(BATCH_IMAGES, BATCH_PIXELS // pixels)) * (2 if precision == "bfloat16" else 1)
    size = GPU_BATCH_IMAGES if device.type == "cuda" else on_cpu
    return torch.split(images, size) if len(images) > size else (images,)


@torch.inference_mode()
def ready(model: nn.Module, recipe: Recipe, image: UInt8[Tensor, "1 c h w"]) -> nn.Module:
    """Return a copy of a model prepared for inference: faster, with the same logits up to rounding.

    A network that is not Modiste's is only copied.

    Args:
        model: Takes images in [0, 1].
        recipe: Sets the precision of inference.
        image: Any image of the model's shape, on the model's device.
    """
    model = copy.deepcopy(model).eval()
    if is_own(model):  # which may use its layers in another order, or their weights in another way
        return model
    on_processor = image.device.type == "cpu"
    if on_processor:
        fold(model)
    if recipe.precision == "bfloat16":
        round_weights(model, recipe, image)
    if on_processor:
        use_onednn_layout(model)
    return model


@torch.inference_mode()
def round_weights(model: nn.Module, recipe: Recipe, image: UInt8[Tensor, "1 c h w"]) -> None:
    """Round the weights of convolutions and dense layers in place, once, as autocast would in every call.

    Logits stay the same to the last bit, and one image takes a fifth less time. One call with ``image`` shows which
    layers autocast rounds: others compute in float32 whatever the recipe says, or use their weights in their own way.
    """
    layers = [layer for layer in model.modules() if type(layer) in (nn.Conv2d, nn.Linear)]
    with captured(layers) as calls, machine.autocast(recipe.precision, image.device):
        model(as_floats(image))
    for call in calls:
        if call.output.dtype == torch.bfloat16:
            call.layer.to(torch.bfloat16)


def answer(model: nn.Module, images: Float[Tensor, "n c h w"], views: Views) -> Float[Tensor, "n classes"]:
    """Return the logits of images in [0, 1], averaged over views as ``averaged`` says."""
    return averaged(lambda view: model(view).float(), images, views)


def averaged(
    function: Callable[[Tensor], Tensor], images: Float[Tensor, "n c h w"], views: Views
) -> Float[Tensor, "n d"]:
    """Return what a function gives for images, averaged over views of them; it is called ``views.passes`` times.

    The first call is for the images as they are. Moved images together count as much as those that are not moved: equal
    weights for all views were worse on validation.

    Args:
        function: Function of images (n, c, h, w); returns (n, d).
        images: In [0, 1].
        views: Over which is averaged.
    """
    shifts, unmoved = views.shifts, [images, images.flip(3)] if views.mirror else [images]
    mean = _mean(map(function, unmoved))
    if not shifts:
        return mean
    moves = (moved(one, axis, pixels) for axis in (2, 3) for pixels in (-shifts, shifts) for one in unmoved)
    return (mean + _mean(map(function, moves))) / 2


def _mean(values: Iterable[Tensor]) -> Tensor:
    """Return the mean of tensors, added one after another; the same tensor of a single one."""
    total, *others = values
    for one in others:
        total = total + one
    return total / (1 + len(others)) if others else total


def moved(images: Float[Tensor, "n c h w"], axis: int, pixels: int) -> Float[Tensor, "n c h w"]:
    """Return the images moved along an axis: forward, or backward if ``pixels`` is negative; zeros fill the gap.

    >>> moved(torch.arange(1.0, 4.0).view(1, 1, 1, 3), axis=3, pixels=1).flatten().tolist()
    [0.0, 1.0, 2.0]
    """
    size, gap = images.shape[axis], min(abs(pixels), images.shape[axis])
    zeros = images.narrow(axis, 0, gap) * 0  # operators that the page of modiste export computes, unlike padding
    if pixels > 0:
        return torch.cat([zeros, images.narrow(axis, 0, size - gap)], axis)
    return torch.cat([images.narrow(axis, gap, size - gap), zeros], axis)
