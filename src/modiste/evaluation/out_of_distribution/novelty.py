"""The novelty score: how unlike the training images an image is, by its features in two layers of the network.

Two scores are added. The first is the Mahalanobis distance to the nearest class mean, with one covariance for all
classes; the larger of the two layers' distances counts (Lee, Lee, Lee and Shin, 2018). It finds what lies far from
everything. The second is the height above a linear boundary between garments and images made to be none.
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
from modiste.data.dataset import Development
from modiste.data.sampling import balanced_order, rank_within_class
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
"""What a file holds; one of another method is learnt anew."""
OLD_METHOD = "distance and boundary"
"""As above, but of the first images in the order of the files; see ``_covers_all``."""
KNOWN = 0.96
"""Share of validation images that the threshold lets pass."""
MOST_IMAGES = 20_000
"""So many training images are enough for means and covariance."""
MOST_EXPOSED = 6_000
"""So many images that are made, of nothing and half as many of garments, are enough for the boundary."""
WIDEST_LAYER = 1024
SHRINKAGE = 1e-3
"""What is added to the covariance's diagonal, as a share of its mean: directions without variance count little."""
LEAST_VARIANCE, TINY = 1e-8, 1e-12
"""At least that share of the features' mean square is added, and TINY: a class may have no variance at all."""
ROUNDING = 1e-3
"""By that share the threshold lies above the image that sets it, so that a copy of that image is not above it."""
LEAST_SCALE, LEAST_MEAN, LEAST_THRESHOLD = 1.0, 0.01, 0.1
"""What is divided by is at least this large, so that rounding counts for nothing where images do not differ."""


@dataclass(frozen=True)
class Layer:
    """How the classes lie in a layer.

    Attributes:
        place: which layer, a key of what ``watched`` sees.
        means: of each class.
        whitening: W with W Wᵀ the inverse of the covariance about the means, so that Mahalanobis' distance is Euclid's
            after it.
        scale: what distances are divided by.
    """

    place: str
    means: Float[Tensor, "classes d"]
    whitening: Float[Tensor, "d d"]
    scale: float

    def distances(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return each image's squared distance to its nearest class, relative to ``scale``."""
        whitening = self.whitening.to(features.device).double()
        away = (features.double() @ whitening)[:, None] - self.means.to(features.device) @ whitening
        return (away * away).sum(2).amin(1) / self.scale


@dataclass(frozen=True)
class Novelty:
    """What tells images of the classes from all others.

    Attributes:
        layers: where distances are taken.
        boundary: between images of the classes and of nothing, in the same layers one after the other.
        threshold: greatest score that an image of one of the classes has.
        false_alarms: share of validation images above it, of the half that had no part in choosing it.
        images: how many those were.
    """

    layers: tuple[Layer, ...]
    boundary: Boundary
    threshold: float
    false_alarms: float
    images: int

    def scores(self, seen: Mapping[str, Float[Tensor, "n _"]]) -> Float[Tensor, " n"]:
        """Return how unlike the training images each image is, by what was seen of it; above 1 it is no class's."""
        return (_raw_scores(self.layers, self.boundary, seen) / self.threshold).clamp(min=0)


def of_run(run: Run, data_folder: Path | str | None = None) -> Novelty:
    """Return what is stored with the run, or learn it from the run's training images and store it.

    Images that are a person's own are read from the folder that the person names, never from the one that the recipe
    names: a run may come from a stranger.

    Raises:
        DataError: the images are missing or damaged, or no folder is named.
        RunError: what is stored is damaged, or the images are not those of the run.
    """
    if found := stored(run):
        return found
    if data_folder is None and run.recipe.data.source != FASHION_MNIST:
        raise DataError(
            f"{run.folder}: it holds nothing to tell them by, and its own data set is not read unasked; "
            "name the folder of its training images once: --data-folder FOLDER"
        )
    return learn_for(run, load_own_development(run, data_folder))


def stored(run: Run) -> Novelty | None:
    """Return what is stored with the run; None where nothing is, or what covers not all of its images."""
    found = _read(run) if run_folder.is_listed(run, FILE) else None
    if found:
        _demand_fit(found, run)
    return found


def _demand_fit(novelty: Novelty, run: Run) -> None:
    """Raise RunError unless what was read is of the layers that the network has."""
    model, info = run.load_model()
    seen = features(model, torch.zeros(1, *info.task.image_shape, dtype=torch.uint8))
    for layer in novelty.layers:
        if layer.place not in seen or seen[layer.place].shape[1] != len(layer.whitening):
            raise RunError(f"{run.folder / FILE}: damaged, it is of another network; train the run again")


def learn_for(run: Run, development: Development) -> Novelty:
    """Learn from a finished run's images, store the result with the run, and return it."""
    model, _ = run.load_model()
    novelty = learn(model, development)
    try:
        run_folder.keep(run, {FILE: content(novelty)})
    except (ReadOnlyError, FolderInUseError) as error:
        logging.getLogger(__name__).warning("what tells photos of none of the classes was not kept: %s", error)
    return novelty


def learn(model: nn.Module, development: Development) -> Novelty:
    """Learn how the classes lie from training images, and the threshold from half of the validation images."""
    train = development.train[balanced_order(development.train.labels, "novelty")[:MOST_IMAGES]]
    known, unseen = features(model, train.images), features(model, development.validation.images)
    choosing, measuring = halves(development.validation.labels)
    chosen, others = ({place: one[half] for place, one in unseen.items()} for half in (choosing, measuring))
    places = _places(known, len(train))
    layers = _with_mean_one([_layer(place, known[place], train.labels, chosen[place]) for place in places], chosen)
    boundary = _boundary(model, train.images[:MOST_EXPOSED], known, chosen, places)
    highest = torch.quantile(_raw_scores(layers, boundary, chosen), KNOWN, interpolation="higher").item()
    threshold = max(highest * (1 + ROUNDING), LEAST_THRESHOLD)
    is_alarm = _raw_scores(layers, boundary, others) > threshold
    return Novelty(layers, boundary, threshold, is_alarm.double().mean().nan_to_num().item(), len(is_alarm))


def halves(labels: Int64[Tensor, " n"]) -> tuple[Int64[Tensor, " k"], Int64[Tensor, " m"]]:
    """Divide validation images into those that set the threshold and those that measure it, each class in two."""
    is_second = rank_within_class(labels, "threshold") % 2 == 1
    return (~is_second).nonzero().squeeze(1), is_second.nonzero().squeeze(1)


def _places(seen: Mapping[str, Float[Tensor, "n _"]], count: int) -> list[str]:
    """Choose the layers that hold one vector an image, of no more than WIDEST_LAYER numbers, in a file's order."""
    inner = (place for place in sorted(seen) if place != LOGITS)
    return [place for place in inner if seen[place].shape[1] <= WIDEST_LAYER and len(seen[place]) == count] or [LOGITS]


def _layer(place: str, known: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], others: Float[Tensor, "m d"]) -> Layer:
    known, labels = known.double(), labels.cpu()
    groups = [known[labels == label] for label in sorted(set(labels.tolist()))]
    means = torch.stack([group.mean(0) for group in groups])
    about = torch.cat([group - mean for group, mean in zip(groups, means, strict=True)])
    covariance = about.T @ about / len(about)
    least = max(SHRINKAGE * covariance.diagonal().mean().item(), LEAST_VARIANCE * known.square().mean().item(), TINY)
    covariance += least * torch.eye(len(covariance))
    layer = Layer(place, means, torch.linalg.cholesky(torch.linalg.inv(covariance)).float(), 1.0)
    return replace(layer, scale=max(torch.quantile(layer.distances(others), KNOWN).item(), LEAST_SCALE))


def _with_mean_one(layers: list[Layer], others: Mapping[str, Float[Tensor, "n _"]]) -> tuple[Layer, ...]:
    """Scale the layers such that the greatest distance of other images of the classes is 1 in the mean."""
    mean = max(_greatest(layers, others).mean().item(), LEAST_MEAN)
    return tuple(replace(layer, scale=layer.scale * mean) for layer in layers)


def _boundary(
    model: nn.Module,
    images: UInt8[Tensor, "n c h w"],
    known: Mapping[str, Float[Tensor, "m _"]],
    others: Mapping[str, Float[Tensor, "k _"]],
    places: list[str],
) -> Boundary:
    """Learn the boundary, its heights over other images of the classes 0 in the mean with a deviation of 1."""
    images = images.cpu()
    draw = machine.generator(0, "exposure")
    still, none = boundary.still_garments(images[::2], draw), boundary.nothing(images, draw)
    inside = torch.cat([_joined(known, places), _joined(features(model, still), places)])
    return separate(inside, _joined(features(model, none), places)).standardised(_joined(others, places))


def _joined(seen: Mapping[str, Float[Tensor, "n _"]], places: list[str]) -> Float[Tensor, "n d"]:
    return torch.cat([seen[place] for place in places], dim=1)


def _raw_scores(
    layers: Sequence[Layer], boundary: Boundary, seen: Mapping[str, Float[Tensor, "n _"]]
) -> Float[Tensor, " n"]:
    return _greatest(layers, seen) + boundary.heights(_joined(seen, [layer.place for layer in layers]))


def _greatest(layers: Sequence[Layer], seen: Mapping[str, Float[Tensor, "n _"]]) -> Float[Tensor, " n"]:
    return torch.stack([layer.distances(seen[layer.place]) for layer in layers]).amax(0)


def write(folder: Path, novelty: Novelty) -> None:
    """Write the file of a run's folder."""
    storage.write_bytes(folder / FILE, content(novelty))


def content(novelty: Novelty) -> bytes:
    """Return what the file of a run's folder holds."""
    tensors = {f"boundary:{name}": one for name, one in novelty.boundary.tensors().items()}
    for layer in novelty.layers:
        tensors |= {f"{layer.place}:means": layer.means, f"{layer.place}:whitening": layer.whitening}
    plain = {
        "method": METHOD,
        "scales": {layer.place: layer.scale for layer in novelty.layers},
        "threshold": novelty.threshold,
        "false_alarms": novelty.false_alarms,
        "images": novelty.images,
    }
    return checkpoint.to_bytes(tensors, plain)


def _read(run: Run) -> Novelty | None:
    """Return what a run's file holds; None if an earlier version wrote it and it may lack some of the images."""
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
    """Tell whether the first images were as good as a sample: Fashion-MNIST is in no order, of few images all count."""
    first = run.history[0]
    most_images = first.step // first.epoch * run.recipe.batch_size
    return run.recipe.data.source == FASHION_MNIST or most_images <= MOST_EXPOSED


def _from_plain(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> Novelty:
    layers = tuple(
        Layer(place, tensors[f"{place}:means"], tensors[f"{place}:whitening"], scale)
        for place, scale in sorted(plain["scales"].items())
    )
    boundary = Boundary(*(tensors[f"boundary:{name}"] for name in Boundary.NAMES))
    return Novelty(layers, boundary, plain["threshold"], plain["false_alarms"], plain["images"])


def _check(novelty: Novelty) -> None:
    """Raise RecipeError, a ValueError, unless all numbers are finite and the sizes of the parts fit each other."""
    width = 0
    for layer in novelty.layers:
        size = len(layer.whitening)
        _demand_finite(f"{layer.place}:whitening", layer.whitening, (size, size))
        _demand_finite(f"{layer.place}:means", layer.means, (len(layer.means), size))
        width += size
    for name, one in novelty.boundary.tensors().items():
        _demand_finite(f"boundary:{name}", one, (1 if name == "bias" else width,))
    for number in (novelty.threshold, *(layer.scale for layer in novelty.layers)):
        demand(type(number) is float and 0 < number < inf, "threshold and scales", "numbers above 0", number)
    demand(type(novelty.images) is int, "images", "how many", novelty.images)
    share = novelty.false_alarms
    demand(type(share) is float and 0 <= share <= 1, "false_alarms", "a share", share)


def _demand_finite(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    found = tuple(tensor.shape)
    demand(found == shape and found != (0, 0), name, f"numbers of shape {shape}", found)
    demand(tensor.is_floating_point() and bool(tensor.isfinite().all()), name, "finite numbers", "others")


class Answers(nn.Module):
    """Logits, probabilities and, where it can be told, novelty of images of bytes.

    Args:
        model: takes images in [0, 1].
        mirror: whether the logits of each image and of its mirror image are averaged.
        temperature: above 1 makes probabilities more cautious.
        novelty: what tells images of none of the classes; the third output is left out without it.
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
