"""Whether an image is unlike anything in training, by where it lies in two layers of the network.

Two scores are added. Mahalanobis' distance to the nearest class mean, with one covariance for all classes, the greater
of the layers' (Lee, Lee, Lee and Shin, 2018): that finds what lies far from everything. And the height above a linear
boundary between images of the classes and images of nothing (``exposure``): that finds what lies between the classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from modiste import checkpoint, run_folder, runtime, storage
from modiste.data.dataset import Development
from modiste.errors import RunError
from modiste.evaluation import exposure
from modiste.evaluation.assessment import load_own_development
from modiste.evaluation.boundary import Boundary, separate
from modiste.evaluation.watching import LOGITS, features
from modiste.run_folder import Run

FILE = "novelty.safetensors"
METHOD = "distance and boundary"
"""What a file holds; one that an earlier version wrote, without the boundary, is learnt anew."""
KNOWN = 0.96
"""Share of validation images that the threshold lets pass."""
MOST_IMAGES = 20_000
"""So many training images are enough for means and covariance."""
MOST_EXPOSED = 6_000
"""So many images that are made, of nothing and half as many of garments, are enough for the boundary."""
WIDEST_LAYER = 1024
SHRINKAGE = 1e-3
"""What is added to the covariance's diagonal, as a share of its mean: directions without variance count little."""


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
    """Return what is stored with the run, or learn it from the run's training images and store it; DataError etc."""
    if run_folder.is_listed(run, FILE) and (stored := _read(run.folder / FILE)):
        return stored
    model, _ = run.load_model()
    novelty = learn(model, load_own_development(run, data_folder))
    run = run_folder.forget(run, [FILE])
    _write(run.folder / FILE, novelty)
    run_folder.add_files(run, [FILE], test_openings=run.test_openings)
    return novelty


def learn(model: nn.Module, development: Development) -> Novelty:
    """Learn how the classes lie from training images, and the threshold from every second validation image."""
    images, labels = development.train.images[:MOST_IMAGES], development.train.labels[:MOST_IMAGES]
    known, held_out = features(model, images), features(model, development.validation.images)
    chosen = {place: one[::2] for place, one in held_out.items()}
    places = _places(known, len(images))
    layers = _with_mean_one([_layer(place, known[place], labels, chosen[place]) for place in places], chosen)
    boundary = _boundary(model, images[:MOST_EXPOSED], known, chosen, places)
    threshold = torch.quantile(_raw_scores(layers, boundary, chosen), KNOWN).item()
    others = {place: one[1::2] for place, one in held_out.items()}
    is_alarm = _raw_scores(layers, boundary, others) > threshold
    return Novelty(layers, boundary, threshold, is_alarm.double().mean().item(), len(is_alarm))


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
    covariance += SHRINKAGE * covariance.trace() / len(covariance) * torch.eye(len(covariance))
    layer = Layer(place, means, torch.linalg.cholesky(torch.linalg.inv(covariance)).float(), 1.0)
    return replace(layer, scale=torch.quantile(layer.distances(others), KNOWN).item())


def _with_mean_one(layers: list[Layer], others: Mapping[str, Float[Tensor, "n _"]]) -> tuple[Layer, ...]:
    """Scale the layers such that the greatest distance of other images of the classes is 1 in the mean."""
    mean = _greatest(layers, others).mean().item()
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
    draw = runtime.generator(0, "exposure")
    still, none = exposure.still_garments(images[::2], draw), exposure.nothing(images, draw)
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


def _write(path: Path, novelty: Novelty) -> None:
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
    storage.write_bytes(path, checkpoint.to_bytes(tensors, plain))


def _read(path: Path) -> Novelty | None:
    """Return what a file holds; None if an earlier version wrote it."""
    tensors, plain = checkpoint.read(path)
    if plain.get("method") != METHOD:
        return None
    try:
        layers = tuple(
            Layer(place, tensors[f"{place}:means"], tensors[f"{place}:whitening"], scale)
            for place, scale in sorted(plain["scales"].items())
        )
        boundary = Boundary(*(tensors[f"boundary:{name}"] for name in Boundary.NAMES))
        return Novelty(layers, boundary, plain["threshold"], plain["false_alarms"], plain["images"])
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: damaged or of another kind ({error}); delete it to learn it again") from error
