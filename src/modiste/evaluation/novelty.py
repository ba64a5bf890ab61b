"""Whether an image is unlike anything in training: how far it lies, in two layers, from the classes as they lie there.

The score is after Lee, Lee, Lee and Shin (2018): Mahalanobis' distance to the nearest class mean, with one covariance
for all classes. Each layer's distance is divided by one that few validation images exceed, and the greater counts.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from modiste import checkpoint, run_folder, storage
from modiste.data.batch import as_floats
from modiste.data.dataset import Development
from modiste.errors import RunError
from modiste.evaluation.assessment import load_own_development
from modiste.evaluation.inference import BATCH_IMAGES
from modiste.run_folder import Run

FILE = "novelty.safetensors"
KNOWN = 0.96
"""Share of validation images that the threshold lets pass."""
MOST_IMAGES = 20_000
"""So many training images are enough for means and covariance."""
WIDEST_LAYER = 1024
LOGITS = "logits"
"""The place that every network has; looked at where there is no other."""
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
        scale: distance that few validation images exceed.
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
        threshold: greatest distance that an image of one of the classes has.
        false_alarms: share of validation images above it, of the half that had no part in choosing it.
        images: how many those were.
    """

    layers: tuple[Layer, ...]
    threshold: float
    false_alarms: float
    images: int

    def scores(self, seen: Mapping[str, Float[Tensor, "n _"]]) -> Float[Tensor, " n"]:
        """Return how unlike the training images each image is, by what was seen of it; above 1 it is no class's."""
        return _greatest(self.layers, seen) / self.threshold


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
    layers = tuple(_layer(place, known[place], labels, unknown[place][::2]) for place in _places(known, len(images)))
    scores = _greatest(layers, unknown)
    threshold = torch.quantile(scores[::2], KNOWN).item()
    held_out = scores[1::2]
    return Novelty(layers, threshold, (held_out > threshold).double().mean().item(), len(held_out))


@torch.inference_mode()
def features(model: nn.Module, images: UInt8[Tensor, "n c h w"]) -> dict[str, Float[Tensor, "n _"]]:
    """Return what ``watched`` sees of each image, on the processor."""
    model.eval()
    device, found = next(model.parameters()).device, list[dict[str, Tensor]]()
    for part in torch.split(images, BATCH_IMAGES):
        with watched(model) as seen:
            model(as_floats(part.to(device)))
        found.append({place: one.float().cpu() for place, one in seen.items()})
    return {place: torch.cat([one[place] for one in found]) for place in found[0]}


@contextmanager
def watched(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Note what the next call of the model computes: logits, what enters its last dense layer, means of its last maps.

    The first call counts, not that of the mirror images after it.
    """
    seen: dict[str, Tensor] = {}
    noting = True
    dense = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    leaves = [layer for layer in model.modules() if not list(layer.children())]

    def note_input(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if noting:
            seen["dense"] = inputs[0].flatten(1)

    def note_maps(_layer: nn.Module, _inputs: object, output: object) -> None:
        if noting and isinstance(output, Tensor) and output.dim() == 4:
            seen["maps"] = output.mean((2, 3))

    def note_logits(_model: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal noting
        if noting:
            seen[LOGITS] = output
        noting = False

    hooks = [leaf.register_forward_hook(note_maps) for leaf in leaves]
    hooks += [dense[-1].register_forward_pre_hook(note_input)] if dense else []
    hooks.append(model.register_forward_hook(note_logits))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _places(seen: Mapping[str, Float[Tensor, "n _"]], count: int) -> list[str]:
    """Choose the layers that hold one vector an image, of no more than WIDEST_LAYER numbers."""
    inner = (place for place in seen if place != LOGITS)
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


def _greatest(layers: tuple[Layer, ...], seen: Mapping[str, Float[Tensor, "n _"]]) -> Float[Tensor, " n"]:
    return torch.stack([layer.distances(seen[layer.place]) for layer in layers]).amax(0)


def _write(path: Path, novelty: Novelty) -> None:
    tensors = dict[str, Tensor]()
    for layer in novelty.layers:
        tensors |= {f"{layer.place}:means": layer.means, f"{layer.place}:whitening": layer.whitening}
    plain = {
        "scales": {layer.place: layer.scale for layer in novelty.layers},
        "threshold": novelty.threshold,
        "false_alarms": novelty.false_alarms,
        "images": novelty.images,
    }
    storage.write_bytes(path, checkpoint.to_bytes(tensors, plain))


def _read(path: Path) -> Novelty:
    tensors, plain = checkpoint.read(path)
    try:
        layers = tuple(
            Layer(place, tensors[f"{place}:means"], tensors[f"{place}:whitening"], scale)
            for place, scale in plain["scales"].items()
        )
        return Novelty(layers, plain["threshold"], plain["false_alarms"], plain["images"])
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: damaged or of another kind ({error}); delete it to learn it again") from error
