"""The named recipes: each a function that returns one complete Recipe; its docstring carries the claim."""

from collections.abc import Callable
from dataclasses import replace

from modiste.errors import RecipeError
from modiste.plain import nearest
from modiste.recipe import CNNRecipe, MLPRecipe, Recipe


def paper() -> Recipe:
    """The paper's network exactly as its Listing 1: 896,906 parameters, Adam 0.001, batch 128, 50 epochs.

    Where the paper is silent Keras' defaults hold: Glorot-uniform weights, zero biases, Adam's epsilon 1e-7.
    Claim (Mendez): 91.32 % on test.
    """
    return Recipe(name="paper")


def paper_text() -> Recipe:
    """The network that the paper's prose describes: 64 then 32 filters, 2x2 kernels, 256 units, 412,778 parameters.

    The paper states 406,270 parameters, which neither this network nor its Listing 1 has.
    """
    model = CNNRecipe(filters=(64, 32), kernel_size=2, hidden=(256,))
    return replace(paper(), name="paper-text", model=model)


def perceptron() -> Recipe:
    """A single-layer perceptron, the paper's section 3.1: one linear map from pixels to classes, 7,850 parameters.

    Claim (Xiao et al., 2017, scikit-learn's perceptron): 78.2 % on test; logistic regression, the same model under
    this objective, 84.2 %.
    """
    return replace(paper(), name="perceptron", model=MLPRecipe(), epochs=30)


def mlp() -> Recipe:
    """A multilayer perceptron, the paper's section 3.1: hidden layers of 256 and 128 units, 235,146 parameters.

    Claim (Xiao et al., 2017, scikit-learn's MLP): 87.1 % on test.
    """
    return replace(paper(), name="mlp", model=MLPRecipe(hidden=(256, 128)), epochs=30)


RECIPES: dict[str, Callable[[], Recipe]] = {
    "paper": paper,
    "paper-text": paper_text,
    "perceptron": perceptron,
    "mlp": mlp,
}


def get(name: str) -> Recipe:
    """Return the recipe of this name; RecipeError with the nearest name when there is none."""
    if name not in RECIPES:
        raise RecipeError(f"recipe {name!r} is unknown; {nearest(name, RECIPES)}")
    return RECIPES[name]()
