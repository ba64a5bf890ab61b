"""Spaces: read from text, tried on the recipe, refused with the field's name."""

import itertools
from pathlib import Path

import pytest

from modiste.errors import RecipeError
from modiste.recipes.named import get
from modiste.recipes.recipe import Recipe
from modiste.searches import space

PAPER = get("paper")


def test_texts_become_dimensions() -> None:
    texts = [
        "optimizer.learning-rate=log(1e-4,1e-1)",
        " batch_size = log(8, 256) ",
        "model.dropout=uniform(0,0.5)",
        "epochs=integer(1,3)",
        "model.filters=choice([8,16],[32,64])",
        "optimizer.name=choice(adam,sgd)",
        "standardize=choice(true,false)",
    ]
    found = space.parse(texts, PAPER)
    assert [(one.field, one.kind, one.values, one.whole) for one in found] == [
        ("optimizer.learning_rate", "log", (1e-4, 1e-1), False),
        ("batch_size", "log", (8, 256), True),
        ("model.dropout", "uniform", (0, 0.5), False),
        ("epochs", "integer", (1, 3), True),
        ("model.filters", "choice", ([8, 16], [32, 64]), False),
        ("optimizer.name", "choice", ("adam", "sgd"), False),
        ("standardize", "choice", (True, False), False),
    ]


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        ([], "the space is empty"),
        (["epochs"], "expected FIELD=log"),
        (["epochs=1"], "expected FIELD=log"),
        (["epochs=lag(1,2)"], "epochs: 'lag' is unknown; did you mean 'log'"),
        (["epoch=integer(1,2)"], "epoch: no such field of paper; did you mean 'epochs'"),
        (["optimizer=choice(adam,sgd)"], "optimizer: no such field"),
        (["model.kind=choice(cnn,mlp)"], "model.kind: no such field"),
        (["epochs=integer(1,2)", "epochs=choice(3,4)"], "epochs: appears twice"),
        (["epochs=integer(2,1)"], "LOW below HIGH"),
        (["epochs=integer(1)"], "LOW below HIGH"),
        (["epochs=integer(1.5,2)"], "LOW below HIGH"),
        (["epochs=uniform(1,2)"], "epochs: holds whole numbers"),
        (["model.dropout=uniform(true,2)"], "LOW below HIGH"),
        (["optimizer.learning_rate=log(0,1)"], "LOW above 0"),
        (["model.dropout=uniform(0,1.5)"], "dropout: expected from 0 to below 1, found 1.5"),
        (["optimizer.name=choice(adam,adom)"], "optimizer.name: 'adom' is unknown; did you mean 'adam'"),
        (["epochs=choice(1,1)"], "different values"),
        (["epochs=choice()"], "different values"),
    ],
)
def test_what_is_no_space_of_the_recipe_is_refused(texts: list[str], complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        space.parse(texts, PAPER)


def test_values_enter_the_recipe_and_nothing_else_changes() -> None:
    changed = space.apply(PAPER, {"optimizer.learning_rate": 0.5, "model.filters": [8, 16], "epochs": 2})
    assert (changed.optimizer.learning_rate, changed.model.filters, changed.epochs) == (0.5, (8, 16), 2)  # type: ignore[union-attr]
    back = space.apply(changed, {"optimizer.learning_rate": 1e-3, "model.filters": [32, 64, 128], "epochs": 50})
    assert back == PAPER


def test_a_grid_holds_every_combination_once() -> None:
    found = space.parse(["epochs=integer(1,3)", "optimizer.name=choice(adam,sgd)"], PAPER)
    points = [tuple(space.grid(found, number).values()) for number in range(space.grid_size(found))]
    assert points == list(itertools.product([1, 2, 3], ["adam", "sgd"]))
    with pytest.raises(RecipeError, match="a finite number of values"):
        space.grid_size(space.parse(["model.dropout=uniform(0,0.5)"], PAPER))
    with pytest.raises(RecipeError, match="at most 100,000"):
        space.grid_size(space.parse(["epochs=integer(1,1000)", "batch_size=integer(1,1000)"], PAPER))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", 'epochs = "integer(1,3)"\n[optimizer]\nlearning_rate = "log(1e-4,1e-1)"\n'),
        ("a.toml", 'epochs = "integer(1,3)"\n"optimizer.learning_rate" = "log(1e-4,1e-1)"\n'),
        ("a.json", '{"epochs": "integer(1,3)", "optimizer": {"learning_rate": "log(1e-4,1e-1)"}}'),
    ],
)
def test_a_file_says_the_same(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert space.read(["batch_size=choice(1,2)", str(tmp_path / name)]) == (
        "batch_size=choice(1,2)",
        "epochs=integer(1,3)",
        "optimizer.learning_rate=log(1e-4,1e-1)",
    )


@pytest.mark.parametrize("text", ["", "[1]", "3"])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"a\.json"):
        space.read([str(tmp_path / "a.json")])


def test_a_choice_may_have_one_value(tiny_recipe: Recipe) -> None:
    texts = [f"{name}=choice({value})" for name, value in {"epochs": 3, "data.split_seed": 1}.items()]
    assert len(space.parse(texts, tiny_recipe)) == 2
