"""The recipe: everything that decides a result, as frozen plain data.

A recipe is checked once, when it is made; it prints, compares, round-trips through JSON and TOML, and every field is
a flag of ``modiste train``. Defaults exist here and nowhere else.
"""

import dataclasses
import difflib
import json
import math
import tomllib
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from modiste.errors import RecipeError

Activation = Literal["relu", "sigmoid", "tanh", "linear"]
Precision = Literal["float32", "bfloat16", "auto"]


class Part:
    """Base of every dataclass in a recipe: checks the type of each field, then what the part itself demands."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            value = _fit(hints[item.name], getattr(self, item.name), item.name)
            object.__setattr__(self, item.name, value)
        self.check()

    def check(self) -> None:
        """Raise RecipeError for values that cannot be; overridden where there is something to demand."""


@dataclass(frozen=True, kw_only=True)
class DataRecipe(Part):
    """Which images, and how they are divided."""

    source: str = "fashion-mnist"
    """A known data set, or a folder that holds a training and a test set in IDX form."""
    split: Literal["stratified", "last"] = "stratified"
    """How validation images are chosen: each class alike at random, or the last ones in the file as the paper does."""
    validation_fraction: float = 1 / 6
    """Share of the training images held out for validation; a sixth of Fashion-MNIST is 10,000."""
    split_seed: int = 0
    """Seed of the stratified split, apart from the seed of training, so that seeds share one validation set."""

    def check(self) -> None:
        _demand(
            0 < self.validation_fraction < 1,
            "validation_fraction",
            "between 0 and 1",
            self.validation_fraction,
        )


@dataclass(frozen=True, kw_only=True)
class CNNRecipe(Part):
    """A plain convolutional network: convolutions with pooling, then dense layers."""

    filters: tuple[int, ...] = (32, 64, 128)
    """Filters of each convolution."""
    kernel_size: int = 3
    """Side of every convolution's kernel, in pixels."""
    pools: int = 2
    """How many of the first convolutions are followed by 2x2 max-pooling."""
    hidden: tuple[int, ...] = (128,)
    """Units of each dense layer between the convolutions and the output."""
    dropout: float = 0.5
    """Share of the last hidden units dropped in training; 0 switches it off."""
    batch_norm: bool = False
    """Normalise each convolution's output over the batch, before its activation."""
    activation: Activation = "relu"
    """Activation after every layer but the last."""

    def check(self) -> None:
        _demand(len(self.filters) > 0, "filters", "at least one number", self.filters)
        _demand(
            all(n > 0 for n in self.filters + self.hidden),
            "filters and hidden",
            "positive",
            self.filters + self.hidden,
        )
        _demand(self.kernel_size > 0, "kernel_size", "at least 1", self.kernel_size)
        _demand(0 <= self.pools <= len(self.filters), "pools", f"0 to {len(self.filters)}", self.pools)
        _demand(0 <= self.dropout < 1, "dropout", "from 0 to below 1", self.dropout)


@dataclass(frozen=True, kw_only=True)
class MLPRecipe(Part):
    """A multilayer perceptron; without hidden layers a single-layer perceptron."""

    hidden: tuple[int, ...] = ()
    """Units of each hidden layer."""
    activation: Activation = "relu"
    """Activation after every hidden layer."""
    dropout: float = 0.0
    """Share of each hidden layer's units dropped in training; 0 switches it off."""
    batch_norm: bool = False
    """Normalise each hidden layer's output over the batch, before its activation."""

    def check(self) -> None:
        _demand(all(n > 0 for n in self.hidden), "hidden", "positive", self.hidden)
        _demand(0 <= self.dropout < 1, "dropout", "from 0 to below 1", self.dropout)


ModelRecipe = CNNRecipe | MLPRecipe
MODEL_KINDS: dict[str, type[ModelRecipe]] = {"cnn": CNNRecipe, "mlp": MLPRecipe}


@dataclass(frozen=True, kw_only=True)
class AugmentationRecipe(Part):
    """Random changes to the training images, drawn anew at every step."""

    flip: bool = False
    """Mirror half of the images left to right."""
    shift: int = 0
    """Move each image by up to this many pixels in both directions, filling with zeros."""

    def check(self) -> None:
        _demand(self.shift >= 0, "shift", "at least 0", self.shift)


@dataclass(frozen=True, kw_only=True)
class OptimizerRecipe(Part):
    """How a gradient becomes an update."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    """Adam (Kingma and Ba, 2015), AdamW (Loshchilov and Hutter, 2019) or momentum SGD (Sutskever et al., 2013)."""
    learning_rate: float = 1e-3
    """Peak learning rate; the schedule multiplies it."""
    weight_decay: float = 0.0
    """Decay of weights per unit of learning rate; biases and normalisation are never decayed."""
    momentum: float = 0.9
    """Momentum of SGD."""
    nesterov: bool = True
    """Nesterov's momentum for SGD."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates of the first and second moment."""
    epsilon: float = 1e-7
    """Adam's guard against division by zero; Keras' default, the paper's."""
    clip_norm: float = 0.0
    """Largest norm of the whole gradient, beyond which it is scaled down; 0 switches it off."""

    def check(self) -> None:
        _demand(self.learning_rate > 0, "learning_rate", "above 0", self.learning_rate)
        _demand(self.weight_decay >= 0, "weight_decay", "at least 0", self.weight_decay)
        _demand(0 <= self.momentum < 1, "momentum", "from 0 to below 1", self.momentum)
        _demand(not self.nesterov or self.momentum > 0, "momentum", "above 0 with nesterov", self.momentum)
        _demand(all(0 <= beta < 1 for beta in self.betas), "betas", "from 0 to below 1", self.betas)
        _demand(self.epsilon > 0, "epsilon", "above 0", self.epsilon)
        _demand(self.clip_norm >= 0, "clip_norm", "at least 0", self.clip_norm)


@dataclass(frozen=True, kw_only=True)
class ScheduleRecipe(Part):
    """The learning rate's factor over the run."""

    shape: Literal["constant", "step", "linear", "cosine", "one-cycle"] = "constant"
    """Course of the factor after warm-up."""
    warm_up: float = 0.0
    """Share of the run in which the factor rises linearly to 1; the rise of one-cycle."""
    final_factor: float = 0.0
    """Where linear, cosine and one-cycle end."""
    step_every: float = 0.3
    """Share of the run after which ``step`` multiplies the factor by ``step_factor``, again and again."""
    step_factor: float = 0.1
    """What ``step`` multiplies by."""

    def check(self) -> None:
        _demand(0 <= self.warm_up < 1, "warm_up", "from 0 to below 1", self.warm_up)
        _demand(
            self.shape != "one-cycle" or self.warm_up > 0,
            "warm_up",
            "above 0 for one-cycle (try 0.3)",
            self.warm_up,
        )
        _demand(0 <= self.final_factor <= 1, "final_factor", "from 0 to 1", self.final_factor)
        _demand(0 < self.step_every <= 1, "step_every", "above 0 and at most 1", self.step_every)
        _demand(0 < self.step_factor <= 1, "step_factor", "above 0 and at most 1", self.step_factor)


@dataclass(frozen=True, kw_only=True)
class Recipe(Part):
    """Everything that decides a training run's result."""

    name: str
    """Name of the recipe, and of the run folder unless another is given."""
    epochs: int = 50
    """Passes over the training images."""
    batch_size: int = 128
    """Images per step."""
    seed: int = 0
    """Seed of initialisation, order, augmentation and dropout."""
    precision: Precision = "float32"
    """Number format of the network's arithmetic; auto takes bfloat16 where the hardware is faster with it."""
    standardize: bool = False
    """Subtract the training images' mean and divide by their deviation, inside the network; else only divide by 255."""
    objective: Literal["cross-entropy", "squared-error"] = "cross-entropy"
    """What training makes small."""
    label_smoothing: float = 0.0
    """Share of each target's probability that is spread over all classes."""
    warm_start: Literal["none", "class-prior"] = "none"
    """What happens to the fresh network before the first step."""
    ema_decay: float = 0.0
    """Decay per step of the running average of weights that is evaluated in their place; 0 switches it off."""
    patience: int = 0
    """Stop after this many epochs without a better validation accuracy; 0 never stops early."""
    pick: Literal["best-accuracy", "best-loss", "last"] = "best-accuracy"
    """Which epoch's weights become the model, by validation."""
    data: DataRecipe = field(default_factory=DataRecipe)
    """The images."""
    model: CNNRecipe | MLPRecipe = field(default_factory=CNNRecipe)
    """The network."""
    augmentation: AugmentationRecipe = field(default_factory=AugmentationRecipe)
    """Random changes to the training images."""
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    """The optimizer."""
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    """The learning rate's course."""

    def check(self) -> None:
        safe = self.name.replace("-", "").replace("_", "").replace(".", "").isalnum() and self.name[0] != "."
        _demand(safe, "name", "letters, digits, '-', '_' and '.'", self.name)
        _demand(self.epochs >= 1, "epochs", "at least 1", self.epochs)
        _demand(self.batch_size >= 1, "batch_size", "at least 1", self.batch_size)
        _demand(0 <= self.label_smoothing < 1, "label_smoothing", "from 0 to below 1", self.label_smoothing)
        _demand(0 <= self.ema_decay < 1, "ema_decay", "from 0 to below 1", self.ema_decay)
        _demand(self.patience >= 0, "patience", "at least 0", self.patience)


def to_plain(recipe: Any) -> Any:
    """Turn a recipe or a part of one into dictionaries, lists, numbers and strings; a model names its ``kind``."""
    if dataclasses.is_dataclass(recipe):
        plain = {item.name: to_plain(getattr(recipe, item.name)) for item in dataclasses.fields(recipe)}
        kind = next((name for name, model in MODEL_KINDS.items() if type(recipe) is model), None)
        return plain if kind is None else {"kind": kind, **plain}
    return list(recipe) if isinstance(recipe, tuple) else recipe


def from_plain(plain: Mapping[str, Any]) -> Recipe:
    """Turn what to_plain gave back into a recipe; RecipeError names the first field that is wrong."""
    recipe: Recipe = _build(Recipe, plain, "")
    return recipe


def load(path: Path) -> Recipe:
    """Read a recipe from a ``.toml`` or ``.json`` file."""
    try:
        text = path.read_text(encoding="utf-8")
        plain = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise RecipeError(f"{path}: not a valid {path.suffix} file ({error})") from error
    try:
        return from_plain(plain)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def differences(old: Recipe, new: Recipe) -> list[str]:
    """List the fields in which two recipes differ, as ``optimizer.learning_rate: 0.001 became 0.01``."""
    before, after = dict(_flatten(to_plain(old))), dict(_flatten(to_plain(new)))
    names = [*before, *(name for name in after if name not in before)]
    return [
        f"{name}: {before.get(name, 'nothing')} became {after.get(name, 'nothing')}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a hint at the most similar of ``names``, or the list of them when none is similar."""
    known = list(names)
    similar = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {similar[0]!r}?" if similar else f"known: {', '.join(known)}"


def _demand(holds: bool, name: str, expected: str, found: object) -> None:
    if not holds:
        raise RecipeError(f"{name}: expected {expected}, found {found!r}")


def _fit(kind: Any, value: Any, name: str) -> Any:
    """Return ``value`` as ``kind``, turning lists to tuples and whole numbers to floats; RecipeError otherwise."""
    origin = get_origin(kind)
    if origin is Literal:
        if value not in get_args(kind):
            raise RecipeError(f"{name}: {value!r} is unknown; {nearest(value, get_args(kind))}")
        return value
    if origin is tuple:
        return _fit_tuple(get_args(kind), value, name)
    if origin in (Union, types.UnionType):
        _demand(isinstance(value, get_args(kind)), name, "a model recipe", value)
        return value
    if kind is float and type(value) is int:
        value = float(value)
    _demand(type(value) is kind, name, kind.__name__, value)
    _demand(kind is not float or math.isfinite(value), name, "a finite number", value)
    return value


def _fit_tuple(kinds: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
    _demand(isinstance(value, list | tuple), name, "a list", value)
    if kinds[-1] is not Ellipsis:
        _demand(len(value) == len(kinds), name, f"{len(kinds)} numbers", value)
    return tuple(_fit(kinds[0], item, name) for item in value)


def _build(kind: Any, plain: Any, where: str) -> Any:
    _demand(isinstance(plain, Mapping), where or "recipe", "a table of fields", plain)
    hints = get_type_hints(kind)
    values = {}
    for name, value in plain.items():
        if name not in hints:
            raise RecipeError(f"{where}{name}: no such field; {nearest(name, hints)}")
        values[name] = _build_field(hints[name], value, f"{where}{name}")
    try:
        return kind(**values)
    except TypeError as error:
        raise RecipeError(f"{where or 'recipe'}: {error}") from error
    except RecipeError as error:
        raise RecipeError(f"{where}{error}") from error


def _build_field(kind: Any, value: Any, where: str) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        _demand(isinstance(value, Mapping), where, "a table of fields", value)
        name, fields = value.get("kind"), {key: item for key, item in value.items() if key != "kind"}
        if name not in MODEL_KINDS:
            raise RecipeError(f"{where}.kind: {name!r} is unknown; {nearest(name, MODEL_KINDS)}")
        return _build(MODEL_KINDS[name], fields, f"{where}.")
    return _build(kind, value, f"{where}.") if dataclasses.is_dataclass(kind) else value


def _flatten(plain: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in plain.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
