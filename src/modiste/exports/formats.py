"""The formats of exported files: how each is written, quantized to eight bits, and run again to check it.

No format contains a pickle, and each file stands alone. Quantization follows Jacob et al. (2018).
"""

import contextlib
import copy
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from modiste.errors import MissingExtraError, RunError
from modiste.evaluation.out_of_distribution.novelty import Answers, drawing_limit
from modiste.exports import browser
from modiste.exports.one_file import one_file_page
from modiste.models.onednn import fold
from modiste.runs import checkpoint
from modiste.runs.checkpoint import ModelInfo
from modiste.runs.manifest import ONNX_FILE
from modiste.version import __version__

Probabilities = Callable[[UInt8[np.ndarray, "n c h w"]], Float[np.ndarray, "n k"]]


@dataclass(frozen=True)
class Format:
    """A format of exported files.

    Attributes:
        name: Name of the file in the run folder.
        write: Returns the content of a file.
        read: Returns a function that computes probabilities as the file does.
        packages: Required to write and read the file.
        can_read: Whether files can be read here.
        proof_images: Largest number of images on which a file is checked, where that takes long.
    """

    name: str
    write: Callable[[Answers, ModelInfo], bytes]
    read: Callable[[bytes], Probabilities]
    packages: tuple[str, ...] = ()
    can_read: Callable[[], bool] = lambda: True
    proof_images: int = 10**6

    def require_packages(self) -> None:
        """Raise MissingExtraError if a package is missing; call this before the work begins."""
        try:
            for name in self.packages:
                import_module(name)
        except ImportError as error:
            raise MissingExtraError(
                "export: needs packages that are not installed: pip install 'modiste[export]'"
            ) from error


def as_onnx(answers: Answers, info: ModelInfo, opset: int | None = None) -> bytes:
    """Return an ONNX file: bytes (N, C, H, W) of any N in; logits, probabilities and novelty out.

    Args:
        answers: The module to export.
        info: Describes the model, for the metadata.
        opset: Version of ONNX's operators; torch's own choice if None.

    Raises:
        RunError: The converter cannot express this network, or not in the operators of ``opset``.
    """
    from modiste.compat import onnx_registration_logger

    onnx_registration_logger.setLevel(logging.ERROR)  # it misses a package that no model here needs
    answers = copy.deepcopy(answers)
    for model in answers.models:
        fold(model)  # left to ONNX Runtime, each use of a convolution would get weights of its own in eight bits
    with torch.inference_mode(), _converting("onnx", info):
        program = torch.onnx.export(
            answers,
            (_example(info),),
            dynamo=True,
            dynamic_shapes={"images": _ANY_NUMBER},
            input_names=["images"],
            output_names=["logits", "probabilities", "novelty"][: 2 if answers.novelty is None else 3],
            external_data=False,
            verbose=False,
            opset_version=opset,
        )
    assert program is not None
    proto: Any = program.model_proto
    if opset is not None:
        _check_opset(proto, opset)
    for key, value in metadata(answers, info).items():
        proto.metadata_props.add(key=key, value=value)
    _drop_notes(proto)
    content: bytes = proto.SerializeToString()
    return content


def with_metadata(content: bytes, more: Mapping[str, str]) -> bytes:
    """Return an ONNX file with these metadata, beside those that it has under other keys."""
    import onnx

    proto = onnx.load_model_from_string(content)
    onnx.helper.set_model_props(proto, {one.key: one.value for one in proto.metadata_props} | dict(more))
    changed: bytes = proto.SerializeToString()
    return changed


def _drop_notes(proto: Any) -> None:
    """Remove what the converter notes of its own program: lines of source with their paths, and shapes in between."""
    for node in [*proto.graph.node, *(node for function in proto.functions for node in function.node)]:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    proto.graph.ClearField("value_info")


def _check_opset(proto: Any, opset: int) -> None:
    """Raise RunError unless a file has these operators: where the converter fails, it leaves newer ones."""
    found = next(entry.version for entry in proto.opset_import if not entry.domain)
    if found != opset:
        raise RunError(
            f"export: --opset {opset}: the converter stops at opset {found} for this network; give {found} or more"
        )


def run_onnx(content: bytes) -> Probabilities:
    """Return a function that computes the probabilities of an ONNX file."""
    from modiste.inference.onnx_model import OnnxModel

    model = OnnxModel.from_bytes(content)
    return _in_parts(lambda images: model.classify(images).probabilities)


def as_program(answers: Answers, info: ModelInfo) -> bytes:
    """Return a PyTorch program (``torch.export.load``) with the same outputs, for which Modiste is not needed.

    Raises:
        RunError: The converter cannot express this network.
    """
    file = io.BytesIO()
    with torch.no_grad(), _converting("torch", info):
        program = torch.export.export(answers, (_example(info),), dynamic_shapes={"images": _ANY_NUMBER})
        program.example_inputs = None  # which would be stored as a pickle
        torch.export.save(program, file, extra_files={"modiste.json": json.dumps(metadata(answers, info))})
    return file.getvalue()


def run_program(content: bytes) -> Probabilities:
    """Return a function that computes the probabilities of a PyTorch program."""
    module = torch.export.load(io.BytesIO(content)).module()
    return _in_parts(lambda images: module(torch.from_numpy(images))[1].detach().numpy())


def as_weights(answers: Answers, info: ModelInfo) -> bytes:
    """Return a model file with the temperature, for ``Predictor.load`` and ``--transfer-from``."""
    return checkpoint.model_bytes(answers.model.state_dict(), replace(info, temperature=answers.temperature))


def run_weights(content: bytes) -> Probabilities:
    """Return a function that computes the probabilities of a model file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        file.write_bytes(content)
        model, info = checkpoint.load_model(file)
    answers = Answers.of(model, info.recipe, info.temperature)
    return _in_parts(lambda images: answers(torch.from_numpy(images))[1].detach().numpy())


def as_page(answers: Answers, info: ModelInfo) -> bytes:
    """Return an HTML page that takes pictures and computes the same outputs by itself, offline."""
    return one_file_page(as_onnx(answers, info), info)


def run_page(content: bytes) -> Probabilities:
    """Return a function that computes the probabilities of a page, which a headless browser opens once a call."""
    return lambda images: browser.page_probabilities(content, parts(images))


def metadata(answers: Answers, info: ModelInfo) -> dict[str, str]:
    """Return the metadata of an exported file."""
    found = {
        "modiste": __version__,
        "recipe": info.recipe.name,
        "epoch": str(info.epoch),
        "fingerprint": info.fingerprint,
        "temperature": repr(answers.temperature),
        "class_names": json.dumps(info.task.class_names),
        "pictures": info.recipe.data.pictures,
        "decoder": str(info.recipe.data.decoder),
        "background": info.recipe.data.background,
    }
    if info.recipe.data.transpose:
        found["transpose"] = "1"
    if answers.novelty is not None:
        found["false_alarms"] = repr(answers.novelty.false_alarms)
        found["drawing_limit"] = repr(drawing_limit(answers, info))
        if answers.novelty.acceptance is not None:
            found["acceptance"] = json.dumps(answers.novelty.acceptance.plain())
    return found


def _example(info: ModelInfo) -> UInt8[torch.Tensor, "n c h w"]:
    return torch.zeros(2, *info.task.image_shape, dtype=torch.uint8)


_ANY_NUMBER = {0: torch.export.Dim("n", min=1)}
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
FORMATS = {
    "html": Format(
        "classifier.html", as_page, run_page, (*ONNX_PACKAGES, "PIL"), browser.has_browser, proof_images=100
    ),
    "onnx": Format(ONNX_FILE, as_onnx, run_onnx, ONNX_PACKAGES),
    "safetensors": Format("exported.safetensors", as_weights, run_weights),
    "torch": Format("model.pt2", as_program, run_program),
}


NEWEST_OPSET = 23
"""Newest version of ONNX's operators that may be asked for. The converter goes down to 18 for every network, and to 16
or 15 for some."""
CONVERTERS = ("onnxscript", "torch")
"""Names of the converters' loggers, which report an attempt that failed; what comes of it is checked here."""
PART_PIXELS = 100 * 28 * 28
CALIBRATION_IMAGES = 500
QUANTIZED_OPERATORS = ["Conv", "Gemm", "Relu", "Clip"]
"""Convolutions and dense layers, with the activations after them: what those cut off needs none of the 256 steps.

MatMul belongs to the novelty score, which needs full precision.
"""

ZERO_POINT = 2
"""Place of the zero point among the inputs of DequantizeLinear."""


def quantize(content: bytes, images: UInt8[np.ndarray, "n c h w"]) -> bytes:
    """Return an ONNX file whose convolutions and dense layers compute in eight bits.

    Args:
        content: Content of an ONNX file.
        images: CALIBRATION_IMAGES training images, drawn evenly from all classes. They determine the range of each
            activation. Validation images must not be used, because this is a choice.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, prepared, target = (Path(folder) / name for name in ("source", "prepared", "target"))
        source.write_bytes(content)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            _reader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTIZED_OPERATORS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return _without_bias_zeros(target.read_bytes())


def _without_bias_zeros(content: bytes) -> bytes:
    """Return a file in eight bits without the zero points of biases, which are zero where none is given."""
    import onnx

    proto = onnx.load_model_from_string(content)
    _drop_notes(proto)
    whole = {one.name: one for one in proto.graph.initializer if one.data_type == onnx.TensorProto.INT32}
    for node in proto.graph.node:
        if node.op_type == "DequantizeLinear" and len(node.input) == ZERO_POINT + 1:
            zeros = whole.get(node.input[ZERO_POINT])
            if zeros is not None and not onnx.numpy_helper.to_array(zeros).any():
                del node.input[ZERO_POINT]
    used = {name for node in proto.graph.node for name in node.input}
    kept = [one for one in proto.graph.initializer if one.name in used]
    proto.graph.ClearField("initializer")
    proto.graph.initializer.extend(kept)
    smaller: bytes = proto.SerializeToString()
    return smaller


def parts(images: UInt8[np.ndarray, "n c h w"]) -> list[UInt8[np.ndarray, "_ c h w"]]:
    """Split images into parts of about PART_PIXELS pixels, at least one image each: a file needs memory for a part."""
    size = max(1, PART_PIXELS // (images.shape[2] * images.shape[3]))
    return np.array_split(images, max(1, len(images) // size))


def _in_parts(compute: Probabilities) -> Probabilities:
    """Return a function that computes the same for any number of images, a part at a time.

    The first image is a batch of its own. A file with a fixed batch size therefore fails.
    """
    return lambda images: np.concatenate([compute(part) for part in (images[:1], *parts(images[1:]))])


@contextmanager
def _converting(to: str, info: ModelInfo) -> Iterator[None]:
    """Convert a network in the block, without the converter's warnings and what it prints of the network.

    Raises:
        RunError: The network is not Modiste's, and the converter fails; it has no common base of its errors.
    """
    with contextlib.ExitStack() as ends:
        ends.enter_context(warnings.catch_warnings(action="ignore"))
        ends.enter_context(contextlib.redirect_stderr(io.StringIO()))
        for name in CONVERTERS:
            ends.enter_context(_quiet(name))
        try:
            yield
        except Exception as error:
            if "network" not in info.recipe.own_code:
                raise
            reason = str(error.__cause__ or error).strip().partition("\n")[0]
            raise RunError(
                f"export: torch cannot convert this network to {to} ({reason}); change the network, or choose "
                "--to safetensors"
            ) from error


@contextmanager
def _quiet(name: str | None = None) -> Iterator[None]:
    """Hide the warnings that a library writes to the logger of this name, by default to the root logger."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR if name is None else logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _reader(images: UInt8[np.ndarray, "n c h w"]) -> Any:
    """Return the images as the library's data reader, in parts."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.parts = iter(parts(images))

        def get_next(self) -> dict[str, np.ndarray] | None:
            part = next(self.parts, None)
            return None if part is None else {"images": part}

    return Reader()
