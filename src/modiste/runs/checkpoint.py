"""Tensors on disk: model files and training states, as safetensors with readable JSON inside. No pickle anywhere.

A model file holds weights, recipe and task: enough to predict. A training state carries the hash of its content in
its name, so that it needs no pointer beside it: the newest state whose content matches its name is the latest.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from modiste.errors import RunError
from modiste.models.registry import Task, build_model, shapes_of
from modiste.recipes.plain import class_name, demand, to_plain
from modiste.recipes.recipe import Recipe, from_plain
from modiste.runs import storage

FORMAT = 1
KEPT_STATES = 2
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says beside its weights.

    Attributes:
        recipe: how the model was trained.
        task: images and classes.
        epoch: after which the weights were taken.
        fingerprint: of the data it was trained on.
        temperature: by which logits are divided before they become probabilities; fitted when the file was exported.
    """

    recipe: Recipe
    task: Task
    epoch: int
    fingerprint: str
    temperature: float = 1.0


@dataclass(frozen=True)
class State:
    """A training state as read from disk: tensors, plain data, and what was wrong with newer ones."""

    tensors: Tensors
    plain: dict[str, Any]
    complaints: tuple[str, ...]


def save_model(path: Path, weights: Tensors, info: ModelInfo) -> None:
    """Write weights and what they mean to one file, whole or not at all."""
    storage.write_bytes(path, model_bytes(weights, info))


def model_bytes(weights: Tensors, info: ModelInfo) -> bytes:
    """Return a model file's content."""
    plain = {
        "recipe": to_plain(info.recipe),
        "task": dataclasses.asdict(info.task),
        "epoch": info.epoch,
        "fingerprint": info.fingerprint,
    }
    tempered = {} if info.temperature == ModelInfo.temperature else {"temperature": info.temperature}
    return to_bytes(weights, {**plain, **tempered})


def load_model(path: Path) -> tuple[nn.Module, ModelInfo]:
    """Read a model file, ready to predict; RunError when it is missing, damaged or of another format."""
    tensors, plain = read(path)
    with _readable(path):
        info = _info(plain)
        _check_tensors(tensors, info)
        model = build_model(info.recipe.model, info.task)
        model.load_state_dict(tensors)
    return model.eval(), info


def load_info(path: Path) -> ModelInfo:
    """Read what a model file says beside its weights, without building the network; RunError as ``load_model``."""
    _, plain = read(path)
    with _readable(path):
        return _info(plain)


def to_bytes(tensors: Tensors, plain: dict[str, Any]) -> bytes:
    """Turn tensors and plain data into the bytes of a safetensors file: the same content, the same bytes."""
    contiguous = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}  # quicker on a GPU
    text = json.dumps({"format": FORMAT, **plain}, sort_keys=True)
    return safetensors.torch.save(contiguous, {"modiste": text})


def read(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read a file that holds what to_bytes made; RunError when it does not."""
    return _from_bytes(path, _content(path))


def save_state(folder: Path, step: int, tensors: Tensors, plain: dict[str, Any]) -> None:
    """Write the training state after ``step`` steps, then delete all but the newest two."""
    content = to_bytes(tensors, plain)
    digest = hashlib.sha256(content).hexdigest()
    storage.write_bytes(folder / f"step-{step:08d}-{digest[:16]}.safetensors", content)
    prune_states(folder, KEPT_STATES)


def load_state(folder: Path) -> State | None:
    """Return the newest state whose content matches its name, with a complaint for each newer one that does not.

    None when the folder holds no state at all; RunError when it holds only damaged ones.
    """
    complaints: list[str] = []
    for path in reversed(_states(folder)):
        content = _content(path)
        if hashlib.sha256(content).hexdigest()[:16] == path.stem[-16:]:
            tensors, plain = _from_bytes(path, content)
            return State(tensors, plain, tuple(complaints))
        complaints.append(f"{path}: damaged, its content does not match the hash in its name")
    if complaints:
        raise RunError(f"{complaints[0]}; no older state is left: delete {folder.parent} and train again")
    return None


def prune_states(folder: Path, kept: int) -> None:
    """Delete all but the ``kept`` newest states."""
    for path in _states(folder)[:-kept]:
        storage.remove(path)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, MemoryError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RunError(f"{path}: not a model file that this version of Modiste can read ({reason})") from error


def _info(plain: dict[str, Any]) -> ModelInfo:
    task = plain["task"]
    shape, names = tuple(task["image_shape"]), tuple(task["class_names"])
    temperature = plain.get("temperature", ModelInfo.temperature)
    sizes = len(shape) == 3 and all(type(size) is int and size > 0 for size in shape)
    demand(sizes, "task.image_shape", "three sizes", shape)
    demand(all(isinstance(name, str) for name in names), "task.class_names", "names", names)
    names = tuple(class_name(name) for name in names)
    for name, number in {"mean": task["mean"], "deviation": task["deviation"], "temperature": temperature}.items():
        possible = isinstance(number, float) and math.isfinite(number) and (name == "mean" or number > 0)
        demand(possible, name, "a number", number)
    demand(type(plain["epoch"]) is int, "epoch", "a whole number", plain["epoch"])
    demand(isinstance(plain["fingerprint"], str), "fingerprint", "a hash", plain["fingerprint"])
    return ModelInfo(
        recipe=from_plain(plain["recipe"]),
        task=Task(image_shape=shape, class_names=names, mean=task["mean"], deviation=task["deviation"]),
        epoch=plain["epoch"],
        fingerprint=plain["fingerprint"],
        temperature=temperature,
    )


def _check_tensors(tensors: Tensors, info: ModelInfo) -> None:
    """Raise RecipeError unless the tensors are the network's, before any memory is taken for one that may be huge."""
    wanted = shapes_of(info.recipe.model, info.task)
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in sorted(wanted.keys() | found.keys()):
        demand(wanted.get(name) == found.get(name), name, f"{wanted.get(name)}", found.get(name))
        demand(bool(tensors[name].isfinite().all()), name, "finite numbers", "others")


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-????????-????????????????.safetensors"))


def _check_format(found: Any) -> None:
    if found != FORMAT:
        raise ValueError(f"expected format {FORMAT}, found {found!r}; use the version of Modiste that wrote it")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a table; ValueError for a name that stands twice, which other readers may take another of."""
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name stands twice in its header")
    return table


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error


def _from_bytes(path: Path, content: bytes) -> tuple[Tensors, dict[str, Any]]:
    try:
        header_bytes = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + header_bytes].decode(), object_pairs_hook=_each_once)
        plain = json.loads(header["__metadata__"]["modiste"])
        _check_format(plain.pop("format"))
        return safetensors.torch.load(content), plain
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"{path}: damaged or not one of Modiste's files ({error})") from error
