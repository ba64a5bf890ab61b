"""Several processes that train one network together, as torchrun starts them; a process by itself is a group of one.

Every process makes the whole batch, for its order, augmentation and dropout follow from (seed, step), and takes its
part of it. So a group trains what one process would, but for the rounding of sums taken in another order.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from modiste.models.layers import BatchNorm, BatchShare

Value = TypeVar("Value")


@dataclass(frozen=True)
class Group:
    """One process among those that train with it.

    Attributes:
        rank: its place; 0 leads, and is the one that writes.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.size == 1

    def part(self, images: int) -> BatchShare:
        """Return which of a batch's images are this process's; parts differ by one image at most."""
        first, last = (images * place // self.size for place in (self.rank, self.rank + 1))
        return BatchShare(first, last, images)

    def weighted(self, loss: Float[Tensor, ""], part: BatchShare) -> Float[Tensor, ""]:
        """Return the mean loss of a part such that the mean over processes is the mean over the batch."""
        return loss if self.is_alone else loss * (len(part) * self.size / part.whole)

    def sums(self, *values: float) -> list[float]:
        """Return the sum over processes of each value, the same everywhere."""
        if self.is_alone:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return total.tolist()

    def any(self, flag: bool) -> bool:
        """Tell whether any process says yes."""
        return flag if self.is_alone else self.sums(float(flag))[0] > 0

    def of_leader(self, value: Value) -> Value:
        """Return the leading process's value."""
        if self.is_alone:
            return value
        box: list[Any] = [value if self.rank == 0 else None]
        dist.broadcast_object_list(box, src=0)
        leaders: Value = box[0]
        return leaders

    def device(self, device: torch.device) -> torch.device:
        """Return where this process computes: of several GPUs its own."""
        if self.is_alone or device.type != "cuda" or device.index is not None:
            return device
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))

    def join(self, model: nn.Module) -> nn.Module:
        """Return the network whose backward pass averages gradients over the processes, all with the leader's weights.

        Batch normalisation is taken over the images of all processes from now on.
        """
        if self.is_alone:
            return model
        for layer in model.modules():
            if isinstance(layer, BatchNorm):
                layer.normalize = normalize_together
        return DistributedDataParallel(model)

    @contextmanager
    def folder(self, out: Path) -> Iterator[Path]:
        """Give the leader the run folder, and every other process one of its own that is gone at the end."""
        if self.rank == 0:
            yield out
            return
        with TemporaryDirectory(prefix="modiste-") as scratch:
            yield Path(scratch) / "run"


ALONE = Group()


@contextmanager
def gathered() -> Iterator[Group]:
    """Meet the other processes that torchrun started, if it did."""
    if not dist.is_available() or not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield ALONE
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def normalize_together(layer: BatchNorm, x: Float[Tensor, "n c ..."]) -> Float[Tensor, "n c ..."]:
    """Normalise over the images of all processes of the group, on any device; the running statistics follow."""
    values = x.float()
    axes, shape = [0, *range(2, x.dim())], [1, -1, *[1] * (x.dim() - 2)]
    count = torch.tensor([x.numel() / x.shape[1]], dtype=torch.float64, device=x.device)
    sums = _summed(torch.cat([values.sum(axes, dtype=torch.float64), count]))
    number = sums[-1].detach()
    mean = (sums[:-1] / number).float()
    centred = values - mean.view(shape)
    variance = (_summed(centred.square().sum(axes, dtype=torch.float64)) / number).float()
    layer.follow(mean, variance * (number / (number - 1)).float())
    scale = (variance + layer.eps).rsqrt() * layer.weight
    normal: Tensor = centred * scale.view(shape) + layer.bias.view(shape)
    return normal.to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over processes, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(_ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _summed(values: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total
