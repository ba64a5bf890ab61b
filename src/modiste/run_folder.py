"""The folder of one training run: what lies in it, and that it is as it was written.

recipe.json                     how it was trained
log.jsonl                       one line per epoch: the figures, the same whenever the run is repeated
pretraining.jsonl               one line per epoch of a warm start that trains
timing.jsonl                    one line per epoch: seconds, images per second, memory
facts.json                      the machine and versions of every start
model.safetensors               the weights that validation picked, with recipe and task
last.safetensors                the weights after the last epoch
validation-logits.safetensors   logits and labels of the validation images
checkpoints/                    the training state to go on from
images.safetensors              of a person's own pictures: those for validation, and a sample of those for training
novelty.safetensors             what tells images of none of the classes; of Fashion-MNIST written at the first photo
transfer.json                   what became of each tensor, where weights were taken from another run
manifest.json                   hash of every file above; there once the run has finished
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from modiste import checkpoint, manifest, storage
from modiste.checkpoint import ModelInfo
from modiste.errors import RunError
from modiste.recipe import Recipe, from_plain

RECIPE = "recipe.json"
LOG = "log.jsonl"
PRETRAINING = "pretraining.jsonl"
TIMING = "timing.jsonl"
FACTS = "facts.json"
TRANSFER = "transfer.json"
STATES = "checkpoints"
BEFORE_TRAINING = (RECIPE, FACTS, PRETRAINING, TRANSFER)
WEIGHTS = {"picked": "model.safetensors", "last": "last.safetensors"}
VALIDATION_LOGITS = "validation-logits.safetensors"
ALWAYS = (RECIPE, LOG, TIMING, FACTS, *WEIGHTS.values(), VALIDATION_LOGITS)
"""What every finished run holds."""


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """One line of the log: the mean over the epoch's steps for training, the epoch's end for validation."""

    epoch: int
    step: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True, kw_only=True)
class PretrainingRow:
    """One line of a warm start's log: the mean of ``quantity`` over the steps of an epoch that trains ``part``."""

    part: str
    epoch: int
    quantity: str
    value: float


Row = TypeVar("Row", EpochRow, PretrainingRow)


@dataclass(frozen=True)
class Run:
    """A finished run whose files were verified when it was opened; ``files`` are their hashes by name."""

    folder: Path
    recipe: Recipe
    history: tuple[EpochRow, ...]
    files: Mapping[str, str]
    test_openings: int

    @property
    def picked(self) -> EpochRow:
        """The epoch whose weights are the model."""
        return picked(self.history, self.recipe)

    def load_model(self, weights: str = "picked") -> tuple[nn.Module, ModelInfo]:
        """Load the weights that validation ``picked`` or those of the ``last`` epoch."""
        return checkpoint.load_model(self.folder / WEIGHTS[weights])

    def load_info(self) -> ModelInfo:
        """Read what the picked weights' file says beside them."""
        return checkpoint.load_info(self.folder / WEIGHTS["picked"])

    def pretraining(self) -> list[PretrainingRow]:
        """Return one row per epoch of the warm start; none where it trained nothing."""
        return _rows(self.folder / PRETRAINING, PretrainingRow) if is_listed(self, PRETRAINING) else []

    def timing(self) -> list[dict[str, Any]]:
        """Return one entry per epoch: epoch, seconds, train_seconds, images_per_second, peak_memory_bytes."""
        return read_lines(self.folder / TIMING)

    def facts(self) -> list[dict[str, Any]]:
        """Return the machine and versions of every start of the run."""
        return starts(self.folder / FACTS)


def open_run(folder: Path | str) -> Run:
    """Open a finished run; RunError when it is missing, unfinished, or any file differs from what was written."""
    folder = Path(folder)
    require_finished(folder)
    files, test_openings = manifest.read(folder, ALWAYS)
    for name, digest in files.items():
        manifest.verify(folder, name, digest)
    history = tuple(_rows(folder / LOG, EpochRow))
    if not history:
        raise RunError(f"{folder / LOG}: damaged, it tells of no epoch; restore it or train the run again")
    recipe = from_plain(storage.read_json(folder / RECIPE))
    return Run(folder, recipe, history, files, test_openings)


def require_finished(folder: Path) -> None:
    """Raise RunError unless ``folder`` holds a finished run; looks at no file's content."""
    for name in (RECIPE, manifest.NAME):
        if not storage.lies_in(folder, name):
            raise RunError(f"{folder / name}: leads out of the run's folder, and is not followed")
    if not (folder / RECIPE).is_file():
        raise RunError(f"{folder}: no run here, {RECIPE} is missing; expected a folder that `modiste train` made")
    if not (folder / manifest.NAME).is_file():
        raise RunError(f"{folder}: this run has not finished; give its `modiste train` command again to go on")


def strangers(folder: Path) -> list[str]:
    """Name what lies in a folder without a recipe, but for what a start that was killed at once may have left."""
    ours = (storage.LOCK_NAME, f".{RECIPE}-")
    return sorted(item.name for item in folder.iterdir() if not item.name.startswith(ours))


def is_unbegun(folder: Path) -> bool:
    """Tell whether a folder holds nothing but what a run writes before its training begins."""
    return all(item.name in BEFORE_TRAINING for item in folder.iterdir() if not item.name.startswith("."))


def clear(folder: Path) -> None:
    """Delete what a run writes before its training begins."""
    for name in BEFORE_TRAINING:
        storage.remove(folder / name)


def picked(history: Iterable[EpochRow], recipe: Recipe) -> EpochRow:
    """Return the epoch that validation picks by the recipe's rule; the earliest among equals."""
    rows = list(history)
    if recipe.pick == "best-accuracy":
        return max(rows, key=lambda row: row.validation_accuracy)
    if recipe.pick == "best-loss":
        return min(rows, key=lambda row: row.validation_loss)
    return rows[-1]


def seal(folder: Path) -> None:
    """Write the manifest over every file of the run: from here on it counts as finished."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    manifest.write(folder, {str(path.relative_to(folder)): storage.sha256(path) for path in files}, 0)


def add_files(run: Run, names: Iterable[str], *, test_openings: int) -> Run:
    """Enter files that were written after the run had finished, and how often its test set was opened."""
    files = {**run.files, **{name: storage.sha256(run.folder / name) for name in names}}
    manifest.write(run.folder, files, test_openings)
    return dataclasses.replace(run, files=files, test_openings=test_openings)


def forget(run: Run, names: Iterable[str]) -> Run:
    """Take files off the manifest that are about to be written anew: a crash then leaves no hash that is not met."""
    kept = {name: digest for name, digest in run.files.items() if name not in set(names)}
    if kept != run.files:
        manifest.write(run.folder, kept, run.test_openings)
    return dataclasses.replace(run, files=kept)


def is_listed(run: Run, name: str) -> bool:
    """Tell whether the manifest vouches for a file; one written just before a crash it does not."""
    return name in run.files


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file by one line of JSON per row, whole or not at all."""
    storage.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read what write_lines wrote."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read as one JSON value per line ({error})") from error
    if not all(isinstance(row, dict) for row in rows):
        raise RunError(f"{path}: cannot be read; expected a table of values on each line")
    return rows


def starts(path: Path) -> list[dict[str, Any]]:
    """Read the facts of every start of a run; RunError unless the file is as it was written."""
    try:
        listed = storage.read_sealed_json(path).get("starts")
    except RunError as error:
        raise RunError(f"{path}: damaged, it is not what was written; delete it to go on") from error
    if not isinstance(listed, list) or not all(isinstance(start, dict) for start in listed):
        raise RunError(f"{path}: damaged, it lists no starts; delete it to go on")
    return listed


def write_logits(path: Path, logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], epoch: int) -> None:
    """Store logits beside the labels that they are measured against."""
    storage.write_bytes(path, checkpoint.to_bytes({"logits": logits, "labels": labels}, {"epoch": epoch}))


def read_logits(path: Path) -> tuple[Float[Tensor, "n classes"], Int64[Tensor, " n"]]:
    """Read what write_logits wrote; RunError unless they are finite logits, and a label for each image."""
    tensors, _ = checkpoint.read(path)
    if set(tensors) != {"logits", "labels"} or not _fit_each_other(**tensors):
        raise RunError(f"{path}: damaged or of another kind; expected logits and labels")
    return tensors["logits"], tensors["labels"]


def _fit_each_other(logits: Tensor, labels: Tensor) -> bool:
    if logits.ndim != 2 or labels.ndim != 1 or not len(logits) == len(labels) > 0:
        return False
    if not logits.is_floating_point() or labels.dtype != torch.int64 or not logits.isfinite().all():
        return False
    return bool((labels >= 0).all()) and bool((labels < logits.shape[1]).all())


def as_plain(row: EpochRow) -> dict[str, Any]:
    """Turn a row into what its line of the log holds."""
    return dataclasses.asdict(row)


def logits_name(split: str, weights: str = "picked") -> str:
    """Name the file that holds a split's logits under the picked or the last weights."""
    return f"{split}-logits.safetensors" if weights == "picked" else f"{split}-logits-{weights}.safetensors"


def _rows(path: Path, kind: type[Row]) -> list[Row]:
    try:
        rows = [kind(**row) for row in read_lines(path)]
    except TypeError as error:
        raise RunError(f"{path}: damaged or of another version of Modiste ({error})") from error
    for row in rows:
        for item in dataclasses.fields(kind):
            value = getattr(row, item.name)
            if not isinstance(value, str if item.type is str else int | float):
                raise RunError(f"{path}: damaged; {item.name}: expected {item.type.__name__}, found {value!r}")  # type: ignore[union-attr]
    return rows
