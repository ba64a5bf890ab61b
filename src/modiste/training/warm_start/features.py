"""The features of a network: what enters the linear layer that it ends in."""

from jaxtyping import Float
from torch import Tensor, nn

from modiste.errors import RecipeError


def linear_head(model: nn.Module, asker: str) -> nn.Linear:
    """Return the layer that turns features into logits; RecipeError, naming the ``asker``, when there is none."""
    head = next((layer for name, layer in model.named_modules() if name.endswith("head")), None)
    if not isinstance(head, nn.Linear):
        raise RecipeError(f"warm_start: {asker} needs a network that ends in a linear layer")
    return head


def features(model: nn.Module, head: nn.Linear, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    """Return what enters ``head``, the last layer of ``model``, for each image."""
    entered: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, arguments: entered.append(arguments[0]))
    try:
        model(images)
    finally:
        handle.remove()
    return entered[-1]
