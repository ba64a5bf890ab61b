"""What an ONNX file may hold, checked before ONNX Runtime sees it, for it may come from a stranger.

It names no other file, holds no operators of others, and nothing whose time or memory its size does not bound. What
functions unfold to is counted without unfolding them: twenty that each call the one before twice are a million nodes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from modiste.errors import MissingExtraError, RunError

DOMAINS = ("", "ai.onnx", "pkg.onnxscript.torch_lib", "pkg.onnxscript.torch_lib.common", "pkg.torch")
"""Sets of operators that hold no code of others."""
REFUSED = ("Loop", "Scan")
"""Operators whose time the size of the file does not bound."""
MOST_NODES = 20_000
"""Once functions are unfolded; the largest of Modiste's own networks has 700."""
MOST_DEPTH = 16
"""Of functions and branches within each other."""
MOST_PARTS = 500_000
"""Of whatever kind: nodes, attributes, tensors, sizes. Counted before anything is made of them, for an empty node takes
two bytes in the file and hundreds in memory."""
MOST_METADATA = 4 * 2**20
VARINT, LENGTH_DELIMITED, FIXED_BYTES = 0, 2, {1: 8, 5: 4}
"""How protobuf writes a field: as a number of variable length, with its length before it, or in so many bytes."""
NEEDS_EXTRA = "needs packages that are not installed: pip install 'modiste[serve]'"


def check(content: bytes, name: str) -> None:
    """Raise RunError for a graph that names files, holds foreign operators, loops, or unfolds to too much."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingExtraError(f"ONNX files: {NEEDS_EXTRA}") from error
    try:
        if _has_too_many_parts(content, onnx.ModelProto.DESCRIPTOR):
            raise unfit(name, f"it has more than {MOST_PARTS:,} parts")
        proto = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, IndexError) as error:
        raise unfit(name, "it is no ONNX file") from error
    for message in _messages(proto):
        if reason := _fault(message):
            raise unfit(name, reason)
    if sum(len(item.key) + len(item.value) for item in proto.metadata_props) > MOST_METADATA:
        raise unfit(name, f"it says more than {MOST_METADATA:,} letters of itself")
    _Unfolding(name, proto.functions).check(proto.graph.node)


def unfit(name: str, reason: str) -> RunError:
    """Return the error to raise for a file."""
    return RunError(f"{name}: {reason}; expected a file that modiste export wrote")


def _fault(message: Any) -> str:
    """Return what is wrong with a part by itself; nothing where it is as it should be."""
    kind = message.DESCRIPTOR.name
    if kind == "TensorProto" and (message.data_location or message.external_data):
        return "it takes numbers from another file"
    if kind == "SparseTensorProto":
        return "it holds sparse numbers"
    if kind == "NodeProto" and (message.domain not in DOMAINS or message.op_type in REFUSED):
        return f"it holds the operator {message.domain or 'ai.onnx'}:{message.op_type}"
    return ""


def _has_too_many_parts(content: bytes, descriptor: Any) -> bool:
    """Tell whether a file has more than MOST_PARTS fields, by their tags and lengths alone; ValueError if damaged."""
    kinds: dict[str, dict[int, Any]] = {}
    waiting, count = [(descriptor, 0, len(content))], 0
    while waiting:
        descriptor, start, end = waiting.pop()
        if descriptor.full_name not in kinds:
            kinds[descriptor.full_name] = {one.number: one.message_type for one in descriptor.fields}
        messages = kinds[descriptor.full_name]
        for number, first, last in _fields(content, start, end):
            count += 1
            if count > MOST_PARTS:
                return True
            if last and (inner := messages.get(number)):
                waiting.append((inner, first, last))
    return False


def _fields(content: bytes, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number of each field of a protobuf message, and where its content lies; 0 to 0 if it has no length."""
    while place < end:
        tag, place = _varint(content, place)
        number, wire = tag >> 3, tag & 7
        if wire == LENGTH_DELIMITED:
            length, place = _varint(content, place)
            yield number, place, place + length
            place += length
        elif wire in FIXED_BYTES:
            yield number, 0, 0
            place += FIXED_BYTES[wire]
        elif wire == VARINT:
            yield number, 0, 0
            _, place = _varint(content, place)
        else:
            raise ValueError(f"no such kind of field, {wire}")
    if place > end:
        raise ValueError("a field ends beyond its message")


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """Return the number of variable length that begins at a place, and where it ends."""
    value = shift = 0
    while True:
        byte = content[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            return value, place
        if shift > 63:
            raise ValueError("a number has more than ten bytes")


def _messages(message: Any) -> Iterator[Any]:
    """Yield a protobuf message and all within it, whatever graph, function or attribute they lie in."""
    waiting = [message]
    while waiting:
        message = waiting.pop()
        yield message
        for descriptor, value in message.ListFields():
            if descriptor.type == descriptor.TYPE_MESSAGE:
                waiting += value if hasattr(value, "add") else [value]


@dataclass(frozen=True)
class _Size:
    """How many nodes there are once all is unfolded, and how deep the deepest lies."""

    nodes: int = 0
    depth: int = 0


@dataclass
class _Unfolding:
    """The functions of a file, and the sizes of those that were measured.

    Attributes:
        name: of the file.
        functions: of the file; those of one name count together.
        sizes: by the function's name.
    """

    name: str
    functions: Iterable[Any]
    sizes: dict[tuple[str, str], _Size] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bodies: dict[tuple[str, str], list[Any]] = {}
        for function in self.functions:
            self.bodies.setdefault(_key(function.domain, function.name), []).extend(function.node)

    def check(self, nodes: Iterable[Any]) -> None:
        """Raise RunError when nodes unfold to too many, too deep, or without end."""
        size = self._of_nodes(nodes, 0)
        if size.nodes > MOST_NODES:
            raise unfit(self.name, f"its functions unfold to more than {MOST_NODES:,} operators")

    def _of_nodes(self, nodes: Iterable[Any], above: int) -> _Size:
        if above > MOST_DEPTH:
            raise unfit(self.name, f"functions or branches lie more than {MOST_DEPTH} deep within each other")
        count, depth = 0, 0
        for node in nodes:
            within = [self._of_nodes(graph.node, above + 1) for graph in _branches(node)]
            if (key := _key(node.domain, node.op_type)) in self.bodies:
                within.append(self._of_function(key, above + 1))
            count += 1 + sum(size.nodes for size in within)
            depth = max([depth, *(1 + size.depth for size in within)])
        if above + depth > MOST_DEPTH:
            raise unfit(self.name, f"functions or branches lie more than {MOST_DEPTH} deep within each other")
        return _Size(count, depth)

    def _of_function(self, key: tuple[str, str], above: int) -> _Size:
        if key not in self.sizes:
            self.sizes[key] = self._of_nodes(self.bodies[key], above)
        return self.sizes[key]


def _branches(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _key(domain: str, name: str) -> tuple[str, str]:
    return ("" if domain == "ai.onnx" else domain), name
