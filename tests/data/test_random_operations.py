"""Operations of TrivialAugment and RandAugment against Pillow's, and the random choice of them."""

from math import cos, pi, sin

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from modiste import machine
from modiste.data import random_operations
from modiste.data.random_operations import OPERATIONS, operate, trivial

SIDE = 28
NOISE = torch.randint(20, 230, (3, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(1)) / 255
COLOURS = torch.randint(0, 256, (30, 3, 64, 64), generator=torch.Generator().manual_seed(2)) / 255
HALF_A_LEVEL = 0.5 / 255
SIGNS = [-1.0, -0.6, 0.6, 1.0]
MOVES = ["shift_x", "shift_y", "rotate", "shear_x", "shear_y", "zoom"]


def generator(step: int = 0) -> torch.Generator:
    return machine.generator(0, "augmentation", step)


def applied(name: str, strength: float, images: torch.Tensor = NOISE) -> torch.Tensor:
    count = len(images)
    return operate(images, torch.full((count,), OPERATIONS.index(name)), torch.full((count,), strength))


def as_pillow(image: torch.Tensor) -> Image.Image:
    return Image.fromarray((image[0] * 255).round().byte().numpy())


def as_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image))[None] / 255


def coefficients(name: str, strength: float) -> tuple[float, ...]:
    """What Pillow needs, in pixels from the corner: where x and y of the input are, given those of the output."""
    angle, zoom = pi / 6 * strength * (name == "rotate"), 1 + 0.3 * strength * (name == "zoom")
    right, down = (10 / 32 * SIDE * strength * (name == f"shift_{axis}") for axis in "xy")
    slant, tilt = (0.3 * strength * (name == f"shear_{axis}") for axis in "xy")
    a, b, c, d = zoom * cos(angle), slant - sin(angle), tilt + sin(angle), zoom * cos(angle)
    centre = SIDE / 2
    return a, b, centre * (1 - a - b) + right, c, d, centre * (1 - c - d) + down


@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y", "zoom"])
def test_an_image_that_is_no_square_is_moved_as_in_a_square(name: str) -> None:
    square = torch.nn.functional.pad(NOISE[:, :, :8, :8], (16,) * 4)
    moved, flat = (applied(name, 1.0, images) for images in (square, square[:, :, 8:32]))
    torch.testing.assert_close(flat, moved[:, :, 8:32], rtol=0, atol=1e-4)  # coordinates of 40, with 24 bits
    assert not torch.allclose(flat, square[:, :, 8:32], atol=0.1)


@pytest.mark.parametrize("strength", SIGNS)
@pytest.mark.parametrize("name", MOVES)
def test_moves_are_pillows(name: str, strength: float) -> None:
    margin = 10  # wide enough for every move to stay inside: at an edge Pillow does not blend with black
    images = torch.nn.functional.pad(NOISE[:, :, : SIDE - 2 * margin, : SIDE - 2 * margin], (margin,) * 4)
    for image, moved in zip(images, applied(name, strength, images), strict=True):
        box = as_pillow(image).transform(
            (SIDE, SIDE), Image.Transform.AFFINE, coefficients(name, strength), Image.Resampling.BILINEAR
        )
        torch.testing.assert_close(moved, as_tensor(box), rtol=0, atol=2.1 * HALF_A_LEVEL)
    assert not torch.allclose(applied(name, strength, images), applied(name, -strength, images))


@pytest.mark.parametrize("strength", SIGNS)
@pytest.mark.parametrize(
    ("name", "enhance"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
def test_blends_are_pillows(name: str, enhance: type, strength: float) -> None:
    """Pillow rounds the mean and the smooth image to bytes first."""
    for image, blended in zip(NOISE, applied(name, strength), strict=True):
        expected = as_tensor(enhance(as_pillow(image)).enhance(1 + 0.9 * strength))
        torch.testing.assert_close(blended, expected, rtol=0, atol=4.1 * HALF_A_LEVEL)


@pytest.mark.parametrize("strength", SIGNS)
def test_saturation_moves_colours_from_grey_or_to_it(strength: float) -> None:
    grey, factor = COLOURS.mean(1, keepdim=True), 1 + 0.9 * strength
    torch.testing.assert_close(applied("saturation", strength, COLOURS), (grey + factor * (COLOURS - grey)).clamp(0, 1))
    torch.testing.assert_close(applied("saturation", strength), NOISE)


@pytest.mark.parametrize(("strength", "cleared"), [(0.0, 0), (0.3, 1), (-0.5, 2), (0.75, 3), (1.0, 4)])
def test_posterising_clears_bits_as_pillow_does(strength: float, cleared: int) -> None:
    for image, changed in zip(NOISE, applied("posterise", strength), strict=True):
        torch.testing.assert_close(changed, as_tensor(ImageOps.posterize(as_pillow(image), 8 - cleared)))


@pytest.mark.parametrize("strength", [0.0, -0.25, 0.5, 0.625, 1.0])
def test_solarising_is_pillows(strength: float) -> None:
    """These strengths are whole shares of 256 levels, so that both have the same threshold."""
    for image, changed in zip(NOISE, applied("solarise", strength), strict=True):
        expected = ImageOps.solarize(as_pillow(image), round(256 * (1 - abs(strength))))
        torch.testing.assert_close(changed, as_tensor(expected))


def test_autocontrast_is_pillows() -> None:
    for image, changed in zip(NOISE, applied("autocontrast", 0.5), strict=True):
        expected = as_tensor(ImageOps.autocontrast(as_pillow(image)))
        torch.testing.assert_close(changed, expected, rtol=0, atol=2.1 * HALF_A_LEVEL)
        assert (changed.amin(), changed.amax()) == (0, 1)


def test_equalising_large_images_is_pillows() -> None:
    skewed = (torch.rand(1, 1, 300, 300, generator=torch.Generator().manual_seed(3)) ** 3 * 255).round() / 255
    expected = as_tensor(ImageOps.equalize(as_pillow(skewed[0])))
    torch.testing.assert_close(applied("equalise", 0.0, skewed)[0], expected, rtol=0, atol=4.1 * HALF_A_LEVEL)


def test_equalised_a_pixel_has_the_share_of_the_pixels_below_it() -> None:
    image = torch.tensor([0, 0, 10, 10, 10, 200, 255, 255]).view(1, 1, 2, 4) / 255
    found = applied("equalise", 0.0, image).flatten() * 6
    torch.testing.assert_close(found, torch.tensor([0.0, 0, 2, 2, 2, 5, 6, 6]))


@pytest.mark.parametrize("name", ["equalise", "autocontrast"])
def test_an_image_of_one_level_stays_as_it_is(name: str) -> None:
    even = torch.full((2, 3, 8, 8), 0.4)
    assert torch.equal(applied(name, 1.0, even), even)


@pytest.mark.parametrize(
    "name", [*MOVES, "brightness", "sharpness", "posterise", "solarise", "equalise", "autocontrast"]
)
def test_each_channel_changes_as_a_grey_image(name: str) -> None:
    changed = applied(name, 0.7, COLOURS)
    for channel in range(3):
        grey = applied(name, 0.7, COLOURS[:, channel : channel + 1])
        torch.testing.assert_close(changed[:, channel : channel + 1], grey)


def test_images_of_one_batch_change_as_they_do_alone() -> None:
    kinds = torch.arange(30) % len(OPERATIONS)
    strengths = torch.linspace(-1, 1, 30)
    together = operate(COLOURS, kinds, strengths)
    for at in range(30):
        one = slice(at, at + 1)
        torch.testing.assert_close(together[one], operate(COLOURS[one], kinds[one], strengths[one]))


def test_the_identity_keeps_every_bit() -> None:
    kinds = torch.arange(30) % 3 * 4
    images = COLOURS * (1 + 1e-6)
    changed = operate(images, kinds, torch.full((30,), 0.9))
    assert torch.equal(changed[kinds == 0], images[kinds == 0])
    assert (changed[kinds != 0] != images[kinds != 0]).flatten(1).any(1).all()


@pytest.mark.parametrize("name", sorted({*OPERATIONS} - {"equalise", "autocontrast"}))
def test_strength_zero_changes_nothing(name: str) -> None:
    torch.testing.assert_close(applied(name, 0.0, COLOURS), COLOURS)


def drawn(monkeypatch: pytest.MonkeyPatch, channels: int, draw: str, plan: object) -> tuple[torch.Tensor, torch.Tensor]:
    """The operations and strengths that ``draw`` asks for, a row each time."""
    asked = list[tuple[torch.Tensor, torch.Tensor]]()

    def note(images: torch.Tensor, kinds: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
        asked.append((kinds, strengths))
        return images

    monkeypatch.setattr(random_operations, "operate", note)
    getattr(random_operations, draw)(torch.zeros(30_000, channels, 1, 1), plan, generator())
    kinds, strengths = zip(*asked, strict=True)
    return torch.stack(kinds), torch.stack(strengths)


@pytest.mark.parametrize(("channels", "count"), [(1, 14), (3, 15)])
def test_trivial_draws_every_operation_and_strength_equally_often(
    monkeypatch: pytest.MonkeyPatch, channels: int, count: int
) -> None:
    kinds, strengths = drawn(monkeypatch, channels, "trivial", 0.5)
    shares = torch.bincount(kinds[0], minlength=len(OPERATIONS)) / 30_000
    assert (shares[:count] - 1 / count).abs().max() < 0.007  # 4.5 standard deviations
    assert shares[count:].sum() == 0
    tenths = torch.histc(strengths[0], 10, -0.5, 0.5)
    assert tenths.sum() == 30_000
    assert (tenths / 30_000 - 0.1).abs().max() < 0.008


def test_random_operations_have_one_strength_and_either_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds, strengths = drawn(monkeypatch, 1, "random_operations", (3, 0.25))
    assert kinds.shape == strengths.shape == (3, 30_000)
    assert strengths.unique().tolist() == [-0.25, 0.25]
    assert strengths.mean().abs() < 0.004
    assert (kinds[0] == kinds[1]).double().mean() == pytest.approx(1 / 14, abs=0.007), "drawn apart from each other"


def test_two_operations_are_one_after_another() -> None:
    both = random_operations.random_operations(COLOURS, (2, 0.5), generator(1))
    draws, images = generator(1), COLOURS
    for _ in range(2):
        images = random_operations.random_operations(images, (1, 0.5), draws)
    assert torch.equal(both, images)


def test_they_ask_for_no_value() -> None:
    """As a CUDA graph demands: tensors of the device ``meta`` have none."""
    images = torch.zeros(6, 3, 8, 8, device="meta")
    strengths = torch.zeros(6, device="meta")
    assert operate(images, strengths.long(), strengths).shape == images.shape


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64)])
def test_results_are_images(shape: tuple[int, int, int]) -> None:
    images = torch.rand(64, *shape, generator=torch.Generator().manual_seed(4))
    before = images.clone()
    for changed in (
        trivial(images, 1.0, generator()),
        random_operations.random_operations(images, (3, 1.0), generator()),
    ):
        assert changed.shape == images.shape
        assert changed.dtype == torch.float32
        assert changed.min() >= 0
        assert changed.max() <= 1 + 1e-6
    assert torch.equal(images, before)
