"""What photographs at home show, made from an image: each change does what it says, and only where it may."""

import pytest
import torch

from modiste import machine
from modiste.data import garment_changes

COUNT = 200


def generator(step: int = 0) -> torch.Generator:
    return machine.generator(0, "augmentation", step)


@pytest.fixture
def boxes() -> torch.Tensor:
    """A grey box of 20 x 10 pixels in the middle of black."""
    images = torch.zeros(COUNT, 1, 28, 28)
    images[:, :, 4:24, 9:19] = 0.5
    return images


def extents(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Height and width of what is not black, in pixels."""
    seen = images[:, 0] > 0.25
    return seen.any(2).sum(1), seen.any(1).sum(1)


def test_the_aspect_changes_within_its_bounds_and_the_frame_is_filled(boxes: torch.Tensor) -> None:
    height, width = extents(garment_changes.aspect(boxes, 0.6, generator()))
    ratio = width / height / 0.5
    assert 1 / 1.6 - 0.08 < ratio.min() < 0.75
    assert 1.4 < ratio.max() < 1.6 + 0.08
    assert (torch.maximum(height, width) == 28).all()


def test_a_fold_moves_parts_by_its_share_at_most(boxes: torch.Tensor) -> None:
    most = 0.1
    changed = (garment_changes.fold(boxes, most, generator()) - boxes).abs() > 1e-5
    assert changed.flatten(1).any(1).all()
    far = torch.ones(28, 28, dtype=torch.bool)
    far[:, 9 - 5 : 19 + 5] = False  # 0.1 of 28 pixels, a little more between the points, and a pixel of interpolation
    assert not changed[:, 0, far].any()


def test_a_pattern_covers_the_asked_share_of_garments_and_no_background(boxes: torch.Tensor) -> None:
    printed = garment_changes.print_pattern(boxes, 0.4, generator())
    share = (printed != boxes).flatten(1).any(1).double().mean().item()
    assert share == pytest.approx(0.4, abs=0.11)  # 3 standard deviations
    assert (printed[boxes == 0] == 0).all()
    assert (printed[boxes > 0] > 0).all()
    assert torch.equal(garment_changes.print_pattern(boxes, 0.0, generator()), boxes)


def test_the_tone_changes_garments_in_both_directions_and_leaves_black(boxes: torch.Tensor) -> None:
    boxes[:, :, 10:14] += 0.4 * (boxes[:, :, 10:14] > 0)
    shown = garment_changes.tone(boxes, 1.0, generator())
    far = torch.nn.functional.max_pool2d(boxes, 3, stride=1, padding=1) == 0  # blur reaches a pixel far
    assert (shown[far] == 0).all()
    contrast = shown[:, 0, 12, 14] - shown[:, 0, 20, 14]
    assert 0.15 < (contrast < 0).double().mean() < 0.45, "light and dark are exchanged in 30 %"
    middle = shown[:, 0, 18, 14]
    assert middle.min() < 0.2
    assert middle.max() > 0.7


def test_a_part_is_hidden_at_the_edge_and_never_the_middle() -> None:
    images = torch.full((COUNT, 2, 28, 28), 2.0)
    changed = garment_changes.hide(images, 0.5, generator()) != 2
    assert changed.flatten(1).any(1).double().mean().item() == pytest.approx(0.5, abs=0.11)
    assert not changed[:, :, 12:16, 12:16].any()
    assert changed.flatten(1).double().mean(1).max() < 0.5
    assert (changed[:, 0] == changed[:, 1]).all()


def test_framed_with_a_width_it_is_wider_by_that_much(boxes: torch.Tensor) -> None:
    height, width = extents(garment_changes.framed(boxes[:3], torch.tensor([1.0, 2.0, 4.0])))
    assert height.tolist() == [28, 28, 14]
    assert width.tolist() == [14, 28, 28]
