"""Every network takes its recipe: no option and no default of a recipe stands in a constructor as well."""

import dataclasses
import inspect
from typing import Any

import pytest

from modiste.models.registry import MODELS
from modiste.recipes.networks import ModelRecipe, OwnNetworkRecipe
from networks import SMALL


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.KIND)
def test_a_constructor_repeats_no_field_and_no_default_of_its_recipe(kind: type[ModelRecipe]) -> None:
    parameters = inspect.signature(MODELS[kind]).parameters
    assert list(parameters) == ["recipe", "image_shape", "classes"]
    assert parameters["recipe"].annotation is kind
    assert not parameters.keys() & {field.name for field in dataclasses.fields(kind)}
    assert all(parameter.default is inspect.Parameter.empty for parameter in parameters.values())


def test_every_kind_of_recipe_has_a_network() -> None:
    assert {*MODELS, OwnNetworkRecipe} == set(ModelRecipe.__args__)


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.KIND)
def test_a_network_reads_every_field_of_its_recipe(kind: type[ModelRecipe], monkeypatch: pytest.MonkeyPatch) -> None:
    """A field that no network reads would be a setting without an effect."""
    read = set[str]()

    def noted(recipe: ModelRecipe, name: str) -> Any:
        read.add(name)
        return object.__getattribute__(recipe, name)

    recipes = [recipe for recipe in SMALL if type(recipe) is kind]
    with monkeypatch.context() as patch:
        patch.setattr(kind, "__getattribute__", noted, raising=False)
        for recipe in recipes:
            MODELS[kind](recipe, image_shape=(1, 12, 12), classes=3)
    assert {field.name for field in dataclasses.fields(kind)} <= read
