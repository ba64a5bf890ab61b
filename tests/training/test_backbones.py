"""Published weights: only the file of the known hash is opened, and our copy of it is the same on every machine."""

import os
import pickle
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from modiste.errors import DataError, MissingExtraError, StorageError
from modiste.models.registry import Task, build_model
from modiste.recipes.networks import EfficientNetLiteRecipe
from modiste.recipes.recipe import TransferRecipe
from modiste.runs import storage
from modiste.training.transfer import backbones
from modiste.training.transfer.backbones import BACKBONES, Backbone, locate
from modiste.training.transfer.transfer import transfer

EVERY = pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(backbones, "backbone_folder", lambda: tmp_path / "backbones")
    return tmp_path / "backbones"


def test_the_extra_that_brings_the_weights_brings_all_that_fits_a_last_layer() -> None:
    content = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(content)["project"]["optional-dependencies"]

    def packages(extra: str) -> set[str]:
        names = set[str]()
        for wanted in extras[extra]:
            inner = re.fullmatch(r"modiste\[(.*)\]", wanted)
            names |= set().union(*map(packages, inner[1].split(","))) if inner else {re.split(r"\W", wanted)[0]}
        return names

    assert {"efficientnet", "scipy", "torch", "pillow"} <= packages("backbones")


@EVERY
def test_our_copy_has_the_hash_that_recipes_name(backbone: Backbone) -> None:
    source = locate(backbone)
    assert storage.sha256(source.path) == source.sha256 == backbone.sha256
    assert backbones.of_hash(source.sha256) == backbone


@EVERY
def test_every_tensor_of_the_network_but_its_last_layer_is_taken(backbone: Backbone, tmp_path: Path) -> None:
    recipe = EfficientNetLiteRecipe(size=int(backbone.name[-1]))
    model = build_model(recipe, Task(image_shape=(3, 64, 64), class_names=("a", "b")))
    report = transfer(model, None, TransferRecipe(source=backbone.sha256), tmp_path)
    assert set(model.state_dict()) - report.taken == {
        *("network.head.weight", "network.head.bias", "standardize.mean", "standardize.deviation")
    }
    assert not report.unused
    assert report.origin is not None
    assert "Apache-2.0" in report.origin["name"]


def test_the_features_are_those_of_the_published_network() -> None:
    """The reference reads the published names and computes with functions alone, padding as TensorFlow does."""
    backbone = BACKBONES["efficientnet-lite0"]
    path = backbones._packaged_file(backbone)
    assert path is not None
    weights = torch.load(path, weights_only=True)
    model = build_model(EfficientNetLiteRecipe(), Task(image_shape=(3, 97, 64), class_names=("a", "b")))
    transfer(model, None, TransferRecipe(source=backbone.sha256), backbones.backbone_folder())
    images = torch.rand(2, 3, 97, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    network = model.eval().network
    with torch.inference_mode():
        found = network.features(network.blocks(network.stem(images)))  # type: ignore[operator, union-attr]
        torch.testing.assert_close(found, reference(weights, images), rtol=1e-3, atol=1e-3)


def reference(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    def layer(x: Tensor, name: str, norm: str, stride: int = 1, *, active: bool = True) -> Tensor:
        kernel = weights[f"{name}.weight"]
        groups = x.shape[1] // kernel.shape[1]
        for axis in (3, 2):
            size, side = x.shape[axis], kernel.shape[2]
            short = max(0, (-(-size // stride) - 1) * stride + side - size)
            x = F.pad(x, (0,) * 2 * (3 - axis) + (short // 2, short - short // 2))
        x = F.conv2d(x, kernel, stride=stride, groups=groups)
        values = (weights[f"{norm}.{one}"] for one in ("running_mean", "running_var", "weight", "bias"))
        mean, variance, scale, shift = (value[:, None, None] for value in values)
        x = (x - mean) / (variance + 1e-3).sqrt() * scale + shift
        return x.clamp(0, 6) if active else x

    x = layer(images, "_conv_stem", "_bn0", 2)
    for number in range(16):
        block, before = f"_blocks.{number}", x
        if f"{block}._expand_conv.weight" in weights:
            x = layer(x, f"{block}._expand_conv", f"{block}._bn0")
        x = layer(x, f"{block}._depthwise_conv", f"{block}._bn1", 2 if number in (1, 3, 5, 11) else 1)
        x = layer(x, f"{block}._project_conv", f"{block}._bn2", active=False)
        x = x + before if x.shape == before.shape else x
    return layer(x, "_conv_head", "_bn1")


class Trap:
    """A pickle that leaves a trace when it is opened."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("damage", ["another file", "cut short", "a byte changed", "a pickle that runs code"])
def test_another_file_is_refused_unopened(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = BACKBONES["efficientnet-lite0"]
    whole = backbones._packaged_file(backbone)
    assert whole is not None
    content, trace = bytearray(whole.read_bytes()), tmp_path / "opened"
    if damage == "another file":
        content = bytearray(b"weights")
    elif damage == "cut short":
        del content[-1:]
    elif damage == "a byte changed":
        content[len(content) // 2] ^= 1
    else:
        content = bytearray(pickle.dumps(Trap(trace)))
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    monkeypatch.setattr(backbones, "_packaged_file", lambda _backbone: path)
    monkeypatch.setattr(torch, "load", lambda *_arguments, **_options: pytest.fail("it was opened"))
    with pytest.raises(DataError, match="another file, not opened: expected the published weights with SHA-256 5793"):
        locate(backbone)
    assert not trace.exists()
    assert not (tmp_path / "backbones").exists()


def test_without_the_package_it_says_what_to_install(tmp_path: Path) -> None:
    absent = replace(BACKBONES["efficientnet-lite0"], name="efficientnet-lite9")
    assert not backbones.is_installed(absent)
    with pytest.raises(MissingExtraError, match=r"pip install 'modiste\[backbones\]'"):
        locate(absent)


def test_a_damaged_copy_is_made_anew(own_cache: Path) -> None:
    backbone = BACKBONES["efficientnet-lite1"]
    path = locate(backbone).path
    path.write_bytes(path.read_bytes()[:-1])
    assert storage.sha256(locate(backbone).path) == backbone.sha256
    assert [one.name for one in own_cache.iterdir()] == [path.name]


def test_a_folder_that_cannot_be_entered_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "backbone_folder", lambda: Path("/tmp") / ("x" * 300))
    with pytest.raises(OSError, match="too long"):
        (backbones.backbone_folder() / "any").is_file()
    assert backbones.is_installed(BACKBONES["efficientnet-lite0"])
    with pytest.raises(StorageError, match=r"cannot be written \(File name too long\); use a shorter name"):
        locate(BACKBONES["efficientnet-lite0"])


def test_a_folder_that_cannot_be_written_is_reported_in_one_line(own_cache: Path) -> None:
    own_cache.write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(StorageError) as caught:
        locate(BACKBONES["efficientnet-lite0"])
    assert "\n" not in str(caught.value)
