"""Names turned into other names by rules."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modiste.errors import RecipeError
from modiste.training.transfer.renaming import listed, rename


@pytest.mark.parametrize(
    ("rule", "name", "expected"),
    [
        ("conv1=network.stem", "conv1.weight", "network.stem.weight"),
        ("conv1=network.stem", "conv10.weight", "conv10.weight"),
        ("conv1=network.stem", "layer1.conv1.weight", "layer1.conv1.weight"),
        ("layer1.=network.stages.", "layer1.0.bias", "network.stages.0.bias"),
        ("layer2.0=network.stages.2", "layer2.0.bias", "network.stages.2.bias"),
        ("fc.weight=head.weight", "fc.weight", "head.weight"),
        (".conv1=.first", "layer1.0.conv1.weight", "layer1.0.first.weight"),
        (".conv1=.first", "conv1.weight", "conv1.weight"),
        (".conv1.=.first.", "layer1.conv12.weight", "layer1.conv12.weight"),
        (".a=.b.c", "x.a.a.a", "x.b.c.b.c.b.c"),
        ("module=", "module.fc.weight", "fc.weight"),
        (".module=.", "net.module.fc", "net.fc"),
        ("=network", "fc.weight", "network.fc.weight"),
    ],
)
def test_a_rule_means_whole_words(rule: str, name: str, expected: str) -> None:
    fitting = ["conv1.t", "layer1.t", "layer2.0.t", "fc.weight.t", "module.t", "x.conv1.t", "x.a.t", "x.module.t"]
    names = [name, *fitting]  # every rule must fit some name
    assert {old: new for new, old in rename(names, [rule]).items()}[name] == expected


def test_rules_follow_one_another() -> None:
    rules = ["module=", "conv1=stem", "=network", ".conv1=.first"]
    renamed = rename(["module.conv1.weight", "module.layer1.conv1.weight"], rules)
    assert renamed == {
        "network.stem.weight": "module.conv1.weight",
        "network.layer1.first.weight": "module.layer1.conv1.weight",
    }


def test_a_rule_that_fits_nothing_is_named() -> None:
    names = ["conv1.bias", "conv1.weight", "layer1.0.conv1.weight", "layer1.1.bn1.weight"]
    with pytest.raises(RecipeError, match=r"'conv9=stem' fits no name; there is conv1, layer1$"):
        rename(names, ["conv9=stem"])
    with pytest.raises(RecipeError, match=r"'.bn9=.norm' fits no name; there is .bn1, .conv1$"):
        rename(names, [".bn9=.norm"])
    with pytest.raises(RecipeError, match="there is nothing"):
        rename([], ["a=b"])


def test_two_names_that_become_one_are_named() -> None:
    with pytest.raises(RecipeError, match=r"a.weight and b.weight both become c.weight"):
        rename(["a.weight", "b.weight"], ["a=c", "b=c"])


def test_long_lists_are_cut() -> None:
    assert listed("abcde") == "a, b, c, d, e"
    assert listed("abcdefg") == "a, b, c, d, e and 2 more"


WORD = st.sampled_from(["a", "b", "aa", "1"])
NAME = st.lists(WORD, min_size=1, max_size=5).map(".".join)


@settings(derandomize=True, deadline=None, database=None)
@given(st.lists(NAME, min_size=1, max_size=5, unique=True), WORD, WORD)
def test_inside_is_what_splitting_at_points_gives(names: list[str], old: str, new: str) -> None:
    slow = {
        name: ".".join([name.split(".")[0], *(new if w == old else w for w in name.split(".")[1:])]) for name in names
    }
    if old == new or list(slow.values()) == names or len(set(slow.values())) < len(names):
        return
    assert rename(names, [f".{old}=.{new}"]) == {now: name for name, now in slow.items()}
