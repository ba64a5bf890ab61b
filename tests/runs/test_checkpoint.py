"""Model files and training states: the same content the same bytes, every damage noticed, no code run."""

import hashlib
import json
import pickle
import random
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from commands_and_data import damaged
from fault_counter import Faults
from modiste.errors import RunError
from modiste.models.registry import Task, build_model
from modiste.recipes import named
from modiste.recipes.networks import CNNRecipe, MLPRecipe
from modiste.recipes.recipe import Recipe
from modiste.runs import checkpoint
from modiste.runs.checkpoint import ModelInfo

TASK = Task(image_shape=(1, 8, 9), class_names=("shoe", "größe", "袋"), mean=0.2860, deviation=0.3530)
MODELS = [MLPRecipe(hidden=(4,), batch_norm=True), CNNRecipe(filters=(2, 3), pools=1, hidden=(4,), batch_norm=True)]
TENSORS = {"b": torch.arange(6.0).view(2, 3), "a": torch.tensor(3), "half": torch.ones(2, dtype=torch.bfloat16)}
PLAIN = {"step": 3, "history": [{"epoch": 1, "loss": 0.1}], "text": "é"}


def info_of(recipe: Recipe) -> ModelInfo:
    return ModelInfo(recipe, TASK, 7, "ab" * 32)


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("model", MODELS, ids=["mlp", "cnn"])
class TestModelFile:
    def test_there_and_back(self, model: Any, tmp_path: Path) -> None:
        recipe = replace(named.paper(), model=model)
        network = build_model(recipe.model, TASK, seed=3).eval()
        checkpoint.save_model(tmp_path / "m.safetensors", network.state_dict(), info_of(recipe))
        loaded, info = checkpoint.load_model(tmp_path / "m.safetensors")
        assert info == info_of(recipe)
        assert equal(loaded.state_dict(), network.state_dict())
        assert not loaded.training
        images = torch.rand(5, 1, 8, 9)
        assert torch.equal(loaded(images), network(images))

    def test_same_content_same_bytes(self, model: Any, tmp_path: Path) -> None:
        recipe = replace(named.paper(), model=model)
        weights = build_model(recipe.model, TASK, seed=3).state_dict()
        backwards = dict(reversed([(name, tensor.contiguous()) for name, tensor in weights.items()]))
        for name, content in (("one", weights), ("two", dict(weights)), ("three", backwards)):
            checkpoint.save_model(tmp_path / name, content, info_of(recipe))
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == (tmp_path / "three").read_bytes()

    def test_weights_of_another_network_are_refused(self, model: Any, tmp_path: Path) -> None:
        recipe = replace(named.paper(), model=model)
        weights = build_model(recipe.model, TASK).state_dict()
        weights.pop("network.head.bias")
        checkpoint.save_model(tmp_path / "m.safetensors", weights, info_of(recipe))
        with pytest.raises(RunError, match=r"m.safetensors: not a model file that this version"):
            checkpoint.load_model(tmp_path / "m.safetensors")


def file_with_header(header: object) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


def metadata(plain: object) -> bytes:
    return file_with_header({"__metadata__": {"modiste": json.dumps(plain)}})


FOREIGN: dict[str, bytes] = {
    "empty": b"",
    "seven bytes": b"\0" * 7,
    "a text": b"not a model at all",
    "a lying length": struct.pack("<Q", 2**63) + b"{}",
    "a length past the end": struct.pack("<Q", 500) + b'{"__metadata__": {}}',
    "a header that is no table": file_with_header([]),
    "a header that is a number": file_with_header(3),
    "no metadata": file_with_header({}),
    "metadata that are null": file_with_header({"__metadata__": None}),
    "metadata that are text": file_with_header({"__metadata__": "modiste"}),
    "another program's": safetensors.torch.save({"w": torch.ones(2)}, {"format": "pt"}),
    "metadata of another kind": file_with_header({"__metadata__": {"modiste": 3}}),
    "plain data that are a list": metadata([]),
    "plain data that are null": metadata(None),
    "no format": metadata({}),
    "another format": metadata({"format": checkpoint.FORMAT + 1}),
    "format as a text": metadata({"format": str(checkpoint.FORMAT)}),
    "depth": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "tensors past the end": file_with_header(
        {
            "__metadata__": {"modiste": json.dumps({"format": checkpoint.FORMAT})},
            "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        }
    ),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.usefixtures("without_type_checks")
def test_what_is_no_file_of_ours_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    for read in (checkpoint.read, checkpoint.load_model):
        with pytest.raises(RunError, match=r"x\.safetensors: ") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    "change",
    [
        {"task": None},
        {"task": {"image_shape": [8, 9], "class_names": ["a"], "mean": 0.0, "deviation": 1.0}},
        {"task": {"image_shape": [1, 8, "9"], "class_names": ["a"], "mean": 0.0, "deviation": 1.0}},
        {"task": {"image_shape": [1, 8, 9], "class_names": ["a"], "mean": "0", "deviation": 1.0}},
        {"task": {"class_names": ["a"]}},
        {"recipe": {"name": "x", "model": {"kind": "os.system"}}},
        {"recipe": []},
        {"recipe": None},
    ],
    ids=str,
)
def test_a_model_file_that_says_nonsense_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    recipe = replace(named.paper(), model=MODELS[0])
    path = tmp_path / "m.safetensors"
    checkpoint.save_model(path, build_model(recipe.model, TASK).state_dict(), info_of(recipe))
    tensors, plain = checkpoint.read(path)
    path.write_bytes(checkpoint.to_bytes(tensors, {**plain, **change}))
    with pytest.raises(RunError, match=r"m\.safetensors: not a model file"):
        checkpoint.load_model(path)


def test_missing_file(tmp_path: Path) -> None:
    for read in (checkpoint.read, checkpoint.load_model):
        with pytest.raises(RunError, match=r"none.safetensors: cannot be read \(No such file"):
            read(tmp_path / "none.safetensors")


class Burglar:
    """Unpickled, it would leave its mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("how", ["pickle", "torch.save"])
def test_a_pickle_under_our_suffix_runs_no_code(how: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "step-00000003-0000000000000000.safetensors"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Burglar(mark)))
    else:
        torch.save(Burglar(mark), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    path = path.rename(tmp_path / f"step-00000003-{digest}.safetensors")  # even with the right hash in its name
    for read in (
        lambda: checkpoint.read(path),
        lambda: checkpoint.load_model(path),
        lambda: checkpoint.load_state(tmp_path),
    ):
        with pytest.raises(RunError):
            read()
    assert not mark.exists()


def states(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def save(folder: Path, *steps: int) -> None:
    for step in steps:
        checkpoint.save_state(folder, step, {**TENSORS, "step": torch.tensor(step)}, {**PLAIN, "step": step})


class TestState:
    def test_none_in_an_empty_or_missing_folder(self, tmp_path: Path) -> None:
        assert checkpoint.load_state(tmp_path) is None
        assert checkpoint.load_state(tmp_path / "none") is None

    def test_there_and_back(self, tmp_path: Path) -> None:
        save(tmp_path, 3)
        state = checkpoint.load_state(tmp_path)
        assert state is not None
        assert equal(state.tensors, {**TENSORS, "step": torch.tensor(3)})
        assert state.plain == PLAIN
        assert state.complaints == ()

    def test_the_newest_two_are_kept_and_the_newest_is_loaded(self, tmp_path: Path) -> None:
        save(tmp_path, 9, 10, 100, 101)
        assert [path.name[:13] for path in states(tmp_path)] == ["step-00000100", "step-00000101"]
        state = checkpoint.load_state(tmp_path)
        assert state is not None
        assert state.plain["step"] == 101
        checkpoint.prune_states(tmp_path, 1)
        assert [path.name[:13] for path in states(tmp_path)] == ["step-00000101"]

    def test_the_name_holds_the_hash_of_the_content(self, tmp_path: Path) -> None:
        save(tmp_path, 3)
        (path,) = states(tmp_path)
        assert path.stem == f"step-00000003-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"

    def test_every_flipped_bit_or_cut_falls_back_to_the_state_before(self, tmp_path: Path, faults: Faults) -> None:
        save(tmp_path, 1, 2)
        newest = states(tmp_path)[-1]
        sound, draw = newest.read_bytes(), random.Random(2018)
        for number in faults("saving: a bit flipped or a cut in the newest state", few=200, many=4_000):
            newest.write_bytes(damaged(sound, draw))
            state = checkpoint.load_state(tmp_path)
            assert state is not None
            assert state.plain["step"] == 1, number
            assert len(state.complaints) == 1
            assert state.complaints[0].startswith(f"{newest}: damaged")

    def test_every_cut_falls_back_to_the_state_before(self, tmp_path: Path) -> None:
        save(tmp_path, 1, 2)
        newest = states(tmp_path)[-1]
        sound = newest.read_bytes()
        for length in {0, 1, 8, 100, len(sound) // 2, len(sound) - 1}:
            newest.write_bytes(sound[:length])
            state = checkpoint.load_state(tmp_path)
            assert state is not None
            assert state.plain["step"] == 1

    def test_only_damaged_ones_are_an_error_that_says_what_to_do(self, tmp_path: Path) -> None:
        save(tmp_path / "checkpoints", 1, 2)
        for path in states(tmp_path / "checkpoints"):
            path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(
            RunError, match=rf"step-00000002.*no older state is left: delete {tmp_path} and train again"
        ):
            checkpoint.load_state(tmp_path / "checkpoints")

    def test_another_format_is_refused_though_its_hash_is_right(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
        save(tmp_path, 3)
        monkeypatch.undo()
        with pytest.raises(RunError, match=r"step-00000003.*expected format 1"):
            checkpoint.load_state(tmp_path)

    def test_a_name_that_is_a_folder_is_an_error_of_ours(self, tmp_path: Path) -> None:
        (tmp_path / f"step-00000003-{'0' * 16}.safetensors").mkdir()
        with pytest.raises(RunError, match="step-00000003"):
            checkpoint.load_state(tmp_path)


def changed_model(tmp_path: Path, **words: Any) -> Path:
    """Write a model file whose task says other things."""
    network = build_model(MODELS[0], TASK, seed=3)
    path = tmp_path / "changed.safetensors"
    checkpoint.save_model(path, network.state_dict(), info_of(replace(named.paper(), model=MODELS[0])))
    tensors, plain = checkpoint.read(path)
    plain["task"] |= words
    path.write_bytes(checkpoint.to_bytes(tensors, plain))
    return path


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float, tmp_path: Path) -> None:
    weights = build_model(MODELS[1], TASK, seed=3).state_dict()
    next(iter(weights.values())).view(-1)[0] = value
    recipe = replace(named.paper(), model=MODELS[1])
    checkpoint.save_model(tmp_path / "m.safetensors", weights, info_of(recipe))
    with pytest.raises(RunError, match="expected finite numbers"):
        checkpoint.load_model(tmp_path / "m.safetensors")


def test_class_names_steer_no_terminal(tmp_path: Path) -> None:
    path = changed_model(tmp_path, class_names=["\x1b[31mred", "a\nb", "größe\u202e"])
    _, info = checkpoint.load_model(path)
    assert info.task.class_names == ("\\x1b[31mred", "a\\nb", "größe\\u202e")


def test_class_names_without_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="names of at most 1,000 characters"):
        checkpoint.load_model(changed_model(tmp_path, class_names=["a" * 5000, "b", "c"]))
