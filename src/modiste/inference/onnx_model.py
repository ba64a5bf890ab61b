"""An exported ONNX file in use, without torch.

A file may come from a stranger: what it may hold is checked before ONNX Runtime sees it (``onnx_check``), and both
loading and running end after some time and beyond some memory.
"""

import contextlib
import json
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from modiste.errors import MissingExtraError, RunError
from modiste.inference.classifier import Classifier, Scores
from modiste.inference.onnx_check import NEEDS_EXTRA, check, unfit
from modiste.photo.preparation import WAYS
from modiste.recipes.plain import class_name

MOST_BYTES = 512 * 2**20
BATCH_IMAGES = 64
"""So many go through the network at once; more only take more memory."""
MOST_IMAGE_BYTES = 64 * 2**20
MOST_MEMORY = 4 * 2**30
"""Bytes of all numbers at once."""
LOADING_SECONDS, LOADING_BYTES, RUNNING_SECONDS = 30.0, 4 * 2**20, 120.0
"""A file may take so long to load, a second more for so many bytes, and so long for a batch."""
GRACE_SECONDS = 5.0
"""So long is waited for a thread that was given up, so that the process can end in order."""
RANKS = {"logits": 2, "probabilities": 2, "novelty": 1}
"""How many sizes each output has."""
NUMBERS = ("temperature", "false_alarms", "epoch")
"""What a file says of itself in numbers."""
Names = tuple[str, ...]


@dataclass(frozen=True)
class OnnxModel(Classifier):
    """A file that ``modiste export`` wrote.

    Attributes:
        session: ONNX Runtime's.
        told: what the file says of itself: recipe, temperature, fingerprint of the data, false alarms ...
        shape: (channels, height, width) of its images.
        names: of its classes.
        outputs: those that it has.
    """

    session: Any = field(repr=False)
    told: dict[str, str]
    shape: tuple[int, int, int]
    names: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def load(cls, path: Path) -> "OnnxModel":
        """Read a file; RunError when it is missing, too large, or none that ``modiste export`` could have written."""
        try:
            if path.stat().st_size > MOST_BYTES:
                raise RunError(f"{path}: {path.stat().st_size:,} bytes; expected at most {MOST_BYTES:,}")
            content = path.read_bytes()
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error.strerror}); expected a file of modiste export") from error
        return cls.from_bytes(content, str(path))

    @classmethod
    def from_bytes(cls, content: bytes, name: str = "the ONNX file") -> "OnnxModel":
        """Read a file's content; errors as ``load``."""
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError(f"ONNX files: {NEEDS_EXTRA}") from error
        check(content, name)
        _bound_memory()
        seconds = LOADING_SECONDS + len(content) / LOADING_BYTES

        def session(level: Any) -> Any:
            options = _options(level)
            providers = ["CPUExecutionProvider"]
            return _within(seconds, lambda: onnxruntime.InferenceSession(content, options, providers=providers), name)

        # ONNX Runtime computes what is constant while it optimises, and cannot be stopped then. A run can be.
        trial = session(onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
        model = cls(trial, *_description(trial, name))
        model.run_batch(np.zeros((1, *model.shape), np.uint8), seconds, name)
        return replace(model, session=session(onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL))

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.names

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.shape

    @property
    def pictures(self) -> str:
        return self.told.get("pictures", "garment")  # what files of earlier versions meant

    def classify(self, images: UInt8[np.ndarray, "n c h w"]) -> Scores:
        self.demand_images(images.shape, str(images.dtype))
        return scores_of(self.run(images))

    def run(self, images: UInt8[np.ndarray, "n c h w"]) -> dict[str, np.ndarray]:
        """Return every output for images of the right shape, by name; for no images nothing, in the outputs' shapes."""
        starts = range(0, max(len(images), 1), BATCH_IMAGES)
        parts = [self.run_batch(images[start : start + BATCH_IMAGES]) for start in starts]
        return {name: np.concatenate(values) for name, *values in zip(self.outputs, *parts, strict=True)}

    def run_batch(
        self, images: UInt8[np.ndarray, "n c h w"], seconds: float = RUNNING_SECONDS, name: str = "the ONNX file"
    ) -> list[np.ndarray]:
        """Return the outputs for images in one pass; RunError where they take too long, or are no numbers an image."""
        import onnxruntime

        options = onnxruntime.RunOptions()
        found: list[np.ndarray] = _within(
            seconds,
            lambda: self.session.run(list(self.outputs), {"images": images}, options),
            name,
            give_up=lambda: setattr(options, "terminate", True),
        )
        for output, values in zip(self.outputs, found, strict=True):
            shape = (len(images), len(self.names))[: RANKS[output]]
            if values.shape != shape or not np.isfinite(values).all():
                raise unfit(name, f"its {output} are no numbers of shape {shape}")
        return found


def scores_of(outputs: Mapping[str, np.ndarray]) -> Scores:
    """Return what the outputs of a file say of images."""
    return Scores(outputs["probabilities"], outputs.get("novelty"))


def _description(session: Any, name: str) -> tuple[dict[str, str], tuple[int, int, int], tuple[str, ...], Names]:
    """Return what a file says of itself, its images' shape, its class names and its outputs; RunError if it is odd."""
    try:
        told = dict(session.get_modelmeta().custom_metadata_map)
        (only,), outputs = session.get_inputs(), {one.name: one for one in session.get_outputs()}
        names = tuple(class_name(one) for one in _listed(told["class_names"]))
        count, channels, height, width = only.shape
        whole = all(isinstance(size, int) and size > 0 for size in (channels, height, width))
        whole = whole and channels * height * width <= MOST_IMAGE_BYTES
        right = (only.name, only.type, outputs["probabilities"].shape[1]) == ("images", "tensor(uint8)", len(names))
        right &= not isinstance(count, int) and all(_is_ours(one) for one in outputs.values())
    except (KeyError, ValueError, TypeError, IndexError, RecursionError):
        whole = right = False
    if not (whole and right):
        raise unfit(name, "its inputs, outputs or class names are other ones")
    if reason := _odd_word(told):
        raise unfit(name, reason)
    return told, (channels, height, width), names, tuple(outputs)


def _listed(text: str) -> list[str]:
    listed = json.loads(text)
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise TypeError("no list of names")
    return listed


def _is_ours(output: Any) -> bool:
    return len(output.shape) == RANKS.get(output.name) and output.type in ("tensor(float)", "tensor(double)")


def _odd_word(told: Mapping[str, str]) -> str:
    """Return what is wrong with the words of a file that are read later; nothing where all are right."""
    if told.get("pictures", "garment") not in WAYS:
        return f"it prepares pictures in a way that is unknown, {told['pictures']!r}"
    for key in NUMBERS:
        if key in told and not _is_number(told[key]):
            return f"its {key} is no number, {told[key]!r}"
    return ""


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False


def _within(seconds: float, work: Callable[[], Any], name: str, give_up: Callable[[], None] = lambda: None) -> Any:
    """Return what ``work`` returns; RunError when that takes too long, after ``give_up``.

    Nothing can end ONNX Runtime within one operation: its thread goes on until that is done, or the process ends.
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


def _options(level: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others may need the cores
    options.log_severity_level = 4
    options.graph_optimization_level = level
    return options


@cache
def _bound_memory() -> None:
    """Let all sessions of this process together take no more than MOST_MEMORY for numbers."""
    import onnxruntime

    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    with contextlib.suppress(Exception):  # the program around this one has set a bound of its own
        onnxruntime.create_and_register_allocator(place, onnxruntime.OrtArenaCfg({"max_mem": MOST_MEMORY}))


__all__ = ["NEEDS_EXTRA", "OnnxModel", "scores_of"]
