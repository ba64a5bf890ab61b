"""An ONNX network as plain data and bytes of weights, for a page that computes it by itself.

``page/network.js`` reads the result. The page has no operators but these, and a network with another is refused here.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Num

from modiste.errors import RunError

if TYPE_CHECKING:
    from onnx import ModelProto

SHORTENED = 4096
"""Least number of weights in a float32 tensor that is stored with two bytes a number; see ``shortened``."""
MULTIPLES = 2**15 - 1
"""Largest multiple of the step that two bytes hold."""
INTEGERS, FLOATS = (np.int64,), (np.float32, np.float64)
FLOAT_TYPES = (1, 11)
"""float and double, in ONNX."""
SOFTMAX = "Softmax over another axis than the classes"
Attributes = dict[str, Any]


class OperatorError(RunError):
    """The page's own script cannot compute an operator of the network, or cannot read one of its tensors."""


class Graph(NamedTuple):
    """A network for the page.

    Attributes:
        plain: ``nodes`` in order, and ``tensors`` by name; JSON values.
        weights: Numbers of the tensors, little-endian.
    """

    plain: dict[str, Any]
    weights: bytes


def parse(content: bytes) -> "ModelProto":
    """Return the content of an ONNX file as ONNX's own object."""
    import onnx

    return onnx.load_model_from_string(content)


def read_graph(model: "ModelProto") -> Graph:
    """Return the network of an ONNX file.

    Args:
        model: The file; its only input is ``images``.

    Raises:
        OperatorError: The network contains an operator, or an attribute of one, that the page does not compute; or a
            tensor of another type than the page reads.
    """
    from onnx import numpy_helper

    nodes = [_node(node) for node in model.graph.node]
    _check_ranks(model)
    used = {name for node in nodes for name in node["inputs"]}
    tensors, weights = dict[str, Any](), bytearray()
    for one in model.graph.initializer:
        if one.name in used:
            tensors[one.name] = _stored(one.name, numpy_helper.to_array(one), weights)
    return Graph({"nodes": nodes, "tensors": tensors}, bytes(weights))


def describe(model: "ModelProto") -> tuple[list[str], dict[str, str]]:
    """Return the names of a network's outputs, and the metadata of its ONNX file."""
    return [one.name for one in model.graph.output], {one.key: one.value for one in model.metadata_props}


def _ranks(model: "ModelProto") -> dict[str, int]:
    """Return the number of axes of every tensor of a network, by its name, where it is known."""
    from onnx.shape_inference import infer_shapes

    graph = infer_shapes(model).graph
    values = {one.name: one.type.tensor_type for one in [*graph.input, *graph.value_info, *graph.output]}
    known = {name: len(kind.shape.dim) for name, kind in values.items() if kind.HasField("shape")}
    return known | {one.name: len(one.dims) for one in graph.initializer}


def _check_ranks(model: "ModelProto") -> None:
    """Raise OperatorError if the page would compute an operator on fewer axes than its tensors have."""
    ranks = _ranks(model)
    for node in model.graph.node:
        axes = [ranks.get(name, 2) for name in node.input]
        over_second = any((one.name, one.i) == ("axis", 1) for one in node.attribute)
        if node.op_type == "Softmax" and over_second and axes[0] != 2:
            raise _refused(SOFTMAX)
        if node.op_type == "MatMul" and axes[1] > 2:
            raise _refused("MatMul of several matrices")


def _node(node: Any) -> dict[str, Any]:
    """Return a node as plain data; OperatorError if the page does not compute it."""
    from onnx.helper import get_attribute_value

    found = {one.name: get_attribute_value(one) for one in node.attribute}
    if node.domain or node.op_type not in OPERATORS or len(node.output) != 1:
        raise _refused(node.op_type)
    read = OPERATORS[node.op_type](node.op_type, found)
    return {"operator": node.op_type, "inputs": list(node.input), "output": node.output[0], **read}


def _refused(operator: str) -> OperatorError:
    return OperatorError(
        f"export: html: the network contains the operator {operator}, which the page does not compute; choose --to onnx"
    )


def _stored(name: str, values: Num[np.ndarray, "..."], weights: bytearray) -> dict[str, Any]:
    """Return the description of a tensor, after its numbers were added to ``weights``; integers stay in it."""
    if values.dtype in INTEGERS:
        return {"shape": list(values.shape), "values": values.ravel().tolist()}
    if values.dtype not in FLOATS:
        raise OperatorError(
            f"export: html: the tensor {name} holds {values.dtype}; expected float32, float64 or int64; "
            "choose --to onnx"
        )
    short = values.dtype == np.float32 and values.size >= SHORTENED
    described = {"shape": list(values.shape), "offset": len(weights)}
    if not short:
        weights += values.astype("<f4").tobytes()
        return described
    step, content = shortened(values)
    weights += content
    return {**described, "step": step}


def shortened(values: Num[np.ndarray, "..."]) -> tuple[float, bytes]:
    """Return a step, and finite numbers as the nearest multiples of it: int16, little-endian.

    The step is the largest absolute value divided by ``MULTIPLES``; no number changes by more than half of it.
    """
    step = float(np.abs(values).max()) / MULTIPLES or 1.0  # without it, zeros would be divided by zero
    return step, np.rint(values.ravel().astype(np.float64) / step).astype("<i2").tobytes()


def _nothing(_: str, __: Attributes) -> Attributes:
    return {}


def _taken(*names: str) -> Callable[[str, Attributes], Attributes]:
    """Return a reader that keeps the attributes of these names."""
    return lambda operator, found: {name: found[name] for name in names}


def _cast(_: str, found: Attributes) -> Attributes:
    if found["to"] not in FLOAT_TYPES:
        raise _refused("Cast to integers")
    return {}


def _window(operator: str, found: Attributes) -> Attributes:
    """Read a window that moves over maps: a filter or a pool, in two dimensions."""
    kernel = found["kernel_shape"]
    dilated = any(one != 1 for one in found.get("dilations", ()))
    if len(kernel) != 2 or dilated or found.get("ceil_mode") or found.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise _refused(f"{operator} with dilations, three dimensions or automatic padding")
    return {"kernel": kernel, "strides": found.get("strides", [1, 1]), "pads": found.get("pads", [0, 0, 0, 0])}


def _gemm(_: str, found: Attributes) -> Attributes:
    if found.get("transA"):
        raise _refused("Gemm with transA")
    return {"alpha": found.get("alpha", 1.0), "beta": found.get("beta", 1.0), "transB": found.get("transB", 0)}


def _reduction(operator: str, found: Attributes) -> Attributes:
    if found.get("noop_with_empty_axes"):
        raise _refused(f"{operator} with noop_with_empty_axes")
    return {"keepdims": found.get("keepdims", 1)}


def _softmax(_: str, found: Attributes) -> Attributes:
    if found.get("axis", -1) not in (-1, 1):
        raise _refused(SOFTMAX)
    return {}


OPERATORS: dict[str, Callable[[str, Attributes], Attributes]] = {
    **dict.fromkeys(("Add", "Clip", "Div", "MatMul", "Max", "Mul", "Relu", "Reshape", "Slice", "Sub"), _nothing),
    "Unsqueeze": _nothing,
    "BatchNormalization": _taken("epsilon"),
    "Cast": _cast,
    "Concat": _taken("axis"),
    "Conv": _window,
    "Gemm": _gemm,
    "MaxPool": _window,
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), _reduction),
    "Softmax": _softmax,
    "Transpose": _taken("perm"),
}
"""What the page computes, each with the function that reads its attributes."""
