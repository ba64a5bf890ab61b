"""Whether an image is unlike anything in training: how far it lies, in two layers, from the classes as they lie there.

The score is after Lee, Lee, Lee and Shin (2018): Mahalanobis' distance to the nearest class mean, with one covariance
for all classes. Each layer's distance is divided by one that few validation images exceed, and the greater counts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from modiste import checkpoint, run_folder, storage
from modiste.data.batch import as_floats
from modiste.data.dataset import Development
from modiste.evaluation.assessment import load_own_development
from modiste.evaluation.inference import BATCH_IMAGES
from modiste.run_folder import Run

FILE = "novelty.safetensors"
KNOWN = 0.96
"""Share of validation images that the threshold lets pass."""
MOST_IMAGES = 20_000
"""So many training images are enough for means and covariance."""
WIDEST_LAYER = 1024
SHRINKAGE = 1e-3
"""What is added to the covariance's diagonal, as a share of its mean: directions without variance count little."""


@dataclass(frozen=True)
class Layer:
    """How the classes lie in a layer.

    Attributes:
        means: of each class.
        precision: inverse of the covariance about them.
        scale: distance that few validation images exceed.
    """

    means: Float[Tensor, "classes d"]
    precision: Float[Tensor, "d d"]
    scale: float

    def distances(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return each image's squared distance to its nearest class, relative to ``scale``."""
        away = features.double()[:, None] - self.means
        return torch.einsum("ncd,de,nce->nc", away, self.precision, away).amin(1) / self.scale


@dataclass(frozen=True)
class Novelty:
    """What tells images of the classes from all others.

    Attributes:
        layers: where distances are taken.
        threshold: score above which an image counts as none of the classes.
        false_alarms: share of validation images above it, of the half that had no part in choosing it.
        images: how many those were.
    """

    layers: tuple[Layer, ...]
    threshold: float
    false_alarms: float
    images: int

    def scores(self, model: nn.Module, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """Return how unlike the training images each image is; above 1 it is none of the classes."""
        return _scores(self.layers, features(model, images)) / self.threshold


def of_run(run: Run, data_folder: Path | str | None = None) -> Novelty:
    """Return what is stored with the run, or learn it from the run's training images and store it; DataError etc."""
    if run_folder.is_listed(run, FILE):
        return _read(run.folder / FILE)
    model, _ = run.load_model()
    novelty = learn(model, load_own_development(run, data_folder))
    _write(run.folder / FILE, novelty)
    run_folder.add_files(run, [FILE], test_openings=run.test_openings)
    return novelty


def learn(model: nn.Module, development: Development) -> Novelty:
    """Learn how the classes lie from training images, and the threshold from every second validation image."""
    train, validation = development.train, development.validation
    images, labels = train.images[:MOST_IMAGES], train.labels[:MOST_IMAGES]
    known, unknown = features(model, images), features(model, validation.images)
    layers = tuple(_layer(one, labels, other[::2]) for one, other in zip(known, unknown, strict=True))
    scores = _scores(layers, unknown)
    threshold = torch.quantile(scores[::2], KNOWN).item()
    held_out = scores[1::2]
    return Novelty(layers, threshold, (held_out > threshold).double().mean().item(), len(held_out))


@torch.inference_mode()
def features(model: nn.Module, images: UInt8[Tensor, "n c h w"]) -> list[Float[Tensor, "n _"]]:
    """Return, for each image, what enters the last dense layer, and the means of the last maps before it.

    A network that has neither in a usable form is looked at by its logits.
    """
    model.eval()
    device, found = next(model.parameters()).device, list[list[Tensor]]()
    with _watched(model) as seen:
        for part in torch.split(images, BATCH_IMAGES):
            seen.clear()
            logits = model(as_floats(part.to(device)))
            usable = [one for one in seen.values() if len(one) == len(part) and one.shape[1] <= WIDEST_LAYER]
            found.append([one.float().cpu() for one in usable or [logits]])
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


@contextmanager
def _watched(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Note what enters the last dense layer, and the last four-dimensional output, whenever the model is called."""
    seen: dict[str, Tensor] = {}
    dense = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    leaves = [layer for layer in model.modules() if not list(layer.children())]

    def note_input(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen["dense"] = inputs[0].flatten(1)

    def note_maps(_layer: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4:
            seen["maps"] = output.mean((2, 3))

    hooks = [leaf.register_forward_hook(note_maps) for leaf in leaves]
    hooks += [dense[-1].register_forward_pre_hook(note_input)] if dense else []
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _layer(known: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], others: Float[Tensor, "m d"]) -> Layer:
    known, labels = known.double(), labels.cpu()
    groups = [known[labels == label] for label in sorted(set(labels.tolist()))]
    means = torch.stack([group.mean(0) for group in groups])
    about = torch.cat([group - mean for group, mean in zip(groups, means, strict=True)])
    covariance = about.T @ about / len(about)
    covariance += SHRINKAGE * covariance.trace() / len(covariance) * torch.eye(len(covariance))
    layer = Layer(means, torch.linalg.inv(covariance), 1.0)
    return replace(layer, scale=torch.quantile(layer.distances(others), KNOWN).item())


def _scores(layers: tuple[Layer, ...], seen: list[Float[Tensor, "n _"]]) -> Float[Tensor, " n"]:
    distances = [layer.distances(one) for layer, one in zip(layers, seen, strict=True)]
    return torch.stack(distances).amax(0)


def _write(path: Path, novelty: Novelty) -> None:
    tensors = dict[str, Tensor]()
    for number, layer in enumerate(novelty.layers):
        tensors |= {f"{number}:means": layer.means, f"{number}:precision": layer.precision}
    plain = {
        "scales": [layer.scale for layer in novelty.layers],
        "threshold": novelty.threshold,
        "false_alarms": novelty.false_alarms,
        "images": novelty.images,
    }
    storage.write_bytes(path, checkpoint.to_bytes(tensors, plain))


def _read(path: Path) -> Novelty:
    tensors, plain = checkpoint.read(path)
    layers = tuple(
        Layer(tensors[f"{number}:means"], tensors[f"{number}:precision"], scale)
        for number, scale in enumerate(plain["scales"])
    )
    return Novelty(layers, plain["threshold"], plain["false_alarms"], plain["images"])
