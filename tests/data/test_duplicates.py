"""Duplicates: all exact ones, near ones whatever was done to size, compression and light, and no others."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import modiste
from modiste.data import duplicates
from modiste.data.duplicates import (
    ALIKE,
    Pair,
    correlations,
    exact_groups,
    for_comparison,
    near_groups,
    near_pairs,
    normalised,
)
from modiste.photo.preparation import Preparation
from modiste.recipes.recipe import DataRecipe


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return modiste.load_dataset().validation.images[:400]


def test_every_exact_copy_is_found_and_nothing_else(images: torch.Tensor) -> None:
    assert exact_groups(images) == []
    copied = torch.cat([images, images[[3, 7, 3]]])
    assert exact_groups(copied) == [(3, 400, 402), (7, 401)]
    one_pixel = images[:1].clone()
    one_pixel[0, 0, 0, 0] += 1
    assert exact_groups(torch.cat([images, one_pixel])) == []


def test_near_pairs_are_those_of_a_slow_search(images: torch.Tensor) -> None:
    changed = (images[:40].float() * 0.8 + 10).round().to(torch.uint8)
    known = torch.cat([images, changed])
    flat = known.flatten(1).double()
    likeness = torch.corrcoef(flat)
    row, column = (likeness.triu(1) >= ALIKE).nonzero(as_tuple=True)
    found = near_pairs(known)
    assert {pair[:2] for pair in found} == set(zip(row.tolist(), column.tolist(), strict=True))
    assert {(index, 400 + index) for index in range(40)} <= {pair[:2] for pair in found}
    assert [pair.likeness for pair in found] == sorted((pair.likeness for pair in found), reverse=True)
    for pair in found:
        assert pair.likeness == pytest.approx(likeness[pair.first, pair.second].item(), abs=1e-5)


def test_exact_copies_count_once_among_near_ones(images: torch.Tensor) -> None:
    brighter = (images[:1].float() * 0.9).round().to(torch.uint8)
    (pair,) = near_pairs(torch.cat([images[:20], images[:1], brighter]))
    assert pair[:2] == (0, 21)


@pytest.mark.parametrize("background", ["network", "auto"])
def test_pictures_are_compared_whole_however_garments_are_found(background: str) -> None:
    recipe = DataRecipe(background=background)  # type: ignore[arg-type]
    assert for_comparison(recipe) == for_comparison(DataRecipe())


@pytest.mark.parametrize("images_of", [[], [0], [0, 0, 0]], ids=["none", "one", "black"])
def test_images_without_contrast_are_like_no_other(images_of: list[int]) -> None:
    found: list[Pair] = near_pairs(torch.zeros(len(images_of), 3, 16, 16, dtype=torch.uint8))
    assert found == []


def test_light_and_contrast_do_not_matter(images: torch.Tensor) -> None:
    values = images[:10].float()
    assert torch.allclose(normalised(values), normalised(values * 0.3 + 20), atol=1e-6)


def test_a_picture_scaled_compressed_and_brightened_is_near_itself(images: torch.Tensor) -> None:
    prepare = Preparation("stretched", 16, 3)
    both = []
    for change in (unchanged, again):
        both += [prepare(change(image)).planes for image in images[:60, 0].numpy()]
    found = {pair[:2] for pair in near_pairs(torch.from_numpy(np.stack(both)))}
    planted = {(index, 60 + index) for index in range(60)}
    assert len(planted & found) >= 57
    assert len(found - planted) <= 6


def unchanged(image: np.ndarray) -> bytes:
    return content(Image.fromarray(255 - image).resize((131, 117), Image.Resampling.BICUBIC), "PNG")


def again(image: np.ndarray) -> bytes:
    picture = Image.fromarray(255 - image).resize((131, 117), Image.Resampling.BICUBIC)
    return content(picture.resize((90, 80), Image.Resampling.LANCZOS).point(lambda value: int(value * 0.9)), "JPEG")


def content(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def slow_groups(images: torch.Tensor, least: float) -> list[int]:
    """The groups by every pair of images, one after another, each named by its first image."""
    flat = images.flatten(1).double()
    alike = torch.corrcoef(flat) >= least
    alike |= (flat[:, None] == flat[None]).all(2)
    first = list(range(len(images)))
    for _ in images:
        first = [min(first[other] for other in alike[index].nonzero()[:, 0].tolist()) for index in range(len(images))]
    return first


@pytest.mark.parametrize("least", [0.99, 0.97, 0.9, 1.0])
def test_groups_are_those_of_a_slow_search_in_any_order(images: torch.Tensor, least: float) -> None:
    changed = (images[:9].float() * 0.8 + 10).round().to(torch.uint8)
    black = torch.zeros(2, *images.shape[1:], dtype=torch.uint8)
    known = torch.cat([images[:90], changed, images[5:7], black])
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(known)))
    for some in (known, known[order]):
        first = slow_groups(some, least)
        numbers = {index: number for number, index in enumerate(sorted(set(first)))}
        assert near_groups(some, least).tolist() == [numbers[index] for index in first]


def test_a_chain_is_one_group() -> None:
    curved = np.stack([np.arange(64.0) ** (1 + 0.12 * step) for step in range(6)])
    images = torch.from_numpy((curved / curved.max(1, keepdims=True) * 255).round().astype(np.uint8)).view(6, 1, 8, 8)
    likeness = torch.corrcoef(images.flatten(1).double())
    least = 0.998
    assert likeness[0, 5] < least < likeness.diagonal(1).min()
    assert near_groups(images, least).tolist() == [0] * 6


@pytest.mark.parametrize("shape", [(300, 1, 28, 28), (40, 3, 5, 7), (2, 1, 3, 3)])
def test_the_projection_never_loses_a_pair(shape: tuple[int, ...]) -> None:
    """A projected product is at least the correlation, whatever the images: the search leaves nothing out."""
    numbers = np.random.RandomState(shape[0])
    images = torch.from_numpy(np.minimum(numbers.randint(0, 256, shape), numbers.randint(0, 256, (shape[0], 1, 1, 1))))
    coordinates = duplicates._projected(images.to(torch.uint8).flatten(1))
    likeness = torch.corrcoef(images.flatten(1).double())
    assert (coordinates.double() @ coordinates.double().T - likeness).nan_to_num().min() >= -duplicates.ROUNDING


def test_of_too_many_pairs_the_most_alike_are_kept(images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    every = near_pairs(images[:60], 0.5)
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 20)
    monkeypatch.setattr(duplicates, "BLOCK_IMAGES", 7)
    assert near_pairs(images[:60], 0.5) == every[:20]


def test_correlations_are_exact_whatever_the_order_of_sums(images: torch.Tensor) -> None:
    flat, mixed = images.flatten(1), torch.from_numpy(np.random.RandomState(0).permutation(28 * 28))
    one, other = flat[:100], flat[100:200]
    found = correlations(one, other)
    assert correlations(one[:, mixed], other[:, mixed]).equal(found)
    assert found.tolist() == pytest.approx([np.corrcoef(a, b)[0, 1] for a, b in zip(one, other, strict=True)])
