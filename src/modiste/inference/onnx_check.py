"""Checks of an ONNX file before ONNX Runtime loads it. The file may come from an untrusted source.

A file is refused if it refers to other files, contains custom operators, or could take time or memory out of proportion
to its size. Functions are counted without expanding them: twenty functions that each call the one before twice expand
to a million nodes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from modiste.errors import MissingExtraError, RunError

DOMAINS = ("", "ai.onnx", "pkg.onnxscript.torch_lib", "pkg.onnxscript.torch_lib.common", "pkg.torch")
"""Operator sets that contain no third-party code."""
REFUSED = ("Loop", "Scan")
"""Operators whose running time does not depend on the size of the file."""
MOST_NODES = 20_000
"""Largest number of nodes after functions are expanded; the largest of Modiste's networks has 700."""
MOST_DEPTH = 16
"""Deepest nesting of functions and branches."""
MOST_PARTS = 500_000
"""Largest number of protobuf fields: nodes, attributes, tensors, sizes. They are counted before the file is parsed,
because an empty node takes two bytes in the file and hundreds in memory."""
MOST_METADATA = 4 * 2**20
"""Largest number of characters of all metadata."""
VARINT, LENGTH_DELIMITED, FIXED_BYTES = 0, 2, {1: 8, 5: 4}
"""Wire types of protobuf: variable-length number, length-prefixed, and fixed size with its bytes."""
SCHEMA = "onnx_schema.binpb"
"""The messages of an ONNX file, as the package onnx (Apache-2.0) describes them to protobuf: its serialized descriptor.

With it a server does not need that package, which takes 55 MB with its own dependencies."""
NEEDS_EXTRA = "needs packages that are not installed: pip install 'modiste[serve]'"


def check(content: bytes, name: str) -> None:
    """Check an ONNX file.

    Args:
        content: Content of the file.
        name: Name of the file, for the message.

    Raises:
        RunError: It is not an ONNX file, refers to other files, contains custom operators or loops, or is too large
            once its functions are expanded.
        MissingExtraError: protobuf is not installed.
    """
    try:
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingExtraError(f"ONNX files: {NEEDS_EXTRA}") from error
    model = _message_type("onnx.ModelProto")
    try:
        if _has_too_many_parts(content, model.DESCRIPTOR):
            raise unfit(name, f"it has more than {MOST_PARTS:,} parts")
        proto = model.FromString(content)
    except (DecodeError, ValueError, IndexError) as error:
        raise unfit(name, "it is not an ONNX file") from error
    for message in _messages(proto):
        if reason := _fault(message):
            raise unfit(name, reason)
    if sum(len(item.key) + len(item.value) for item in proto.metadata_props) > MOST_METADATA:
        raise unfit(name, f"its metadata have more than {MOST_METADATA:,} characters")
    _Expansion(name, proto.functions).check(proto.graph.node)


@cache
def _message_type(name: str) -> Any:
    """Return the class of a message of SCHEMA, from a pool of its own: the package onnx may be loaded too."""
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass

    pool = DescriptorPool()
    pool.AddSerializedFile((resources.files("modiste.inference") / SCHEMA).read_bytes())
    return GetMessageClass(pool.FindMessageTypeByName(name))


def unfit(name: str, reason: str) -> RunError:
    """Return the error to raise for a file that is refused."""
    return RunError(f"{name}: {reason}; expected a file that modiste export wrote")


def _fault(message: Any) -> str:
    """Return what is wrong with a single protobuf message; empty if nothing is."""
    kind = message.DESCRIPTOR.name
    if kind == "TensorProto" and (message.data_location or message.external_data):
        return "it reads numbers from another file"
    if kind == "SparseTensorProto":
        return "it contains sparse tensors"
    if kind == "NodeProto" and (message.domain not in DOMAINS or message.op_type in REFUSED):
        return f"it contains the operator {message.domain or 'ai.onnx'}:{message.op_type}"
    return ""


def _has_too_many_parts(content: bytes, descriptor: Any) -> bool:
    """Return whether a file has more than MOST_PARTS fields; ValueError if it is damaged.

    Only tags and lengths are read.
    """
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


def _fields(content: bytes, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number of each field of a protobuf message, and the start and end of its content.

    Start and end are 0 for a field without a length prefix.
    """
    while position < end:
        tag, position = _varint(content, position)
        number, wire = tag >> 3, tag & 7
        if wire == LENGTH_DELIMITED:
            length, position = _varint(content, position)
            yield number, position, position + length
            position += length
        elif wire in FIXED_BYTES:
            yield number, 0, 0
            position += FIXED_BYTES[wire]
        elif wire == VARINT:
            yield number, 0, 0
            _, position = _varint(content, position)
        else:
            raise ValueError(f"unknown wire type {wire}")
    if position > end:
        raise ValueError("a field ends beyond its message")


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """Return the variable-length number that begins at ``position``, and the position after it."""
    value = shift = 0
    while True:
        byte = content[position]
        value, shift, position = value | (byte & 127) << shift, shift + 7, position + 1
        if byte < 128:
            return value, position
        if shift > 63:
            raise ValueError("a number has more than ten bytes")


def _messages(message: Any) -> Iterator[Any]:
    """Yield a protobuf message and all messages nested in it."""
    waiting = [message]
    while waiting:
        message = waiting.pop()
        yield message
        for descriptor, value in message.ListFields():
            if descriptor.type == descriptor.TYPE_MESSAGE:
                waiting += value if hasattr(value, "add") else [value]


@dataclass(frozen=True)
class _Size:
    """Number of nodes once functions are expanded, and the depth of the deepest."""

    nodes: int = 0
    depth: int = 0


@dataclass
class _Expansion:
    """Measures what the functions of a file expand to, without expanding them.

    Attributes:
        name: Name of the file.
        functions: Functions of the file; functions with the same name count together.
        sizes: Sizes of the functions measured so far, by name.
    """

    name: str
    functions: Iterable[Any]
    sizes: dict[tuple[str, str], _Size] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bodies: dict[tuple[str, str], list[Any]] = {}
        for function in self.functions:
            self.bodies.setdefault(_key(function.domain, function.name), []).extend(function.node)

    def check(self, nodes: Iterable[Any]) -> None:
        """Raise RunError if nodes expand to too many, too deep, or without end."""
        size = self._of_nodes(nodes, 0)
        if size.nodes > MOST_NODES:
            raise unfit(self.name, f"its functions expand to more than {MOST_NODES:,} operators")

    def _of_nodes(self, nodes: Iterable[Any], above: int) -> _Size:
        """Return the expanded size of nodes at depth ``above``."""
        if above > MOST_DEPTH:
            raise self._too_deep()
        count, depth = 0, 0
        for node in nodes:
            within = [self._of_nodes(graph.node, above + 1) for graph in _branches(node)]
            if (key := _key(node.domain, node.op_type)) in self.bodies:
                within.append(self._of_function(key, above + 1))
            count += 1 + sum(size.nodes for size in within)
            depth = max([depth, *(1 + size.depth for size in within)])
        if above + depth > MOST_DEPTH:
            raise self._too_deep()
        return _Size(count, depth)

    def _too_deep(self) -> RunError:
        return unfit(self.name, f"functions or branches are nested more than {MOST_DEPTH} deep")

    def _of_function(self, key: tuple[str, str], above: int) -> _Size:
        if key not in self.sizes:
            self.sizes[key] = self._of_nodes(self.bodies[key], above)
        return self.sizes[key]


def _branches(node: Any) -> Iterator[Any]:
    """Yield the graphs in a node's attributes."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _key(domain: str, name: str) -> tuple[str, str]:
    """Return the key of a function or operator; the default domain has two names."""
    return ("" if domain == "ai.onnx" else domain), name
