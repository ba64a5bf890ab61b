"""SimCLR: Chen, Kornblith, Norouzi and Hinton, "A Simple Framework for Contrastive Learning of Visual Representations".

2020. The network learns to find, for each view of an image, the other view of it among all views of a batch. No label
is needed. Differences: AdamW on one cycle in place of LARS, small batches, and views for small grey images, which have
no colours to distort.
"""

from math import isfinite

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from modiste import machine
from modiste.data.augment import augment
from modiste.data.batch import Batch, read_floats
from modiste.errors import DivergedError, RecipeError
from modiste.models import layers
from modiste.recipes.recipe import OptimizerRecipe, Recipe, ScheduleRecipe
from modiste.training.optimizers import Optimizer, build_optimizer
from modiste.training.schedules import factor
from modiste.training.warm_start.progress import Progress, features, linear_head

SCHEDULE = ScheduleRecipe(shape="one-cycle", warm_up=0.1)
Images = UInt8[Tensor, "n c h w"]


class Embedding(nn.Module):
    """The network up to its features, followed by a projection: images in, vectors for the loss out.

    Args:
        model: A network that ends in a linear layer, which is not used.
        size: Number of outputs of the projection.
        generator: Initialises the projection.
    """

    def __init__(self, model: nn.Module, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.model, self.head = model, linear_head(model, "warm_start: simclr")
        width = self.head.in_features
        with torch.random.fork_rng(devices=[]):
            self.projection = nn.Sequential(
                nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, size)
            )
        layers.initialize(self.projection, generator)

    def forward(self, images: Float[Tensor, "n c h w"], precision: str) -> Float[Tensor, "n d"]:
        with machine.autocast(precision, images.device):
            found = features(self.model, self.head, images)
        projected: Tensor = self.projection(found.float())
        return projected


def pretrain(model: nn.Module, images: Images, recipe: Recipe, progress: Progress) -> None:
    """Train all layers of ``model`` before the last; this module has no access to labels.

    Raises:
        DivergedError: A loss is not finite.
        RecipeError: The network has nothing to train before a last linear layer, or there is one image only.
        StoppedError: A signal asked to stop before the last step.
    """
    settings, device = recipe.self_supervised, images.device
    embedding = Embedding(model, settings.projection, machine.generator(recipe.seed, "projection")).to(device)
    _check(embedding, images)
    optimizer = build_optimizer(embedding, _optimizer(recipe))
    batch_size = min(settings.batch_size, len(images))
    per_epoch = len(images) // batch_size
    progress.start(settings.epochs * per_epoch)
    embedding.train()
    for epoch in range(settings.epochs):
        order = torch.randperm(len(images), generator=machine.generator(recipe.seed, "simclr order", epoch)).to(device)
        loss = 0.0
        for index, chosen in enumerate(torch.split(order[: per_epoch * batch_size], batch_size)):
            step = epoch * per_epoch + index
            optimizer.set_learning_rate(_learning_rate(recipe, (step + 0.5) / (settings.epochs * per_epoch)))
            loss += train_step(embedding, optimizer, images[chosen], recipe, step) / per_epoch
            progress.step_done()
        progress.epoch_done("features", epoch + 1, "NT-Xent loss", loss)


def train_step(embedding: Embedding, optimizer: Optimizer, images: Images, recipe: Recipe, step: int) -> float:
    """Take one step and return its loss; DivergedError, before any weight changes, if the loss is not finite."""
    generator = machine.generator(recipe.seed, "simclr views", step, device=images.device)
    views = two_views(images, recipe, generator)
    layers.share_generator(embedding, generator)
    loss = nt_xent(embedding(views, recipe.precision), recipe.self_supervised.temperature)
    value = loss.item()
    if not isfinite(value):
        raise DivergedError(
            f"step {step + 1} of the warm start simclr: the loss is {value}; the step was not applied; "
            "try a smaller --self-supervised.learning-rate"
        )
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return value


def two_views(images: Images, recipe: Recipe, generator: torch.Generator) -> Float[Tensor, "m c h w"]:
    """Return two random views of each image: one view of all images, then the other views in the same order."""
    twice = read_floats(images).repeat(2, 1, 1, 1)
    no_targets = twice.new_zeros(len(twice), 1)
    return augment(Batch(twice, no_targets), recipe.self_supervised.views, generator).images


def nt_xent(embeddings: Float[Tensor, "m d"], temperature: float) -> Float[Tensor, ""]:
    """Return the normalised temperature-scaled cross-entropy (equation 1 of the paper), in nats.

    Rows i and i + m/2 are the two views of one image. Each must be found by cosine similarity among all rows except
    itself. If all similarities are equal, the loss is log(m - 1).
    """
    count = len(embeddings)
    unit = F.normalize(embeddings, dim=1)
    itself = torch.eye(count, dtype=torch.bool, device=unit.device)
    similarities = (unit @ unit.T / temperature).masked_fill(itself, float("-inf"))
    partners = (torch.arange(count, device=unit.device) + count // 2) % count
    return F.cross_entropy(similarities, partners)


def _optimizer(recipe: Recipe) -> OptimizerRecipe:
    settings = recipe.self_supervised
    return OptimizerRecipe(
        name="adamw", learning_rate=settings.learning_rate, weight_decay=settings.weight_decay, epsilon=1e-8
    )


def _learning_rate(recipe: Recipe, progress: float) -> float:
    return recipe.self_supervised.learning_rate * factor(SCHEDULE, progress)


def _check(embedding: Embedding, images: Images) -> None:
    head = {id(parameter) for parameter in embedding.head.parameters()}
    if not any(item.requires_grad and id(item) not in head for item in embedding.model.parameters()):
        raise RecipeError("warm_start: simclr needs a network with layers that learn before the last")
    if len(images) < 2:
        raise RecipeError(f"warm_start: simclr needs at least 2 images to tell apart, found {len(images)}")
