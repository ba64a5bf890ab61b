"""ONNX files that name other files, hold code of others, run for ever, or are not what Modiste exports."""

import json
from collections.abc import Callable

import numpy as np
import onnx
from hostile_cases import Shelf, Sound
from onnx import TensorProto, helper, numpy_helper

Change = Callable[[onnx.ModelProto], None]
CLASSES = ["a", "b"]


def sound() -> onnx.ModelProto:
    """Return a small graph with the inputs, outputs and words of an exported one."""
    weights = numpy_helper.from_array(np.ones((64, 2), np.float32), "weights")
    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["numbers"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 1, 8, 8])
    answers = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "sound", [images], [answers], [weights])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(proto, {"class_names": json.dumps(CLASSES)})
    return proto


def elsewhere(location: str, **more: str) -> Change:
    """Let a tensor's numbers lie in another file."""

    def change(proto: onnx.ModelProto) -> None:
        tensor = proto.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **more}.items():
            tensor.external_data.add(key=key, value=value)

    return change


def quietly_elsewhere(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")


def elsewhere_in_an_attribute(proto: onnx.ModelProto) -> None:
    value = numpy_helper.from_array(np.zeros(3, np.float32))
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key="location", value="../../secret")
    node(proto, "Constant", [], ["unused"], value=value)


def elsewhere_in_a_function(proto: onnx.ModelProto) -> None:
    value = numpy_helper.from_array(np.zeros(3, np.float32))
    value.external_data.add(key="location", value="/etc/shadow")
    function(proto, helper.make_node("Constant", [], ["y"], value=value))


def elsewhere_among_sparse_ones(proto: onnx.ModelProto) -> None:
    sparse = proto.graph.sparse_initializer.add()
    sparse.values.name = "sparse"
    sparse.values.external_data.add(key="location", value="/dev/zero")


def node(proto: onnx.ModelProto, kind: str, inputs: list[str], outputs: list[str], **attributes: object) -> None:
    proto.graph.node.append(helper.make_node(kind, inputs, outputs, **attributes))


def add_to_logits(proto: onnx.ModelProto, numbers: str) -> None:
    """Add the sum of these numbers to the logits, so that every answer needs them."""
    node(proto, "ReduceSum", [numbers], ["sum"], keepdims=0)
    node(proto, "Add", ["logits", "sum"], ["grown"])
    last = onnx.NodeProto()
    last.CopyFrom(proto.graph.node[3])
    last.input[0] = "grown"
    del proto.graph.node[3]
    proto.graph.node.append(last)


def function(proto: onnx.ModelProto, inner: onnx.NodeProto) -> None:
    """Add a function of a known set of operators that holds something else."""
    opset = [helper.make_opsetid("", 18), helper.make_opsetid("pkg.torch", 1)]
    proto.functions.append(helper.make_function("pkg.torch", "inner", ["x"], ["y"], [inner], opset))
    proto.opset_import.append(helper.make_opsetid("pkg.torch", 1))
    node(proto, "inner", ["numbers"], ["more"], domain="pkg.torch")


def foreign(kind: str, domain: str, **attributes: object) -> Change:
    def change(proto: onnx.ModelProto) -> None:
        node(proto, kind, ["numbers"], ["more"], domain=domain, **attributes)
        proto.opset_import.append(helper.make_opsetid(domain, 1))

    return change


def endless(proto: onnx.ModelProto) -> None:
    body = helper.make_graph([helper.make_node("Identity", ["go"], ["on"])], "body", [], [])
    node(proto, "Loop", ["", "go"], [], body=body)


def endless_in_a_branch(proto: onnx.ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Scan", [], [])], "inner", [], [])
    node(proto, "If", ["yes"], [], then_branch=inner, else_branch=inner)


def in_a_circle(proto: onnx.ModelProto) -> None:
    node(proto, "Identity", ["one"], ["other"])
    node(proto, "Identity", ["other"], ["one"])


def deep(proto: onnx.ModelProto) -> None:
    graph = helper.make_graph([], "end", [], [])
    for _ in range(16):
        graph = helper.make_graph([helper.make_node("If", ["yes"], [], then_branch=graph)], "more", [], [])
    node(proto, "If", ["yes"], [], then_branch=graph)


def nested(proto: onnx.ModelProto, levels: int, calls: int) -> None:
    """Add functions of a known set of operators, each of which calls the one before ``calls`` times."""
    opset = [helper.make_opsetid("", 18), helper.make_opsetid("pkg.torch", 1)]
    inner = [helper.make_node("Identity", ["x"], ["y"])]
    for level in range(levels):
        proto.functions.append(helper.make_function("pkg.torch", f"f{level}", ["x"], ["y"], inner, opset))
        names = ["x", *(f"x{number}" for number in range(1, calls)), "y"]
        inner = [
            helper.make_node(f"f{level}", [names[number]], [names[number + 1]], domain="pkg.torch")
            for number in range(calls)
        ]
    proto.opset_import.append(helper.make_opsetid("pkg.torch", 1))
    node(proto, f"f{levels - 1}", ["numbers"], ["more"], domain="pkg.torch")


def functions(levels: int, calls: int) -> Change:
    return lambda proto: nested(proto, levels, calls)


def functions_in_branches(proto: onnx.ModelProto) -> None:
    """Double by branches in functions, both of which call the function before."""
    opset = [helper.make_opsetid("", 18), helper.make_opsetid("pkg.torch", 1)]
    proto.functions.append(
        helper.make_function("pkg.torch", "f0", ["x"], ["y"], [helper.make_node("Identity", ["x"], ["y"])], opset)
    )
    for level in range(1, 15):
        calls = [helper.make_node(f"f{level - 1}", ["x"], [f"z{side}"], domain="pkg.torch") for side in range(3)]
        graphs = [helper.make_graph([call], "branch", [], []) for call in calls]
        both = [
            helper.make_node("If", ["x"], ["u"], then_branch=graphs[0], else_branch=graphs[1]),
            helper.make_node("If", ["x"], ["y"], then_branch=graphs[2], else_branch=graphs[1]),
        ]
        proto.functions.append(helper.make_function("pkg.torch", f"f{level}", ["x"], ["y"], both, opset))
    proto.opset_import.append(helper.make_opsetid("pkg.torch", 1))
    node(proto, "f14", ["numbers"], ["more"], domain="pkg.torch")


def two_that_call_each_other(proto: onnx.ModelProto) -> None:
    opset = [helper.make_opsetid("", 18), helper.make_opsetid("pkg.torch", 1)]
    for own, other in (("a", "b"), ("b", "a")):
        calls = [helper.make_node(other, ["x"], ["z"], domain="pkg.torch")] * 2
        proto.functions.append(helper.make_function("pkg.torch", own, ["x"], ["y"], calls, opset))
    node(proto, "a", ["numbers"], ["more"], domain="pkg.torch")


def many_nodes(proto: onnx.ModelProto) -> None:
    for number in range(30_000):
        node(proto, "Identity", ["numbers"], [f"more{number}"])


def sparse_ones(proto: onnx.ModelProto) -> None:
    sparse = proto.graph.sparse_initializer.add()
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "sparse"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64)))
    sparse.dims.extend([2**20, 2**20])


def endless_words(proto: onnx.ModelProto) -> None:
    proto.metadata_props.add(key="more", value="x" * 5 * 2**20)


def another_word(key: str, value: str) -> Change:
    return lambda proto: helper.set_model_props(proto, {"class_names": json.dumps(CLASSES), key: value})


def output_of_kind(kind: int, name: str = "novelty", *shape: object) -> Change:
    def change(proto: onnx.ModelProto) -> None:
        node(proto, "Cast", ["probabilities"], [name], to=kind)
        proto.graph.output.append(helper.make_tensor_value_info(name, kind, list(shape)))

    return change


def no_numbers(proto: onnx.ModelProto) -> None:
    """Answer NaN."""
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((64, 2), np.nan, np.float32), "weights"))


def one_answer_for_all(proto: onnx.ModelProto) -> None:
    """Promise an answer for each image, and give one."""
    proto.graph.node[3].output[0] = "each"
    node(proto, "ReduceMean", ["each"], ["mean"], keepdims=1)
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1, 2], np.int64), "wanted"))
    node(proto, "Expand", ["mean", "wanted"], ["probabilities"])


def gigabytes(proto: onnx.ModelProto) -> None:
    """Take 10 GiB for numbers that nothing in the file holds."""
    shape = numpy_helper.from_array(np.array([2**15, 10 * 2**13], np.int64), "shape")
    proto.graph.initializer.append(shape)
    node(proto, "ConstantOfShape", ["shape"], ["enormous"])
    add_to_logits(proto, "enormous")


def enormous(proto: onnx.ModelProto) -> None:
    shape = numpy_helper.from_array(np.array([2**20, 2**20], np.int64), "shape")
    proto.graph.initializer.append(shape)
    node(proto, "ConstantOfShape", ["shape"], ["enormous"])
    node(proto, "ReduceSum", ["enormous"], ["sum"], keepdims=0)
    node(proto, "Add", ["logits", "sum"], ["grown"])
    proto.graph.node[3].input[0] = "grown"
    last = proto.graph.node[3]
    proto.graph.node.append(last)
    del proto.graph.node[3]


def inputs(*values: onnx.ValueInfoProto) -> Change:
    def change(proto: onnx.ModelProto) -> None:
        del proto.graph.input[:]
        proto.graph.input.extend(values)

    return change


def tensor(name: str, kind: int, *shape: object) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


def told(**words: str) -> Change:
    def change(proto: onnx.ModelProto) -> None:
        del proto.metadata_props[:]
        helper.set_model_props(proto, words)

    return change


def version(**values: int) -> Change:
    def change(proto: onnx.ModelProto) -> None:
        for name, value in values.items():
            if name == "opset":
                proto.opset_import[0].version = value
            else:
                setattr(proto, name, value)

    return change


def no_outputs(proto: onnx.ModelProto) -> None:
    del proto.graph.output[:]


def other_outputs(proto: onnx.ModelProto) -> None:
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3


def no_nodes(proto: onnx.ModelProto) -> None:
    del proto.graph.node[:]


def cut_numbers(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].raw_data = b"1234"


def negative_shape(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].dims[0] = -64


def words_for_numbers(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("to", "os.system"))


HOSTILE: dict[str, Change] = {
    "numbers in /etc/passwd": elsewhere("/etc/passwd"),
    "numbers above": elsewhere("../../../etc/passwd"),
    "numbers beside": elsewhere("secret.bin"),
    "numbers from a place far in": elsewhere("secret.bin", offset=str(2**62), length=str(2**62)),
    "numbers at an address": elsewhere("https://example.org/weights"),
    "numbers in a device": elsewhere("/dev/zero", length="256"),
    "numbers elsewhere beside those here": quietly_elsewhere,
    "an attribute elsewhere": elsewhere_in_an_attribute,
    "a function's numbers elsewhere": elsewhere_in_a_function,
    "sparse numbers elsewhere": elsewhere_among_sparse_ones,
    "a Python operator": foreign("PyOp", "com.example", module="os", compute="system"),
    "Microsoft's Python operator": foreign("PythonOp", "com.microsoft", func_name="os.system"),
    "a context from a file": foreign("EPContext", "com.microsoft", ep_cache_context="/tmp/x.so", embed_mode=0),
    "operators of a library": foreign("Anything", "ai.onnx.contrib", library="/tmp/x.so"),
    "classical operators": foreign("ZipMap", "ai.onnx.ml", classlabels_strings=["a"]),
    "training operators": foreign("Gradient", "ai.onnx.preview.training"),
    "an unknown operator": lambda proto: node(proto, "System", ["numbers"], ["more"]),
    "an endless loop": endless,
    "an endless scan in a branch": endless_in_a_branch,
    "a loop in a function": lambda proto: function(proto, helper.make_node("Loop", ["", "x"], ["y"])),
    "a function that calls itself": lambda proto: function(
        proto, helper.make_node("inner", ["x"], ["y"], domain="pkg.torch")
    ),
    "a function that is not there": foreign("missing", "pkg.torch"),
    "a circle": in_a_circle,
    "branches in branches": deep,
    "terabytes from nothing": enormous,
    "gigabytes from nothing": gigabytes,
    "functions that double": functions(20, 2),
    "functions that go tenfold": functions(6, 10),
    "functions in functions": functions(300, 1),
    "functions in branches": functions_in_branches,
    "functions that call each other": two_that_call_each_other,
    "more nodes than any network": many_nodes,
    "sparse numbers": sparse_ones,
    "endless words": endless_words,
    "false alarms that are no number": another_word("false_alarms", "many"),
    "limit of drawings that is no finite number": another_word("drawing_limit", "nan"),
    "false alarms that are no finite number": another_word("false_alarms", "nan"),
    "a table of rates that is none": another_word("acceptance", "[[0.04, 1.0]]"),
    "a table of coverages that is none": another_word("coverage", "[[0.95, 2.0]]"),
    "a table of rates without end": another_word("acceptance", "[" * 100_000),
    "a temperature of words": another_word("temperature", "__import__('os')"),
    "pictures in another way": another_word("pictures", "\x1b[2J"),
    "garments found in another way": another_word("background", "\x1b[2J"),
    "novelty in whole numbers": output_of_kind(TensorProto.INT64, "novelty", "n", 2),
    "novelty of two numbers": output_of_kind(TensorProto.FLOAT, "novelty", "n", 2),
    "an output of another name": output_of_kind(TensorProto.FLOAT, "secrets", "n", 2),
    "answers that are no numbers": no_numbers,
    "one answer for all": one_answer_for_all,
    "a name of thousands of letters": told(class_names=json.dumps(["a", "b" * 5000])),
    "no inputs": inputs(),
    "floats for images": inputs(tensor("images", TensorProto.FLOAT, "n", 1, 8, 8)),
    "a flat image": inputs(tensor("images", TensorProto.UINT8, "n", 64)),
    "another name": inputs(tensor("pictures", TensorProto.UINT8, "n", 1, 8, 8)),
    "images of any size": inputs(tensor("images", TensorProto.UINT8, "n", 1, "h", "w")),
    "one image alone": inputs(tensor("images", TensorProto.UINT8, 1, 1, 2**31, 2**31)),
    "two inputs": inputs(tensor("images", TensorProto.UINT8, "n", 1, 8, 8), tensor("more", TensorProto.UINT8, "n")),
    "no outputs": no_outputs,
    "other outputs": other_outputs,
    "no nodes": no_nodes,
    "numbers cut": cut_numbers,
    "a negative shape": negative_shape,
    "words for numbers": words_for_numbers,
    "no words": told(),
    "names in no list": told(class_names="__import__('os').system('touch mark')"),
    "too many names": told(class_names=json.dumps(["a"] * 1000)),
    "endless brackets": told(class_names="[" * 100_000),
    "a table for names": told(class_names='{"a": 1, "b": 2}'),
    "numbers for names": told(class_names="[1, 2]"),
    "a later format": version(ir_version=10**6),
    "later operators": version(opset=10**6),
    "no operators": version(opset=0),
}


BEFORE_THE_RUNTIME = {
    "it reads numbers from another file": (
        "numbers in /etc/passwd",
        "numbers above",
        "numbers beside",
        "numbers from a place far in",
        "numbers at an address",
        "numbers in a device",
        "numbers elsewhere beside those here",
        "an attribute elsewhere",
        "a function's numbers elsewhere",
    ),
    "it contains sparse tensors": ("sparse numbers elsewhere", "sparse numbers"),
    "it contains the operator com.example:PyOp": ("a Python operator",),
    "it contains the operator com.microsoft:PythonOp": ("Microsoft's Python operator",),
    "it contains the operator com.microsoft:EPContext": ("a context from a file",),
    "it contains the operator ai.onnx.contrib:Anything": ("operators of a library",),
    "it contains the operator ai.onnx.ml:ZipMap": ("classical operators",),
    "it contains the operator ai.onnx.preview.training:Gradient": ("training operators",),
    "it contains the operator ai.onnx:Loop": ("an endless loop", "a loop in a function"),
    "it contains the operator ai.onnx:Scan": ("an endless scan in a branch",),
    "functions or branches are nested more than 16 deep": (
        "a function that calls itself",
        "branches in branches",
        "functions that double",
        "functions in functions",
        "functions in branches",
        "functions that call each other",
    ),
    "its functions expand to more than 20,000 operators": ("functions that go tenfold", "more nodes than any network"),
    "its metadata have more than 4,194,304 characters": ("endless words",),
}
"""What the check says of the graphs that ONNX Runtime must not see, for it may refuse them too late or not at all."""


def add(shelf: Shelf, sound: Sound) -> None:
    for name, change in HOSTILE.items():
        proto = onnx.load_model_from_string(sound.exported)
        change(proto)
        shelf.file(name, "exported", "model.onnx", proto.SerializeToString())
    for name, content in {
        "nothing": b"",
        "cut": sound.exported[:-40],
        "a script": b"#!/bin/sh\ntouch mark\n",
        "a page": b"<!doctype html><script>alert(1)</script>",
        "a length beyond 64 bits": b"\x3a" + b"\xff" * 9 + b"\x01",
    }.items():
        shelf.file(name, "exported", "model.onnx", content)
