"""The one place where images become logits outside training; an exported file holds the same."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from modiste import runtime
from modiste.data.batch import as_floats
from modiste.recipe import Recipe

# Fixed, because a batch's size can change the last bit of a sum and stored logits should not depend on the caller; so
# small that a layer's maps stay in a processor's cache: with 1,000 images prediction was two to three times slower.
BATCH_IMAGES = 250


@torch.inference_mode()
def infer(model: nn.Module, images: UInt8[Tensor, "n c h w"], recipe: Recipe) -> Float[Tensor, "n classes"]:
    """Return the logits of ``images``, float32 on the processor; the model is left in the mode it was in.

    Args:
        model: takes images in [0, 1]; on the same device as ``images``.
        images: bytes.
        recipe: says in which precision, and whether the logits of each image and of its mirror image are averaged.
    """
    was_training = model.training
    model.eval()
    with runtime.autocast(recipe.precision, images.device), runtime.gpu_arithmetic(images.device):
        logits = [answer(model, as_floats(part), mirror=recipe.mirror) for part in torch.split(images, BATCH_IMAGES)]
    model.train(was_training)
    return torch.cat(logits).cpu()


def answer(model: nn.Module, images: Float[Tensor, "n c h w"], *, mirror: bool) -> Float[Tensor, "n classes"]:
    """Return the logits of images in [0, 1]; with ``mirror`` their mean with those of the mirror images."""
    logits: Tensor = model(images).float()
    return (logits + model(images.flip(3)).float()) / 2 if mirror else logits
