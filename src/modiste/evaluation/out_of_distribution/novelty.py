"""The novelty score: how unlike the training images an image is, by its features in two layers of the network.

The score is the sum of two. The first is the Mahalanobis distance to the nearest class mean, with one covariance for
all classes; the larger of the two layers' distances counts (Lee, Lee, Lee and Shin, 2018). It finds images that lie far
from all classes. The second is the height above a linear boundary between garments and out-of-distribution images.

``Answers`` computes logits, probabilities and the score in one pass, for the predictor and for exported files.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from modiste import machine
from modiste.data.batch import as_floats
from modiste.data.dataset import Development, balanced_order, rank_within_class
from modiste.data.sources import FASHION_MNIST
from modiste.errors import DataError, FolderInUseError, ReadOnlyError, RunError
from modiste.evaluation.inference import answer
from modiste.evaluation.out_of_distribution import boundary
from modiste.evaluation.out_of_distribution.boundary import Boundary, separate
from modiste.evaluation.out_of_distribution.features import LOGITS, features, watched
from modiste.evaluation.run_images import load_own_development
from modiste.recipes.plain import demand
from modiste.runs import checkpoint, run_folder, storage
from modiste.runs.run_folder import Run

FILE = "novelty.safetensors"
METHOD = "distance and boundary, of images drawn from all"
"""The method by which a stored score was learned. A score of another method is learned again."""
OLD_METHOD = "distance and boundary"
"""The same method on the first images in the order of the files, not on a sample; see ``_covers_all``."""
KNOWN = 0.96
"""Share of the validation images that the threshold accepts."""
MOST_IMAGES = 20_000
"""Largest number of training images for the means and the covariance."""
MOST_EXPOSED = 6_000
"""Largest number of out-of-distribution images for the boundary, beside half as many altered garments."""
WIDEST_LAYER = 1024
"""Largest number of features of a layer whose distances are computed."""
SHRINKAGE = 1e-3
"""Added to the covariance's diagonal, as a share of its mean: directions without variance have little weight."""
LEAST_VARIANCE, TINY = 1e-8, 1e-12
"""Lower bounds of that addition: a share of the features' mean square, and a constant for classes without variance."""
ROUNDING = 1e-3
"""The threshold lies above the highest accepted score by this share, so that a copy of that image is accepted too."""
LEAST_SCALE, LEAST_MEAN, LEAST_THRESHOLD = 1.0, 0.01, 0.1
"""Lower bounds of divisors, so that rounding errors do not count when images do not differ."""


@dataclass(frozen=True)
class Layer:
    """The classes' distribution in one layer.

    Attributes:
        name: the layer, a key of the features that ``watched`` records.
        means: of each class.
        whitening: W, where W Wᵀ is the inverse of the covariance within the classes. The Mahalanobis distance is the
            Euclidean distance of features multiplied by W.
        scale: divides the squared distances.
    """

    name: str
    means: Float[Tensor, "classes d"]
    whitening: Float[Tensor, "d d"]
    scale: float

    def distances(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return each image's squared Mahalanobis distance to the nearest class mean, divided by ``scale``."""
        whitening = self.whitening.to(features.device).double()
        away = (features.double() @ whitening)[:, None] - self.means.to(features.device) @ whitening
        return (away * away).sum(2).amin(1) / self.scale


@dataclass(frozen=True)
class Novelty:
    """A detector of out-of-distribution images.

    Attributes:
        layers: those whose distances are computed.
        boundary: in the concatenated features of the same layers.
        threshold: the largest raw score of an image that is accepted as one of the classes.
        false_alarms: share of validation images above the threshold, in the half that did not set it.
        images: number of images in that half.
    """

    layers: tuple[Layer, ...]
    boundary: Boundary
    threshold: float
    false_alarms: float
    images: int

    def scores(self, seen: Mapping[str, Float[Tensor, "n _"]]) -> Float[Tensor, " n"]:
        """Return the novelty of each image, at least 0; above 1 the image is out of distribution.

        Args:
            seen: features by layer, as ``watched`` records them.
        """
        return (_raw_scores(self.layers, self.boundary, seen) / self.threshold).clamp(min=0)


def of_run(
    run: Run, data_folder: Path | str | None = None, *, seen: Mapping[str, Float[Tensor, "_ _"]] | None = None
) -> Novelty:
    """Return the detector stored with a run, or learn it from the run's training images and store it.

    For a user's own pictures ``data_folder`` is required to learn. The folder that the recipe names is never read
    unasked, because the run may come from an untrusted source.

    Args:
        run: a finished run.
        data_folder: of the training images; see ``load_development``.
        seen: see ``stored``.

    Raises:
        DataError: the images are missing or damaged, or ``data_folder`` is required.
        RunError: the stored detector is damaged, or the images are not those of the run.
    """
    if found := stored(run, seen):
        return found
    if data_folder is None and run.recipe.data.source != FASHION_MNIST:
        raise DataError(
            f"{run.folder}: has no stored detector of out-of-distribution images, and its data set is not read "
            "unasked; give the folder of its training images once: --data-folder FOLDER"
        )
    return learn_for(run, load_own_development(run, data_folder))


def stored(run: Run, seen: Mapping[str, Float[Tensor, "_ _"]] | None = None) -> Novelty | None:
    """Return the detector stored with a run; None if there is none that was learned from all of its images.

    Args:
        run: a finished run.
        seen: the features of any image in the run's network. They show which layers the network has. If None, the
            network is loaded to compute them.

    Raises:
        RunError: the stored detector is damaged, or belongs to another network.
    """
    found = _read(run) if run_folder.is_listed(run, FILE) else None
    if found:
        _check_layers(found, run, _features_of_blank(run) if seen is None else seen)
    return found


def _features_of_blank(run: Run) -> dict[str, Float[Tensor, "_ _"]]:
    """Return the features of a black image in the run's network."""
    model, info = run.load_model()
    return features(model, torch.zeros(1, *info.task.image_shape, dtype=torch.uint8))


def _check_layers(novelty: Novelty, run: Run, seen: Mapping[str, Float[Tensor, "_ _"]]) -> None:
    """Raise RunError unless the network has the detector's layers, with as many features."""
    for layer in novelty.layers:
        if layer.name not in seen or seen[layer.name].shape[1] != len(layer.whitening):
            raise RunError(f"{run.folder / FILE}: damaged, it is of another network; train the run again")


def learn_for(run: Run, development: Development) -> Novelty:
    """Learn the detector of a finished run from its images, store it with the run, and return it."""
    model, _ = run.load_model()
    novelty = learn(model, development)
    try:
        run_folder.keep(run, {FILE: content(novelty)})
    except (ReadOnlyError, FolderInUseError) as error:
        logging.getLogger(__name__).warning("the detector of out-of-distribution images was not stored: %s", error)
    return novelty


def learn(model: nn.Module, development: Development) -> Novelty:
    """Learn the detector: layers and boundary from training images, scales and threshold from validation images.

    Half of the validation images set the scales and the threshold; the other half measures the false alarms.
    """
    train = development.train[balanced_order(development.train.labels, "novelty")[:MOST_IMAGES]]
    known, unseen = features(model, train.images), features(model, development.validation.images)
    choosing, measuring = halves(development.validation.labels)
    chosen, others = ({name: one[half] for name, one in unseen.items()} for half in (choosing, measuring))
    names = _layer_names(known, len(train))
    layers = _with_mean_one([_layer(name, known[name], train.labels, chosen[name]) for name in names], chosen)
    boundary = _boundary(model, train.images[:MOST_EXPOSED], known, chosen, names)
    highest = torch.quantile(_raw_scores(layers, boundary, chosen), KNOWN, interpolation="higher").item()
    threshold = max(highest * (1 + ROUNDING), LEAST_THRESHOLD)
    is_alarm = _raw_scores(layers, boundary, others) > threshold
    return Novelty(layers, boundary, threshold, is_alarm.double().mean().nan_to_num().item(), len(is_alarm))


def halves(labels: Int64[Tensor, " n"]) -> tuple[Int64[Tensor, " k"], Int64[Tensor, " m"]]:
    """Return the positions of the validation images that set the threshold, and of those that measure its false alarms.

    The images of each class are divided in half.
    """
    is_second = rank_within_class(labels, "threshold") % 2 == 1
    return (~is_second).nonzero().squeeze(1), is_second.nonzero().squeeze(1)


def _layer_names(seen: Mapping[str, Float[Tensor, "n _"]], count: int) -> list[str]:
    """Return the layers with one vector per image of at most WIDEST_LAYER features, sorted; else the logits."""
    inner = (name for name in sorted(seen) if name != LOGITS)
    return [name for name in inner if seen[name].shape[1] <= WIDEST_LAYER and len(seen[name]) == count] or [LOGITS]


def _layer(name: str, known: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], others: Float[Tensor, "m d"]) -> Layer:
    """Return the classes' distribution in a layer.

    Args:
        name: of the layer.
        known: features of training images, for means and covariance.
        labels: of these images.
        others: features of other images of the classes, for the scale.
    """
    known, labels = known.double(), labels.cpu()
    groups = [known[labels == label] for label in sorted(set(labels.tolist()))]
    means = torch.stack([group.mean(0) for group in groups])
    about = torch.cat([group - mean for group, mean in zip(groups, means, strict=True)])
    covariance = about.T @ about / len(about)
    least = max(SHRINKAGE * covariance.diagonal().mean().item(), LEAST_VARIANCE * known.square().mean().item(), TINY)
    covariance += least * torch.eye(len(covariance))
    layer = Layer(name, means, torch.linalg.cholesky(torch.linalg.inv(covariance)).float(), 1.0)
    return replace(layer, scale=max(torch.quantile(layer.distances(others), KNOWN).item(), LEAST_SCALE))


def _with_mean_one(layers: list[Layer], others: Mapping[str, Float[Tensor, "n _"]]) -> tuple[Layer, ...]:
    """Rescale the layers so that the largest distance of an image in ``others`` is 1 on average."""
    mean = max(_largest_distances(layers, others).mean().item(), LEAST_MEAN)
    return tuple(replace(layer, scale=layer.scale * mean) for layer in layers)


def _boundary(
    model: nn.Module,
    images: UInt8[Tensor, "n c h w"],
    known: Mapping[str, Float[Tensor, "m _"]],
    others: Mapping[str, Float[Tensor, "k _"]],
    names: list[str],
) -> Boundary:
    """Learn the boundary; the heights of ``others`` have mean 0 and standard deviation 1.

    Args:
        model: the network.
        images: training images from which the examples are made.
        known: features of training images.
        others: features of other images of the classes.
        names: of the layers.
    """
    images = images.cpu()
    draw = machine.generator(0, "exposure")
    altered = boundary.in_distribution_images(images[::2], draw)
    unlike = boundary.out_of_distribution_images(images, draw)
    inside = torch.cat([_joined(known, names), _joined(features(model, altered), names)])
    return separate(inside, _joined(features(model, unlike), names)).standardised(_joined(others, names))


def _joined(seen: Mapping[str, Float[Tensor, "n _"]], names: list[str]) -> Float[Tensor, "n d"]:
    """Return the concatenated features of these layers."""
    return torch.cat([seen[name] for name in names], dim=1)


def _raw_scores(
    layers: Sequence[Layer], boundary: Boundary, seen: Mapping[str, Float[Tensor, "n _"]]
) -> Float[Tensor, " n"]:
    """Return each image's score before it is divided by the threshold."""
    return _largest_distances(layers, seen) + boundary.heights(_joined(seen, [layer.name for layer in layers]))


def _largest_distances(layers: Sequence[Layer], seen: Mapping[str, Float[Tensor, "n _"]]) -> Float[Tensor, " n"]:
    """Return the largest of the layers' distances for each image."""
    return torch.stack([layer.distances(seen[layer.name]) for layer in layers]).amax(0)


def write(folder: Path, novelty: Novelty) -> None:
    """Write the detector into a run's folder."""
    storage.write_bytes(folder / FILE, content(novelty))


def content(novelty: Novelty) -> bytes:
    """Return the content of the detector's file."""
    tensors = {f"boundary:{name}": one for name, one in novelty.boundary.tensors().items()}
    for layer in novelty.layers:
        tensors |= {f"{layer.name}:means": layer.means, f"{layer.name}:whitening": layer.whitening}
    plain = {
        "method": METHOD,
        "scales": {layer.name: layer.scale for layer in novelty.layers},
        "threshold": novelty.threshold,
        "false_alarms": novelty.false_alarms,
        "images": novelty.images,
    }
    return checkpoint.to_bytes(tensors, plain)


def _read(run: Run) -> Novelty | None:
    """Return the detector in a run's file; None if an earlier version learned it from only some of the images."""
    path = run.folder / FILE
    tensors, plain = checkpoint.read(path)
    if plain.get("method") != METHOD and not (plain.get("method") == OLD_METHOD and _covers_all(run)):
        return None
    try:
        novelty = _from_plain(tensors, plain)
        _check(novelty)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(f"{path}: damaged or of another kind ({error}); train the run again") from error
    return novelty


def _covers_all(run: Run) -> bool:
    """Return whether the first images stand for all: Fashion-MNIST is not sorted, a small data set is used whole."""
    first = run.history[0]
    most_images = first.step // first.epoch * run.recipe.batch_size
    return run.recipe.data.source == FASHION_MNIST or most_images <= MOST_EXPOSED


def _from_plain(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> Novelty:
    """Return the detector that ``content`` wrote; KeyError and the like if a part is missing."""
    layers = tuple(
        Layer(name, tensors[f"{name}:means"], tensors[f"{name}:whitening"], scale)
        for name, scale in sorted(plain["scales"].items())
    )
    boundary = Boundary(*(tensors[f"boundary:{name}"] for name in Boundary.NAMES))
    return Novelty(layers, boundary, plain["threshold"], plain["false_alarms"], plain["images"])


def _check(novelty: Novelty) -> None:
    """Raise RecipeError, a ValueError, unless all numbers are finite and the shapes fit each other."""
    width = 0
    for layer in novelty.layers:
        size = len(layer.whitening)
        _demand_finite(f"{layer.name}:whitening", layer.whitening, (size, size))
        _demand_finite(f"{layer.name}:means", layer.means, (len(layer.means), size))
        width += size
    for name, one in novelty.boundary.tensors().items():
        _demand_finite(f"boundary:{name}", one, (1 if name == "bias" else width,))
    for number in (novelty.threshold, *(layer.scale for layer in novelty.layers)):
        demand(type(number) is float and 0 < number < inf, "threshold and scales", "numbers above 0", number)
    demand(type(novelty.images) is int, "images", "a whole number", novelty.images)
    share = novelty.false_alarms
    demand(type(share) is float and 0 <= share <= 1, "false_alarms", "a number from 0 to 1", share)


def _demand_finite(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raise RecipeError unless the tensor has this shape and finite floating-point numbers."""
    found = tuple(tensor.shape)
    demand(found == shape and found != (0, 0), name, f"numbers of shape {shape}", found)
    demand(tensor.is_floating_point() and bool(tensor.isfinite().all()), name, "finite numbers", "others")


class Answers(nn.Module):
    """A module that maps images of bytes to logits, calibrated probabilities and, optionally, novelty.

    Args:
        model: takes images in [0, 1].
        mirror: whether the logits of each image and its mirror image are averaged.
        temperature: divides the logits before the softmax.
        novelty: detector of out-of-distribution images; without it there is no third output.
    """

    def __init__(self, model: nn.Module, *, mirror: bool, temperature: float, novelty: Novelty | None = None) -> None:
        super().__init__()
        self.model, self.mirror, self.temperature, self.novelty = model, mirror, temperature, novelty

    def forward(self, images: UInt8[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n *k"], ...]:
        if self.novelty is None:
            logits = answer(self.model, as_floats(images), mirror=self.mirror)
            return logits, (logits / self.temperature).softmax(1)
        with watched(self.model) as seen:
            logits = answer(self.model, as_floats(images), mirror=self.mirror)
        return logits, (logits / self.temperature).softmax(1), self.novelty.scores(seen)
