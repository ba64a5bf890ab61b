"""The recipe: every field checked, plain data there and back, and tables that agree with it."""

import dataclasses
import inspect
import json
import math
import re
import typing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modiste.errors import RecipeError
from modiste.models.layers import ACTIVATIONS
from modiste.models.registry import MODELS
from modiste.recipes import named
from modiste.recipes.named import RECIPES
from modiste.recipes.networks import (
    CapsNetRecipe,
    CNNRecipe,
    DBNRecipe,
    DropConnectRecipe,
    FashionNetRecipe,
    InceptionRecipe,
    MLPRecipe,
    OwnNetworkRecipe,
    PatchGraphRecipe,
    ResNetRecipe,
    SuperpixelGraphRecipe,
)
from modiste.recipes.plain import differences, nearest, to_plain
from modiste.recipes.recipe import (
    AugmentationRecipe,
    ByClassRecipe,
    DataRecipe,
    DistillationRecipe,
    OptimizerRecipe,
    PretrainingRecipe,
    Recipe,
    ScheduleRecipe,
    SelfSupervisedRecipe,
    TransferRecipe,
    from_plain,
    from_stored,
    load,
)
from modiste.training.objectives import OBJECTIVES
from modiste.training.optimizers import OPTIMIZERS
from modiste.training.schedules import SHAPES
from modiste.training.warm_start.warm_starts import WARM_STARTS

pytestmark = pytest.mark.usefixtures("without_type_checks")

HINTS = typing.get_type_hints(Recipe)
TABLES: dict[str, type] = {name: kind for name, kind in HINTS.items() if dataclasses.is_dataclass(kind)}
MODEL_KINDS: tuple[Any, ...] = typing.get_args(HINTS["model"])
PARTS: list[tuple[str, Any]] = [
    ("", Recipe),
    *((f"{name}.", kind) for name, kind in TABLES.items()),
    *(("model.", kind) for kind in MODEL_KINDS),
]


def toml_value(value: Any) -> str:
    return json.dumps(value)  # strings, numbers, booleans and flat lists are written alike in both


def as_toml(plain: dict[str, Any]) -> str:
    """The plain form of a recipe as a person would write it."""
    top = [f"{name} = {toml_value(value)}" for name, value in plain.items() if not isinstance(value, dict)]
    for name, table in plain.items():
        if isinstance(table, dict):
            top += [f"[{name}]", *(f"{key} = {toml_value(value)}" for key, value in table.items())]
    return "\n".join(top)


def choices(kind: type, name: str) -> tuple[Any, ...]:
    return typing.get_args(typing.get_type_hints(kind)[name])


@pytest.mark.parametrize("name", RECIPES)
class TestEveryNamedRecipe:
    def test_through_json_and_back(self, name: str) -> None:
        recipe = RECIPES[name]()
        assert from_plain(json.loads(json.dumps(to_plain(recipe)))) == recipe

    @pytest.mark.parametrize("suffix", [".toml", ".json"])
    def test_through_a_file_and_back(self, name: str, suffix: str, tmp_path: Path) -> None:
        recipe, path = RECIPES[name](), tmp_path / f"recipe{suffix}"
        plain = to_plain(recipe)
        path.write_text(as_toml(plain) if suffix == ".toml" else json.dumps(plain), encoding="utf-8")
        assert load(path) == recipe

    def test_equal_recipes_have_equal_hashes(self, name: str) -> None:
        one, other = RECIPES[name](), RECIPES[name]()
        assert one == other
        assert hash(one) == hash(other)
        assert one != replace(one, seed=1)
        assert {one, other, replace(one, seed=1)} == {one, replace(one, seed=1)}

    def test_bears_its_name_and_says_what_it_claims(self, name: str) -> None:
        assert RECIPES[name]().name == name
        assert (RECIPES[name].__doc__ or "").strip()

    def test_cannot_be_changed(self, name: str) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            RECIPES[name]().epochs = 3  # type: ignore[misc]


def test_get_names_the_nearest_recipe() -> None:
    assert named.get("mlp") == named.mlp()
    with pytest.raises(RecipeError, match=r"'papre' is unknown; did you mean 'paper'\?"):
        named.get("papre")
    with pytest.raises(RecipeError, match="known: paper, paper-text, perceptron, mlp"):
        named.get("zzz")


def test_a_recipe_written_before_a_field_was_there_means_its_default() -> None:
    old = to_plain(named.dbn())
    del old["self_supervised"], old["transfer"]["fresh"], old["data"]["subset_seed"], old["data"]["repeats"]
    del old["balance"], old["distillation"]
    for name in ("pictures", "side", "colour", "test_fraction", "test_seed"):
        del old["data"][name]
    assert from_plain(old) == named.dbn()


def test_a_stored_recipe_without_a_decoder_keeps_that_of_its_time() -> None:
    stored = to_plain(named.dbn())
    assert from_stored(stored) == named.dbn()
    del stored["data"]["decoder"]
    assert from_stored(stored) == dataclasses.replace(named.dbn(), data=DataRecipe(decoder=1))
    assert from_plain(stored) == named.dbn()  # a recipe that somebody wrote means the default
    assert "decoder" not in stored["data"]
    for plain in ({"name": "x", "data": 3}, {"name": "x", "data": {"decoder": 9}}):
        with pytest.raises(RecipeError):
            from_stored(plain)


def test_no_default_is_missing_but_the_name() -> None:
    assert from_plain({"name": "x"}) == Recipe(name="x")
    with pytest.raises(RecipeError, match="name"):
        from_plain({})


@pytest.mark.parametrize(
    ("known", "table"),
    [
        (choices(Recipe, "objective"), OBJECTIVES),
        (choices(Recipe, "warm_start"), WARM_STARTS),
        (choices(OptimizerRecipe, "name"), OPTIMIZERS),
        (choices(ScheduleRecipe, "shape"), SHAPES),
        (choices(CNNRecipe, "activation"), ACTIVATIONS),
        (choices(MLPRecipe, "activation"), ACTIVATIONS),
    ],
    ids=["objective", "warm_start", "optimizer", "schedule", "cnn activation", "mlp activation"],
)
def test_a_table_holds_exactly_what_the_recipe_allows(known: tuple[str, ...], table: dict[str, Any]) -> None:
    assert tuple(table) == known


def test_every_kind_of_model_can_be_built() -> None:
    kinds = choices(Recipe, "model")
    assert {*MODELS, OwnNetworkRecipe} == set(kinds)
    assert len({kind.KIND for kind in kinds} - {""}) == len(kinds), "two models of one name"


def fields() -> Iterator[tuple[str, type, str, Any]]:
    """Every field that is not itself a part: its path, its part's class, its name, its type."""
    for path, part in PARTS:
        hints = typing.get_type_hints(part)
        for item in dataclasses.fields(part):
            if part is not Recipe or item.name not in {*TABLES, "model"}:
                yield f"{path}{item.name}", part, item.name, hints[item.name]


FIELDS = list(fields())
REQUIRED: dict[type, dict[str, Any]] = {Recipe: {"name": "x"}, OwnNetworkRecipe: {"code": f"module:Net@{16 * '0'}"}}
"""Fields without a default."""
WRONG: dict[Any, list[Any]] = {
    str: [3, None, ["a"], {"a": 1}],
    int: ["3", 3.0, True, None, [3], {}],
    float: ["0.1", True, None, [0.1], math.nan, math.inf, -math.inf],
    bool: [1, 0, "true", None],
    tuple: [3, "3", None, {"0": 3}, ["3"], [None], [True], [[3]]],
}


def wrong_values(kind: Any) -> list[Any]:
    origin = typing.get_origin(kind)
    if kind == tuple[str, ...]:
        return ["dense", 3, None, {}, [3], [None], [["dense"]]]
    return ["no-such", 3, None, ["relu"], {}] if origin is typing.Literal else WRONG[origin or kind]


@pytest.mark.parametrize(("path", "part", "name", "kind"), FIELDS, ids=[f"{p.__name__}.{n}" for _, p, n, _ in FIELDS])
def test_every_field_refuses_every_wrong_type(path: str, part: type, name: str, kind: Any) -> None:
    for wrong in wrong_values(kind):
        with pytest.raises(RecipeError, match=rf"^{name}\b"):
            part(**REQUIRED.get(part, {}) | {name: wrong})
        plain = to_plain(Recipe(name="x", model=part(**REQUIRED.get(part, {})) if part in MODEL_KINDS else CNNRecipe()))
        table = plain if part is Recipe else plain[path.partition(".")[0]]
        table[name] = wrong
        with pytest.raises(RecipeError, match=rf"^{path}\b"):
            from_plain(plain)


OUT_OF_RANGE = [
    (DataRecipe, "validation_fraction", [0, 1, -0.1, 1.5]),
    (DataRecipe, "images_per_class", [-1]),
    (DataRecipe, "repeats", [0, 10**9 + 1]),
    (DataRecipe, "images_per_class", [2**63]),
    (DataRecipe, "decoder", [0, 4]),
    (CNNRecipe, "filters", [[], [0], [32, -1], [32, 10**20]]),
    (CNNRecipe, "hidden", [[0], [128, -3]]),
    (CNNRecipe, "kernel_size", [0, -3]),
    (CNNRecipe, "pools", [-1, 4]),
    (CNNRecipe, "dropout", [-0.1, 1, 2]),
    (MLPRecipe, "hidden", [[0], [-1]]),
    (MLPRecipe, "dropout", [-0.1, 1]),
    (InceptionRecipe, "width", [0, 12]),
    (InceptionRecipe, "dropout", [-0.1, 1]),
    (ResNetRecipe, "depth", [4, 18]),
    (ResNetRecipe, "width", [0]),
    (ResNetRecipe, "dropout", [-0.1, 1]),
    (DropConnectRecipe, "filters", [[], [0]]),
    (DropConnectRecipe, "hidden", [0]),
    (DropConnectRecipe, "rate", [-0.1, 1]),
    (DropConnectRecipe, "samples", [0]),
    (CapsNetRecipe, "filters", [0, 12]),
    (CapsNetRecipe, "kernel_size", [0]),
    (CapsNetRecipe, "iterations", [0]),
    (CapsNetRecipe, "hidden", [[0]]),
    (FashionNetRecipe, "width", [0]),
    (FashionNetRecipe, "keypoints", [0]),
    (FashionNetRecipe, "hidden", [0]),
    (FashionNetRecipe, "dropout", [-0.1, 1]),
    (PatchGraphRecipe, "channels", [0, 7]),
    (PatchGraphRecipe, "blocks", [0]),
    (PatchGraphRecipe, "neighbours", [0]),
    (PatchGraphRecipe, "dropout", [-0.1, 1]),
    (SuperpixelGraphRecipe, "regions", [0]),
    (SuperpixelGraphRecipe, "compactness", [0, -1]),
    (SuperpixelGraphRecipe, "iterations", [0]),
    (SuperpixelGraphRecipe, "channels", [0, 7]),
    (SuperpixelGraphRecipe, "blocks", [0]),
    (SuperpixelGraphRecipe, "heads", [0]),
    (SuperpixelGraphRecipe, "neighbours", [0]),
    (SuperpixelGraphRecipe, "dropout", [-0.1, 1]),
    (DBNRecipe, "hidden", [[], [0]]),
    (DBNRecipe, "dropout", [-0.1, 1]),
    (AugmentationRecipe, "shift", [-1, 10_001]),
    (AugmentationRecipe, "crop", [-0.1, 1]),
    (AugmentationRecipe, "rotate", [-1]),
    (AugmentationRecipe, "photo", [-0.1, 1.1]),
    (AugmentationRecipe, "trivial", [-0.1, 1.1]),
    (AugmentationRecipe, "random_ops", [-1]),
    (AugmentationRecipe, "random_strength", [-0.1, 0.5, 1.1]),
    (AugmentationRecipe, "erase", [-0.1, 1.1]),
    (AugmentationRecipe, "cutout", [-1]),
    (AugmentationRecipe, "aspect", [-0.1]),
    (AugmentationRecipe, "fold", [-0.1, 1.1]),
    (AugmentationRecipe, "pattern", [-0.1, 1.1]),
    (AugmentationRecipe, "tone", [-0.1, 1.1]),
    (AugmentationRecipe, "hide", [-0.1, 1.1]),
    (ByClassRecipe, "pair", [[-1]]),
    (ByClassRecipe, "outliers", [-0.1, 1]),
    (ByClassRecipe, "upper", [[-1]]),
    (ByClassRecipe, "lower", [[-1]]),
    (DataRecipe, "extra_share", [-0.1, 1]),
    (AugmentationRecipe, "mixup", [-0.1, 1e7]),
    (AugmentationRecipe, "cutmix", [-0.1, 1e7]),
    (AugmentationRecipe, "fmix", [-0.1, 1e7]),
    (TransferRecipe, "source", ["abc", "Z" * 64]),
    (TransferRecipe, "freeze", [[""]]),
    (TransferRecipe, "fresh", [[""]]),
    (TransferRecipe, "learning_rate_factor", [0, -1]),
    (
        TransferRecipe,
        "rename",
        [[""], ["="], ["a"], ["a=b=c"], ["a=a"], [".a=b"], ["a=.b"], ["a=b", "c"], [".=.x"], ["..=.x"]],
    ),
    (DistillationRecipe, "teachers", [["abc"], ["Z" * 64], ["a" * 64, "a" * 64]]),
    (DistillationRecipe, "weight", [-0.1, 1.1]),
    (DistillationRecipe, "temperature", [0, -1]),
    (PretrainingRecipe, "epochs", [0]),
    (PretrainingRecipe, "batch_size", [0]),
    (PretrainingRecipe, "gibbs_steps", [0]),
    (PretrainingRecipe, "learning_rate", [0, 1e7]),
    (PretrainingRecipe, "momentum", [-0.1, 1]),
    (PretrainingRecipe, "weight_decay", [-0.1]),
    (SelfSupervisedRecipe, "epochs", [0]),
    (SelfSupervisedRecipe, "batch_size", [1]),
    (SelfSupervisedRecipe, "learning_rate", [0]),
    (SelfSupervisedRecipe, "weight_decay", [-0.1]),
    (SelfSupervisedRecipe, "temperature", [0]),
    (SelfSupervisedRecipe, "projection", [0, 2**63]),
    (SelfSupervisedRecipe, "crop", [-0.1, 1]),
    (SelfSupervisedRecipe, "rotate", [-1]),
    (SelfSupervisedRecipe, "photo", [1.1]),
    (SelfSupervisedRecipe, "erase", [-0.1]),
    (OptimizerRecipe, "learning_rate", [0, -1e-3]),
    (OptimizerRecipe, "weight_decay", [-1e-9]),
    (OptimizerRecipe, "momentum", [-0.1, 1]),
    (OptimizerRecipe, "betas", [[0.9], [0.9, 0.99, 0.999], [1, 0.9], [0.9, -0.1]]),
    (OptimizerRecipe, "epsilon", [0, -1]),
    (OptimizerRecipe, "clip_norm", [-1]),
    (OptimizerRecipe, "sam_rho", [-0.1]),
    (OptimizerRecipe, "sam_every", [0]),
    (ScheduleRecipe, "warm_up", [-0.1, 1]),
    (ScheduleRecipe, "final_factor", [-0.1, 1.1]),
    (ScheduleRecipe, "step_every", [0, 1.1]),
    (ScheduleRecipe, "step_factor", [0, 1.1]),
    (ScheduleRecipe, "hold", [-0.1, 1]),
    (ScheduleRecipe, "cycles", [0]),
    (Recipe, "name", ["", ".hidden", "a/b", "..", "a b", "a\nb", "-"]),
    (Recipe, "epochs", [0, -1]),
    (Recipe, "batch_size", [0, -1, 2**63]),
    (Recipe, "label_smoothing", [-0.1, 1]),
    (Recipe, "data_pruning", [-0.1, 1]),
    (Recipe, "ema_decay", [-0.1, 1]),
    (Recipe, "swa_start", [-0.1, 1]),
    (Recipe, "patience", [-1]),
]


@pytest.mark.parametrize(
    ("part", "name", "values"), OUT_OF_RANGE, ids=[f"{p.__name__}.{n}" for p, n, _ in OUT_OF_RANGE]
)
def test_every_range_is_kept(part: type, name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(RecipeError, match=rf"\b{name}\b.*expected .*found "):
            part(**({"name": "x"} if part is Recipe else {}) | {name: value})


def test_random_operations_need_a_number_and_a_strength() -> None:
    complaint = "random_strength: expected above 0 with random_ops, and only then, found"
    for fields in ({"random_ops": 1}, {"random_strength": 0.5}):
        with pytest.raises(RecipeError, match=complaint):
            AugmentationRecipe(**fields)  # type: ignore[arg-type]
    assert AugmentationRecipe(random_ops=1, random_strength=0.5).random_operations == (1, 0.5)
    assert AugmentationRecipe().random_operations is None


@pytest.mark.parametrize(
    ("part", "values"),
    [
        (CNNRecipe, {"dropout": 0, "pools": 0, "hidden": ()}),
        (OptimizerRecipe, {"name": "adam", "momentum": 0}),  # which has no use of it
        (OptimizerRecipe, {"name": "adamw", "momentum": 0, "nesterov": True}),
        (OptimizerRecipe, {"name": "sgd", "momentum": 0, "nesterov": False}),
        (OptimizerRecipe, {"momentum": 0, "nesterov": False, "clip_norm": 0, "weight_decay": 0, "betas": [0, 0]}),
        (ScheduleRecipe, {"warm_up": 0, "final_factor": 1, "step_every": 1, "step_factor": 1}),
        (ScheduleRecipe, {"shape": "one-cycle", "warm_up": 0.3}),
    ],
)
def test_the_ends_of_the_ranges_are_allowed(part: type, values: dict[str, Any]) -> None:
    assert all(getattr(part(**values), name) == _settled(value) for name, value in values.items())


def _settled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def test_every_change_of_the_self_supervised_part_arrives_in_its_views() -> None:
    changes = {item.name for item in dataclasses.fields(AugmentationRecipe)}
    own = {item.name: item.default for item in dataclasses.fields(SelfSupervisedRecipe) if item.name in changes}
    assert {"flip", "resized_crop", "erase"} <= own.keys()
    given_values = {name: not default if isinstance(default, bool) else 0.25 for name, default in own.items()}
    assert SelfSupervisedRecipe(**given_values).views == AugmentationRecipe(**given_values)


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(RecipeError, match="momentum: expected above 0 with nesterov, or nesterov off, found 0"):
        OptimizerRecipe(name="sgd", momentum=0)


@pytest.mark.parametrize(("path", "part", "name", "kind"), FIELDS, ids=[f"{p.__name__}.{n}" for _, p, n, _ in FIELDS])
def test_values_of_numpy_are_taken_and_stored_as_pythons(path: str, part: type, name: str, kind: Any) -> None:
    whole = part(**REQUIRED.get(part, {}))
    value = getattr(whole, name)
    twin = np.asarray(value) if isinstance(value, tuple) else np.asarray(value)[()]
    changed = replace(whole, **{name: twin})
    assert changed == whole
    stored = getattr(changed, name)
    assert [type(one) for one in flat(stored)] == [type(one) for one in flat(value)]
    json.dumps(to_plain(changed))


def flat(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple) else [value]


@pytest.mark.parametrize(
    "wrong", [np.float64(3.0), np.bool_(True), np.asarray([3]), np.datetime64("2020-01-01"), np.longdouble(3)]
)
def test_a_value_of_numpy_that_is_of_another_type_is_refused(wrong: Any) -> None:
    with pytest.raises(RecipeError, match=r"^epochs: expected int, found "):
        Recipe(name="x", epochs=wrong)


def test_a_whole_number_beyond_every_float_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"^ema_decay: "):
        Recipe(name="x", ema_decay=10**400)


def test_a_seed_may_be_of_any_size() -> None:
    recipe = Recipe(name="x", seed=10**30, data=DataRecipe(split_seed=-(10**30)), batch_size=2**63 - 1)
    assert (recipe.seed, recipe.data.split_seed) == (10**30, -(10**30))


def test_one_cycle_needs_a_rise() -> None:
    with pytest.raises(RecipeError, match="warm_up: expected above 0 for one-cycle"):
        ScheduleRecipe(shape="one-cycle")


def test_lists_become_tuples_and_whole_numbers_floats() -> None:
    recipe = from_plain(
        {"name": "x", "model": {"kind": "cnn", "filters": [8], "pools": 1}, "optimizer": {"betas": [0, 0]}}
    )
    assert isinstance(recipe.model, CNNRecipe)
    assert recipe.model.filters == (8,)
    assert recipe.optimizer.betas == (0.0, 0.0)
    assert all(type(beta) is float for beta in recipe.optimizer.betas)
    smoothed = replace(recipe, label_smoothing=0)
    assert type(smoothed.label_smoothing) is float
    assert hash(recipe) == hash(smoothed)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"name": "x", "epoch": 3}, r"^epoch: no such field; did you mean 'epochs'\?"),
        ({"name": "x", "optimizer": {"learning-rate": 1}}, r"^optimizer.learning-rate: .*'learning_rate'\?"),
        ({"name": "x", "optimizer": {"name": "adm"}}, r"^optimizer.name: 'adm' is unknown; did you mean 'adam"),
        ({"name": "x", "model": {"kind": "cn"}}, r"^model.kind: 'cn' is unknown; did you mean 'cnn'\?"),
        ({"name": "x", "model": {}}, r"^model.kind: expected one of cnn, mlp, .*, found none$"),
        ({"name": "x", "model": {"kind": "own"}}, r"^model.code: expected a value, found none$"),
        ({"epochs": 1}, r"^name: expected a value, found none$"),
        ({}, r"^name: expected a value, found none$"),
        ({"name": "x", "model": {"kind": []}}, r"^model.kind: '?\[\]'? is unknown"),
        ({"name": "x", "model": {"kind": {}}}, r"^model.kind: '?{}'? is unknown"),
        ({"name": "x", "model": {"kind": "mlp", "pools": 1}}, r"^model.pools: no such field"),
        ({"name": "x", "model": "cnn"}, r"^model: expected a table of fields, found 'cnn'"),
        ({"name": "x", "data": []}, r"^data: expected a table of fields"),
        ([], r"^recipe: expected a table of fields"),
        (None, r"^recipe: expected a table of fields"),
    ],
)
def test_plain_data_that_is_no_recipe(plain: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        from_plain(plain)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.toml", b"name = ", "not a valid .toml file"),
        ("r.json", b'{"name": ', "not a valid .json file"),
        ("r.json", b"\xff\xfe", "not a valid .json file"),
        ("r.json", b'{"name": "x", "epochs": "3"}', "r.json: epochs: expected int, found '3'"),
        ("r.toml", b'name = "x"\nepochs = 1979-05-27', "r.toml: epochs: expected int"),
        ("r.json", b'{"name": "x", "epochs": ' + b"9" * 5000 + b"}", "not a valid .json file"),
        ("r.json", b"[" * 100_000, "not a valid .json file"),
        ("r.json", b'{"name": "x", "epochs": 1, "epochs": 2}', r"not a valid .json file \('epochs' occurs twice\)"),
        ("r.toml", b'name = "x"\nepochs = 1\nepochs = 2', "not a valid .toml file"),
    ],
    ids=["toml", "json", "utf-8", "type", "date", "digits", "depth", "twice in json", "twice in toml"],
)
def test_a_file_that_is_no_recipe_is_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecipeError, match=message) as caught:
        load(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")


@pytest.mark.parametrize("name", ["r.toml", "r.JSON", "R.Toml"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "marked"])
def test_files_of_other_systems_are_read(name: str, mark: bytes, tmp_path: Path) -> None:
    """Their names may be in capitals, and some editors begin a file in UTF-8 with a mark of that."""
    content = b'name = "x"\nepochs = 3' if name.lower().endswith("toml") else b'{"name": "x", "epochs": 3}'
    (tmp_path / name).write_bytes(mark + content)
    assert named.find(str(tmp_path / name)) == Recipe(name="x", epochs=3)


@pytest.mark.parametrize("name", ["mine.yaml", "runs/sprint"])
def test_what_is_no_name_of_a_recipe_is_told_the_files_that_are_read(name: str) -> None:
    with pytest.raises(RecipeError, match=rf"^{name}: expected the name of a recipe, or a \.toml or \.json file"):
        named.find(name)


def test_a_recipe_file_that_is_missing_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none.toml: cannot be read \(No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(RecipeError, match=r"folder\.json: cannot be read"):
        load(tmp_path / "folder.json")


def test_differences_name_every_field_and_only_those() -> None:
    old = named.paper()
    assert differences(old, old) == []
    new = replace(old, seed=4, optimizer=replace(old.optimizer, learning_rate=0.01))
    assert differences(old, new) == ["seed: 0 became 4", "optimizer.learning_rate: 0.001 became 0.01"]
    changed = differences(old, replace(old, model=MLPRecipe()))
    assert "model.kind: cnn became mlp" in changed
    assert "model.pools: 2 became nothing" in changed
    assert "model.hidden: [128] became []" in changed


def test_nearest_is_the_list_when_nothing_is_similar() -> None:
    assert nearest("mpl", ["cnn", "mlp"]) == "did you mean 'mlp'?"
    assert nearest("transformer", ["cnn", "mlp"]) == "known: cnn, mlp"


def test_defaults_stand_in_the_dataclass_alone() -> None:
    """A field of a part without a comment would have no help on the command line."""
    for _, part in PARTS:
        source = inspect.getsource(part)
        for item in dataclasses.fields(part):
            assert re.search(rf'    {item.name}: .*\n    """\S', source), item.name
        assert part.__doc__


PLAIN = to_plain(named.paper())
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just(10**400),
    st.sampled_from(["cnn", "mlp", "adam", "sgd", "relu", "stratified", "one-cycle", "paper"]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted({item.name for _, part in PARTS for item in dataclasses.fields(part)} | {"kind"})
CHANGE = st.tuples(
    st.sampled_from(["", "model", *TABLES]),
    st.sampled_from(NAMES) | st.text(max_size=8),
    VALUES,
)


@settings(
    max_examples=300, derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(st.lists(CHANGE, max_size=4))
def test_any_plain_data_give_a_recipe_or_a_recipe_error(changes: list[tuple[str, str, Any]]) -> None:
    plain = json.loads(json.dumps(PLAIN))
    for table, name, value in changes:
        target = plain.get(table) if table else plain
        if isinstance(target, dict):
            target[name] = value
    try:
        recipe = from_plain(plain)
    except RecipeError:
        return
    assert from_plain(json.loads(json.dumps(to_plain(recipe)))) == recipe
    assert hash(recipe) == hash(from_plain(to_plain(recipe)))
