"""The novelty score: how unlike the training images an image is, by its features in two layers of the network.

The score is the sum of two. The first is the Mahalanobis distance to the nearest class mean, with one covariance for
all classes; the larger of the two layers' distances counts (Lee, Lee, Lee and Shin, 2018). It finds images that lie far
from all classes. The second is the height above a linear boundary between garments and out-of-distribution images. If
training taught the network images of no class, it is the energy of the logits instead.

``Answers`` computes logits, probabilities and the score in one pass, for the predictor and for exported files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from modiste.data.batch import as_floats
from modiste.data.idx.idx_source import CLASS_NAMES
from modiste.data.idx.reader import read_idx
from modiste.errors import RunError
from modiste.evaluation.inference import answer
from modiste.evaluation.out_of_distribution.acceptance import Acceptance
from modiste.evaluation.out_of_distribution.boundary import Boundary, Energy
from modiste.evaluation.out_of_distribution.features import LOGITS, watched
from modiste.recipes.recipe import Recipe, Views
from modiste.runs.checkpoint import ModelInfo

DRAWINGS = Path(__file__).with_name("drawings.idx3-ubyte.gz")
"""400 silhouettes of the ten classes as the network sees them, written by ``benchmarks/drawing_record.py --write``."""
ACCEPTED = 0.96
"""Share of them that the limit of drawings accepts. Of other drawings it should accept 95 in a hundred."""
MOST_DIFFERENCES = 2**27
"""Largest number of features in the differences of images and means that are computed together: 1 GiB, twice."""
Features = Mapping[str, Float[Tensor, "n _"]]
"""Features by layer, as ``watched`` records them."""


@dataclass(frozen=True)
class Layer:
    """The classes' distribution in one layer.

    Attributes:
        name: The layer, a key of the features that ``watched`` records.
        means: Mean of each class, and of its mirror images where training mirrors.
        whitening: W, where W Wᵀ is the inverse of the covariance within the classes. The Mahalanobis distance is the
            Euclidean distance of features multiplied by W.
        scale: Divides the squared distances.
    """

    name: str
    means: Float[Tensor, "means d"]
    whitening: Float[Tensor, "d d"]
    scale: float

    def distances(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return each image's squared Mahalanobis distance to the nearest mean, divided by ``scale``."""
        whitening = self.whitening.to(features.device).double()
        away = (features.double() @ whitening)[:, None] - self.means.to(features.device) @ whitening
        return (away * away).sum(2).amin(1) / self.scale


@dataclass(frozen=True)
class Novelty:
    """A detector of out-of-distribution images.

    Attributes:
        layers: Those whose distances are computed.
        boundary: In the concatenated features of the same layers; or the energy of the logits.
        threshold: The largest raw score of an image that is accepted as one of the classes.
        false_alarms: Share of validation images above the threshold, in the half that did not set it.
        images: Number of images in that half.
        acceptance: The thresholds of other false-alarm rates; None if an earlier version learned the detector.
    """

    layers: tuple[Layer, ...]
    boundary: Boundary | Energy
    threshold: float
    false_alarms: float
    images: int
    acceptance: Acceptance | None = None

    def scores(self, seen: Features) -> Float[Tensor, " n"]:
        """Return the novelty of each image, at least 0; above 1 the image is out of distribution.

        Args:
            seen: Features of the images.
        """
        return (raw_scores(self.layers, self.boundary, seen) / self.threshold).clamp(min=0)

    def accepting(self, rate: float) -> "Novelty":
        """Return the same detector with the threshold of another false-alarm rate.

        Args:
            rate: Share of images of the classes that may be called out of distribution, wrongly.

        Raises:
            RecipeError: The rate is outside the detector's table.
            RunError: The detector has no table.
        """
        if self.acceptance is None:
            raise RunError(
                "--accept: this run's detector was learned by an earlier version, for one rate only; "
                "give the folder of its training images once: --data-folder FOLDER"
            )
        limit, measured = self.acceptance.at(rate)
        acceptance = self.acceptance.relative_to(limit)
        return replace(self, threshold=self.threshold * limit, false_alarms=measured, acceptance=acceptance)


def raw_scores(layers: Sequence[Layer], boundary: Boundary | Energy, seen: Features) -> Float[Tensor, " n"]:
    """Return each image's score before it is divided by the threshold."""
    by_energy = isinstance(boundary, Energy)
    place = seen[LOGITS] if by_energy else joined(seen, [layer.name for layer in layers])
    return largest_distances(layers, seen) + boundary.heights(place)


def largest_distances(layers: Sequence[Layer], seen: Features) -> Float[Tensor, " n"]:
    """Return the largest of the layers' distances for each image."""
    return torch.stack([layer.distances(seen[layer.name]) for layer in layers]).amax(0)


def in_parts(
    layers: Sequence[Layer], seen: Features, compute: Callable[[Features], Float[Tensor, " k"]]
) -> Float[Tensor, " n"]:
    """Return a number for each image, computed for some images at a time: distances to many means take gigabytes.

    Args:
        layers: Layers whose distances are computed.
        seen: Features of the images.
        compute: Returns a number for each of some images, from their features.
    """
    images = len(seen[layers[0].name])
    count = max(1, MOST_DIFFERENCES // max(layer.means.numel() for layer in layers))
    starts = range(0, max(images, 1), count)
    return torch.cat([compute({name: one[start : start + count] for name, one in seen.items()}) for start in starts])


def joined(seen: Features, names: Sequence[str]) -> Float[Tensor, "n d"]:
    """Return the concatenated features of these layers."""
    return torch.cat([seen[name] for name in names], dim=1)


class Answers(nn.Module):
    """A module that maps images of bytes to logits, calibrated probabilities and, optionally, novelty.

    Args:
        model: Takes images in [0, 1].
        views: Views of each image, over which logits are averaged; see ``inference.averaged``.
        temperature: Divides the logits before the softmax.
        novelty: Detector of out-of-distribution images; without it there is no third output.
    """

    def __init__(self, model: nn.Module, *, views: Views, temperature: float, novelty: Novelty | None = None) -> None:
        super().__init__()
        self.model, self.views, self.temperature, self.novelty = model, views, temperature, novelty

    @classmethod
    def of(cls, model: nn.Module, recipe: Recipe, temperature: float, novelty: Novelty | None = None) -> "Answers":
        """Return the module in evaluation mode, with the views that a recipe averages over."""
        return cls(model, views=recipe.views, temperature=temperature, novelty=novelty).eval()

    @property
    def models(self) -> tuple[nn.Module, ...]:
        """The networks inside."""
        return (self.model,)

    def logits(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Return the logits of images in [0, 1]."""
        return answer(self.model, images, self.views)

    def forward(self, images: UInt8[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n *k"], ...]:
        if self.novelty is None:
            logits = self.logits(as_floats(images))
            return logits, (logits / self.temperature).softmax(1)
        with watched(self.model) as seen:
            logits = self.logits(as_floats(images))
        return logits, (logits / self.temperature).softmax(1), self.novelty.scores(seen)


class EnsembleAnswers(Answers):
    """The same for several networks: their logits are summed with weights, and the first network's detector is used.

    Args:
        members: Answers of each network; only the first may have a detector.
        weights: Weights of their logits; see ``opinion_pool``.
    """

    def __init__(self, members: Sequence[Answers], weights: Sequence[float]) -> None:
        first, *others = members
        super().__init__(first.model, views=first.views, temperature=1.0, novelty=first.novelty)
        self.others, self.weights = nn.ModuleList(others), tuple(weights)

    @property
    def models(self) -> tuple[nn.Module, ...]:
        return (self.model, *(other.model for other in self._others))

    @property
    def _others(self) -> list[Answers]:
        return cast("list[Answers]", list(self.others))

    def logits(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        total = self.weights[0] * super().logits(images)
        for weight, other in zip(self.weights[1:], self._others, strict=True):
            total = total + weight * other.logits(images)
        return total


def drawing_limit(answers: Answers, info: ModelInfo) -> float:
    """Return the novelty above which a drawing is out of distribution, at least 1.

    A silhouette of one colour lies further from the training images than photos do: the limit of photos refuses half
    of those that are drawn well. How far depends on the network, and so each exported file has a limit of its own.

    It is 1, the limit of photos, for networks without a detector, and for those that do not see garments of the ten
    classes of Fashion-MNIST as its images are.

    Args:
        answers: Answers of the network, on the CPU, with its detector.
        info: Info on the same network.
    """
    sees_garments = info.recipe.data.pictures == "garment" and info.task.image_shape == (1, 28, 28)
    if answers.novelty is None or info.task.class_names != CLASS_NAMES or not sees_garments:
        return 1.0
    images = torch.from_numpy(read_idx(DRAWINGS, dimensions=3, what="drawings").array)[:, None]
    with torch.inference_mode():
        _, _, novelty = answers(images)
    return max(1.0, torch.quantile(novelty, ACCEPTED, interpolation="higher").item())
