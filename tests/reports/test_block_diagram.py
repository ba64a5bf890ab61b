"""Networks with branches: stages in their true order, and the inside of their parts."""

import pytest
from figure_checks import check_legible, written

from modiste.models.registry import Task, build_model
from modiste.recipes import named
from modiste.recipes.networks import ModelRecipe, SprintRecipe
from modiste.reports.architecture import trace
from modiste.reports.block_diagram import Fork, block_diagram, inside
from modiste.reports.network_diagram import network_diagram
from networks import OF_RECIPES

SHAPE = (1, 28, 28)
TASK = Task(image_shape=SHAPE, class_names=tuple("0123456789"))


@pytest.mark.parametrize("recipe", OF_RECIPES.values(), ids=OF_RECIPES)
def test_every_recipes_diagrams_are_legible(recipe: ModelRecipe) -> None:
    model = build_model(recipe, TASK)
    check_legible(network_diagram(trace(model, SHAPE)))
    part = inside(model)
    plain_sprint = isinstance(recipe, SprintRecipe) and not (recipe.early_blocks or recipe.blocks)
    simple = recipe.KIND in ("cnn", "mlp", "dbn", "dropconnect") or plain_sprint
    assert (part is None) == simple
    if part:
        check_legible(block_diagram(part[1]))


def test_a_module_is_one_stage() -> None:
    stages = trace(build_model(named.inception().model, TASK), SHAPE)
    assert [stage.name for stage in stages].count("Inception module") == 4
    assert [stage.shape for stage in stages if stage.name == "Inception module"][-1] == (256, 7, 7)


def test_only_the_keypoints_stand_beside_the_stage_above() -> None:
    for name, network in OF_RECIPES.items():
        stages = trace(build_model(network, TASK), SHAPE)
        beside = [stage.name for stage in stages if "beside the stage" in stage.detail]
        assert beside == (["Keypoints"] if name == "fashionnet" else [])


def test_what_a_network_holds_itself_stands_where_it_acts() -> None:
    capsules = trace(build_model(named.capsnet().model, TASK), SHAPE)
    assert [stage.name for stage in capsules][-2:] == ["Class capsules", "Beside the answer"]
    assert (capsules[-2].shape, capsules[-2].parameters) == ((10, 16), 576 * 10 * 16 * 8)
    graph = trace(build_model(named.patch_graph().model, TASK), SHAPE)
    names = [stage.name for stage in graph]
    assert names.index("Positions") == names.index("Graph block") - 1


def test_the_inside_is_read_off_the_network() -> None:
    part = inside(build_model(named.inception().model, TASK))
    assert part is not None
    before, fork = part[1]
    assert before == "128 maps"
    assert isinstance(fork, Fork)
    assert fork.branches[2] == ("1 × 1, 32 filters", "5 × 5, 32 filters")
    assert set(fork.branches[3]) <= set(written(block_diagram(part[1])))


def test_capsules_say_how_they_are_routed() -> None:
    rounds, attention = (build_model(named.get(name).model, TASK) for name in ("capsnet", "capsnet-deep"))
    assert "3 rounds of routing" in trace(rounds, SHAPE)[-2].detail
    assert "attention" in trace(attention, SHAPE)[-2].detail
    assert (trace(attention, SHAPE)[-2].shape, trace(attention, SHAPE)[-3].shape) == ((10, 16), (192, 1, 1))
    for model, said, unsaid in ((rounds, "3 rounds", "attention"), (attention, "attention", "rounds")):
        part = inside(model)
        assert part is not None
        words = " ".join(step for step in part[1] if isinstance(step, str))
        assert said in words
        assert unsaid not in words


def test_a_graph_block_of_either_kind_is_one_stage() -> None:
    for recipe in (named.patch_graph().model, named.superpixel_graph().model):
        stages = trace(build_model(recipe, TASK), SHAPE)
        assert [stage.name for stage in stages].count("Graph block") == recipe.blocks  # type: ignore[attr-defined]
