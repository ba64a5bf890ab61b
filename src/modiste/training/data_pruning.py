"""Data pruning: passes over the training images that leave out most of those that the network has learnt.

After an epoch or two most images have small losses and gradients, but a step with them takes as long as any other. If
most passes leave them out, more steps are taken with images that are still hard (Qin et al., "InfoBatch: lossless
training speed up by unbiased dynamic data pruning", 2024). The authors give the easy images that are left more weight,
so that the mean gradient stays the same, and end with passes over all images. Neither helped here: see
records/speed/LOG.md.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from modiste import machine
from modiste.recipes.recipe import Recipe
from modiste.runs.checkpoint import Tensors


@dataclass
class PrunedOrder:
    """The order of the training images, in passes that leave out a random part of the easy ones.

    An image is easy if its newest loss is below the mean over all images. The first pass has all images.

    Attributes:
        share: Probability with which a pass leaves out an easy image.
        seed: Seed of the run.
        losses: Newest loss of each image; NaN before the first.
        rest: Images of the present pass that are still to come.
        passes: Number of passes begun.
    """

    share: float
    seed: int
    losses: Float[Tensor, " images"]
    rest: Int64[Tensor, " m"] = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    passes: int = 0

    def next_images(self, count: int) -> Int64[Tensor, " count"]:
        """Return the indices of the next images; a new pass begins where one ends."""
        while len(self.rest) < count:
            self.rest = torch.cat([self.rest, self._next_pass()])
        return self.rest[:count]

    def step_done(self, logits: Float[Tensor, "n classes"], targets: Float[Tensor, "n classes"]) -> None:
        """Keep the cross-entropies of the next images, whose step is done, and move on to those after them."""
        done, self.rest = self.rest.tensor_split([len(targets)])
        self.losses[done] = F.cross_entropy(logits.to(targets.dtype), targets, reduction="none").cpu()

    def tensors(self) -> Tensors:
        """Return everything that changes, for a training state."""
        return {"losses": self.losses, "rest": self.rest.clone(), "passes": torch.tensor(self.passes)}

    def restore(self, tensors: Tensors) -> None:
        """Take over what ``tensors`` returned."""
        self.losses, self.rest, self.passes = tensors["losses"], tensors["rest"], int(tensors["passes"])

    def _next_pass(self) -> Int64[Tensor, " m"]:
        generator = machine.generator(self.seed, "order", self.passes)
        order = torch.randperm(len(self.losses), generator=generator)
        is_left_out = torch.rand(len(order), generator=generator) < self.share
        is_easy = self.losses < self.losses.nanmean()  # false for every image whose loss is not known
        self.passes += 1
        return order[~(is_easy & is_left_out)[order]]


def new_order(recipe: Recipe, images: int) -> PrunedOrder | None:
    """Return the order before a run's first step, for its number of training images; None without data pruning."""
    if not recipe.data_pruning:
        return None
    return PrunedOrder(recipe.data_pruning, recipe.seed, torch.full((images,), torch.nan))
