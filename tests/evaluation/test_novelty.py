"""Images unlike anything in training: the distance against a plain reference, told strangers, kept with the run."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from modiste import run_folder
from modiste.data.batch import as_floats
from modiste.evaluation import novelty
from modiste.evaluation.assessment import load_own_development
from modiste.evaluation.inference import answer
from modiste.evaluation.novelty import Layer, learn, of_run
from modiste.evaluation.watching import features, watched
from modiste.run_folder import open_run
from networks import assert_rounded

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import strangers


def test_the_distance_is_mahalanobis_to_the_nearest_class() -> None:
    random = np.random.RandomState(3)
    means, mixing, seen = random.randn(3, 4), random.randn(4, 4), random.randn(5, 4)
    precision = np.linalg.inv(mixing @ mixing.T + np.eye(4))
    layer = Layer("dense", torch.tensor(means), torch.linalg.cholesky(torch.tensor(precision)).float(), 2.0)
    expected = [min((one - mean) @ precision @ (one - mean) for mean in means) / 2 for one in seen]
    assert layer.distances(torch.tensor(seen)).tolist() == pytest.approx(expected)


def test_means_and_covariance_are_those_within_the_classes() -> None:
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(4000) % 2
    spread = torch.tensor([[1.0, 0.5], [0.0, 2.0]])
    seen = torch.randn(4000, 2, generator=generator) @ spread + 10 * labels[:, None]
    layer = novelty._layer("dense", seen, labels, seen)
    assert torch.allclose(
        layer.means, torch.tensor([[0.0, 0.0], [10.0, 10.0]], dtype=torch.float64), atol=0.25
    )  # 5 standard errors
    precision = layer.whitening.double() @ layer.whitening.double().T
    assert torch.allclose(torch.linalg.inv(precision), (spread.T @ spread).double(), atol=0.25)
    assert (layer.distances(seen) > 1).double().mean().item() == pytest.approx(1 - novelty.KNOWN, abs=0.001)


def test_it_is_learnt_once_and_kept_with_the_run(finished_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    first = of_run(open_run(folder), tiny_folder)
    assert run_folder.is_listed(open_run(folder), novelty.FILE)
    again = of_run(open_run(folder), tmp_path / "no data here")
    model, _ = open_run(folder).load_model()
    images = load_own_development(open_run(folder), tiny_folder).validation.images
    assert torch.allclose(first.scores(features(model, images)), again.scores(features(model, images)), rtol=1e-9)
    assert (again.threshold, again.false_alarms, again.images) == (first.threshold, first.false_alarms, first.images)


def test_every_second_validation_image_sets_the_threshold_and_the_others_measure_it(
    finished_run: Path, tiny_folder: Path
) -> None:
    run = open_run(finished_run)
    model, _ = run.load_model()
    development = load_own_development(run, tiny_folder)
    found = learn(model, development)
    scores = found.scores(features(model, development.validation.images))
    assert found.images == len(scores) // 2
    assert (scores[1::2] > 1).double().mean().item() == pytest.approx(found.false_alarms)
    assert (scores[::2] > 1).double().mean().item() == pytest.approx(1 - novelty.KNOWN, abs=0.04)


def test_features_are_of_each_image(finished_run: Path, tiny_folder: Path) -> None:
    run = open_run(finished_run)
    model, _ = run.load_model()
    images = load_own_development(run, tiny_folder).validation.images
    together = features(model, images)
    assert {place: len(one) for place, one in together.items()} == dict.fromkeys(
        ("maps", "dense", "logits"), len(images)
    )
    alone = features(model, images[5:6])
    for place, whole in together.items():
        assert_rounded(alone[place][0], whole[5], model)


def test_what_is_seen_is_of_the_images_not_of_their_mirror_images(finished_run: Path, tiny_folder: Path) -> None:
    run = open_run(finished_run)
    model, _ = run.load_model()
    images = load_own_development(run, tiny_folder).validation.images[:9]
    plain = features(model, images)
    with torch.inference_mode(), watched(model) as seen:
        answer(model, as_floats(images), mirror=True)
    for place, one in plain.items():
        assert_rounded(seen[place], one, model)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("name", strangers.MAKERS)
def test_strangers_are_pictures_that_differ(name: str) -> None:
    random = np.random.default_rng(0)
    first, second = (strangers.MAKERS[name](random) for _ in range(2))
    assert first.shape == (strangers.SIDE, strangers.SIDE)
    assert not np.array_equal(first, second)
