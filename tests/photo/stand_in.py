"""A small network in place of the segmentation network: what is dark stands in front."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modiste.photo import segmentation
from modiste.photo.segmentation import U2NET


def dark_in_front() -> bytes:
    """Return an ONNX file with the network's input and output that is near 1 on black and near 0 on white."""
    side = U2NET.side
    nodes = [
        helper.make_node("ReduceMean", ["input.1"], ["light"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["light", "steep"], ["dark"]),
        helper.make_node("Sigmoid", ["dark"], ["out"]),
    ]
    takes = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, side, side])
    gives = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1, side, side])
    steep = numpy_helper.from_array(np.array([-6], np.float32), "steep")
    graph = helper.make_graph(nodes, "dark", [takes], [gives], [steep])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def install(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the file, name it in the environment, and let its hash be the one that is expected."""
    content = dark_in_front()
    onnx.checker.check_model(onnx.load_model_from_string(content))
    path.write_bytes(content)
    monkeypatch.setenv(segmentation.VARIABLE, str(path))
    file = replace(U2NET.file, sha256=hashlib.sha256(content).hexdigest(), most_bytes=len(content))
    known = replace(U2NET, file=file)
    monkeypatch.setattr(segmentation, "U2NET", known)
    return path
