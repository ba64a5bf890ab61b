"""Exported files as a stranger might hand them over: what names other files, loops, or is none of ours is refused."""

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from graphs import BEFORE_THE_RUNTIME, HOSTILE, add_to_logits, nested, node, sound
from onnx import TensorProto, helper, numpy_helper

from modiste.errors import RunError
from modiste.evaluation.out_of_distribution.novelty import Answers
from modiste.exports.formats import FORMATS
from modiste.inference import onnx_check, onnx_model
from modiste.inference.answers import NOT_FINITE, answers
from modiste.inference.onnx_model import OnnxModel
from modiste.models.registry import Task, build_model
from modiste.recipes.networks import MLPRecipe
from modiste.recipes.recipe import Recipe, Views
from modiste.runs.checkpoint import ModelInfo

TASK = Task(image_shape=(1, 8, 8), class_names=("a", "b"), mean=0.3, deviation=0.4)


@pytest.fixture(scope="module")
def content() -> bytes:
    answers = Answers(build_model(MLPRecipe(), TASK).eval(), views=Views(), temperature=1.0).eval()
    return FORMATS["onnx"].write(answers, ModelInfo(Recipe(name="tried", model=MLPRecipe()), TASK, 1, "f" * 64))


def outside(proto: onnx.ModelProto) -> None:
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def outside_in_an_attribute(proto: onnx.ModelProto) -> None:
    value = numpy_helper.from_array(np.zeros(3, np.float32))
    value.ClearField("raw_data")
    value.external_data.add(key="location", value="../secret")
    proto.graph.node.append(helper.make_node("Constant", [], ["unused"], value=value))


def foreign_operator(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(helper.make_node("PyOp", ["images"], ["unused"], domain="com.example"))
    proto.opset_import.append(helper.make_opsetid("com.example", 1))


def loop(proto: onnx.ModelProto) -> None:
    for_ever = helper.make_graph([helper.make_node("Identity", ["go"], ["on"])], "body", [], [])
    proto.graph.node.append(helper.make_node("Loop", ["", "go"], [], body=for_ever))


def loop_in_a_branch(proto: onnx.ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Loop", [], [])], "inner", [], [])
    proto.graph.node.append(helper.make_node("If", ["yes"], [], then_branch=inner, else_branch=inner))


def other_input(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def no_names(proto: onnx.ModelProto) -> None:
    del proto.metadata_props[:]


def too_few_names(proto: onnx.ModelProto) -> None:
    next(one for one in proto.metadata_props if one.key == "class_names").value = '["a"]'


def names_that_are_no_list(proto: onnx.ModelProto) -> None:
    next(one for one in proto.metadata_props if one.key == "class_names").value = "[" * 5000


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (outside, "reads numbers from another file"),
        (outside_in_an_attribute, "reads numbers from another file"),
        (foreign_operator, "contains the operator com.example:PyOp"),
        (loop, "contains the operator ai.onnx:Loop"),
        (loop_in_a_branch, "contains the operator ai.onnx:Loop"),
        (other_input, "expected a file that modiste export wrote"),
        (no_names, "not as expected"),
        (too_few_names, "not as expected"),
        (names_that_are_no_list, "not as expected"),
    ],
)
def test_a_hostile_file_is_refused(content: bytes, change: Callable[[onnx.ModelProto], None], reason: str) -> None:
    proto = onnx.load_model_from_string(content)
    change(proto)
    with pytest.raises(RunError, match=reason):
        OnnxModel.from_bytes(proto.SerializeToString())


@pytest.mark.parametrize("damaged", [b"", b"no model", b"\x80\x04\x95" * 9, None])
def test_what_is_no_onnx_is_refused(content: bytes, damaged: bytes | None) -> None:
    with pytest.raises(RunError, match="expected a file that modiste export wrote"):
        OnnxModel.from_bytes(content[:2000] if damaged is None else damaged)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read"):
        OnnxModel.load(tmp_path / "none.onnx")
    with pytest.raises(RunError, match=r"^a\\x00b\.onnx: cannot be read \(embedded null byte\)"):
        OnnxModel.load(Path("a\0b.onnx"))


def test_any_number_of_images_goes_through(content: bytes) -> None:
    model = OnnxModel.from_bytes(content)
    images = np.random.RandomState(0).randint(0, 256, (130, 1, 8, 8)).astype(np.uint8)
    whole = model.classify(images).probabilities
    assert whole.shape == (130, 2)
    assert model.classify(images[:0]).probabilities.shape == (0, 2)
    np.testing.assert_allclose(whole[7:8], model.classify(images[7:8]).probabilities, rtol=1e-5)


def test_the_schema_of_the_files_is_that_of_the_package_onnx() -> None:
    """If this fails after a change of constraints.txt, write these bytes into onnx_schema.binpb."""
    schema = resources.files("modiste.inference") / onnx_check.SCHEMA
    assert schema.read_bytes() == onnx.onnx_ml_pb2.DESCRIPTOR.serialized_pb


REASONS = {name: reason for reason, names in BEFORE_THE_RUNTIME.items() for name in names}


@pytest.mark.parametrize("name", HOSTILE)
def test_every_hostile_graph_is_refused_in_one_line(name: str) -> None:
    proto = sound()
    HOSTILE[name](proto)
    with pytest.raises(RunError, match=f"{REASONS.get(name, '')}; expected a file that modiste export wrote") as caught:
        OnnxModel.from_bytes(proto.SerializeToString()).classify(np.zeros((2, 1, 8, 8), np.uint8))
    assert str(caught.value).isprintable()
    assert "it takes more than" not in str(caught.value)


def test_empty_nodes_are_counted_before_they_are_made(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bytes in a file are hundreds in memory: 500 MB of them would take all."""
    monkeypatch.setattr(onnx_check, "MOST_PARTS", 5_000)
    OnnxModel.from_bytes(content)
    model = onnx_check._message_type("onnx.ModelProto")
    unread = SimpleNamespace(DESCRIPTOR=model.DESCRIPTOR, FromString=lambda _: pytest.fail("was made"))
    monkeypatch.setattr(onnx_check, "_message_type", lambda _: unread)
    nodes = b"\x0a\x00" * 10_000
    length = bytes([len(nodes) & 127 | 128, len(nodes) >> 7 & 127 | 128, len(nodes) >> 14])
    with pytest.raises(RunError, match="more than 5,000 parts"):
        OnnxModel.from_bytes(content + b"\x3a" + length + nodes)


def test_functions_are_taken_as_long_as_they_unfold_to_little() -> None:
    proto = sound()
    nested(proto, 8, 2)
    scores = OnnxModel.from_bytes(proto.SerializeToString()).classify(np.zeros((2, 1, 8, 8), np.uint8))
    assert scores.probabilities.shape == (2, 2)


def test_a_file_keeps_the_decoder_of_its_training(content: bytes) -> None:
    assert OnnxModel.from_bytes(content).decoder == 3
    proto = onnx.load_from_string(content)
    (named,) = (one for one in proto.metadata_props if one.key == "decoder")
    named.value = "9"
    with pytest.raises(RunError, match="its decoder of pictures is unknown, '9'"):
        OnnxModel.from_bytes(proto.SerializeToString())
    proto.metadata_props.remove(named)  # as in files of earlier versions
    assert OnnxModel.from_bytes(proto.SerializeToString()).decoder == 1


def test_class_names_steer_no_terminal(content: bytes) -> None:
    proto = onnx.load_model_from_string(content)
    named = next(one for one in proto.metadata_props if one.key == "class_names")
    named.value = json.dumps(["\x1b]0;owned\x07Zoë", "\u202eback\r\n"])
    assert OnnxModel.from_bytes(proto.SerializeToString()).class_names == (
        "\\x1b]0;owned\\x07Zoë",
        "\\u202eback\\r\\n",
    )


def test_what_takes_too_long_is_given_up(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiply large matrices, for seconds or for hours: no check of the file tells how long that takes."""
    proto = sound()
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1500, 1500], np.int64), "shape"))
    node(proto, "ConstantOfShape", ["shape"], ["m0"])
    for number in range(4000):
        node(proto, "MatMul", [f"m{number}", "m0"], [f"m{number + 1}"])
    add_to_logits(proto, "m4000")
    monkeypatch.setattr(onnx_model, "LOADING_SECONDS", 1.0)
    with pytest.raises(RunError, match="it takes more than 1 seconds"):
        OnnxModel.from_bytes(proto.SerializeToString())


def test_a_picture_without_finite_numbers_leaves_the_others_their_answers() -> None:
    proto = sound()
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((64, 2), 1e38, np.float32), "weights"))
    helper.set_model_props(proto, {"class_names": json.dumps(["a", "b"]), "pictures": "whole"})
    pictures = [("black", np.zeros((8, 8), np.uint8)), ("white", np.full((8, 8), 255, np.uint8))]
    black, white = answers(OnnxModel.from_bytes(proto.SerializeToString()), pictures)
    assert (black.probabilities, black.fault) == ((("a", 0.5), ("b", 0.5)), "")
    assert (white.probabilities, white.fault) == ((), NOT_FINITE)


def test_a_model_without_finite_numbers_is_refused() -> None:
    proto = sound()
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((64, 2), np.nan, np.float32), "weights"))
    with pytest.raises(RunError, match="for a black image are not finite"):
        OnnxModel.from_bytes(proto.SerializeToString())
