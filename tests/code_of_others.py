"""Networks, losses and augmentations as users write them: sound ones, and one for each way to be wrong."""

import hashlib
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modiste.data.labelled import LabelledImages
from modiste.recipes.recipe import DataRecipe


class Net(nn.Module):
    """Has what a user's network may have: dropout of torch, buffers, shared weights, and a view of its maps."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(4 * height * width, classes)
        self.again = nn.Linear(4 * height * width, classes, bias=False)
        self.again.weight = self.head.weight
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.norm(self.conv(images)))
        flat = self.drop(maps.view(maps.size(0), -1))
        noise = 0.1 * torch.rand(()) if self.training else 0.0
        return self.head(flat) + self.scale * self.again(flat) + noise


class Lazy(nn.Sequential):
    def __init__(self, classes: int) -> None:
        super().__init__(nn.Flatten(), nn.LazyLinear(classes))


def make_mlp() -> nn.Module:
    """A function without arguments, for five classes."""
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 5))


def focal(logits: Tensor, targets: Tensor) -> Tensor:
    logs = logits.log_softmax(1)
    return -(targets * (1 - logs.exp()).square() * logs).sum(1).mean()


def weighted_squares(logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    losses = (logits.softmax(1) - targets).square().sum(1)
    return losses.mean() if weights is None else (losses * weights).mean()


def noisy(images: Tensor, _targets: Tensor, generator: torch.Generator) -> Tensor:
    return (images + 0.1 * torch.rand(images.shape, generator=generator, device=images.device)).clamp(0, 1)


def halved(images: Tensor, targets: Tensor, _generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return images / 2, targets


class _Flat(nn.Module):
    """Base of the faulty ones: one dense layer."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        pixels = image_shape[0] * image_shape[1] * image_shape[2]
        self.dense, self.classes = nn.Linear(pixels, classes), classes

    def logits(self, images: Tensor) -> Tensor:
        return self.dense(images.flatten(1))


class ReturnsTuple(_Flat):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.logits(images), images


class ReturnsTooMany(_Flat):
    def forward(self, images: Tensor) -> Tensor:
        return self.logits(images).repeat(1, 2)


class ReturnsFlat(_Flat):
    def forward(self, images: Tensor) -> Tensor:
        return self.logits(images).flatten()


class ReturnsNothing(_Flat):
    def forward(self, images: Tensor) -> None:
        self.logits(images)


class ReturnsNaN(_Flat):
    def forward(self, images: Tensor) -> Tensor:
        return self.logits(images) / 0 * 0


class ReturnsLabels(_Flat):
    def forward(self, images: Tensor) -> Tensor:
        return F.one_hot(self.logits(images).argmax(1), self.classes)


class WithoutGradient(_Flat):
    def forward(self, images: Tensor) -> Tensor:
        return self.logits(images).detach()


class Doubles(_Flat):
    def __init__(self, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__(image_shape, classes)
        self.double()

    def forward(self, images: Tensor) -> Tensor:
        return self.logits(images.double())


class Frozen(_Flat):
    def __init__(self, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__(image_shape, classes)
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits(images)


class WithoutWeights(nn.Flatten):
    """Nothing to train."""


class FailsInTraining(_Flat):
    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            raise ValueError("the moon is full")
        return self.logits(images)


class WantsMore(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, 5)


class Softmax(_Flat):
    """Allowed, and warned of."""

    def forward(self, images: Tensor) -> Tensor:
        return self.logits(images).softmax(1)


def not_a_network() -> str:
    return "a network"


def loss_of_each(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits - targets).square().sum(1)


def loss_as_number(logits: Tensor, targets: Tensor) -> float:
    return float((logits.detach() - targets).square().mean())


def loss_is_nan(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits - targets).mean() * torch.nan


def loss_ignores_logits(_logits: Tensor, targets: Tensor) -> Tensor:
    return targets.mean()


def loss_fails(logits: Tensor, targets: Tensor) -> Tensor:
    return logits @ targets


def crops(images: Tensor, _targets: Tensor, _generator: torch.Generator) -> Tensor:
    return images[:, :, 1:]


def returns_bytes(images: Tensor, _targets: Tensor, _generator: torch.Generator) -> Tensor:
    return (images * 255).byte()


def draws_elsewhere(images: Tensor, _targets: Tensor, _generator: torch.Generator) -> Tensor:
    return images * random.random()


def divides_by_zero(images: Tensor, _targets: Tensor, _generator: torch.Generator) -> Tensor:
    return images / 0


def forgets_the_generator(images: Tensor) -> Tensor:
    return images


class Stripes:
    """A kind of data source: a file that ends in .stripes stands for images of five classes."""

    name, layout = "stripes", "a file that ends in .stripes"

    def detect(self, path: Path) -> bool:
        return path.suffix == ".stripes"

    def load(self, _path: Path, _recipe: DataRecipe) -> LabelledImages:
        labels = np.arange(200) % 5
        images = np.zeros((200, 12, 12), np.uint8)
        images[np.arange(200), :, 2 * labels] = 200
        images += np.random.RandomState(3).randint(0, 50, images.shape).astype(np.uint8)
        return LabelledImages("stripes", images, labels, tuple("01234"), hashlib.sha256(images).hexdigest())

    def load_test(self, path: Path, recipe: DataRecipe) -> LabelledImages:
        return self.load(path, recipe)


class NeedsWords(Stripes):
    """Cannot be made by a worker, which knows no arguments."""

    name = "words"

    def __init__(self, ending: str) -> None:
        self.ending = ending

    def detect(self, path: Path) -> bool:
        return path.suffix == self.ending
