"""The folder of one training run: its files, read back only if they match their hashes.

recipe.json                     how it was trained
log.jsonl                       one line per epoch: loss and accuracy, the same whenever the run is repeated
pretraining.jsonl               one line per epoch of a warm start that trains
timing.jsonl                    one line per epoch: seconds, images per second, memory
facts.json                      machine and versions at every start of the run
model.safetensors               the weights that validation selected, with recipe and task
last.safetensors                the weights after the last epoch
snapshot-1.safetensors ...      the weights at the end of each cycle of the learning rate, if there are several
validation-logits.safetensors   logits and labels of the validation images
checkpoints/                    the training states to resume from
images.safetensors              for your own pictures: validation images, and a sample of the training images
novelty.safetensors             data to recognise out-of-distribution images; for Fashion-MNIST from the first photo on
transfer.json                   which tensors were taken from another run, and which were not
manifest.json                   hash of every file above; exists once the run has finished
tensorboard/                    events for TensorBoard, if it is used; not in the manifest
.tracking.json                  identity of the run for other trackers, if any is used; not in the manifest
"""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from modiste.errors import RecipeError, RunError
from modiste.recipes.plain import demand_known, to_plain
from modiste.recipes.recipe import Recipe, as_stored, from_stored
from modiste.runs import checkpoint, manifest, storage
from modiste.runs.checkpoint import ModelInfo

RECIPE = "recipe.json"
LOG = "log.jsonl"
PRETRAINING = "pretraining.jsonl"
TIMING = "timing.jsonl"
FACTS = "facts.json"
TRANSFER = "transfer.json"
IMAGES = "images.safetensors"
DETECTOR = "novelty.safetensors"
STATES = "checkpoints"
TRACKING = ".tracking.json"
EVENTS = "tensorboard"
BEFORE_TRAINING = (RECIPE, FACTS, PRETRAINING, TRANSFER)
WRITTEN = (*BEFORE_TRAINING, LOG, TIMING, STATES, EVENTS, TRACKING)
"""Files and folders that training reads or extends when it resumes."""
WEIGHTS = {"picked": "model.safetensors", "last": "last.safetensors"}
SNAPSHOTS = "snapshots"
SNAPSHOT = re.compile(r"snapshot-\d+\.safetensors")
SPLITS = ("validation", "test")
"""Parts of the data on which runs are measured."""
VALIDATION_LOGITS = "validation-logits.safetensors"
ALWAYS = (RECIPE, LOG, TIMING, FACTS, *WEIGHTS.values(), VALIDATION_LOGITS)
"""Files of every finished run."""
TRAINED = {*ALWAYS, *BEFORE_TRAINING, IMAGES, DETECTOR}
"""Files that training writes, beside snapshots and training states."""
PARTS = (*ALWAYS, *BEFORE_TRAINING, IMAGES, manifest.NAME, storage.LOCK_NAME)
"""Files of a run that no export, report or measurement may replace."""
TIMES = ("seconds", "train_seconds", "images_per_second", "peak_memory_bytes")
FACT_TEXTS = ("processor", "system", "python", "torch")
FACT_NUMBERS = ("cores", "threads", "memory_bytes")
"""Facts about the machine that every start of a run records, as text and as numbers."""
LARGEST = 2**63
PATIENCE_SECONDS = 10.0
"""How long to wait for another process that writes into the folder of a finished run; it needs milliseconds."""


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """One line of the log: training figures are means over the epoch's steps, validation is measured at its end."""

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
class Measured:
    """The logits of a run's network, and the images that they belong to.

    Attributes:
        logits: float32, one row per image.
        labels: int64, from 0 to classes - 1.
        images: Hash of the images in their order (``ImageSet.identity``); empty in files of earlier versions.
    """

    logits: Float[Tensor, "n classes"]
    labels: Int64[Tensor, " n"]
    images: str


@dataclass(frozen=True)
class Run:
    """A finished run whose files were verified when it was opened.

    Attributes:
        folder: The run folder.
        recipe: How the run was trained.
        history: One row per epoch.
        files: The SHA-256 of each file by name.
        test_openings: How often the run was evaluated on test.
    """

    folder: Path
    recipe: Recipe
    history: tuple[EpochRow, ...]
    files: Mapping[str, str]
    test_openings: int

    @property
    def picked(self) -> EpochRow:
        """The selected epoch, whose weights are the model."""
        return picked(self.history, self.recipe)

    def load_model(self, weights: str = "picked") -> tuple[nn.Module, ModelInfo]:
        """Load the network with the selected weights (``picked``) or those of the last epoch (``last``)."""
        return checkpoint.load_model(self.folder / WEIGHTS[weights])

    def load_models(self, weights: str = "picked") -> list[nn.Module]:
        """Load the network with each of the weights: every snapshot (``snapshots``), or those of ``load_model`` alone.

        Raises:
            RecipeError: There are no such weights.
            RunError: The run has no snapshots.
        """
        check_weights(weights)
        if weights != SNAPSHOTS:
            return [self.load_model(weights)[0]]
        cycles = self.recipe.schedule.cycles
        if cycles == 1:
            raise RunError(
                f"{self.folder}: has no snapshots; train with several cycles of the learning rate (--schedule.cycles 5)"
            )
        return [checkpoint.load_model(self.folder / snapshot_name(number + 1))[0] for number in range(cycles)]

    def load_info(self) -> ModelInfo:
        """Return the description in the file of the selected weights."""
        return checkpoint.load_info(self.folder / WEIGHTS["picked"])

    def pretraining(self) -> list[PretrainingRow]:
        """Return one row per epoch of the warm start; an empty list if it trained nothing."""
        return _rows(self.folder / PRETRAINING, PretrainingRow) if is_listed(self, PRETRAINING) else []

    def timing(self) -> list[dict[str, Any]]:
        """Return one entry per epoch: epoch, seconds, train_seconds, images_per_second, peak_memory_bytes.

        An epoch is missing if the run was killed before its line was written.
        """
        path = self.folder / TIMING
        rows = read_lines(path)
        if not all(is_amount(row.get(name)) for row in rows for name in ("epoch", *TIMES)):
            raise RunError(f"{path}: damaged, expected {', '.join(TIMES)} of every epoch; restore it")
        return rows

    def facts(self) -> list[dict[str, Any]]:
        """Return machine and versions at every start of the run."""
        path = self.folder / FACTS
        listed = starts(path)
        if not listed or not all(_is_start(start) for start in listed):
            expected = ", ".join(FACT_TEXTS + FACT_NUMBERS)
            raise RunError(f"{path}: damaged, expected {expected} of every start; restore it")
        return listed

    def measured(self, split: str = "validation", weights: str = "picked") -> Measured:
        """Return stored logits; RunError if there are none, or if they do not fit this network's classes."""
        name = logits_name(split, weights)
        if not is_listed(self, name):
            raise RunError(
                f"{self.folder}: not measured on {split} yet; first: modiste evaluate {self.folder} --split {split}"
            )
        found, classes = read_measured(self.folder / name), len(self.load_info().task.class_names)
        if found.logits.shape[1] != classes:
            raise RunError(
                f"{self.folder / name}: damaged, expected logits of {classes} classes, found {found.logits.shape[1]}"
            )
        return found


def open_run(folder: Path | str) -> Run:
    """Open a finished run and verify its files.

    Raises:
        RunError: The run is missing, unfinished, or a file does not match its hash.
        StorageError: A file cannot be read.
    """
    folder = Path(folder)
    require_finished(folder)
    files, test_openings = _verified(folder)
    history = tuple(_rows(folder / LOG, EpochRow))
    if not history:
        raise RunError(f"{folder / LOG}: damaged, it lists no epoch; restore it or train the run again")
    return Run(folder, read_recipe(folder), history, files, test_openings)


def read_recipe(folder: Path) -> Recipe:
    """Return the recipe of the run in a folder, as the version that began the run trained it.

    Raises:
        RunError: The file is missing, or no JSON.
        RecipeError: It holds no recipe; names the first field that is wrong.
    """
    plain = storage.read_json(folder / RECIPE)
    try:
        return from_stored(plain)
    except RecipeError as error:
        raise RecipeError(f"{folder / RECIPE}: {error}") from error


def as_begun(recipe: Recipe, folder: Path) -> Recipe:
    """Return ``recipe`` with the values of the run in a folder in the fields that the run's own recipe lacks.

    So the command that began a run with an earlier version continues it. RunError if the run's recipe cannot be read.
    """
    return as_stored(recipe, storage.read_json(folder / RECIPE))


def require_inside(folder: Path, names: Iterable[str]) -> None:
    """Raise RunError if one of these names is a link that leads out of the folder."""
    for name in names:
        if not storage.lies_in(folder, name):
            raise RunError(f"{folder / name}: leads out of the run's folder, and is not followed")


def require_finished(folder: Path) -> None:
    """Raise RunError unless ``folder`` holds a finished run; does not read any file."""
    require_inside(folder, (RECIPE, manifest.NAME))
    if not (folder / RECIPE).is_file():
        raise RunError(f"{folder}: no run here, {RECIPE} is missing; expected a folder that `modiste train` made")
    if not (folder / manifest.NAME).is_file():
        raise RunError(f"{folder}: this run has not finished; repeat its `modiste train` command to continue")


def foreign_files(folder: Path) -> list[str]:
    """Return the names in a folder without a recipe, except what a run that was killed at its start leaves behind."""
    ours = (storage.LOCK_NAME, f".{RECIPE}-")
    return sorted(item.name for item in folder.iterdir() if not item.name.startswith(ours))


def is_unbegun(folder: Path) -> bool:
    """Return whether a folder holds only what a run writes before its first step.

    A recipe that leaves out fields is a person's: a run writes all of them.
    """
    is_ours = all(item.name in BEFORE_TRAINING for item in folder.iterdir() if not item.name.startswith("."))
    return is_ours and storage.read_json(folder / RECIPE) == to_plain(read_recipe(folder))


def clear(folder: Path) -> None:
    """Delete what a run writes before its first step, the recipe last: without it the other files are nobody's."""
    for name in reversed(BEFORE_TRAINING):
        storage.remove(folder / name)


def picked(history: Iterable[EpochRow], recipe: Recipe) -> EpochRow:
    """Return the epoch that the recipe's rule ``pick`` selects; the earliest among equals."""
    rows = list(history)
    if recipe.pick == "best-accuracy":
        return max(rows, key=lambda row: row.validation_accuracy)
    if recipe.pick == "best-loss":
        return min(rows, key=lambda row: row.validation_loss)
    return rows[-1]


def write_manifest(folder: Path) -> None:
    """List every file that training wrote with its hash in the manifest; this marks the run as finished.

    Whatever else lies in the folder is no part of the run, and may change or go.
    """
    found = [path for path in folder.iterdir() if path.name in TRAINED or SNAPSHOT.fullmatch(path.name)]
    found += [path for path in folder.glob(f"{STATES}/*") if not path.name.startswith(".")]
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    manifest.write(folder, {name: storage.sha256(folder / name) for name in names}, 0)


def keep(run: Run, files: Mapping[str, bytes] | Callable[[Run], Mapping[str, bytes]], *, openings: int = 0) -> Run:
    """Add files to a finished run and to its manifest, and add ``openings`` to its count of test openings.

    The folder is locked and the manifest is read again, so that entries that other processes have made since ``run``
    was opened are kept. A file that is replaced leaves the manifest first, so that a crash leaves no wrong hash there.

    Args:
        run: The run as it was opened.
        files: Content by file name; or a function that returns them for the run as it is once the folder is locked.
        openings: Evaluations on test to count.

    Returns:
        The run with its new files and count.

    Raises:
        ReadOnlyError: The folder may not be written; another StorageError if the disk refuses.
        FolderInUseError: Another process holds the lock for longer than PATIENCE_SECONDS.
        RunError: The folder now holds another run, or a file has the name of a part of the run.
    """
    folder = run.folder
    with storage.lock(folder, PATIENCE_SECONDS):
        storage.remove_leftovers(folder)
        listed, openings_before = manifest.read(folder, ALWAYS)
        if any(listed[name] != run.files[name] for name in ALWAYS):
            raise RunError(f"{folder}: now holds another run than when this command began; repeat the command")
        if callable(files):
            files = files(dataclasses.replace(run, files=listed, test_openings=openings_before))
        for name in files:
            demand_no_part(folder / name, PARTS)
        others = {name: digest for name, digest in listed.items() if name not in files}
        if others != listed:
            manifest.write(folder, others, openings_before)
        for name, content in files.items():
            storage.write_bytes(folder / name, content)
        listed = others | {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        manifest.write(folder, listed, openings_before + openings)
    return dataclasses.replace(run, files=listed, test_openings=openings_before + openings)


def parts_in(folder: Path) -> tuple[str, ...]:
    """Return the names of all files that belong to the run in a folder, finished or not; none without a run."""
    if (folder / manifest.NAME).exists():
        return (*PARTS, *manifest.read(folder)[0])
    return PARTS if (folder / RECIPE).exists() else ()


def demand_no_part(path: Path, parts: Iterable[str]) -> None:
    """Raise RunError if the file has one of these names."""
    if path.name in parts:
        raise RunError(f"{path}: is part of the run and is not replaced; choose another name")


def demand_no_part_of_a_run(path: Path) -> None:
    """Raise RunError if a file belongs to the run in its folder, finished or not."""
    demand_no_part(path, parts_in(path.parent))


def is_listed(run: Run, name: str) -> bool:
    """Return whether the manifest lists a file; a file that was written just before a crash may be missing there."""
    return name in run.files


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file by one line of JSON per row, whole or not at all."""
    storage.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file that ``write_lines`` wrote; RunError if it is missing or damaged."""
    text = storage.read_text(path)
    try:
        rows = [json.loads(line) for line in text.splitlines()]
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read as one JSON value per line ({error})") from error
    if not all(isinstance(row, dict) for row in rows):
        raise RunError(f"{path}: cannot be read; expected a table of values on each line")
    return rows


def starts(path: Path) -> list[dict[str, Any]]:
    """Return the facts of every start of a run; RunError if the file is damaged."""
    try:
        listed = storage.read_hashed_json(path).get("starts")
    except RunError as error:
        raise RunError(f"{path}: damaged, its content does not match its hash; delete it to continue") from error
    if not isinstance(listed, list) or not all(isinstance(start, dict) for start in listed):
        raise RunError(f"{path}: damaged, it lists no starts; delete it to continue")
    return listed


def logits_bytes(found: Measured, epoch: int) -> bytes:
    """Return the content of a file of logits, with their labels and the hash of their images."""
    plain = {"epoch": epoch, "images": found.images}
    return checkpoint.to_bytes({"logits": found.logits, "labels": found.labels}, plain)


def read_measured(path: Path) -> Measured:
    """Return the content of a file of logits; RunError unless each image has finite logits and a valid label."""
    tensors, plain = checkpoint.read(path)
    if set(tensors) != {"logits", "labels"} or not isinstance(plain.get("images", ""), str):
        raise RunError(f"{path}: damaged or of another kind; expected logits and labels")
    logits, labels = tensors["logits"], tensors["labels"]
    shaped = logits.ndim == 2 and labels.ndim == 1 and len(logits) == len(labels) > 0 and logits.shape[1] > 0
    if not shaped or (logits.dtype, labels.dtype) != (torch.float32, torch.int64):
        found = f"{logits.dtype} {tuple(logits.shape)} and {labels.dtype} {tuple(labels.shape)}"
        raise RunError(f"{path}: damaged, expected float32 logits and an int64 label for each image, found {found}")
    if not logits.isfinite().all() or labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise RunError(f"{path}: damaged, expected finite logits and labels from 0 to {logits.shape[1] - 1}")
    return Measured(logits, labels, plain.get("images", ""))


def read_logits(path: Path) -> tuple[Float[Tensor, "n classes"], Int64[Tensor, " n"]]:
    """Return the logits and labels in a file of logits; RunError as ``read_measured``."""
    found = read_measured(path)
    return found.logits, found.labels


def is_amount(value: object) -> bool:
    """Return whether a value from JSON is a number of at least 0 and below LARGEST, and not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < LARGEST


def as_plain(row: EpochRow) -> dict[str, Any]:
    """Return a row as plain data, as its line of the log holds it."""
    return dataclasses.asdict(row)


def check_split(split: str) -> None:
    """Raise RecipeError unless runs are measured on this split: another name must not open the test set."""
    demand_known(split, "split", SPLITS)


def check_weights(weights: str) -> None:
    """Raise RecipeError unless a run may have weights of this name."""
    demand_known(weights, "weights", (*WEIGHTS, SNAPSHOTS))


def logits_name(split: str, weights: str = "picked") -> str:
    """Return the name of the file with a split's logits under some of the weights.

    Raises:
        RecipeError: There is no such split, or there are no such weights.
    """
    check_split(split)
    check_weights(weights)
    return f"{split}-logits.safetensors" if weights == "picked" else f"{split}-logits-{weights}.safetensors"


def snapshot_name(cycle: int) -> str:
    """Return the name of the file with the weights at the end of a cycle, counted from 1."""
    return f"snapshot-{cycle}.safetensors"


def _verified(folder: Path) -> tuple[dict[str, str], int]:
    """Return the content of the manifest after every file was found to match its hash.

    If a file does not match and another process has changed the manifest meanwhile, all files are verified again.
    """
    listed = manifest.read(folder, ALWAYS)
    while True:
        try:
            for name, digest in listed[0].items():
                manifest.verify(folder, name, digest)
        except RunError:
            before, listed = listed, manifest.read(folder, ALWAYS)
            if listed == before:
                raise
        else:
            return listed


def _is_start(start: Mapping[str, Any]) -> bool:
    """Return whether the facts of a start have the types that reports can show."""
    plain = all(value is None or isinstance(value, str | bool | list) or _is_finite(value) for value in start.values())
    amounts = [start.get(name) for name in FACT_NUMBERS] + [start[name] for name in start if name.endswith("_bytes")]
    return plain and all(isinstance(start.get(name), str) for name in FACT_TEXTS) and all(map(is_amount, amounts))


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < LARGEST and math.isfinite(value)


def _rows(path: Path, kind: type[Row]) -> list[Row]:
    try:
        rows = [kind(**row) for row in read_lines(path)]
    except TypeError as error:
        raise RunError(f"{path}: damaged or of another version of Modiste ({error})") from error
    for row in rows:
        for item in dataclasses.fields(kind):
            _check_cell(path, item.name, getattr(item.type, "__name__", str(item.type)), getattr(row, item.name))
    return rows


def _check_cell(path: Path, name: str, kind: str, value: object) -> None:
    """Raise RunError unless a value of a log has the field's type; a float field may hold an integer."""
    whole = isinstance(value, int) and _is_finite(value) and not isinstance(value, bool)
    fits = {"str": isinstance(value, str), "int": whole, "float": _is_finite(value) and not isinstance(value, bool)}
    if not fits[kind]:
        raise RunError(f"{path}: damaged; {name}: expected {kind}, found {value!r}")
