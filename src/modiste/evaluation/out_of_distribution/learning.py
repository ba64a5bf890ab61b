"""Learns the detector of out-of-distribution images from the images of a run.

What the training allows, the detector allows: mirror images have means of their own, and images with the recipe's
augmentation and with what a photo and its preparation change count as images of the classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from modiste import machine
from modiste.data.batch import as_floats
from modiste.data.by_class import cut_short, laid_out
from modiste.data.dataset import Development, ImageSet, balanced_order, rank_within_class
from modiste.data.extra_pictures import Extra
from modiste.evaluation.out_of_distribution import boundary
from modiste.evaluation.out_of_distribution.acceptance import RATES, USUAL_RATE, Acceptance
from modiste.evaluation.out_of_distribution.boundary import Boundary, Energy, separate
from modiste.evaluation.out_of_distribution.features import LOGITS, features
from modiste.evaluation.out_of_distribution.novelty import (
    Features,
    Layer,
    Novelty,
    in_parts,
    joined,
    largest_distances,
    raw_scores,
)
from modiste.recipes.recipe import AugmentationRecipe, ByClassRecipe, Precision, Recipe

KNOWN = 1 - USUAL_RATE
"""Share of the validation images that the threshold accepts."""
MOST_IMAGES = 20_000
"""Largest number of training images, mirror images among them, for the means and the covariance."""
MOST_PIXELS, LEAST_OF_CLASS = MOST_IMAGES * 28 * 28, 8
"""Largest number of pixels in all, which limits how many large images are taken; least number of images of a class."""
MOST_EXPOSED = 6_000
"""Largest number of out-of-distribution images for the boundary, and of altered images of the classes."""
AT_ONCE = MOST_EXPOSED * 28 * 28
"""Largest number of pixels of images that are altered together; many large images would take gigabytes."""
REPEATED = 3
"""Times that extra pictures count for the boundary: they are few."""
CENTRING_WITHOUT_EXTRA = 0.5
"""Centring of the energy of a network that learnt images of no class, but none of real pictures."""
ALTERED_SHARE = 0.2
"""Weight of the altered images in the covariance."""
WIDEST_LAYER = 1024
"""Largest number of features of a layer whose distances are computed."""
SHRINKAGE = 1e-3
"""Added to the covariance's diagonal, as a share of its mean: directions without variance have little weight."""
LEAST_VARIANCE, TINY = 1e-8, 1e-12
"""Lower bounds of that addition: a share of the features' mean square, and a constant for classes without variance."""
ROUNDING = 1e-3
"""A threshold lies above the highest accepted score by this share, so that a copy of that image is accepted too."""
LEAST_SCALE, LEAST_MEAN, LEAST_THRESHOLD = 1.0, 0.01, 0.1
"""Lower bounds of divisors, so that rounding errors do not count when images do not differ."""
UNCHANGED, ALIKE = AugmentationRecipe(), ByClassRecipe()


@dataclass(frozen=True)
class Changes:
    """The changes of one image that training allows.

    Attributes:
        augmentation: Those that keep the class; without mixtures.
        by_class: Pairs and legs apart, which keep the class, and outliers, which have none.
    """

    augmentation: AugmentationRecipe = UNCHANGED
    by_class: ByClassRecipe = ALIKE


def allowed_changes(recipe: Recipe) -> Changes:
    """Return the changes of one image that a recipe allows; mirroring and shifts too if it averages over them."""
    changes = recipe.augmentation.of_single_images
    flips, shift = changes.flip or recipe.mirror, max(changes.shift, recipe.shifts)
    return Changes(replace(changes, flip=flips, shift=shift), recipe.by_class)


NO_CHANGES = Changes()
NONE_KNOWN: Mapping[str, Tensor] = MappingProxyType({})


def learn(
    model: nn.Module,
    development: Development,
    changes: Changes = NO_CHANGES,
    precision: Precision = "float32",
    logits: Mapping[str, Float[Tensor, "_ k"]] = NONE_KNOWN,
) -> Novelty:
    """Learn the detector: layers and boundary from training images, scales and thresholds from validation images.

    Half of the validation images set the scales and the thresholds; the other half measures the false alarms. Extra
    pictures count as images of the classes or of none, and those that are held back raise the thresholds.

    Args:
        model: The network.
        development: The images.
        changes: Changes of an image that the training allows; see ``allowed_changes``.
        precision: Precision of the network's computation.
        logits: Logits of all training and validation images, by the name of the split, in this precision, if they are
            known. They save passes through the network where only logits are needed.
    """
    mirrored = changes.augmentation.flip
    positions, draw = _positions(development, with_mirror_images=mirrored), machine.generator(0, "exposure")
    train = _training_images(development, positions, with_mirror_images=mirrored)
    classes = len(development.class_names)
    count = min(MOST_EXPOSED, len(train))
    some = ImageSet(train.images[:count].cpu(), train.labels[:count].cpu() % classes)
    train = _with_pictures(train, development.extra, 2 * classes)
    inside, outside = _examples(some, development.extra, changes, draw)
    altered = features(model, inside, precision)
    names = _layer_names(altered, len(inside))
    given = logits if names == [LOGITS] else NONE_KNOWN
    covers_all = "train" in given and not mirrored and development.extra is None
    known = _passed(model, train.images, precision, given["train"][positions.cpu()] if covers_all else None)
    unseen = _passed(model, development.validation.images, precision, given.get("validation"))
    choosing, measuring = halves(development.validation.labels)
    chosen, others = ({name: one[half] for name, one in unseen.items()} for half in (choosing, measuring))
    found = [_layer(name, known[name], train.labels, altered[name][: len(some)], chosen[name]) for name in names]
    layers = _with_mean_one(found, chosen)
    if changes.by_class.outliers:
        centring = CENTRING_WITHOUT_EXTRA if development.extra is None else 1.0
        plane: Boundary | Energy = Energy.of(chosen[LOGITS], centring=centring)
    else:
        unlike = features(model, outside, precision)
        parted = separate(torch.cat([joined(known, names), joined(altered, names)]), joined(unlike, names))
        plane = parted.standardised(joined(chosen, names))
    setting = [chosen]
    if (extra := development.extra) and (shows := extra.held_back.shows_a_class).any():
        setting.append(features(model, extra.held_back.images[shows], precision))
    *scores, measured = (
        in_parts(layers, one, lambda some: raw_scores(layers, plane, some)) for one in (*setting, others)
    )
    return _with_thresholds(layers, plane, scores, measured)


def images_to_pass(development: Development) -> int:
    """Return about how many images pass through the network to learn the detector."""
    known = min(MOST_IMAGES, len(development.train))
    return known + 2 * min(MOST_EXPOSED, known) + len(development.validation)


def _passed(
    model: nn.Module, images: UInt8[Tensor, "n c h w"], precision: Precision, logits: Float[Tensor, "n k"] | None
) -> Features:
    """Return all features of the images, or their logits alone if these are given."""
    return features(model, images, precision) if logits is None else {LOGITS: logits}


def _with_pictures(train: ImageSet, extra: Extra | None, first: int) -> ImageSet:
    """Return the images, then the extra pictures of the classes, each kind with its own label from ``first``."""
    if extra is None:
        return train
    shows = extra.train.shows_a_class
    kinds = torch.unique(extra.train.targets[shows], dim=0, return_inverse=True)[1]
    images = torch.cat([train.images, extra.train.images[shows]])
    return ImageSet(images, torch.cat([train.labels, first + kinds]))


def _examples(
    some: ImageSet, extra: Extra | None, changes: Changes, draw: torch.Generator
) -> tuple[UInt8[Tensor, "k c h w"], UInt8[Tensor, "m c h w"]]:
    """Return images of the classes, altered, the first of them from ``some`` in their order; and images of no class.

    Both include the extra pictures, and what the training makes of images by their class.
    """
    by_class, altered = changes.by_class, changes.augmentation
    inside, outside = list[Tensor](), list[Tensor]()
    count = max(1, AT_ONCE // some.images[0, 0].numel())
    for images, labels in zip(torch.split(some.images, count), torch.split(some.labels, count), strict=True):
        shown = boundary.as_bytes(laid_out(as_floats(images), labels, by_class, draw))
        inside.append(boundary.in_distribution_images(shown, altered, draw))
        outside.append(boundary.out_of_distribution_images(images, draw))
        if by_class.upper or by_class.lower:
            parts, cut = cut_short(as_floats(images), labels, by_class, draw)
            outside.append(boundary.in_distribution_images(boundary.as_bytes(parts[cut]), altered, draw))
    if extra:
        pictures, shows = extra.train.images.cpu(), extra.train.shows_a_class.cpu()
        inside += [pictures[shows]] * REPEATED
        outside += [pictures[~shows]] * REPEATED
    return torch.cat(inside), torch.cat(outside)


def halves(labels: Int64[Tensor, " n"]) -> tuple[Int64[Tensor, " k"], Int64[Tensor, " m"]]:
    """Return the positions of the validation images that set the threshold, and of those that measure its false alarms.

    The images of each class are divided in half.
    """
    is_second = rank_within_class(labels, "threshold") % 2 == 1
    return (~is_second).nonzero().squeeze(1), is_second.nonzero().squeeze(1)


def _positions(development: Development, *, with_mirror_images: bool) -> Int64[Tensor, " n"]:
    """Return the positions of training images, the classes by turns: at most MOST_IMAGES, mirror images counted."""
    order, classes = balanced_order(development.train.labels, "novelty"), len(development.class_names)
    _, height, width = development.image_shape
    most = min(MOST_IMAGES, max(MOST_PIXELS // (height * width), LEAST_OF_CLASS * classes))
    return order[: most // 2] if with_mirror_images else order[:most]


def _training_images(development: Development, positions: Int64[Tensor, " n"], *, with_mirror_images: bool) -> ImageSet:
    """Return the training images at these positions.

    With mirror images, each image is followed by its own, and the classes of mirror images follow the others.
    """
    some, classes = development.train[positions], len(development.class_names)
    if not with_mirror_images:
        return some
    images = torch.stack([some.images, some.images.flip(3)], dim=1).flatten(0, 1)
    return ImageSet(images, torch.stack([some.labels, some.labels + classes], dim=1).flatten())


def _layer_names(seen: Features, count: int) -> list[str]:
    """Return the layers with one vector per image of at most WIDEST_LAYER features, sorted; else the logits."""
    inner = (name for name in sorted(seen) if name != LOGITS)
    return [name for name in inner if seen[name].shape[1] <= WIDEST_LAYER and len(seen[name]) == count] or [LOGITS]


def _layer(
    name: str,
    known: Float[Tensor, "n d"],
    labels: Int64[Tensor, " n"],
    altered: Float[Tensor, "k d"],
    others: Float[Tensor, "m d"],
) -> Layer:
    """Return the classes' distribution in a layer.

    Args:
        name: Name of the layer.
        known: Features of training images, for means and covariance.
        labels: Labels of these images.
        altered: Features of the first of these images, altered; for the covariance.
        others: Features of other images of the classes, for the scale.
    """
    known, labels = known.double(), labels.cpu()
    present = sorted(set(labels.tolist()))
    groups = torch.searchsorted(torch.tensor(present), labels)
    means = torch.stack([known[labels == label].mean(0) for label in present])
    covariance = _scatter(known - means[groups])
    covariance = covariance.lerp(_scatter(altered.double() - means[groups[: len(altered)]]), ALTERED_SHARE)
    least = max(SHRINKAGE * covariance.diagonal().mean().item(), LEAST_VARIANCE * known.square().mean().item(), TINY)
    covariance += least * torch.eye(len(covariance))
    # Laid out as when it is read from a file: another layout would change the last digit of a score.
    whitening = torch.linalg.cholesky(torch.linalg.inv(covariance)).float().contiguous()
    layer = Layer(name, means, whitening, 1.0)
    distances = in_parts([layer], {name: others}, lambda some: layer.distances(some[name]))
    return replace(layer, scale=max(torch.quantile(distances, KNOWN).item(), LEAST_SCALE))


def _scatter(away: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """Return the mean outer product of deviations from the mean."""
    return away.T @ away / len(away)


def _with_mean_one(layers: list[Layer], others: Features) -> tuple[Layer, ...]:
    """Rescale the layers so that the largest distance of an image in ``others`` is 1 on average."""
    distances = in_parts(layers, others, lambda some: largest_distances(layers, some))
    mean = max(distances.mean().item(), LEAST_MEAN)
    return tuple(replace(layer, scale=layer.scale * mean) for layer in layers)


def _with_thresholds(
    layers: tuple[Layer, ...], plane: Boundary | Energy, chosen: Sequence[Tensor], others: Float[Tensor, " m"]
) -> Novelty:
    """Return the detector with the threshold of each rate: so high that no set has more false alarms.

    Args:
        layers: Layers of the detector.
        plane: Its boundary.
        chosen: Raw scores of the sets that set the thresholds: validation images, and extra pictures if there are any.
        others: Raw scores of those that measure the false alarms.
    """
    limits = [max(_limit(one, rate) for one in chosen) for rate in RATES]
    measured = tuple((others > limit).double().mean().nan_to_num().item() for limit in limits)
    usual = RATES.index(USUAL_RATE)
    table = Acceptance(RATES, tuple(limit / limits[usual] for limit in limits), measured)
    return Novelty(layers, plane, limits[usual], measured[usual], len(others), table)


def _limit(scores: Float[Tensor, " n"], rate: float) -> float:
    """Return the score that the share ``rate`` exceeds."""
    highest = torch.quantile(scores, 1 - rate, interpolation="higher").item()
    return max(highest * (1 + ROUNDING), LEAST_THRESHOLD)
