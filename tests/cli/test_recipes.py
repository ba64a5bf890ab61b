"""The list of recipes, and the description of each."""

from pathlib import Path

import pytest

from modiste.cli import main
from modiste.cli.recipes import purpose
from modiste.models.registry import Task, build_model, count_parameters
from modiste.recipes import named
from modiste.recipes.claims import CLAIMS, measured

ROOT = Path(__file__).parents[2]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]):
    def run(*words: str) -> str:
        main.main(["recipes", *words])
        return capsys.readouterr().out

    return run


def test_every_recipe_has_a_row_with_what_was_measured(printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    rows = {line.split()[0]: line for line in printed().splitlines() if line and not line.startswith(" ")}
    assert rows.keys() >= {"recipe", *named.RECIPES}
    assert rows["recipe"].split() == ["recipe", "parameters", "accuracy", "time", "on", "what", "for"]
    for name, known in measured().items():
        assert f" {known.parameters:,} " in rows[name]
        assert (f"{known.accuracy:.2%}  " if known.accuracy else " -  ") in rows[name]
    assert rows["sprint"].endswith("2 cores  The paper's accuracy in the least time")


def test_columns_line_up_and_fit(printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    lines = printed().splitlines()
    assert max(map(len, lines)) < 90
    start = lines[0].index("what for")
    for line in lines[1 : lines.index("")]:
        assert line[start - 2 : start] == "  "
        assert line[start] != " "


def test_figures_are_known_of_every_recipe_and_no_other() -> None:
    assert list(measured()) == list(named.RECIPES)
    task = Task(image_shape=(1, 28, 28), class_names=tuple("0123456789"))
    assert measured()["sprint"].parameters == count_parameters(build_model(named.get("sprint").model, task))


def test_frozen_parameters_count_in_every_recipe() -> None:
    """The network of one freezes its own stack; those of the others are frozen by the recipe."""
    stack, readout = 28 * 28 * 2048 + 2048, 2048 * 10 + 10
    assert measured()["dbn-frozen"].parameters == stack + readout
    assert measured()["backbone-linear"].parameters == measured()["backbone-tuned"].parameters > 3_000_000


@pytest.mark.parametrize("name", named.RECIPES)
def test_a_description_has_claims_settings_and_a_guide(printed, name: str) -> None:
    recipe, text = named.get(name), printed(name)
    assert text.startswith(f"{name}\n    {purpose(name)[:40]}")
    assert text.count("\ngoal: ") + text.count("\npublished: ") == len(CLAIMS[name])
    assert (ROOT / "docs" / "models" / f"{recipe.model.KIND}.md").exists()
    assert f"see docs/models/{recipe.model.KIND}.md\n" in text


def test_settings_are_those_that_differ(printed) -> None:
    settings = [line.strip() for line in printed("sprint").splitlines() if line.startswith("  --")]
    assert "--optimizer.learning-rate 0.022" in settings
    assert "--optimizer.betas 0.9 0.95" in settings
    assert "--standardize" in settings
    assert not any(line.startswith(("--seed", "--optimizer.momentum", "--name")) for line in settings)


def test_the_papers_recipe_differs_in_nothing(printed) -> None:
    assert not [line for line in printed("paper").splitlines() if line.startswith("  --")]
    assert "published: 91.32 % (the paper)\ngoal: 50 epochs in 3 s on a GPU\n" in printed("paper")
