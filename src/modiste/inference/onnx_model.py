"""``OnnxModel``: an exported ONNX file that classifies images, without torch.

The file may come from an untrusted source. ``onnx_check`` checks its content before ONNX Runtime loads it. Time and
memory of loading and running are limited.
"""

import json
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from modiste.errors import MissingExtraError, RunError, reason_of, shown
from modiste.evaluation import coverage as coverages
from modiste.evaluation.out_of_distribution import acceptance
from modiste.inference.classifier import Classifier, Scores
from modiste.inference.onnx_check import NEEDS_EXTRA, check, unfit
from modiste.photo.preparation import WAYS
from modiste.photo.separation import BACKGROUNDS
from modiste.recipes.plain import class_name
from modiste.recipes.recipe import DECODERS
from modiste.system.onnx_runtime import load_session

MOST_BYTES = 512 * 2**20
BATCH_IMAGES = 64
"""Images that go through the network at once; larger batches only take more memory."""
MOST_IMAGE_BYTES = 64 * 2**20
LOADING_SECONDS, LOADING_BYTES, RUNNING_SECONDS = 30.0, 4 * 2**20, 120.0
"""Limits: loading may take LOADING_SECONDS plus a second for every LOADING_BYTES, a batch RUNNING_SECONDS."""
GRACE_SECONDS = 5.0
"""Time to wait for a thread that was abandoned, so that the process can exit cleanly."""
RANKS = {"logits": 2, "probabilities": 2, "novelty": 1}
"""Number of dimensions of each output."""
ACCEPTANCE = "acceptance"
"""Key of the metadata whose value is a table; see ``acceptance.Acceptance``."""
COVERAGE = "coverage"
"""Key of the metadata whose value is a table; see ``coverage.CoverageTable``."""
TABLES = {ACCEPTANCE: "false-alarm rates", COVERAGE: "prediction sets"}
"""What each of the tables is about."""
NUMBERS = ("temperature", "false_alarms", "drawing_limit", "epoch")
"""Keys of the metadata whose values are numbers."""
Names = tuple[str, ...]


@dataclass(frozen=True)
class OnnxModel(Classifier):
    """A file that ``modiste export`` wrote.

    Attributes:
        session: Session of ONNX Runtime.
        metadata: Metadata of the file: recipe, temperature, fingerprint of the data, false alarms ...
        shape: (channels, height, width) of its images.
        names: Names of its classes.
        outputs: Their names.
        limit: Limit of the file's own novelty score, above which an image is out of distribution; see ``accepting``.
    """

    session: Any = field(repr=False)
    metadata: dict[str, str]
    shape: tuple[int, int, int]
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    limit: float = 1.0

    @classmethod
    def load(cls, path: Path) -> "OnnxModel":
        """Load a file.

        Raises:
            RunError: The file is missing, too large, or ``modiste export`` cannot have written it.
            MissingExtraError: A package is not installed.
        """
        try:
            if path.stat().st_size > MOST_BYTES:
                raise RunError(f"{path}: {path.stat().st_size:,} bytes; expected at most {MOST_BYTES:,}")
            content = path.read_bytes()
        except (OSError, ValueError) as error:
            raise RunError(
                f"{shown(path)}: cannot be read ({reason_of(error)}); expected a file of modiste export"
            ) from error
        return cls.from_bytes(content, str(path))

    @classmethod
    def from_bytes(cls, content: bytes, name: str = "the ONNX file", *, threads: int | None = None) -> "OnnxModel":
        """Load a file from its content; errors as for ``load``.

        Args:
            content: Content of the file.
            name: Name of the file, for messages.
            threads: Number of threads that compute; None for one on each core.
        """
        try:
            import onnxruntime  # noqa: F401 - before the file is looked at
        except ImportError as error:
            raise MissingExtraError(f"ONNX files: {NEEDS_EXTRA}") from error
        check(content, name)
        seconds = LOADING_SECONDS + len(content) / LOADING_BYTES

        def session(*, optimised: bool) -> Any:
            return _within(seconds, lambda: load_session(content, threads=threads, optimised=optimised), name)

        # The optimiser of ONNX Runtime computes constants and cannot be interrupted. So first run the graph without it.
        trial = session(optimised=False)
        model = cls(trial, *_description(trial, name))
        outputs = model.run_batch(np.zeros((1, *model.shape), np.uint8), seconds, name)
        for output, values in zip(model.outputs, outputs, strict=True):
            if not np.isfinite(values).all():
                raise unfit(name, f"its {output} for a black image are not finite")
        return replace(model, session=session(optimised=True))

    def accepting(self, rate: float) -> "OnnxModel":
        """Return the same model with another false-alarm rate; its novelty scores are above 1 for as many images.

        Args:
            rate: Share of images of the classes that may be called out of distribution, wrongly.

        Raises:
            RecipeError: The rate is outside the file's table.
            RunError: The file has no table, because an earlier version exported it.
        """
        if ACCEPTANCE not in self.metadata:
            raise RunError(
                "--accept: the ONNX file holds one false-alarm rate only, an earlier version wrote it; "
                "export the run again: modiste export RUN"
            )
        limit, measured = acceptance.from_plain(json.loads(self.metadata[ACCEPTANCE])).at(rate)
        return replace(self, limit=limit, metadata=self.metadata | {"false_alarms": repr(measured)})

    def least_probability(self, coverage: float) -> float:
        """Return the probability from which on a class belongs to a prediction set of this coverage.

        Raises:
            RecipeError: The coverage is out of range.
            RunError: The file has no table, because an earlier version exported it, or not from a run.
        """
        if COVERAGE not in self.metadata:
            raise RunError(
                "coverage: the ONNX file holds no thresholds of prediction sets, an earlier version wrote it, or not "
                "from a run; export the run again: modiste export RUN"
            )
        return coverages.from_plain(json.loads(self.metadata[COVERAGE])).at(coverage)

    @property
    def drawing_limit(self) -> float:
        """The novelty above which a drawing is out of distribution, at least 1; files of earlier versions have none."""
        return max(1.0, float(self.metadata.get("drawing_limit", "1")) / self.limit)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.names

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.shape

    @property
    def pictures(self) -> str:
        return self.metadata.get("pictures", "garment")  # files of earlier versions do not name it

    @property
    def decoder(self) -> int:
        return int(self.metadata.get("decoder", "1"))  # that of earlier versions, which do not name it

    @property
    def background(self) -> str:
        return self.metadata.get("background", "plain")  # nor this

    @property
    def transpose(self) -> bool:
        return "transpose" in self.metadata

    def classify(self, images: UInt8[np.ndarray, "n c h w"]) -> Scores:
        self.demand_images(images.shape, str(images.dtype))
        return self.scores(self.run(images))

    def scores(self, outputs: Mapping[str, np.ndarray]) -> Scores:
        """Return the outputs of ``run`` as scores."""
        return Scores(self.names, outputs["probabilities"], outputs.get("novelty"), outputs.get("logits"))

    def run(self, images: UInt8[np.ndarray, "n c h w"]) -> dict[str, np.ndarray]:
        """Return all outputs by name, for any number of images of the right shape; some may not be finite."""
        starts = range(0, max(len(images), 1), BATCH_IMAGES)
        parts = [self.run_batch(images[start : start + BATCH_IMAGES]) for start in starts]
        return {name: np.concatenate(values) for name, *values in zip(self.outputs, *parts, strict=True)}

    def run_batch(
        self, images: UInt8[np.ndarray, "n c h w"], seconds: float = RUNNING_SECONDS, name: str = "the ONNX file"
    ) -> list[np.ndarray]:
        """Return the outputs for images in one pass.

        Args:
            images: A batch of the right shape.
            seconds: The longest time that it may take.
            name: Name of the file, for the message.

        Raises:
            RunError: It took too long, failed, or an output has another shape.
        """
        import onnxruntime

        options = onnxruntime.RunOptions()
        found: list[np.ndarray] = _within(
            seconds,
            lambda: self.session.run(list(self.outputs), {"images": images}, options),
            name,
            give_up=lambda: setattr(options, "terminate", True),
        )
        if "novelty" in self.outputs:
            place = self.outputs.index("novelty")
            found[place] = found[place] / self.limit
        for output, values in zip(self.outputs, found, strict=True):
            shape = (len(images), len(self.names))[: RANKS[output]]
            if values.shape != shape:
                raise unfit(name, f"its {output} have the shape {values.shape}, not {shape}")
        return found


def _description(session: Any, name: str) -> tuple[dict[str, str], tuple[int, int, int], Names, Names]:
    """Return metadata, image shape, class names and output names; RunError unless export can have written the file."""
    try:
        metadata = dict(session.get_modelmeta().custom_metadata_map)
        (only,), outputs = session.get_inputs(), {one.name: one for one in session.get_outputs()}
        names = tuple(class_name(one) for one in _listed(metadata["class_names"]))
        count, channels, height, width = only.shape
        whole = all(isinstance(size, int) and size > 0 for size in (channels, height, width))
        whole = whole and channels * height * width <= MOST_IMAGE_BYTES
        right = (only.name, only.type, outputs["probabilities"].shape[1]) == ("images", "tensor(uint8)", len(names))
        right &= not isinstance(count, int) and all(_is_ours(one) for one in outputs.values())
    except (KeyError, ValueError, TypeError, IndexError, RecursionError):
        whole = right = False
    if not (whole and right):
        raise unfit(name, "its inputs, outputs or class names are not as expected")
    if reason := _metadata_fault(metadata):
        raise unfit(name, reason)
    return metadata, (channels, height, width), names, tuple(outputs)


def _listed(text: str) -> list[str]:
    """Return a JSON list of strings; TypeError or ValueError if the text is anything else."""
    listed = json.loads(text)
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise TypeError("not a list of names")
    return listed


def _is_ours(output: Any) -> bool:
    """Return whether ``modiste export`` writes an output of this name, rank and type."""
    return len(output.shape) == RANKS.get(output.name) and output.type in ("tensor(float)", "tensor(double)")


def _metadata_fault(metadata: Mapping[str, str]) -> str:
    """Return what is wrong with the metadata that are used later; empty if nothing is."""
    if metadata.get("pictures", "garment") not in WAYS:
        return f"its way to prepare pictures is unknown, {metadata['pictures']!r}"
    if metadata.get("decoder", "1") not in map(str, DECODERS):
        return f"its decoder of pictures is unknown, {metadata['decoder']!r}"
    if metadata.get("background", "plain") not in BACKGROUNDS:
        return f"its way to find a garment is unknown, {metadata['background']!r}"
    for key in NUMBERS:
        if key in metadata and not _is_number(metadata[key]):
            return f"its {key} is not a number, {metadata[key]!r}"
    tables = {ACCEPTANCE: acceptance.from_plain, COVERAGE: coverages.from_plain}
    damaged = [key for key, read in tables.items() if key in metadata and not _is_table(metadata[key], read)]
    return f"its table of {TABLES[damaged[0]]} is damaged" if damaged else ""


def _is_table(text: str, read: Callable[[Any], object]) -> bool:
    """Return whether a text is a table that this function reads."""
    try:
        return bool(read(json.loads(text)))
    except (ValueError, RecursionError):
        return False


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False


def _within(seconds: float, work: Callable[[], Any], name: str, give_up: Callable[[], None] = lambda: None) -> Any:
    """Return what ``work`` returns; call ``give_up`` and raise RunError if it takes longer than ``seconds``.

    ONNX Runtime cannot be interrupted within one operation: its thread continues until the operation or the process
    ends.
    """
    done: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            done.put((work(), None))
        except Exception as error:  # ONNX Runtime's own errors have no common base
            done.put((None, error))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    try:
        value, error = done.get(timeout=seconds)
    except queue.Empty:
        give_up()
        thread.join(GRACE_SECONDS)
        raise unfit(name, f"it takes more than {seconds:.0f} seconds") from None
    if error is not None:
        raise unfit(name, str(error).partition("\n")[0]) from error
    return value
