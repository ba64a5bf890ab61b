"""A small network as an ONNX file, a folder of small pictures for it, and workers within this process."""

import json
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from modiste.catalogue.shards import ShardTask, answer_shard
from modiste.catalogue.workers import ShardWorkers

SIDE = 8
CLASSES = ("coat", "bag", "boot")


def network(seed: int = 0, height: int = SIDE) -> bytes:
    """Return a linear classifier of stretched grey pictures; pictures that are bright on the whole are novel to it."""
    weights = np.random.RandomState(seed).normal(size=(height * SIDE, len(CLASSES))).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["numbers"], ["flat"]),
        helper.make_node("Mul", ["flat", "scale"], ["small"]),
        helper.make_node("MatMul", ["small", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
        helper.make_node("ReduceSum", ["small", "axis"], ["novelty"], keepdims=0),
    ]
    constants = {
        "weights": weights,
        "scale": np.float32(1 / (SIDE * SIDE * 160)),
        "axis": np.array([1], np.int64),
    }
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 1, height, SIDE])
    outputs = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(CLASSES)]),
        helper.make_tensor_value_info("novelty", TensorProto.FLOAT, ["n"]),
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "small", [images], outputs, tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(proto, {"class_names": json.dumps(CLASSES), "pictures": "stretched"})
    content: bytes = proto.SerializeToString()
    return content


def write_small_pictures(folder: Path, count: int) -> None:
    """Write ``count`` noisy grey pictures, in two folders; every tenth is cut short, and one has an unread format."""
    random = np.random.RandomState(3)
    for number in range(count):
        path = folder / ("odd" if number % 2 else "even") / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        level = random.randint(60, 200)
        Image.fromarray(random.randint(level - 60, level + 56, (20, 16)).astype(np.uint8)).save(path)
        if number % 10 == 9:
            path.write_bytes(path.read_bytes()[:60])
    (folder / "phone.heic").write_bytes(b"anything")
    (folder / "letter.txt").write_text("no picture")


class InThisProcess(ShardWorkers):
    """Answers each shard at once, in this process.

    Args:
        model: Path of the ONNX file.
        before: Called with each task before it is answered.
    """

    slots = 1

    def __init__(self, model: Path, _shards: int, before: Callable[[ShardTask], None] = lambda _task: None) -> None:
        self._model, self._before = model, before

    def submit(self, task: ShardTask) -> "Future[bytes]":
        future: Future[bytes] = Future()
        try:
            self._before(task)
            future.set_result(answer_shard(task, self._model))
        except Exception as error:
            future.set_exception(error)
        return future

    def result(self, future: "Future[bytes]") -> bytes:
        return future.result()

    def restart(self) -> None:
        pass

    def close(self) -> None:
        pass


def shards(out: Path) -> dict[str, bytes]:
    """Return the content of each shard in a folder of answers, by name."""
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.parquet"))}
