"""An ONNX file with weights and activations rounded to eight bits, after Jacob et al. (2018)."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

CALIBRATION_IMAGES = 500
ROUNDED_OPERATORS = ["Conv", "Gemm"]
"""Where the multiplications are; a MatMul belongs to what tells strangers, which needs its digits."""


def rounded(content: bytes, images: UInt8[np.ndarray, "n c h w"]) -> bytes:
    """Return the file with its convolutions and dense layers in eight bits.

    Args:
        content: an ONNX file's.
        images: show in which range activations lie, CALIBRATION_IMAGES of every class alike; training images, for no
            other may be used to choose by.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as place, _quiet():
        source, prepared, target = (Path(place) / name for name in ("source", "prepared", "target"))
        source.write_bytes(content)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            _reader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=ROUNDED_OPERATORS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return target.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's advice, which it gives through everybody's logger, from the person's terminal."""
    everybody = logging.getLogger()
    before = everybody.level
    everybody.setLevel(logging.ERROR)
    try:
        yield
    finally:
        everybody.setLevel(before)


def _reader(images: UInt8[np.ndarray, "n c h w"]) -> Any:
    """Return the images in the form that the library asks for them, a hundred at a time."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.parts: Iterator[np.ndarray] = iter(np.array_split(images, max(1, len(images) // 100)))

        def get_next(self) -> dict[str, np.ndarray] | None:
            part = next(self.parts, None)
            return None if part is None else {"images": part}

    return Reader()
