"""Corrupted images are the same bytes on every machine, and accuracy on them is measured as it should be."""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from few_kinds import keep_kinds

import modiste
from modiste import machine
from modiste.benchmarks import corruptions
from modiste.benchmarks.corrupted_images import CORRUPTIONS, SEVERITIES, corrupt, every_corruption, grey
from modiste.cli import main
from modiste.data import held_out
from modiste.errors import DataError, RecipeError, RunError
from modiste.recipes import named
from modiste.recipes.recipe import DataRecipe, Recipe
from modiste.runs import run_folder

PINNED = "6fd5d045dd794db24dd54d8a489f91f120762580333763df03889f58af5db0f6"
"""Of all corruptions of ``images``: another value means that published figures no longer compare."""
FIVE_IMAGES = "85472e559794dc642f0dc4ef9fdaab5d1f6e08e9ee759a11db7e247a8a2d9dfa"
"""The same of Fashion-MNIST's first five training images."""
GUIDE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
every_kind = pytest.mark.parametrize("kind", CORRUPTIONS)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Six images of 28 x 28 with a bright block; RandomState because its numbers never change."""
    found = np.random.RandomState(3).randint(0, 40, (6, 28, 28)).astype(np.uint8)
    found[:, 6:22, 9:19] += 150
    return found


def digest(images: np.ndarray) -> str:
    found = hashlib.sha256()
    for _, _, changed in every_corruption(images):
        found.update(changed.tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("threads", [1, 3])
def test_the_bytes_are_those_of_every_machine(images: np.ndarray, threads: int) -> None:
    with machine.threads_restored():
        torch.set_num_threads(threads)
        assert digest(images) == PINNED


def test_the_bytes_of_real_images() -> None:
    from modiste.data.idx.idx_source import TRAIN, load_published

    assert digest(load_published(TRAIN).images[:5]) == FIVE_IMAGES


@pytest.mark.slow
def test_the_guide_states_the_hash_of_the_test_images() -> None:
    stated = re.findall(r"^[0-9a-f]{64}$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert stated == [digest(held_out.load_test(DataRecipe()).images[:, 0].numpy())]


def test_there_are_sixteen_kinds_in_five_severities(images: np.ndarray) -> None:
    found = [(kind, severity) for kind, severity, _ in every_corruption(images[:1])]
    assert len(CORRUPTIONS) == 16
    assert found == [(kind, severity) for kind in CORRUPTIONS for severity in SEVERITIES]


@every_kind
def test_more_severe_is_further_from_the_image(images: np.ndarray, kind: str) -> None:
    away = [np.abs(corrupt(images, kind, severity).astype(int) - images).mean() for severity in SEVERITIES]
    assert away[0] > 0
    assert away == sorted(away)


@every_kind
def test_an_image_is_corrupted_alike_beside_any_others(images: np.ndarray, kind: str) -> None:
    several = np.concatenate([images, images[:3]])
    assert np.array_equal(corrupt(several, kind, 3)[:6], corrupt(images, kind, 3))


@every_kind
def test_other_sizes_are_corrupted_too(kind: str) -> None:
    for shape in ((2, 12, 12), (1, 9, 40), (1, 64, 48)):
        assert corrupt(np.full(shape, 90, np.uint8), kind, 5).shape == shape


def test_seeds_differ(images: np.ndarray) -> None:
    assert not np.array_equal(corrupt(images, "shot noise", 1), corrupt(images, "shot noise", 1, seed=1))


def test_the_images_stay_as_they_are(images: np.ndarray) -> None:
    before = images.copy()
    for _ in every_corruption(images):
        pass
    assert np.array_equal(images, before)


def test_a_quarter_turn_of_the_map_is_a_quarter_turn(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sampling against NumPy's own rotation, which moves whole pixels."""
    monkeypatch.setitem(CORRUPTIONS, "rotate", replace(CORRUPTIONS["rotate"], strengths=(90,)))
    turned = corrupt(images, "rotate", 1)
    for image, found in zip(images, turned, strict=True):
        assert any(np.array_equal(found, np.rot90(image, times)) for times in (1, -1))


def test_noise_is_as_strong_as_it_should_be() -> None:
    flat = np.full((20, 28, 28), 120, np.uint8)
    noisy = corrupt(flat, "shot noise", 2).astype(float)
    assert noisy.std() == pytest.approx(np.sqrt(120 * 10), rel=0.03)
    assert noisy.mean() == pytest.approx(120, abs=1)
    hit = corrupt(flat, "impulse noise", 5) != 120
    assert hit.mean() == pytest.approx(0.27, abs=0.015)


def test_colour_is_refused() -> None:
    with pytest.raises(DataError, match=r"^images: expected one channel, grey, found 3"):
        grey(np.zeros((1, 3, 4, 4), np.uint8))


class TestMeasured:
    @pytest.fixture(autouse=True)
    def _three_kinds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        keep_kinds(monkeypatch, "shot noise", "scale", "fog")

    def test_a_run_on_test(self, finished_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
        run = Path(shutil.copytree(finished_run, tmp_path / "run"))
        found = modiste.benchmark("corruptions", run, data_folder=tiny_folder, device="cpu", out=tmp_path / "out")
        assert (found.split, found.images, found.runs[0].test_openings) == ("test", 100, 1)
        assert run_folder.open_run(run).test_openings == 1
        [row] = found.runs
        clean = modiste.evaluate(run, split="test").accuracy
        assert row.figures["clean accuracy"].value == clean
        assert "mean corruption error" not in row.figures
        images = held_out.load_test(DataRecipe(source="tiny"), tiny_folder)
        predictor = modiste.Run.open(run).predictor("cpu")
        corrupted = torch.from_numpy(corrupt(images.images[:, 0].numpy(), "fog", 4))[:, None]
        right = predictor.logits(corrupted).argmax(1) == images.labels
        assert row.details["accuracy"]["fog"][3] == right.double().mean().item()
        [plain] = json.loads((tmp_path / "out" / "benchmark-corruptions.json").read_text(encoding="utf-8"))
        assert plain["runs"][0]["details"]["accuracy"]["fog"][3] == row.details["accuracy"]["fog"][3]
        page = (tmp_path / "out" / "benchmark-corruptions.html").read_text(encoding="utf-8")
        assert "Weiss and Tonella" in page
        assert found.settings["images_sha256"] in page

    def test_errors_relative_to_the_baseline(self) -> None:
        one = {"fog": (0.9, 0.8), "scale": (0.6, 0.4)}
        base = [{"fog": (0.8, 0.6), "scale": (0.5, 0.5)}, {"fog": (0.8, 0.8), "scale": (0.5, 0.5)}]
        found = corruptions.relative_errors(one, base)
        assert found == pytest.approx({"fog": 0.3 / 0.5, "scale": 1.0})
        assert corruptions.relative_errors(one, []) == {}

    def test_only_the_whole_paper_is_the_baseline(self, tiny_recipe: Recipe) -> None:
        paper = named.get("paper")
        assert corruptions.is_baseline(replace(paper, seed=5, precision="bfloat16"))
        assert corruptions.is_baseline(replace(paper, data=replace(paper.data, decoder=1)))  # of an earlier version
        assert not corruptions.is_baseline(replace(paper, epochs=5))
        assert not corruptions.is_baseline(tiny_recipe)

    def test_the_command(
        self, finished_run: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        where = ["--data-folder", str(tiny_folder), "--out", str(tmp_path), "--device", "cpu"]
        main.main(["benchmark", "corruptions", str(finished_run), "--split", "validation", *where])
        printed = capsys.readouterr().out
        assert "corruptions, validation, 80 images" in printed
        assert (tmp_path / "benchmark-corruptions.html").exists()
        assert run_folder.open_run(finished_run).test_openings == 0

    def test_what_is_wrong_is_named(self, finished_run: Path) -> None:
        with pytest.raises(RecipeError, match="no benchmark 'corruption'; did you mean 'corruptions'"):
            modiste.benchmark("corruption", finished_run)
        with pytest.raises(RecipeError, match="benchmark: no setting 'splt'; did you mean 'split'"):
            modiste.benchmark("corruptions", finished_run, splt="test")
        with pytest.raises(RunError, match="expected at least one finished run"):
            modiste.benchmark("corruptions", [])
