"""The plan of a catalogue: which pictures, which model, and how they are divided. It decides what the answers are.

The folder of answers keeps it in ``_plan``, so that only the same command can go on in that folder.
"""

import hashlib
import json
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from modiste.catalogue.listing import Place, hash_list, write_list
from modiste.errors import RunError, StorageError, reason_of, shown
from modiste.photo.preparation import VERSION
from modiste.photo.segmentation import VARIABLE, choose_network
from modiste.runs import storage
from modiste.runs.manifest import ONNX_FILE

FOLDER = "_plan"
"""Within the folder of answers; readers of parquet folders pass over names that begin so."""
PLAN = "plan.json"
HASH_DIGITS = 64
"""Of a SHA-256, in hexadecimal."""
BEFORE_PLAN = re.compile(rf"{re.escape(ONNX_FILE)}|pictures-\d+|{storage.TEMPORARY.pattern}", re.DOTALL)
"""Names of what a command that was killed before its plan was whole may have left in the plan's folder."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that determines the shards.

    Attributes:
        model: SHA-256 of the model that was named, or of a run's selected weights.
        onnx: SHA-256 of the ONNX file that answers.
        pictures: SHA-256 of the list of pictures.
        count: Number of pictures.
        shard_rows: Number of pictures in each shard but the last.
        preparation: Version of the preparation of pictures.
        coverage: Coverage of the prediction sets; None for no sets.
        network: Name of the segmentation network that finds garments; None if none is used, or in a plan from before
            it was noted.
    """

    model: str
    onnx: str
    pictures: str
    count: int
    shard_rows: int
    preparation: int = VERSION
    coverage: float | None = None
    network: str | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the plan, which every shard bears."""
        stated = {name: value for name, value in asdict(self).items() if value is not None}  # as earlier versions did
        return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()

    @property
    def shards(self) -> int:
        """The number of shards."""
        return -(-self.count // self.shard_rows)

    def rows(self, number: int) -> int:
        """Return the number of pictures in a shard."""
        return min(self.shard_rows, self.count - number * self.shard_rows)


@runtime_checkable
class Model(Protocol):
    """What a plan must know of the model that answers. See ``CatalogueModel``, which may need torch."""

    @property
    def coverage(self) -> float | None:
        """Coverage of the prediction sets; None for no sets."""

    def digest(self) -> str:
        """Return the SHA-256 that identifies the model."""

    def onnx(self) -> tuple[bytes, str | None]:
        """Return the content of the ONNX file that answers, and the name of the segmentation network that it needs."""


def claim(out: Path, place: Place, model: Model, shard_rows: int) -> Plan:
    """Return the plan of a folder of answers: a new one, or the one that it has if nothing has changed.

    Args:
        out: Folder of answers, whose lock is held.
        place: Where the pictures are.
        model: The model that answers; its ONNX file is read or made for a new folder only.
        shard_rows: Number of pictures in each shard.

    Raises:
        RunError: The folder holds answers of another model, list or segmentation network, or other files; or the model
            is missing or damaged.
        RecipeError, MissingExtraError: As ``CatalogueModel.onnx``.
        PhotoError: The folder of the pictures cannot be opened, or holds none.
        DataError, StorageError: The list cannot be read, or not be written.
    """
    folder, identity = out / FOLDER, model.digest()
    if (folder / PLAN).exists():
        before = _read(folder / PLAN)
        digest, count = hash_list(place.names(folder))
        _compare(
            out,
            before,
            model=identity,
            count=count,
            pictures=digest,
            shard_rows=shard_rows,
            coverage=model.coverage,
            network=before.network and choose_network().name,
        )
        return before
    _demand_empty(out)
    _clear(folder)
    digest, count = write_list(place.names(folder), folder, shard_rows)
    if not count:
        raise place.without_pictures()  # they have gone since the command began
    content, network = model.onnx()
    storage.write_bytes(folder / ONNX_FILE, content)
    plan = Plan(
        model=identity,
        onnx=hashlib.sha256(content).hexdigest(),
        pictures=digest,
        count=count,
        shard_rows=shard_rows,
        coverage=model.coverage,
        network=network,
    )
    storage.write_hashed_json(folder / PLAN, asdict(plan))
    return plan


def read_model(out: Path, plan: Plan) -> bytes:
    """Return the content of the ONNX file that answers; RunError if it is not the plan's."""
    path = out / FOLDER / ONNX_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({reason_of(error)}); begin again with another --out") from None
    if hashlib.sha256(content).hexdigest() != plan.onnx:
        raise RunError(f"{path}: damaged, its content does not match the plan; begin again with another --out")
    return content


def _read(path: Path) -> Plan:
    content = storage.read_hashed_json(path)
    try:
        return Plan(**content)
    except TypeError:
        raise RunError(f"{path}: made by another version of Modiste; use that version, or another --out") from None


def _compare(out: Path, before: Plan, **now: Any) -> None:
    """Raise RunError if the command asks for other answers than those that the folder holds."""
    names = {
        "count": "number of pictures",
        "pictures": "list of pictures",
        "shard_rows": "--shard-rows",
        "coverage": "--coverage",
        "network": f"segmentation network ({VARIABLE} names it)",
    }
    for field, value in {**now, "preparation": VERSION}.items():
        known = getattr(before, field)
        if known != value:
            what = names.get(field, field)
            raise RunError(
                f"{out}: holds answers for another {what}: expected {_short(known)}, found {_short(value)}; "
                "give the command that began it, or another --out"
            )


def _short(value: object) -> str:
    if isinstance(value, str):
        return f"SHA-256 {value[:12]}..." if len(value) == HASH_DIGITS else value
    return "none" if value is None else f"{value:,}"


def _demand_empty(out: Path) -> None:
    """Raise RunError if the folder holds anything that this command cannot have begun."""
    others = sorted(item.name for item in out.iterdir() if item.name not in (FOLDER, storage.LOCK_NAME))
    others += [f"{FOLDER}/{name}" for name in _names_in(out / FOLDER) if not BEFORE_PLAN.fullmatch(name)]
    if others:
        raise RunError(
            f"{out}: not empty and without a plan ({shown(others[0])}); choose a new folder with another --out"
        )


def _names_in(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir()) if folder.is_dir() else []


def _clear(folder: Path) -> None:
    """Make the plan's folder, without what a killed command may have left there before its plan was whole."""
    try:
        if folder.is_symlink():
            raise RunError(f"{folder}: a link, which is not followed; delete it")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made ({reason_of(error)}); choose another --out") from None
