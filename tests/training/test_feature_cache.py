"""Features are computed once: read again for the same images and network, after a kill too, with the same result."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from commands_and_data import PROGRAMS
from modiste.errors import StorageError
from modiste.models.registry import Task, build_model
from modiste.recipes import own_code
from modiste.recipes.networks import (
    CNNRecipe,
    DropConnectRecipe,
    ModelRecipe,
    OwnNetworkRecipe,
    PatchGraphRecipe,
    SuperpixelGraphRecipe,
)
from modiste.recipes.recipe import Recipe
from modiste.system.processes import Interruption
from modiste.training.tracking import Listener
from modiste.training.transfer import feature_cache, linear_probe
from modiste.training.transfer.linear_probe import head_inputs
from modiste.training.warm_start.progress import Progress

RECIPE = Recipe(name="own", model=CNNRecipe(filters=(4,), pools=1, hidden=()))
TASK = Task(image_shape=(1, 12, 12), class_names=("a", "b"))
IMAGES = torch.randint(0, 256, (800, 1, 12, 12), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
BATCHES = 4  # 250 images each


class Computed(list[int]):
    """The number of images in each call of the network."""


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Computed:
    calls, honest = Computed(), linear_probe.features

    def noted(model: nn.Module, head: nn.Linear, images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        return honest(model, head, images)

    monkeypatch.setattr(linear_probe, "features", noted)
    return calls


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(feature_cache, "feature_cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(feature_cache, "SECONDS_BETWEEN_FILES", 0.0)
    return tmp_path / "cache"


def progress() -> Progress:
    return Progress("linear-probe", Listener(), Interruption())


def found(
    images: torch.Tensor = IMAGES, recipe: Recipe = RECIPE, *, seed: int = 0, mirrored: bool = False
) -> torch.Tensor:
    model = build_model(recipe.model, TASK, seed=seed)
    return head_inputs(model, images, recipe, progress(), with_mirror_images=mirrored)


def test_the_second_call_computes_nothing(computed: Computed) -> None:
    first = found()
    assert computed == [250, 250, 250, 50]
    assert torch.equal(found(), first)
    assert len(computed) == BATCHES


def test_another_last_layer_has_the_same_features(computed: Computed) -> None:
    model = build_model(RECIPE.model, TASK)
    first = head_inputs(model, IMAGES, RECIPE, progress())
    with torch.no_grad():
        model.network.head.weight.zero_()  # type: ignore[union-attr, operator]
    assert torch.equal(head_inputs(model, IMAGES, RECIPE, progress()), first)
    assert len(computed) == BATCHES


def test_mirror_images_follow_the_images(computed: Computed) -> None:
    both = found(mirrored=True)
    assert len(computed) == 2 * BATCHES
    torch.testing.assert_close(both, torch.cat([found(), found(IMAGES.flip(3))]))
    assert torch.equal(found(mirrored=True), both)
    assert len(computed) == 4 * BATCHES


def test_whatever_differs_is_computed(computed: Computed, monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = found(), IMAGES.clone()
    other[-1, 0, 0, 0] += 1
    for count, again in enumerate(
        (
            lambda: found(other),
            lambda: found(seed=1),
            lambda: found(recipe=replace(RECIPE, mirror=True)),
            lambda: found(recipe=replace(RECIPE, precision="bfloat16")),
        ),
        2,
    ):
        assert not torch.equal(again(), first)
        assert len({path.parent for path in feature_cache.feature_cache_folder().glob("*/*")}) == count
    facts = feature_cache.machine.facts(torch.device("cpu"))
    monkeypatch.setattr("modiste.machine.facts", lambda _device: {**facts, "threads": 77})
    calls = len(computed)
    found()
    assert len(computed) == calls + BATCHES


PATCHES, REGIONS = PatchGraphRecipe(channels=8, blocks=1), SuperpixelGraphRecipe(channels=8, heads=2, blocks=1)
DROPPED = DropConnectRecipe(filters=(4,), hidden=8, samples=4)


@pytest.mark.parametrize(
    ("network", "other"),
    [
        (PATCHES, replace(PATCHES, neighbours=3)),
        (REGIONS, replace(REGIONS, neighbours=3)),
        (REGIONS, replace(REGIONS, compactness=0.01)),
        (REGIONS, replace(REGIONS, iterations=1)),
        (DROPPED, replace(DROPPED, rate=0.75)),
    ],
    ids=["patch-graph neighbours", "superpixel-graph neighbours", "compactness", "iterations", "dropconnect rate"],
)
def test_a_network_of_other_fields_and_the_same_weights_has_its_own_features(
    network: ModelRecipe, other: ModelRecipe
) -> None:
    """No layer shows these fields, and they change the shape of no weight."""
    first = found(IMAGES[:20], replace(RECIPE, model=network))
    assert not torch.equal(found(IMAGES[:20], replace(RECIPE, model=other)), first)


class Net(nn.Module):
    """A network of the user's own, which computes ``factor`` times the pixels' sum; that stands for its code."""

    factor = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.factor * images.sum((1, 2, 3))[:, None])
        return logits


def test_features_of_own_code_are_computed_again_when_it_was_edited(
    folder: Path, computed: Computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, model=OwnNetworkRecipe(code=own_code.register(Net)))
    first = found(recipe=recipe)
    monkeypatch.setattr(Net, "factor", 2.0)
    assert torch.equal(found(recipe=recipe), 2 * first)
    assert len(computed) == 2 * BATCHES
    assert not folder.exists()


def test_a_damaged_file_is_reported_and_computed_again(
    folder: Path, computed: Computed, caplog: pytest.LogCaptureFixture
) -> None:
    first = found()
    files = sorted(folder.glob("*/*"))
    assert len(files) == BATCHES
    files[2].write_bytes(files[2].read_bytes()[:-1] + b"?")
    assert torch.equal(found(), first)
    assert f"{files[2]}: damaged" in caplog.text
    assert computed[BATCHES:] == [250, 50], "all from the damaged file on"
    assert torch.equal(found(), first)
    assert len(computed) == BATCHES + 2


def test_what_takes_little_time_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache, "SECONDS_BETWEEN_FILES", float("inf"))
    found()
    assert not folder.exists()


def test_a_disk_that_refuses_costs_a_warning(
    computed: Computed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = found()

    def refuse(path: Path, _content: bytes) -> None:
        raise StorageError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr("modiste.runs.storage.write_bytes", refuse)
    monkeypatch.setattr(feature_cache, "feature_cache_folder", lambda: Path("nowhere"))
    monkeypatch.setattr("modiste.runs.storage.make_private", lambda _folder: None)
    assert torch.equal(found(), first)
    assert len(computed) == 2 * BATCHES
    assert caplog.text.count("features will be computed again next time") == 1


def test_only_its_owner_may_enter_the_folder(folder: Path) -> None:
    found()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_oldest_features_are_deleted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found()
    (oldest,) = folder.iterdir()
    size = sum(path.stat().st_size for path in oldest.iterdir())
    os.utime(oldest, (1, 1))
    found(seed=1)
    (middle,) = set(folder.iterdir()) - {oldest}
    os.utime(middle, (2, 2))
    monkeypatch.setattr(feature_cache, "MOST_BYTES", int(2.5 * size))
    found(seed=2)
    assert not oldest.exists()
    assert middle.exists()
    assert len(list(folder.iterdir())) == 2


def test_a_stray_file_does_not_keep_old_features(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found()
    (oldest,) = folder.iterdir()
    os.utime(oldest, (1, 1))
    (folder / ".DS_Store").touch()
    monkeypatch.setattr(feature_cache, "MOST_BYTES", 1)
    found(seed=1)
    assert not oldest.exists()
    assert len(list(folder.iterdir())) == 2


def test_killed_it_goes_on_and_ends_in_the_same_bytes(
    folder: Path, tmp_path: Path, computed: Computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "images.npy", IMAGES.numpy())
    program, images = PROGRAMS / "probe_until_killed.py", tmp_path / "images.npy"
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, str(program), str(images), str(folder), "2"]
    done = subprocess.run(command, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name[:10] for path in sorted(folder.glob("*/*"))] == ["0000000000", "0000000250"]
    resumed = found()
    assert computed == [250, 50], "what the process that was killed had computed is read"
    monkeypatch.setattr(feature_cache, "feature_cache_folder", lambda: folder / "other")
    assert torch.equal(found(), resumed)
