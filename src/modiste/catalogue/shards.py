"""One shard of a catalogue: its pictures are answered in order, in fixed batches, by one thread of ONNX Runtime.

Any process that answers a shard returns the same bytes, alone or among many, with or without a kill before it. No torch
is needed here.
"""

import hashlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from modiste.catalogue.listing import UNREADABLE
from modiste.catalogue.parquet import AnsweredRow, read_facts, shard_content
from modiste.catalogue.plan import Plan
from modiste.data.pictures.listing import UNREAD_SUFFIXES, reason_against, reason_against_name
from modiste.errors import ClusterError, PhotoError, RunError, shown
from modiste.inference.answers import answers
from modiste.inference.onnx_model import OnnxModel
from modiste.photo.segmentation import VARIABLE, choose_network

CLOSED = "a folder that cannot be opened; check its permissions"


@dataclass(frozen=True)
class ShardTask:
    """A shard to answer.

    Attributes:
        number: Number of the shard.
        root: Folder that the names are relative to; a list may also have absolute names.
        names: Names of the pictures, in order.
        plan: Hash of the catalogue's plan.
        onnx: SHA-256 of the model.
        stays_inside: Whether the names are of all pictures below the root, not of a list: links that lead out of the
            root are then refused, and a name may be of a folder that could not be opened.
        coverage: Coverage of the prediction sets; None for no sets.
        network: Name of the segmentation network that has to find garments; None if the plan has none.
        witness: A picture that the driver sees. A node that does not see it lacks the folder of pictures.
    """

    number: int
    root: str
    names: tuple[bytes, ...]
    plan: str
    onnx: str
    stays_inside: bool
    coverage: float | None = None
    network: str | None = None
    witness: bytes | None = None


_models: dict[str, OnnxModel] = {}
"""The model of this process, by its hash."""


def answer_shard(task: ShardTask, model: bytes | Path) -> bytes:
    """Return a shard as the content of a parquet file.

    Args:
        task: The shard.
        model: Content or path of the ONNX file.

    Raises:
        ClusterError: This machine does not see the pictures.
        RunError: The model is damaged, or gives no finite numbers; or this machine has another segmentation network.
        MissingExtraError: A package is not installed on this machine.
    """
    if task.witness is not None and not os.path.lexists(_path(task, task.witness)):
        name = shown(os.fsdecode(_path(task, task.witness)))
        raise ClusterError(f"node {platform.node()} does not see {name}; mount the pictures there at the same path")
    _check_network(task)
    loaded = _loaded(task.onnx, model)
    pictures = ((os.fsdecode(name), _picture(task, name)) for name in task.names)
    found = answers(loaded, pictures, keep_steps=False, threads=1)
    texts = (_text(task, name) for name in task.names)
    if task.coverage is not None:
        least = loaded.least_probability(task.coverage)
        found = (answer.with_set(least) for answer in found)
    rows = map(AnsweredRow, texts, found)
    return shard_content(rows, loaded.class_names, task.plan, task.number, with_sets=task.coverage is not None)


def witness_of(task: ShardTask) -> bytes | None:
    """Return the first picture of a shard that this machine sees; None if there is none."""
    return next((name for name in task.names if os.path.lexists(_path(task, name))), None)


def shard_path(out: Path, number: int) -> Path:
    """Return the path of a shard in the folder of answers."""
    return out / f"answers-{number:06d}.parquet"


def is_done(out: Path, plan: Plan, number: int) -> bool:
    """Return whether the folder of answers holds this shard of this plan."""
    facts = read_facts(shard_path(out, number))
    return facts is not None and (facts.plan, facts.number, facts.rows) == (plan.digest, number, plan.rows(number))


def _path(task: ShardTask, name: bytes) -> bytes:
    return os.path.join(os.fsencode(task.root), name)  # noqa: PTH118 - bytes


def _check_network(task: ShardTask) -> None:
    """Raise RunError if garments would be found by another segmentation network than the plan's."""
    if task.network is not None and (found := choose_network().name) != task.network:
        raise RunError(
            f"{platform.node()}: another segmentation network: expected {task.network}, as for the other answers, "
            f"found {found}; install the same on every machine, or name it in {VARIABLE}"
        )


def _is_closed(task: ShardTask, name: bytes) -> bool:
    """Return whether a name is of a folder that could not be opened; a list may have any name."""
    return task.stays_inside and name.endswith(UNREADABLE)


def _text(task: ShardTask, name: bytes) -> str:
    """Return a name as the column ``path`` has it."""
    plain = name.removesuffix(UNREADABLE) if _is_closed(task, name) else name
    return plain.decode("utf-8", "backslashreplace")


def _picture(task: ShardTask, name: bytes) -> Path | PhotoError:
    """Return the path of a picture, or the reason why it must not be opened."""
    if _is_closed(task, name):
        return PhotoError(CLOSED)
    path = Path(os.fsdecode(_path(task, name)))
    is_unread = path.suffix.lower() in UNREAD_SUFFIXES
    reason = reason_against(path, task.root if task.stays_inside else path.anchor)
    reason = reason or (reason_against_name(path.name) if is_unread else "")
    return PhotoError(reason) if reason else path


def _loaded(digest: str, model: bytes | Path) -> OnnxModel:
    """Return the model, loaded once in each process."""
    if digest not in _models:
        content = model if isinstance(model, bytes) else model.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise RunError("the model that answers is damaged: its content does not match the plan; use another --out")
        _models.clear()
        _models[digest] = OnnxModel.from_bytes(content, "the model", threads=1)
    return _models[digest]
