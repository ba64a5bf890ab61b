"""Labels that are likely wrong, by confident learning (Northcutt, Jiang and Chuang, 2021).

Each fold of the images is classified by a network that was trained on the others. The threshold of a class is its mean
probability over the images labelled with it. Each image counts for the most probable class whose threshold it reaches.
These counts estimate how many images of each label belong to each other class (the confident joint). That number of
images is suspicious, those with the largest margin of the other class over their label. The paper calls this "prune by
noise rate".
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from modiste.data.dataset import Development, SplitImages
from modiste.data.folds import assign_folds
from modiste.errors import StoppedError
from modiste.evaluation.inference import infer
from modiste.recipes.recipe import Recipe
from modiste.system.processes import CoreWatch
from modiste.training.loop import fit
from modiste.training.setup import Inputs, open_session, set_up, settle_threads
from modiste.training.tracking import Listener
from modiste.training.trainer import starting_state

LEAST_COUNT = 1e-6
"""Divisor for a class that no image belongs to, and least probability of a label."""
TEMPERATURES = tuple(10 ** (step / 10) for step in range(-8, 9))
"""From 0.16 to 6.3."""
NEAR = tuple(10 ** (step / 40) for step in range(-4, 5))
"""Factors of the best temperature, from 0.79 to 1.26."""
ROUNDS = 30
"""Of expectation and maximisation."""
LEAST_WRONG = 0.1
"""Least probability of being wrong of the labels that ``likely_wrong_labels`` returns."""
LEAST_SHOWN = 8_000
"""Least number of images in an epoch, so that a network also learns a small set."""


def out_of_fold_probabilities(
    known: SplitImages, recipe: Recipe, folds: int, *, device: str = "auto", report: Callable[[str], None] = print
) -> Float[Tensor, "n classes"]:
    """Return the probability of each class for each image, from a network that was trained without that image.

    Args:
        known: The images; validation images are used like the others, because nothing is selected here but the penalty
            of a linear probe, one number for a whole fold.
        recipe: Recipe of the networks. The weights of its last epoch are used. Labels are not smoothed, because
            smoothing would distort the confidence.
        folds: Number of folds, each with an even share of every class.
        device: Where to compute.
        report: Called with a line for each network.

    Raises:
        RecipeError, DivergedError, StoppedError: As in training.
    """
    watch = CoreWatch()
    recipe = replace(recipe, pick="last", patience=0, label_smoothing=0.0)
    fold = assign_folds(known.images.labels, folds, recipe.seed)
    found = torch.zeros(len(fold), len(known.class_names))
    for number in range(folds):
        own = (fold == number).nonzero().squeeze(1)
        others = (fold != number).nonzero().squeeze(1)
        development = fold_development(known, others, own, recipe)
        logits = _train_and_infer(development, recipe, device, watch)
        found[own] = logits.softmax(1)
        right = (logits.argmax(1) == known.images.labels[own]).float().mean().item()
        report(f"network {number + 1} of {folds}: {right:.2%} of {len(own):,} images classified as labelled")
    return found


def fold_development(
    known: SplitImages, train: Int64[Tensor, " n"], fold: Int64[Tensor, " m"], recipe: Recipe
) -> Development:
    """Return a fold as a data set; few images are repeated to LEAST_SHOWN, and no batch holds a single image.

    A recipe that begins from trained weights, or fits the last layer alone, needs no image twice.
    """
    from_nothing = recipe.epochs > 0 and not recipe.transfer.source
    shown = train.repeat(-(-LEAST_SHOWN // len(train)) if from_nothing else 1)
    shown = shown[:-1] if len(shown) % recipe.batch_size == 1 else shown
    images = known.images[shown]
    return Development(known.name, images, images.images, known.images[fold], known.class_names, known.fingerprint)


def _train_and_infer(
    development: Development, recipe: Recipe, device: str, watch: CoreWatch
) -> Float[Tensor, "m classes"]:
    """Train a network in a temporary folder; return its logits for the images held out."""
    with tempfile.TemporaryDirectory() as name, open_session(device, watch=watch) as session:
        run = set_up(recipe, Path(name), session, Inputs(development))
        assert run is not None, "a new folder holds no finished run"
        context = run.context(Listener())
        settle_threads(run.folder, watch)
        state = starting_state(run, context)
        try:
            fit(state, context)
        except StoppedError:
            raise StoppedError("stopped on request; an audit keeps nothing") from None
    return infer(state.evaluated, run.development.validation.images, run.recipe)


class Suspicion(NamedTuple):
    """A label that is likely wrong.

    Attributes:
        image: Index of the image.
        looks_like: The class that it looks like.
        margin: Margin of that class's probability over that of its label, from -1 to 1.
        wrong: Estimated share of wrong labels among suspicions like this one; see ``class_posterior``.
    """

    image: int
    looks_like: int
    margin: float
    wrong: float

    @property
    def wrong_share(self) -> str:
        """The share ``wrong`` as text, such as ``40%``; it is an estimate, and never certain.

        >>> [Suspicion(0, 1, 0.9, wrong).wrong_share for wrong in (0.0001, 0.4, 0.9999)]
        ['under 1%', '40%', 'over 99%']
        """
        if self.wrong < 0.005:
            return "under 1%"
        return f"{self.wrong:.0%}" if self.wrong < 0.995 else "over 99%"


def suspicious_labels(probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> list[Suspicion]:
    """Return the suspicious labels, those with the largest margin first.

    Args:
        probabilities: Probabilities of each class, from networks that were not trained on the image.
        labels: As given in the data set.
    """
    margins = probabilities - probabilities.gather(1, labels[:, None])
    chosen = torch.zeros_like(margins, dtype=torch.bool)
    for label, row in enumerate(confident_joint(probabilities, labels).round().long().tolist()):
        members = (labels == label).nonzero().squeeze(1)
        for other, count in enumerate(row):
            if other != label:
                chosen[members[margins[members, other].topk(count).indices], other] = True
    best = margins.masked_fill(~chosen | (margins <= 0), 0.0).max(1)
    order = best.values.argsort(descending=True, stable=True)[: int((best.values > 0).sum())]
    wrong = error_probabilities(probabilities, labels)
    columns = order, best.indices[order], best.values[order], wrong[order]
    return [Suspicion(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def likely_wrong_labels(probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> list[Suspicion]:
    """Return the labels that are wrong with a probability of LEAST_WRONG or more, the most likely first.

    A large margin is a weak sign between two classes that are often confused, a strong one between others. The
    probability takes that into account, but rests on probabilities that are not too sure of themselves: those of a
    single network are, their mean over several networks is less so.

    Args:
        probabilities: Probabilities of each class, from networks that were not trained on the image.
        labels: As given in the data set.

    Example:
        >>> labels = torch.arange(200) % 2
        >>> probabilities = torch.eye(2)[labels] * 0.98 + 0.01
        >>> labels[6] = 1  # was 0
        >>> [(one.image, one.looks_like) for one in likely_wrong_labels(probabilities, labels)]
        [(6, 0)]
    """
    posterior = class_posterior(probabilities, labels)
    wrong = 1 - posterior.gather(1, labels[:, None]).squeeze(1)
    looks_like = posterior.scatter(1, labels[:, None], -1.0).argmax(1)
    own, other = (probabilities.gather(1, column[:, None]).squeeze(1) for column in (labels, looks_like))
    order = wrong.argsort(descending=True, stable=True)[: int((wrong >= LEAST_WRONG).sum())]
    columns = order, looks_like[order], (other - own)[order], wrong[order]
    return [Suspicion(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def error_probabilities(probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the probability that each label is wrong, by Bayes' rule.

    The evidence is the probability of each class, sharpened or flattened by a temperature. The prior is how often an
    image of each class has each label. Both are those under which the labels are most likely; the prior is found by
    expectation and maximisation (Dempster, Laird and Rubin, 1977), from the confident joint on.
    """
    _, posterior = max(_fits(probabilities, labels, TEMPERATURES), key=lambda fit: fit[0])
    return 1 - posterior.gather(1, labels[:, None]).squeeze(1)


def class_posterior(
    probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]
) -> Float[Tensor, "n classes"]:
    """Return the probability that each image belongs to each class, given its label, by Bayes' rule.

    As ``error_probabilities``, but as a mean over temperatures near the best one, each weighted by the likelihood of
    the labels: with few images several temperatures explain them equally well, and the estimates differ by half.
    """
    coarse = [likelihood for likelihood, _ in _fits(probabilities, labels, TEMPERATURES)]
    best = TEMPERATURES[coarse.index(max(coarse))]
    fine = list(_fits(probabilities, labels, [best * step for step in NEAR]))
    logs = torch.tensor([likelihood for likelihood, _ in fine], dtype=torch.float64) * len(labels)
    weights = logs.softmax(0).tolist()
    posterior = torch.zeros_like(probabilities)
    for weight, (_, one) in zip(weights, fine, strict=True):
        posterior += weight * one
    return posterior


def _fits(
    probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], temperatures: Sequence[float]
) -> Iterator[tuple[float, Float[Tensor, "n classes"]]]:
    """Yield for each temperature what ``_fitted`` returns; one after the other, as each is as large as the input."""
    logs = probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()
    for temperature in temperatures:
        yield _fitted((logs / temperature).softmax(1), labels)


def _fitted(
    evidence: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]
) -> tuple[float, Float[Tensor, "n classes"]]:
    """Return the mean log-likelihood of the labels, and the probability of each class given evidence and label."""
    counts = confident_joint(evidence, labels)  # zeros stay: small counts in their place suspect more right labels
    for _ in range(ROUNDS):
        mislabelled = counts / counts.sum(0, keepdim=True).clamp(min=LEAST_COUNT)
        agreement = evidence * mislabelled[labels]
        likelihood = agreement.sum(1, keepdim=True).clamp(min=LEAST_COUNT)
        posterior = agreement / likelihood
        counts = torch.zeros_like(counts).index_add_(0, labels, posterior)
    return likelihood.log().mean().item(), posterior


def confident_joint(
    probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]
) -> Float[Tensor, "classes classes"]:
    """Return the estimated number of images of each label (row) that belong to each class (column).

    Each row adds up to the number of images with that label, including those that reach no threshold.
    """
    classes = probabilities.shape[1]
    counted = confident_classes(probabilities, labels)
    sure = counted >= 0
    joint = torch.zeros(classes, classes, dtype=torch.float64)
    ones = torch.ones(int(sure.sum()), dtype=torch.float64)
    joint.index_put_((labels[sure], counted[sure]), ones, accumulate=True)
    sizes = torch.bincount(labels, minlength=classes).double()
    return (joint / joint.sum(1, keepdim=True).clamp(min=1) * sizes[:, None]).float()


def confident_classes(probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """Return the most probable class whose threshold each image reaches; -1 if it reaches none."""
    own = torch.zeros_like(probabilities).scatter_(1, labels[:, None], probabilities.gather(1, labels[:, None]))
    counts = torch.bincount(labels, minlength=probabilities.shape[1]).clamp(min=1)
    thresholds = own.sum(0) / counts
    thresholds[torch.bincount(labels, minlength=probabilities.shape[1]) == 0] = torch.inf
    reached = probabilities.masked_fill(probabilities < thresholds, -1.0)
    best = reached.max(1)
    return torch.where(best.values >= 0, best.indices, torch.full_like(best.indices, -1))
