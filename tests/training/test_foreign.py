"""Weights of other libraries: names made to match, formats converted, damage and pickles refused."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from commands_and_data import run_modiste
from modiste.errors import RecipeError, RunError
from modiste.models.registry import Task, build_model
from modiste.recipes.networks import ResNetRecipe
from modiste.recipes.recipe import Recipe, TransferRecipe
from modiste.runs import storage
from modiste.training import trainer
from modiste.training.setup import Inputs
from modiste.training.transfer.source import locate, read
from modiste.training.transfer.transfer import TransferReport, read_report, transfer

TASK = Task(image_shape=(1, 12, 12), class_names=("a", "b", "c"))
RULES = (
    "conv1=network.stem",
    "layer1=network.stages",
    "layer2.0=network.stages.1",
    "layer3.0=network.stages.2",
    "fc=network.head",
    ".conv1=.first",
    ".conv2=.second",
    ".bn1=.second_norm",
    ".downsample.0=.shortcut",
)


class BasicBlock(nn.Module):
    """A residual block under the names that torchvision gives its parts; never run."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        if inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


class Foreign(nn.Module):
    """A small residual network for colour images of seven classes, named as torchvision's are."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(BasicBlock(16, 16))
        self.layer2 = nn.Sequential(BasicBlock(16, 32))
        self.layer3 = nn.Sequential(BasicBlock(32, 64))
        self.fc = nn.Linear(64, 7)


@pytest.fixture
def foreign() -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Foreign().state_dict()


def saved(path: Path, tensors: dict[str, Tensor]) -> Path:
    safetensors.torch.save_file(tensors, path, {"format": "pt"})
    return path


def take(path: Path, *rules: str) -> tuple[nn.Module, TransferReport]:
    model = build_model(ResNetRecipe(depth=10), TASK)
    recipe = TransferRecipe(source=storage.sha256(path), rename=rules)
    return model, transfer(model, path, recipe, path.parent)


def test_torchvisions_names_by_rules(foreign: dict[str, Tensor], tmp_path: Path) -> None:
    model, report = take(saved(tmp_path / "r.safetensors", foreign), *RULES)
    own = model.state_dict()
    pairs = {
        "network.stages.0.first.weight": "layer1.0.conv1.weight",
        "network.stages.1.second.weight": "layer2.0.conv2.weight",
        "network.stages.1.second_norm.running_var": "layer2.0.bn1.running_var",
        "network.stages.2.shortcut.weight": "layer3.0.downsample.0.weight",
    }
    for name, source in pairs.items():
        assert report.fates[name] == "taken"
        assert torch.equal(own[name], foreign[source])
    assert report.fates["network.stem.weight"] == "reshaped"
    torch.testing.assert_close(own["network.stem.weight"], foreign["conv1.weight"].sum(1, keepdim=True))
    assert report.fates["network.head.weight"] == report.fates["network.head.bias"] == "of another shape"
    assert report.fates["network.norm.weight"] == "not in the source"
    assert {name for name in foreign if name.startswith("bn1.") or ".bn2." in name} < set(report.unused)
    assert read_report(tmp_path) == report
    assert report.origin == {"sha256": storage.sha256(tmp_path / "r.safetensors")}
    assert str(report).startswith("transfer: 1 reshaped")
    assert "; no place for: bn1.bias, " in str(report)


def test_every_tensor_is_accounted_for(foreign: dict[str, Tensor], tmp_path: Path) -> None:
    model, report = take(saved(tmp_path / "r.safetensors", foreign), *RULES)
    assert set(report.fates) == {name for name in model.state_dict() if not name.startswith("standardize.")}
    used = [fate for fate in report.fates.values() if fate != "not in the source"]
    assert len(used) + len(report.unused) == len(foreign)


def test_the_same_names_need_no_rule(tmp_path: Path) -> None:
    source = build_model(ResNetRecipe(depth=10), TASK, seed=3).state_dict()
    bare = {name.removeprefix("network."): tensor.contiguous() for name, tensor in source.items()}
    model, report = take(saved(tmp_path / "r.safetensors", bare), "=network")
    assert set(report.fates.values()) == {"taken"}
    assert report.unused == ("standardize.deviation", "standardize.mean")
    assert all(
        torch.equal(tensor, source[name]) for name, tensor in model.state_dict().items() if "standard" not in name
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_real_numbers_are_converted(foreign: dict[str, Tensor], tmp_path: Path, dtype: torch.dtype) -> None:
    short = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in foreign.items()}
    model, report = take(saved(tmp_path / "r.safetensors", short), *RULES)
    assert report.fates["network.stages.0.first.weight"] == "taken"
    weight = model.state_dict()["network.stages.0.first.weight"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, short["layer1.0.conv1.weight"].float())


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool, torch.float8_e4m3fn])
def test_quantised_numbers_are_left(foreign: dict[str, Tensor], tmp_path: Path, dtype: torch.dtype) -> None:
    foreign["layer1.0.conv1.weight"] = torch.ones(16, 16, 3, 3).to(dtype)
    model, report = take(saved(tmp_path / "r.safetensors", foreign), *RULES)
    name = "network.stages.0.first.weight"
    assert report.fates[name] == "of another type"
    assert torch.equal(model.state_dict()[name], build_model(ResNetRecipe(depth=10), TASK).state_dict()[name])
    assert name not in report.taken


@pytest.mark.parametrize(
    ("bad", "dtype"), [(float("nan"), torch.float32), (float("inf"), torch.float16), (1e300, torch.float64)]
)
def test_numbers_that_are_not_finite_are_refused(
    foreign: dict[str, Tensor], tmp_path: Path, bad: float, dtype: torch.dtype
) -> None:
    foreign["layer2.0.conv2.weight"] = foreign["layer2.0.conv2.weight"].to(dtype)
    foreign["layer2.0.conv2.weight"][3, 4, 0, 1] = bad
    with pytest.raises(RunError, match=r"r.safetensors: layer2.0.conv2.weight holds numbers that are not finite"):
        take(saved(tmp_path / "r.safetensors", foreign), *RULES)


def test_a_hidden_kernel_is_never_summed(foreign: dict[str, Tensor], tmp_path: Path) -> None:
    foreign["layer1.0.conv1.weight"] = torch.ones(16, 8, 3, 3)
    _, report = take(saved(tmp_path / "r.safetensors", foreign), *RULES)
    assert report.fates["network.stages.0.first.weight"] == "of another shape"


def test_when_nothing_fits_both_sides_are_shown(foreign: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as told:
        take(saved(tmp_path / "r.safetensors", foreign))
    text = str(told.value)
    assert "r.safetensors: none of its tensors fits this network" in text
    assert "the file holds conv1.weight (16, 3, 3, 3), fc.weight (7, 64), layer1.0.conv1.weight (16, 16, 3, 3)" in text
    assert "the network has network.stem.weight (16, 1, 3, 3), network.stages.0.first.weight (16, 16, 3, 3)" in text
    assert "--transfer.rename OLD=NEW" in text


def test_a_file_without_tensors(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the file holds nothing"):
        take(saved(tmp_path / "r.safetensors", {}))


@pytest.mark.parametrize("sort", ["foreign", "own"])
def test_any_damage_to_the_header_is_told_with_the_path(
    sort: str, foreign: dict[str, Tensor], finished_run: Path, tmp_path: Path
) -> None:
    path = saved(tmp_path / "r.safetensors", foreign) if sort == "foreign" else finished_run / "model.safetensors"
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    header[next(name for name in header if name != "__metadata__")]["data_offsets"] = [0, 10**9]
    changed = json.dumps(header).encode()
    damaged = tmp_path / "damaged.safetensors"
    variants = [b"", content[:5], content[: 8 + size // 2], content[:-9], struct.pack("<Q", 2**60) + content[8:]]
    variants += [content[:8] + b"!" * size + content[8 + size :], struct.pack("<Q", len(changed)) + changed, b"<html>"]
    for variant in variants:
        damaged.write_bytes(variant)
        with pytest.raises(RunError, match=r"damaged.safetensors: damaged"):
            read(damaged)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    for name, options in {"new.bin": {}, "old.pt": {"_use_new_zipfile_serialization": False}}.items():
        torch.save({"a": torch.ones(3)}, tmp_path / name, **options)
        with pytest.raises(RunError, match=rf"{name}: a pickle, which can run code .* expected a .safetensors file"):
            read(tmp_path / name)


def test_tensors_are_read_only_when_they_are_wanted(
    foreign: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = read(saved(tmp_path / "r.safetensors", foreign))
    assert {name: item.shape for name, item in stored.items()} == {name: tuple(t.shape) for name, t in foreign.items()}
    read_names: list[str] = []
    noted = {
        name: replace(item, read=lambda name=name, item=item: (read_names.append(name), item.read())[1])
        for name, item in stored.items()
    }
    monkeypatch.setattr("modiste.training.transfer.transfer.read", lambda path: noted)
    take(tmp_path / "r.safetensors", *RULES)
    assert "conv1.weight" in read_names
    assert not {"bn1.weight", "fc.weight"} & set(read_names)


def test_a_source_is_found_once(foreign: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved(tmp_path / "r.safetensors", foreign)
    source = locate(path)
    assert locate(source) is source
    assert locate(str(path)) == source
    with pytest.raises(RunError, match=r"none: no model file to transfer from; .* hub:OWNER/NAME"):
        locate(tmp_path / "none")


def test_a_run_from_foreign_weights_goes_on_without_them(
    foreign: dict[str, Tensor], tiny_recipe: Recipe, tiny_folder: Path, tmp_path: Path
) -> None:
    path = saved(tmp_path / "r.safetensors", foreign)
    part = TransferRecipe(source=storage.sha256(path), rename=RULES, freeze=("network.stages.0.first.",))
    recipe = replace(tiny_recipe, epochs=1, model=ResNetRecipe(depth=10), transfer=part)
    trainer.train(recipe, tmp_path / "t", Inputs(tiny_folder, transfer_from=path), device="cpu")
    trained = safetensors.torch.load_file(tmp_path / "t" / "model.safetensors")
    assert torch.equal(trained["network.stages.0.first.weight"], foreign["layer1.0.conv1.weight"])
    assert not torch.equal(trained["network.stages.1.first.weight"], foreign["layer2.0.conv1.weight"])


def test_the_command(foreign: dict[str, Tensor], tiny_folder: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "r.safetensors", foreign)
    words = [
        "train",
        "resnet",
        "--model.depth",
        10,
        "--model.width",
        1,
        "--epochs",
        1,
        "--data.source",
        tiny_folder,
        "--transfer-from",
        path,
    ]
    done = run_modiste(*words, "--transfer.rename", *RULES, "--out", tmp_path / "t")
    assert done.returncode == 0, done.stderr
    assert "transfer: 1 reshaped" in done.stderr
