"""Model files and training states: safetensors files with readable JSON inside, and no pickle.

A model file holds weights, recipe and task, which is enough to predict. The name of a training state contains the hash
of its content. The latest state is the newest one whose content matches its name, so no other file has to point to it.
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
from modiste.models.layers import Statistic
from modiste.models.registry import Task, build_model, shapes_of
from modiste.recipes.plain import class_name, demand, each_once, to_plain
from modiste.recipes.recipe import Recipe, from_stored
from modiste.runs import storage

FORMAT = 1
KEPT_STATES = 2
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class ModelInfo:
    """The description that a model file holds beside its weights.

    Attributes:
        recipe: How the model was trained.
        task: Image shape, class names and pixel statistics.
        epoch: The epoch whose weights these are, from 1.
        fingerprint: Hash of the training data; with extra pictures two hashes, with a plus between.
        temperature: Logits are divided by it before softmax; above 0, fitted on validation images at export.
    """

    recipe: Recipe
    task: Task
    epoch: int
    fingerprint: str
    temperature: float = 1.0


@dataclass(frozen=True)
class State:
    """A training state read from disk: tensors, plain data, and a message for each newer state that is damaged."""

    tensors: Tensors
    plain: dict[str, Any]
    complaints: tuple[str, ...]


def save_model(path: Path, weights: Tensors, info: ModelInfo) -> None:
    """Write a model file, whole or not at all; StorageError when the disk refuses."""
    storage.write_bytes(path, model_bytes(weights, info))


def model_bytes(weights: Tensors, info: ModelInfo) -> bytes:
    """Return the content of a model file."""
    plain = {
        "recipe": to_plain(info.recipe),
        "task": dataclasses.asdict(info.task),
        "epoch": info.epoch,
        "fingerprint": info.fingerprint,
    }
    calibration = {} if info.temperature == ModelInfo.temperature else {"temperature": info.temperature}
    return to_bytes(weights, {**plain, **calibration})


def load_model(path: Path) -> tuple[nn.Module, ModelInfo]:
    """Return the network, in evaluation mode, and its description from a model file.

    Raises:
        RunError: The file is missing, damaged, or of another format.
    """
    tensors, plain = read(path)
    with _readable(path):
        info = _info(plain)
        _check_tensors(tensors, info)
        model = build_model(info.recipe.model, info.task)
        model.load_state_dict(tensors)
    return model.eval(), info


def load_info(path: Path) -> ModelInfo:
    """Return the description in a model file without building the network; RunError as ``load_model``."""
    _, plain = read(path)
    with _readable(path):
        return _info(plain)


def to_bytes(tensors: Tensors, plain: dict[str, Any]) -> bytes:
    """Return tensors and plain data as the bytes of a safetensors file; equal content gives equal bytes."""
    # On a GPU, making a tensor contiguous before it is copied is faster than after.
    contiguous = _apart({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()})
    text = json.dumps({"format": FORMAT, **plain}, sort_keys=True)
    return safetensors.torch.save(contiguous, {"modiste": text})


def _apart(tensors: Tensors) -> Tensors:
    """Return the tensors with a copy of each that shares memory with an earlier one, which safetensors cannot store."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return found


def read(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Return the tensors and plain data in a file that holds the bytes of ``to_bytes``; RunError if it does not."""
    return _from_bytes(path, _content(path))


def save_state(folder: Path, step: int, tensors: Tensors, plain: dict[str, Any]) -> None:
    """Write the training state after ``step`` steps, then delete all but the newest two states."""
    content = to_bytes(tensors, plain)
    digest = hashlib.sha256(content).hexdigest()
    storage.write_bytes(folder / f"step-{step:08d}-{digest[:16]}.safetensors", content)
    prune_states(folder, KEPT_STATES)


def load_state(folder: Path) -> State | None:
    """Return the newest state whose content matches its name, with a message for each newer one that is damaged.

    Returns None if the folder holds no state.

    Raises:
        RunError: All states are damaged, or one cannot be read.
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


def copy_newest(source: Path, target: Path) -> None:
    """Copy the newest training state of one folder into another, under the same name; RunError if there is none."""
    found = _states(source)
    if not found:
        raise RunError(f"{source}: holds no training state; train the run again")
    storage.write_bytes(target / found[-1].name, _content(found[-1]))


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
    mean, deviation = (_statistic(name, task[name], shape[0]) for name in ("mean", "deviation"))
    demand(_is_finite(temperature) and temperature > 0, "temperature", "a number", temperature)
    demand(type(plain["epoch"]) is int, "epoch", "a whole number", plain["epoch"])
    demand(isinstance(plain["fingerprint"], str), "fingerprint", "a hash", plain["fingerprint"])
    return ModelInfo(
        recipe=from_stored(plain["recipe"]),
        task=Task(image_shape=shape, class_names=names, mean=mean, deviation=deviation),
        epoch=plain["epoch"],
        fingerprint=plain["fingerprint"],
        temperature=temperature,
    )


def _statistic(name: str, stored: Any, channels: int) -> Statistic:
    """Return a mean or deviation: a number, or a number for each channel; RecipeError if it is neither."""
    numbers = stored if isinstance(stored, list) and len(stored) == channels else [stored]
    sound = all(_is_finite(one) and (name == "mean" or one > 0) for one in numbers)
    demand(sound, name, "a number, or one for each channel", stored)
    return tuple(stored) if isinstance(stored, list) else float(stored)


def _is_finite(number: Any) -> bool:
    return isinstance(number, float) and math.isfinite(number)


def _check_tensors(tensors: Tensors, info: ModelInfo) -> None:
    """Raise RecipeError unless the tensors fit the network; called before the network, which may be huge, is built."""
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


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error


def _from_bytes(path: Path, content: bytes) -> tuple[Tensors, dict[str, Any]]:
    try:
        header_bytes = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + header_bytes].decode(), object_pairs_hook=each_once)
        plain = json.loads(header["__metadata__"]["modiste"])
        _check_format(plain.pop("format"))
        return safetensors.torch.load(content), plain
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"{path}: damaged, or not a safetensors file that Modiste wrote ({error})") from error
