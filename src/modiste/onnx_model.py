"""An exported ONNX file in use, without torch.

A file may come from a stranger: what it may hold is checked before ONNX Runtime sees it, so that it can neither name
another file nor run for ever.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from modiste.classifier import Classifier, Scores
from modiste.errors import MissingExtraError, RunError

MOST_BYTES = 512 * 2**20
BATCH_IMAGES = 64
"""So many go through the network at once; more only take more memory."""
DOMAINS = ("", "ai.onnx", "pkg.onnxscript.torch_lib", "pkg.onnxscript.torch_lib.common", "pkg.torch")
"""Sets of operators that hold no code of others."""
REFUSED = ("Loop", "Scan")
"""Operators whose time the size of the file does not bound."""
NEEDS_EXTRA = "needs packages that are not installed: pip install 'modiste[serve]'"


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
        _check(content, name)
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others may need the cores
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own errors have no common base
            raise _unfit(name, str(error).splitlines()[0]) from error
        return cls(session, *_description(session, name))

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
        names = list(self.outputs)
        try:
            parts = [self.session.run(names, {"images": images[start : start + BATCH_IMAGES]}) for start in starts]
        except Exception as error:  # as above; no images of the right shape can be to blame
            raise _unfit("the ONNX file", str(error).splitlines()[0]) from error
        return {name: np.concatenate(values) for name, *values in zip(names, *parts, strict=True)}


def scores_of(outputs: Mapping[str, np.ndarray]) -> Scores:
    """Return what the outputs of a file say of images."""
    return Scores(outputs["probabilities"], outputs.get("novelty"))


def _check(content: bytes, name: str) -> None:
    """Raise RunError for a graph that names files, holds foreign operators, or loops."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingExtraError(f"ONNX files: {NEEDS_EXTRA}") from error
    try:
        proto = onnx.load_model_from_string(content)
    except (DecodeError, ValueError) as error:
        raise _unfit(name, "it is no ONNX file") from error
    for message in _messages(proto):
        kind = message.DESCRIPTOR.name
        if kind == "TensorProto" and (message.data_location or message.external_data):
            raise _unfit(name, "it takes numbers from another file")
        if kind == "NodeProto" and (message.domain not in DOMAINS or message.op_type in REFUSED):
            raise _unfit(name, f"it holds the operator {message.domain or 'ai.onnx'}:{message.op_type}")


def _messages(message: Any) -> Iterator[Any]:
    """Yield a protobuf message and all within it, whatever graph, function or attribute they lie in."""
    waiting = [message]
    while waiting:
        message = waiting.pop()
        yield message
        for descriptor, value in message.ListFields():
            if descriptor.type == descriptor.TYPE_MESSAGE:
                waiting += value if hasattr(value, "add") else [value]


def _description(
    session: Any, name: str
) -> tuple[dict[str, str], tuple[int, int, int], tuple[str, ...], tuple[str, ...]]:
    try:
        told = dict(session.get_modelmeta().custom_metadata_map)
        inputs, outputs = session.get_inputs(), {one.name: one.shape for one in session.get_outputs()}
        listed = json.loads(told["class_names"])
        names = tuple(one for one in listed if isinstance(listed, list) and isinstance(one, str))
        (only,) = inputs
        _, channels, height, width = only.shape
        whole = all(isinstance(size, int) and size > 0 for size in (channels, height, width))
        right = (only.name, only.type, outputs["probabilities"][1]) == ("images", "tensor(uint8)", len(names))
        right &= len(names) == len(listed)
    except (KeyError, ValueError, TypeError, IndexError, RecursionError):
        whole = right = False
    if not (whole and right):
        raise _unfit(name, "its inputs, outputs or class names are other ones")
    return told, (channels, height, width), names, tuple(outputs)


def _unfit(name: str, reason: str) -> RunError:
    return RunError(f"{name}: {reason}; expected a file that modiste export wrote")
