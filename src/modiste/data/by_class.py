"""Changes of images that depend on their class: shoes in pairs, legs apart, and images of none of the classes.

The latter are parts of garments, images cut into tiles, and random shapes.
"""

from dataclasses import replace
from math import pi

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from modiste.data.batch import Batch
from modiste.data.garment_changes import framed
from modiste.data.geometry import centres, sample
from modiste.data.idx.idx_source import CLASS_NAMES
from modiste.recipes.plain import demand
from modiste.recipes.recipe import ByClassRecipe

Images = Float[Tensor, "n c h w"]
SHORTEST, LONGEST = 0.3, 0.6
"""Least and largest share of an image's height that is left of one that is cut short."""
CROTCH = -0.6, 0.0
"""Highest and lowest place of the crotch of trousers, from -1, the top of the image, to 1."""
MOST_APART = 0.8
"""Largest shear of a leg: half sides outward for each half side down."""
ROOM = 2.0
"""Images are made this many times narrower before their legs are spread, and fill the frame again afterwards."""
MOST_SHAPES = 8
"""Largest number of random shapes in an image."""


def check_labels(recipe: ByClassRecipe, class_names: tuple[str, ...]) -> tuple[str, ...]:
    """Compare a recipe's labels with the classes of the data.

    Args:
        recipe: Names labels.
        class_names: Names of the labels 0, 1 ...

    Returns:
        A note for each field that names labels of other classes than Fashion-MNIST's, for which named recipes are made.

    Raises:
        RecipeError: A label is of no class.
    """
    notes, count = [], len(class_names)
    for field in ("pair", "legs", "upper", "lower"):
        labels = getattr(recipe, field)
        expected = f"labels from 0 to {count - 1} for {count} classes, or none"
        demand(all(label < count for label in labels), f"by_class.{field}", expected, labels)
        if labels and class_names != CLASS_NAMES:
            named = ", ".join(f"{label} {class_names[label]}" for label in labels)
            notes.append(
                f"by_class.{field}: its labels are {named} here; the named recipes mean classes of Fashion-MNIST; "
                "give the labels that fit these data, or none"
            )
    return tuple(notes)


def change_by_class(batch: Batch, recipe: ByClassRecipe, generator: torch.Generator) -> Batch:
    """Turn the first images of a batch into outliers, and lay others out as the recipe says."""
    if recipe.outliers:
        batch = with_outliers(batch, recipe, generator)
    if recipe.pair or recipe.legs:
        sure = torch.where(batch.targets.amax(1) > 0.5, batch.targets.argmax(1), -1)  # others show several classes
        batch = replace(batch, images=laid_out(batch.images, sure, recipe, generator))
    return batch


def laid_out(images: Images, labels: Int64[Tensor, " n"], recipe: ByClassRecipe, generator: torch.Generator) -> Images:
    """Show some images as people lay such garments: shoes in pairs, trousers with their legs apart.

    Args:
        images: Light on black.
        labels: Labels of the images; -1 for images that stay as they are.
        recipe: Names the labels.
        generator: Generator of the choices.
    """
    if recipe.legs:
        images = legs_apart(images, labels, recipe.legs, generator)
    if recipe.pair:
        images = pair(images, labels, recipe.pair, generator)
    return images


def with_outliers(batch: Batch, recipe: ByClassRecipe, generator: torch.Generator) -> Batch:
    """Turn the first images of a batch into images of no class; their targets are the same for every class.

    They are the share ``recipe.outliers`` of the batch. Images of the classes in ``recipe.upper`` and ``recipe.lower``
    are cut short; others become tiles and shapes.
    """
    count = round(recipe.outliers * len(batch))
    if not count:  # of a small batch, such as the last of an epoch
        return batch
    some, targets = batch.images[:count], batch.targets[:count]
    parts, cut = cut_short(some, targets.argmax(1), recipe, generator)
    made = torch.where(cut[:, None, None, None], parts, outlier_images(some, generator))
    even = torch.full_like(targets, 1 / targets.shape[1])
    return Batch(torch.cat([made, batch.images[count:]]), torch.cat([even, batch.targets[count:]]))


def cut_short(
    images: Images, labels: Int64[Tensor, " n"], recipe: ByClassRecipe, generator: torch.Generator
) -> tuple[Images, Bool[Tensor, " n"]]:
    """Take the upper or the lower part of each image of the recipe's classes, and fill the frame with it.

    Args:
        images: Light on black.
        labels: Labels of the images.
        recipe: Names classes whose ``upper`` or ``lower`` part is of no class. Of those in both, either is taken.
        generator: Generator of the choice and the size of the parts.

    Returns:
        The images, and which of them were cut.
    """
    height, device = images.shape[2], images.device
    draws = torch.rand(2, len(images), generator=generator, device=device)
    upper, lower = is_one_of(labels, recipe.upper), is_one_of(labels, recipe.lower)
    takes_lower = lower & (~upper | (draws[0] < 0.5))
    share = SHORTEST + (LONGEST - SHORTEST) * draws[1]
    rows = (torch.arange(height, device=device) + 0.5) / height
    kept = torch.where(takes_lower[:, None], rows > 1 - share[:, None], rows < share[:, None])
    return framed(images * kept[:, None, :, None]), upper | lower


def pair(images: Images, labels: Int64[Tensor, " n"], some: tuple[int, ...], generator: torch.Generator) -> Images:
    """Show three quarters of the images with labels in ``some`` twice: a mirrored copy stands beside each.

    Two thirds of them are turned by a quarter before, as shoes are that somebody looks down on. Images that are no
    squares are stretched to their own shape again.
    """
    draws = torch.rand(3, len(images), generator=generator, device=images.device)
    is_turned, is_upside_down = draws[0] < 2 / 3, draws[1] < 0.5
    crossed = images.transpose(2, 3)
    if crossed.shape != images.shape:
        crossed = F.interpolate(crossed, size=images.shape[2:], mode="bilinear", antialias=True)
    turned = torch.where(is_turned[:, None, None, None], framed(crossed), framed(images))
    upright = torch.where(is_upside_down[:, None, None, None], turned.flip(2), turned)
    half = F.avg_pool2d(upright, (1, 2), ceil_mode=True)
    both = framed(torch.cat([half, half.flip(3)], dim=3)[..., : images.shape[3]])
    chosen = is_one_of(labels, some) & (draws[2] < 0.75)
    return torch.where(chosen[:, None, None, None], both, images)


def legs_apart(
    images: Images, labels: Int64[Tensor, " n"], some: tuple[int, ...], generator: torch.Generator
) -> Images:
    """Spread the legs of half the images with labels in ``some``, as trousers lie on a bed.

    Below the crotch, whose height is drawn, each half of the image is sheared outward, by its own amount.
    """
    rows, columns = centres(images)
    draws = torch.rand(4, len(images), 1, 1, generator=generator, device=images.device)
    below = (rows - CROTCH[0] - (CROTCH[1] - CROTCH[0]) * draws[0]).clamp(min=0)
    slope = MOST_APART * torch.where(columns < 0, draws[1], draws[2])
    away = ROOM * columns.abs() - slope * below  # from the middle, in the image as it was
    grid = torch.stack([away * columns.sign(), rows.expand_as(away)], dim=3)
    spread = framed(sample(images, grid) * (away >= 0)[:, None])
    chosen = is_one_of(labels, some) & (draws[3].flatten() < 0.5)
    return torch.where(chosen[:, None, None, None], spread, images)


def is_one_of(labels: Int64[Tensor, " n"], some: tuple[int, ...]) -> Bool[Tensor, " n"]:
    """Return which labels are among ``some``."""
    found = torch.zeros_like(labels, dtype=torch.bool)
    for label in some:
        found = found | (labels == label)
    return found


def outlier_images(images: Images, generator: torch.Generator) -> Images:
    """Return as many images of no class as ``images``.

    A quarter are images cut into 2 x 2 tiles, a quarter images cut into 4 x 4 tiles, and the rest random shapes.
    """
    quarter = len(images) // 4
    coarse = shuffled_tiles(images[:quarter], 2, generator)
    fine = shuffled_tiles(images[quarter : 2 * quarter], 4, generator)
    return torch.cat([coarse, fine, random_shapes(images[2 * quarter :], generator)])


def shuffled_tiles(images: Images, parts: int, generator: torch.Generator) -> Images:
    """Cut each image into ``parts`` x ``parts`` tiles and arrange them in random order, which is never their own."""
    count, channels, height, width = images.shape
    tall, wide = height // parts, width // parts
    tiles = images[:, :, : parts * tall, : parts * wide].reshape(count, channels, parts, tall, parts, wide)
    tiles = tiles.permute(0, 2, 4, 1, 3, 5).reshape(count, parts**2, channels, tall, wide)
    order = torch.rand(count, parts**2, generator=generator, device=images.device).argsort(1)
    own = torch.arange(parts**2, device=images.device)
    order = torch.where((order == own).all(1, keepdim=True), own.roll(1), order)
    tiles = tiles[torch.arange(count, device=images.device)[:, None], order].reshape(
        count, parts, parts, channels, tall, wide
    )
    whole = tiles.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, parts * tall, parts * wide)
    return F.pad(whole, (0, width - parts * wide, 0, height - parts * tall))


def random_shapes(like: Images, generator: torch.Generator) -> Images:
    """Return images of the same shape with up to MOST_SHAPES overlapping ellipses and boxes, framed as garments are.

    Some shapes are rings, some are holes in the shapes below them.
    """
    (count, channels, height, width), device = like.shape, like.device
    sides = (torch.linspace(-1, 1, side, device=device) for side in (height, width))
    rows, columns = torch.meshgrid(*sides, indexing="ij")
    number = torch.randint(1, MOST_SHAPES + 1, (count, 1, 1, 1), generator=generator, device=device)
    drawn = torch.zeros(like.shape, device=device)

    def draw(*shape: int) -> Tensor:
        return torch.rand(count, *(shape or (1, 1, 1)), generator=generator, device=device)

    for layer in range(MOST_SHAPES):
        reach, size = (0.3, 1.0) if layer == 0 else (0.8, 0.6)
        right, down, angle = reach * (2 * draw() - 1), reach * (2 * draw() - 1), pi * draw()
        long, short = 0.05 + 0.9 * size * draw() ** 1.5, 0.05 + 0.9 * size * draw() ** 1.5
        along = ((columns - right) * angle.cos() + (rows - down) * angle.sin()) / long
        across = ((rows - down) * angle.cos() - (columns - right) * angle.sin()) / short
        away = torch.where(draw() < 0.5, (along**2 + across**2).sqrt(), torch.maximum(along.abs(), across.abs()))
        inside = (away < 1) & ((draw() > 0.25) | (away > 0.7)) & (layer < number)
        is_hole = (draw() < 0.25) & (layer > 0)
        brightness = (0.1 + 0.9 * draw(channels, 1, 1)) * ~is_hole
        drawn = torch.where(inside, brightness, drawn)
    grain = 0.05 * draw() * torch.randn(like.shape, generator=generator, device=device)
    return softened(framed((drawn + grain * (drawn > 0)).clamp(0, 1)), 1.0, generator)


def softened(images: Images, most: float, generator: torch.Generator, *, least: float = 0.0) -> Images:
    """Blend each image with a blurred copy of itself; the copy's share is drawn between ``least`` and ``most``.

    A negative share sharpens the image, as the photo pipeline does.
    """
    blurred = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    share = least + (most - least) * torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device)
    return images.lerp(blurred, share).clamp(0, 1)
