"""Duplicates: all exact ones, near ones whatever was done to size, compression and light, and no others."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import modiste
from modiste.audits.duplicates import ALIKE, Pair, exact_groups, near_pairs, normalised
from modiste.photo.preparation import Preparation


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
