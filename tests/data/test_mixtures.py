"""FMix: its masks against the authors' formula by NumPy, and targets by exactly the share that is seen."""

import numpy as np
import pytest
import torch

from modiste import machine
from modiste.data.augment import MIXTURES, _smooth_mask, augment, fmix
from modiste.data.batch import Batch
from modiste.recipes.recipe import AugmentationRecipe


def generator(step: int = 0) -> torch.Generator:
    return machine.generator(0, "augmentation", step)


def numbered(channels: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ten even images, each as bright as its class, and their targets."""
    return (torch.arange(10.0) / 10)[:, None, None, None].expand(10, channels, side, side), torch.eye(10)


@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 64)])
def test_targets_have_exactly_the_share_of_pixels_that_are_seen(channels: int, side: int) -> None:
    images, targets = numbered(channels, side)
    for step in range(20):
        mixed, found = fmix(images, targets, 1.0, generator(step))
        for image, own, target in zip(mixed, images, found, strict=True):
            foreign = (image != own).flatten(1).sum(1)
            assert (foreign == foreign[0]).all(), "the mask differs between the channels"
            if foreign[0]:
                seen = image[image != own].unique()
                assert len(seen) == 1
                assert target[(seen * 10).round().long()] == foreign[0] / side**2
        torch.testing.assert_close(found.sum(1), torch.ones(10), rtol=0, atol=1e-6)
        assert torch.equal(images, numbered(channels, side)[0])


@pytest.mark.parametrize(("height", "width", "pixels"), [(28, 28, 300), (9, 14, 40), (14, 9, 1), (5, 5, 0), (6, 6, 36)])
def test_a_mask_is_the_authors(height: int, width: int, pixels: int) -> None:
    draws = torch.randn(height, width // 2 + 1, 2, generator=generator(), dtype=torch.float64).numpy()
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    frequency = np.maximum(np.sqrt(rows**2 + columns**2), 1 / max(height, width))
    noise = np.fft.irfft2((draws[..., 0] + 1j * draws[..., 1]) / frequency**3, s=(height, width)).flatten()
    expected = np.zeros(height * width, dtype=bool)
    expected[noise.argsort()[::-1][:pixels]] = True
    mask = _smooth_mask(height, width, torch.tensor([float(pixels)]), generator())
    np.testing.assert_array_equal(mask, expected.reshape(height, width))


def test_a_mask_has_few_edges() -> None:
    half = torch.tensor([392.0])
    edges = [_smooth_mask(28, 28, half, generator(step)).int().diff(dim=1).abs().sum().item() for step in range(20)]
    assert np.mean(edges) < 90, "pixels drawn one by one have 378"


def test_every_share_is_equally_likely_at_alpha_1_and_halves_are_at_more() -> None:
    images, targets = numbered(1, 10)

    def shares(alpha: float) -> torch.Tensor:
        found = [fmix(images, targets, alpha, generator(step))[1].amax(0).amin() for step in range(300)]
        return torch.stack(found)

    even, halves = shares(1.0), shares(50.0)
    assert 0.6 < even.mean() < 0.9  # the larger share, 0.75 on average, where no image stayed alone
    assert even.std() > 3 * halves.std()
    assert halves.mean() < 0.65


@pytest.mark.parametrize("name", MIXTURES)
def test_a_recipe_knows_its_mixtures(name: str) -> None:
    mixing = AugmentationRecipe(shift=2, **{name: 0.5})  # type: ignore[arg-type]
    assert mixing.mixes_images
    assert mixing.of_single_images == AugmentationRecipe(shift=2)
    assert not mixing.of_single_images.mixes_images


def test_with_mixup_and_cutmix_targets_stay_probabilities() -> None:
    images, targets = numbered(1, 28)
    mixed = augment(Batch(images, targets), AugmentationRecipe(mixup=0.4, cutmix=1.0, fmix=1.0), generator())
    torch.testing.assert_close(mixed.targets.sum(1), torch.ones(10))
    assert (mixed.targets > 0).sum(1).max() > 4, "three mixtures show up to eight classes"


def test_they_ask_for_no_value() -> None:
    """As a CUDA graph demands: tensors of the device ``meta`` have none."""
    assert _smooth_mask(8, 9, torch.zeros(1, device="meta"), generator()).shape == (8, 9)
