"""The one place where images become logits outside training; an exported file holds the same."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from modiste import runtime
from modiste.data.batch import as_floats
from modiste.recipe import Recipe

# Fixed, because a batch's size can change the last bit of a sum and stored logits should not depend on the caller; so
# small that a layer's maps stay in a processor's cache: with 1,000 images prediction was two to three times slower. A
# GPU wants more, for what it takes to launch a layer does not grow with its images.
BATCH_IMAGES = 250
GPU_BATCH_IMAGES = 1000


@torch.inference_mode()
def infer(model: nn.Module, images: UInt8[Tensor, "n c h w"], recipe: Recipe) -> Float[Tensor, "n classes"]:
    """Return the logits of ``images``, float32 on the processor; the model is left in the mode it was in.

    Args:
        model: takes images in [0, 1]; on the same device as ``images``.
        images: bytes.
        recipe: says in which precision, and whether the logits of each image and of its mirror image are averaged.
    """
    was_training = model.training
    if was_training:  # else it is a walk through all layers for nothing, which a single image would feel
        model.eval()
    with runtime.autocast(recipe.precision, images.device), runtime.gpu_arithmetic(images.device):
        logits = [answer(model, as_floats(part), mirror=recipe.mirror) for part in parts(images, images.device)]
    if was_training:
        model.train()
    return torch.cat(logits).cpu()


def parts(images: UInt8[Tensor, "n c h w"], device: torch.device) -> tuple[UInt8[Tensor, "_ c h w"], ...]:
    """Return the images in batches of the size in which ``device`` answers."""
    return torch.split(images, GPU_BATCH_IMAGES if device.type == "cuda" else BATCH_IMAGES)


@torch.inference_mode()
def round_weights(model: nn.Module, recipe: Recipe, image: UInt8[Tensor, "1 c h w"]) -> None:
    """Round once what autocast would round in every call: weights of convolutions and dense layers, in place.

    Logits stay the same to the last bit; it is a fifth of the time that one image takes. Which layers autocast rounds
    an image tells: some compute in float32 whatever the recipe says, or use their weights in ways of their own.
    """
    rounded: list[nn.Module] = []

    def note(layer: nn.Module, _inputs: object) -> None:
        if torch.is_autocast_enabled(image.device.type):
            rounded.append(layer)

    layers = [layer for layer in model.modules() if type(layer) in (nn.Conv2d, nn.Linear)]
    handles = [layer.register_forward_pre_hook(note) for layer in layers]
    with runtime.autocast(recipe.precision, image.device):
        model(as_floats(image))
    for handle in handles:
        handle.remove()
    for layer in rounded:
        layer.to(torch.bfloat16)


def answer(model: nn.Module, images: Float[Tensor, "n c h w"], *, mirror: bool) -> Float[Tensor, "n classes"]:
    """Return the logits of images in [0, 1]; with ``mirror`` their mean with those of the mirror images."""
    logits: Tensor = model(images).float()
    return (logits + model(images.flip(3)).float()) / 2 if mirror else logits
