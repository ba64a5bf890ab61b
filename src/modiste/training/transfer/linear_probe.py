"""The last layer fitted to the features of a network by logistic regression, before any step of training.

Kumar et al., "Fine-Tuning can Distort Pretrained Features", 2022, fit the last layer first and then train all others.
Without that training the result is a linear classifier on fixed features. Every feature is standardised, and an L2
penalty of the weights is selected by the loss on validation images.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from modiste import machine
from modiste.data.batch import as_targets, class_weights
from modiste.data.dataset import Development
from modiste.errors import extra_for
from modiste.evaluation.inference import averaged, parts, ready
from modiste.recipes.plain import to_plain
from modiste.recipes.recipe import Recipe
from modiste.training.transfer.feature_cache import open_cache, outputs
from modiste.training.warm_start.progress import Progress, biased_head, features, linear_head

NAME = "linear-probe"
FIELD = "transfer.linear_probe"
"""The recipe's field, for messages."""
PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""From strong to weak: each fit starts from the one before it, so that all together take little longer than one."""
MOST_ITERATIONS, TOLERANCE, MOST_SLOPE = 200, 1e-7, 1e-4
"""Of L-BFGS for each penalty: its end, by the relative change of the loss or by the largest slope."""
LEAST_DEVIATION = 0.3
"""Lower bound of a feature's deviation, as a share of the root mean square of all deviations.

Of a few pictures, many features hardly vary. Divided by so small a deviation, they would outweigh all others on other
pictures, and bfloat16 could not hold them beside the others. A feature that never changes stays at 0.
"""


@dataclass(frozen=True)
class Fitted:
    """What is known of the images after the fit.

    Attributes:
        loss: Sum of the losses of the training images, in nats.
        correct: Number of the training images that are classified correctly.
        logits: Logits of both splits' images, by the name of the split: those of ``infer``, to the last bit.
            Empty if ``infer`` averages logits over views of an image.
        seconds: How long the fit took, with the features.
    """

    loss: float = 0.0
    correct: int = 0
    logits: dict[str, Float[Tensor, "_ k"]] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Standardized:
    """Features of training and validation images, standardised by those of the training images.

    Attributes:
        mean, deviation: Of each feature of the training images.
        train, validation: The features.
    """

    mean: Float[Tensor, " d"]
    deviation: Float[Tensor, " d"]
    train: Float[Tensor, "n d"]
    validation: Float[Tensor, "m d"]


def check(model: nn.Module) -> None:
    """Raise the errors of ``fit_head`` that need no image: MissingExtraError, or RecipeError for another last layer."""
    _minimizer()
    biased_head(model, FIELD)


def fit_head(model: nn.Module, development: Development, recipe: Recipe, progress: Progress) -> Fitted:
    """Fit the last layer of ``model``, in place.

    With ``augmentation.flip``, the mirror image of each training image counts as another image. With ``mirror`` or
    ``shifts``, the features of each image are averaged over the same views as its logits when it is classified. If
    epochs of training follow, neither is done: they show such images themselves, and time is saved.

    Args:
        model: A network that ends in a linear layer.
        development: The images, on the model's device. Weights of the training images multiply their losses.
        recipe: Sets precision, label smoothing, class balance, and mirror images.
        progress: Is notified of each batch, and of the validation loss of each penalty.

    Raises:
        MissingExtraError: SciPy is not installed.
        RecipeError: The network does not end in a linear layer with a bias.
        StoppedError: A signal asked to stop.
    """
    began = time.perf_counter()
    check(model)  # an error now, and not after the features of all images
    head, train = biased_head(model, FIELD), development.train
    if recipe.epochs:
        recipe = replace(recipe, mirror=False, shifts=0, augmentation=replace(recipe.augmentation, flip=False))
    validation, copies = development.validation, 1 + recipe.augmentation.flip
    batches = [len(parts(one.images, one.images.device, recipe.precision)) for one in (train, validation)]
    progress.start(copies * batches[0] + batches[1])
    inputs = {
        "train": head_inputs(model, train.images, recipe, progress, with_mirror_images=recipe.augmentation.flip),
        "validation": head_inputs(model, validation.images, recipe, progress),
    }
    found = standardized(inputs["train"], inputs["validation"])
    labels = train.labels.cpu().repeat(copies)
    own_weights = None if train.weights is None else train.weights.cpu().repeat(copies)
    targets, weights = _weighted_targets(labels, own_weights, head.out_features, recipe)
    weight, bias = _select(found, targets, weights, validation.labels.cpu(), recipe, progress)
    logits = found.train[: len(train)] @ weight.T + bias
    with torch.no_grad():
        head.weight.copy_(weight / found.deviation)
        head.bias.copy_(bias - (weight / found.deviation) @ found.mean)
    own, images = labels[: len(train)], {"train": train.images, "validation": validation.images}
    many = recipe.views.passes > 1
    known = {} if many else {split: _answer(head, inputs[split], images[split], recipe) for split in images}
    loss, correct = F.cross_entropy(logits, own, reduction="sum").item(), int((logits.argmax(1) == own).sum())
    return Fitted(loss, correct, known, time.perf_counter() - began)


@torch.inference_mode()
def _answer(
    head: nn.Linear, inputs: Float[Tensor, "m d"], images: UInt8[Tensor, "n c h w"], recipe: Recipe
) -> Float[Tensor, "n k"]:
    """Return the logits of the images from the features of all of them: in the batches and the precision of ``infer``.

    Args:
        head: The last layer.
        inputs: Inputs of that layer; those of mirror images may follow.
        images: Whose features these are.
        recipe: Sets the precision.
    """
    device = images.device
    sizes = [len(part) for part in parts(images, device, recipe.precision)]
    with machine.autocast(recipe.precision, device), machine.gpu_arithmetic(device):
        own = inputs[: len(images)].to(device)
        return torch.cat([head(batch).float() for batch in torch.split(own, sizes)]).cpu().clone()


@torch.inference_mode()
def head_inputs(
    model: nn.Module,
    images: UInt8[Tensor, "n c h w"],
    recipe: Recipe,
    progress: Progress,
    *,
    with_mirror_images: bool = False,
) -> Float[Tensor, "m d"]:
    """Return the features that enter the last layer, as it gets them when it classifies; float32 on the CPU.

    Those of an earlier call with the same arguments, or of a call that was killed, are read from the user's cache.

    Args:
        model: That ends in a linear layer, on the device of the images.
        images: As bytes.
        recipe: Names the network's fields, the precision, and the views of each image over which features are averaged.
        progress: Is notified of each batch.
        with_mirror_images: Whether the features of the mirror images follow those of the images.
    """
    quick = ready(model, recipe, images[:1])
    head = linear_head(quick, FIELD)
    choices = {
        "network": to_plain(recipe.model),
        "precision": recipe.precision,
        **asdict(recipe.views),
        "with_mirror_images": with_mirror_images,
    }
    cache = open_cache(images, model, images.device, choices)

    def inner(view: Tensor) -> Tensor:
        return features(quick, head, view).float()

    def compute(pixels: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        return averaged(inner, pixels, recipe.views)

    return outputs(images, compute, recipe.precision, cache, progress, with_mirror_images=with_mirror_images)


def standardized(train: Float[Tensor, "n d"], validation: Float[Tensor, "m d"]) -> Standardized:
    """Standardise features by the mean and the deviation of those of the training images; see LEAST_DEVIATION."""
    deviation, mean = torch.std_mean(train, dim=0, correction=0)
    least = LEAST_DEVIATION * deviation.square().mean().sqrt().item()
    deviation = deviation.clamp(min=max(least, torch.finfo().tiny))
    return Standardized(mean, deviation, (train - mean) / deviation, (validation - mean) / deviation)


def _weighted_targets(
    labels: Int64[Tensor, " n"], own: Float[Tensor, " n"] | None, classes: int, recipe: Recipe
) -> tuple[Float[Tensor, "n k"], Float[Tensor, " n"]]:
    """Return the target of each image, and its weight in the loss: that of its class times its own."""
    targets = as_targets(labels, classes, recipe.label_smoothing)
    weights = targets @ class_weights(labels, classes, recipe.balance) if recipe.balance else torch.ones(len(labels))
    return targets, weights if own is None else weights * own


def _select(
    found: Standardized,
    targets: Float[Tensor, "n k"],
    weights: Float[Tensor, " n"],
    validation_labels: Int64[Tensor, " m"],
    recipe: Recipe,
    progress: Progress,
) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
    """Return weights and bias of the penalty with the least validation loss, among those up to the first rise."""
    fitted = torch.zeros(targets.shape[1], found.train.shape[1] + 1)
    best, least = fitted, float("inf")
    for number, penalty in enumerate(PENALTIES, 1):
        fitted = logistic_regression(found.train, targets, weights, penalty, fitted)
        logits = found.validation @ fitted[:, :-1].T + fitted[:, -1]
        loss = F.cross_entropy(logits, validation_labels).item()
        progress.epoch_done(f"last layer, penalty {penalty:g}", number, "validation loss", loss)
        if loss >= least:
            break
        best, least = fitted, loss
    return best[:, :-1], best[:, -1]


def logistic_regression(
    features: Float[Tensor, "n d"],
    targets: Float[Tensor, "n k"],
    weights: Float[Tensor, " n"],
    penalty: float,
    start: Float[Tensor, "k e"],
) -> Float[Tensor, "k e"]:
    """Minimise the mean cross-entropy plus half the penalty times the squared weights, by L-BFGS (Liu, Nocedal, 1989).

    Args:
        features: Features of each image.
        targets: A probability for every class.
        weights: Weight of each image in the mean.
        penalty: Factor of the squared weights; the biases are free.
        start: Where to begin: weights, and the bias as the last column.

    Returns:
        The minimum, in the form of ``start``.
    """
    minimize = _minimizer()

    def loss_and_gradient(flat: Float[np.ndarray, " z"]) -> tuple[float, Float[np.ndarray, " z"]]:
        both = torch.from_numpy(flat).float().view_as(start)
        weight = both[:, :-1]
        logs = (features @ weight.T + both[:, -1]).log_softmax(1)
        loss = (
            -(weights @ (targets * logs).sum(1)).double() / len(features) + penalty / 2 * weight.double().square().sum()
        )
        slope = (logs.exp() - targets) * (weights / len(features))[:, None]
        gradient = torch.cat([slope.T @ features + penalty * weight, slope.sum(0)[:, None]], dim=1)
        return loss.item(), gradient.flatten().double().numpy()

    options = {"maxiter": MOST_ITERATIONS, "ftol": TOLERANCE, "gtol": MOST_SLOPE}
    first = start.flatten().double().numpy()
    with machine.threads_restored():
        torch.set_num_threads(1)  # to wake a second thread takes longer than each of the many small operations
        found = minimize(loss_and_gradient, first, jac=True, method="L-BFGS-B", options=options)
    return torch.from_numpy(found.x).float().view_as(start)


def _minimizer() -> Callable[..., Any]:
    """Return SciPy's ``minimize``; MissingExtraError if SciPy is not installed."""
    with extra_for("a linear probe", "SciPy", "evaluation"):
        from scipy.optimize import minimize
    found: Callable[..., Any] = minimize
    return found
