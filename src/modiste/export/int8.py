"""Quantization of an ONNX file: weights and activations in eight bits, after Jacob et al. (2018)."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

CALIBRATION_IMAGES = 500
QUANTIZED_OPERATORS = ["Conv", "Gemm"]
"""Convolutions and dense layers. MatMul belongs to the novelty score, which needs full precision."""


def quantize(content: bytes, images: UInt8[np.ndarray, "n c h w"]) -> bytes:
    """Return an ONNX file whose convolutions and dense layers compute in eight bits.

    Args:
        content: of an ONNX file.
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
        return target.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the warnings that the library writes to the root logger."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def _reader(images: UInt8[np.ndarray, "n c h w"]) -> Any:
    """Return the images as the library's data reader, about a hundred at a time."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.parts: Iterator[np.ndarray] = iter(np.array_split(images, max(1, len(images) // 100)))

        def get_next(self) -> dict[str, np.ndarray] | None:
            part = next(self.parts, None)
            return None if part is None else {"images": part}

    return Reader()
