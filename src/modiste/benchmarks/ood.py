"""Detection of out-of-distribution images: the run's own detector beside the usual baselines.

The measures are pure functions of the scores of both kinds of image; the score of those that are out of distribution is
higher. Equal scores count as half, as in scikit-learn.
"""

from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from statistics import mean
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from modiste import machine
from modiste.benchmarks.corrupted_images import smooth_patterns
from modiste.benchmarks.draws import Draws
from modiste.benchmarks.result import Figure, Findings, Published
from modiste.benchmarks.settings import Settings
from modiste.benchmarks.subjects import Candidates, Subjects
from modiste.data import sources
from modiste.data.dataset import ImageSet, balanced_sample, shown_once
from modiste.display import Table, percent
from modiste.errors import DataError, shown
from modiste.evaluation.other_data import load_images
from modiste.evaluation.out_of_distribution import run_detector
from modiste.evaluation.out_of_distribution.features import DENSE, LOGITS, features
from modiste.evaluation.out_of_distribution.novelty import Features, in_parts
from modiste.evaluation.run_images import load_own_development
from modiste.evaluation.statistics import NORMAL_95, wilson_interval
from modiste.recipes.recipe import DataRecipe
from modiste.runs.run_folder import Run

MOST_KNOWN = 10_000
"""Training images that the distances of the baselines are measured from, the classes by turns."""
NEIGHBOURS = 50
"""The distance to the neighbour of this rank is the score (Sun, Ming, Zhu and Li, 2022)."""
SHRINKAGE = 1e-3
"""Added to the covariance's diagonal, as a share of its mean."""
BLOCK = 1000
"""Images whose distances to all training images are computed at once."""
IN_USE = "in use"
MADE = ("noise", "textures", "checks")
"""Sets of images that are made here."""
PUBLISHED = (
    Published(
        "AUROC against MNIST, one network of a kind made for it (DUQ)",
        "0.955",
        "van Amersfoort, Smith, Teh and Gal, 2020, Uncertainty estimation using a single deep deterministic neural "
        "network; the figure as an index of results has it, the paper itself was not at hand",
    ),
)
NONE_LOADED: Mapping[str, Tensor] = MappingProxyType({})
Scores = dict[str, Float[Tensor, " _"]]
"""By the name of the score."""
ACCEPTED = 0.95
"""Share of the images of the classes that ``false_positive_rate`` accepts."""


def check(settings: Settings) -> None:
    """Raise DataError if there is no set of images at one of the paths."""
    for path in settings.against:
        sources.locate(path)


def check_runs(settings: Settings, candidates: Candidates) -> None:
    """Load the images at the paths; DataError if some are damaged, or of another shape than those of the runs."""
    images, prepared = candidates.images, _preparation(candidates.images, candidates.runs[0])
    for path in settings.against:
        candidates.others[path] = _load(path, tuple(images.images.shape[1:]), prepared)


def measure(subjects: Subjects, settings: Settings) -> Findings:
    """Measure how well each score tells images of other sets from those of the split.

    Raises:
        DataError: Images of another set have another shape, or are missing; or the run has no detector, and its
            training images are not at hand.
        RunError: The data are not those of the run.
    """
    images = subjects.images
    prepared = _preparation(images, subjects.found.runs[0])
    others = other_images(images.images.cpu(), settings.against, prepared, subjects.others)
    found = [_of_run(subjects, number, others) for number in range(len(subjects))]
    figures = tuple(_figures(one) for one in found)
    tables = [_table(str(run.folder), one) for run, one in zip(subjects.found.runs, found, strict=True)]
    counts = {name: f"{len(images):,} images" for name, images in others.items()}
    return Findings(
        figures=figures, details=tuple({"by_set": one} for one in found), tables=tuple(tables), settings=counts
    )


def _preparation(images: ImageSet, run: Run) -> DataRecipe:
    """Return what picture files of other sets become: what the run's recipe makes of its own, if these are files."""
    return whole_pictures(images.images) if images.digests is None else run.recipe.data


def whole_pictures(images: UInt8[Tensor, "n c h w"]) -> DataRecipe:
    """Return a recipe by which picture files get the size and channels of ``images``, and are else left as they are."""
    return DataRecipe(pictures="whole", side=images.shape[3], colour=images.shape[1] == 3)


def other_images(
    images: UInt8[Tensor, "n c h w"],
    paths: tuple[str, ...],
    prepared: DataRecipe,
    loaded: Mapping[str, UInt8[Tensor, "_ c h w"]] = NONE_LOADED,
) -> dict[str, UInt8[Tensor, "_ c h w"]]:
    """Return the sets of images of no class: those at the paths, and as many of noise, textures and checks as images.

    Args:
        images: Images of the split.
        paths: Paths of other sets.
        prepared: Says what picture files at the paths become.
        loaded: Images at some of the paths, if they are loaded.

    Raises:
        DataError: Images at a path are missing or damaged, or have another shape.
    """
    short = [Path(path).name for path in paths]
    full = [f"./{path}" if path in MADE else path for path in paths]
    names = short if len({*short, *MADE}) == len(short) + len(MADE) else full
    shape = tuple(images.shape[1:])
    sets = (loaded[path] if path in loaded else _load(path, shape, prepared) for path in paths)
    found = dict(zip(names, sets, strict=True))
    count, channels, height, width = images.shape
    draws = Draws(machine.seed_for(0, "out-of-distribution"), 0, count)
    like = np.zeros((count, height, width), np.int32)
    made = draws.below(256, height, width), smooth_patterns(like, draws), _checks(like, draws)
    for name, pixels in zip(MADE, made, strict=True):
        found[name] = torch.from_numpy(pixels.astype(np.uint8))[:, None].expand(-1, channels, -1, -1)
    return found


def _load(path: str, shape: tuple[int, ...], prepared: DataRecipe) -> UInt8[Tensor, "n c h w"]:
    images = load_images(path, prepared)
    if tuple(images.shape[1:]) != shape:
        raise DataError(
            f"{shown(path)}: expected images of {shape}, as those of the runs, found {tuple(images.shape[1:])}; "
            "give images of that size"
        )
    return images


def _checks(like: np.ndarray, draws: Draws) -> np.ndarray:
    """Return checked patterns: squares of 1 to 7 pixels in two grey levels, moved at random."""
    height, width = like.shape[1:]
    side, down, right = 1 + draws.below(7, 1, 1), draws.below(7, 1, 1), draws.below(7, 1, 1)
    rows, columns = np.arange(height)[None, :, None], np.arange(width)[None, None, :]
    is_dark = ((rows + down) // side + (columns + right) // side) % 2
    return np.where(is_dark, draws.below(256, 1, 1), draws.below(256, 1, 1))


def _of_run(
    subjects: Subjects, number: int, others: Mapping[str, UInt8[Tensor, "_ c h w"]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return AUROC, its interval, FPR and AUPR by set and score."""
    run, model = subjects.found.runs[number], subjects.model(number)
    development = load_own_development(run, subjects.data_folder)
    train = shown_once(development.train, run.recipe.data)
    chosen = balanced_sample(train.labels.cpu(), MOST_KNOWN, "out-of-distribution")
    precision = run.recipe.precision
    known = features(model, train.images[chosen], precision)
    labels = train.labels.cpu()[chosen]
    detector = run_detector.of_run(run, subjects.data_folder)

    def scores(images: UInt8[Tensor, "n c h w"]) -> Scores:
        seen = features(model, images, precision)
        return {IN_USE: in_parts(detector.layers, seen, detector.scores).double(), **baselines(seen, known, labels)}

    inside = scores(subjects.images.images)
    return {name: _compared(inside, scores(images)) for name, images in others.items()}


def baselines(seen: Features, known: Mapping[str, Float[Tensor, "k _"]], labels: Int64[Tensor, " k"]) -> Scores:
    """Return the scores of the usual baselines; the higher, the less like the training images.

    Args:
        seen: Features of the images.
        known: Features of training images.
        labels: Labels of these.
    """
    logits = seen[LOGITS].double()
    place = DENSE if DENSE in known and len(known[DENSE]) == len(labels) else LOGITS
    return {
        "largest probability": 1 - logits.softmax(1).amax(1),
        "energy": -logits.logsumexp(1),
        "Mahalanobis": _mahalanobis(seen[place].double(), known[place].double(), labels),
        "nearest neighbours": _neighbour_distances(seen[place], known[place]),
    }


def _mahalanobis(seen: Tensor, known: Tensor, labels: Tensor) -> Float[Tensor, " n"]:
    """Return the squared distance to the nearest class mean, with one covariance for all classes (Lee et al., 2018)."""
    present, groups = torch.unique(labels, return_inverse=True)
    means = torch.stack([known[groups == number].mean(0) for number in range(len(present))])
    away = known - means[groups]
    covariance = away.T @ away / len(away)
    least = SHRINKAGE * covariance.diagonal().mean() + torch.finfo(torch.float32).tiny
    whitening = torch.linalg.cholesky(torch.linalg.inv(covariance + least * torch.eye(len(covariance))))
    return torch.cdist(seen @ whitening, means @ whitening).amin(1).square()


def _neighbour_distances(seen: Tensor, known: Tensor) -> Float[Tensor, " n"]:
    """Return the distance of the normalised features to their neighbour of rank NEIGHBOURS among ``known``."""
    own, other = F.normalize(seen), F.normalize(known)
    rank = min(NEIGHBOURS, len(other))
    parts = [(2 - 2 * part @ other.T).kthvalue(rank, dim=1).values for part in torch.split(own, BLOCK)]
    return torch.cat(parts).clamp(min=0).sqrt().double()


def _compared(inside: Scores, outside: Scores) -> dict[str, dict[str, float]]:
    found = {}
    for name, own in inside.items():
        low, high = auroc_interval(own, outside[name])
        found[name] = {
            "auroc": auroc(own, outside[name]),
            "auroc_low": low,
            "auroc_high": high,
            "false_positive_rate": false_positive_rate(own, outside[name]),
            "average_precision": average_precision(own, outside[name]),
        }
    return found


def _figures(by_set: dict[str, dict[str, dict[str, float]]]) -> dict[str, Figure]:
    found = {
        f"AUROC, {name}": Figure(one[IN_USE]["auroc"], (one[IN_USE]["auroc_low"], one[IN_USE]["auroc_high"]))
        for name, one in by_set.items()
    }
    return {**found, "AUROC, mean": Figure(mean(one[IN_USE]["auroc"] for one in by_set.values()))}


def _table(name: str, by_set: dict[str, dict[str, dict[str, float]]]) -> Table:
    rows = [
        [f"{other}, {score}", *(percent(one[key]) for key in ("auroc", "false_positive_rate", "average_precision"))]
        for other, scores in by_set.items()
        for score, one in scores.items()
    ]
    return Table(f"By set and score, {name}", rows, ("set and score", "AUROC", "FPR at 95%", "AUPR"))


def auroc(inside: Float[Tensor, " n"], outside: Float[Tensor, " m"]) -> float:
    """Return the probability that an image of ``outside`` has a higher score than one of ``inside``, 0 to 1.

    That is the area under the receiver operating characteristic.

    Example:
        >>> auroc(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]))
        0.875
    """
    return _higher_than(outside, inside).mean().item()


def auroc_interval(inside: Float[Tensor, " n"], outside: Float[Tensor, " m"]) -> tuple[float, float]:
    """Return the 95 % interval of the AUROC by the variance of DeLong, DeLong and Clarke-Pearson (1988), 0 to 1.

    That variance is 0 if all scores of one set are above those of the other, however few they are, and is not defined
    for a single image. The interval is then Wilson's for as many pairs of images as the smaller set allows.
    """
    by_outside, by_inside = _higher_than(outside, inside), 1 - _higher_than(inside, outside)
    centre, pairs = by_outside.mean().item(), min(len(outside), len(inside))
    variance = 0.0
    if pairs > 1:
        variance = by_outside.var().item() / len(outside) + by_inside.var().item() / len(inside)
    if not variance:
        return wilson_interval(round(centre * pairs), pairs)
    half = NORMAL_95 * sqrt(variance)
    return max(0.0, centre - half), min(1.0, centre + half)


def false_positive_rate(inside: Float[Tensor, " n"], outside: Float[Tensor, " m"]) -> float:
    """Return the share of ``outside`` that is accepted by the lowest threshold that accepts ACCEPTED of ``inside``.

    Example:
        >>> false_positive_rate(torch.arange(100.0), torch.tensor([94.0, 95.0]))
        0.5
    """
    ordered = inside.sort().values
    threshold = ordered[max(0, -int(-ACCEPTED * len(inside) // 1) - 1)]  # the ceiling of the count, less one
    return (outside <= threshold).double().mean().item()


def average_precision(inside: Float[Tensor, " n"], outside: Float[Tensor, " m"]) -> float:
    """Return the area under the precision-recall curve, with ``outside`` as the class that is sought, 0 to 1.

    The area is a sum of steps, not interpolated: precision at each threshold, weighted by the gain in recall.

    Example:
        >>> average_precision(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 0.5]))
        0.8333333333333333
    """
    scores, order = torch.cat([inside, outside]).sort(descending=True)
    is_sought = (order >= len(inside)).double()
    ends = torch.cat([scores[1:] != scores[:-1], torch.tensor([True])])  # equal scores are one threshold
    found = is_sought.cumsum(0)[ends]
    precision = found / torch.arange(1, len(scores) + 1)[ends]
    gain = found.diff(prepend=torch.zeros(1, dtype=torch.float64)) / len(outside)
    return (precision * gain).sum().item()


def _higher_than(some: Float[Tensor, " n"], others: Float[Tensor, " m"]) -> Float[Tensor, " n"]:
    """Return the share of ``others`` below each of ``some``; equal ones count as half."""
    ordered = others.sort().values
    below, up_to = (torch.searchsorted(ordered, some, right=right).double() for right in (False, True))
    return (below + up_to) / (2 * len(others))
