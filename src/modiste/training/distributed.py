"""Several processes that train one network together, as torchrun starts them; a single process is a group of one.

Order, augmentation and dropout follow from (seed, step). So every process makes the whole batch and takes its share of
it. A group trains the same network as a single process, up to rounding, because sums are taken in another order.
"""

import gc
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from modiste import errors
from modiste.errors import ModisteError, RecipeError
from modiste.models.layers import BatchNorm, BatchShare
from modiste.system.processes import is_alone

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

Value = TypeVar("Value")


@dataclass(frozen=True)
class Group:
    """The place of this process among those that train together.

    Attributes:
        rank: Number of this process, from 0; process 0 is the leader, which alone writes the run folder.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.size == 1

    def part(self, images: int) -> BatchShare:
        """Return this process's share of a batch of ``images`` images; shares differ by one image at most."""
        first, last = (images * place // self.size for place in (self.rank, self.rank + 1))
        return BatchShare(first, last, images)

    def weighted(self, loss: Float[Tensor, ""], part: BatchShare) -> Float[Tensor, ""]:
        """Scale the mean loss of a share so that the mean over processes is the mean over the batch."""
        return loss if self.is_alone else loss * (len(part) * self.size / part.whole)

    def sums(self, *values: float) -> list[float]:
        """Return the sum of each value over all processes; the same result in every process."""
        if self.is_alone:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return total.tolist()

    def any(self, flag: bool) -> bool:
        """Tell whether ``flag`` is set in any process."""
        return flag if self.is_alone else self.sums(float(flag))[0] > 0

    def of_leader(self, work: Callable[[], Value]) -> Value:
        """Carry out ``work`` in every process, and return what the leading one returns.

        Raises:
            ModisteError: What ``work`` raises in the leading process, in every process.
        """
        if self.is_alone:
            return work()
        try:
            box: list[Any] = [work()]
        except ModisteError as error:
            if self.rank != 0:
                raise
            box = [error]  # the others wait for it
        dist.broadcast_object_list(box, src=0)
        if isinstance(box[0], ModisteError):
            raise box[0]
        leaders: Value = box[0]
        return leaders

    def meet(self) -> None:
        """Wait until every process has come here."""
        self.any(False)

    def device(self, device: torch.device) -> torch.device:
        """Return the device of this process: for ``cuda`` in a group, the GPU of its local rank."""
        if self.is_alone or device.type != "cuda" or device.index is not None:
            return device
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))

    def join(self, model: nn.Module) -> nn.Module:
        """Return a wrapper of the network whose backward pass averages gradients over the processes.

        The leader's weights are copied to all processes. From now on, batch normalisation uses the images of all
        processes. A group of one returns the network itself.
        """
        if self.is_alone:
            return model
        for layer in model.modules():
            if isinstance(layer, BatchNorm):
                layer.normalize = normalize_together
        return DistributedDataParallel(model)

    @contextmanager
    def folder(self, out: Path) -> Iterator[Path]:
        """Yield ``out`` to the leader, and a temporary folder to every other process."""
        if self.rank == 0:
            yield out
            return
        with TemporaryDirectory(prefix="modiste-") as scratch:
            yield Path(scratch) / "run"


ALONE = Group()
_NUMBERS = itertools.count()
"""Of the groups that this process has joined: an earlier one leaves its addresses in the store of torchrun."""


def check_alone(work: str) -> None:
    """Raise RecipeError if torchrun started several processes; ``work``, such as ``a search``, is for one."""
    if not is_alone():
        raise RecipeError(f"{work} is for one process; found {os.environ['WORLD_SIZE']} under torchrun")


@contextmanager
def gathered() -> Iterator[Group]:
    """Connect the processes that torchrun started, and yield their group; without torchrun, a group of one.

    If one process ends with a ModisteError, the others lose their connection to it and end with the same error.

    At the end nothing keeps the group, so that its threads are joined. A thread that drops a tensor while Python ends
    aborts the process (https://github.com/pytorch/pytorch/issues/190489).
    """
    if not dist.is_available() or is_alone():
        yield ALONE
        return
    import torch.distributed.nn  # as default arguments it keeps the group that there is when it is imported
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    shared, rank, size = next(rendezvous("env://"))
    store = PrefixStore(f"modiste {next(_NUMBERS)}", shared)
    backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backends, store=store, rank=rank, world_size=size)
    try:
        yield Group(rank, size)
    except BaseException as error:
        clear_frames(error.__traceback__)  # they hold wrapped networks
        if isinstance(error, ModisteError):
            _note(error, store, rank)
        elif isinstance(error, RuntimeError) and (cause := _noted(store, size)):
            raise cause from error
        raise
    finally:
        gc.collect()  # a wrapped network is part of a cycle, and keeps the group
        dist.destroy_process_group()


def _note(error: ModisteError, store: "Store", rank: int) -> None:
    """Note the error that ends this process in the store that all processes can read."""
    kind = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
    with suppress(RuntimeError):  # the process that holds the store may have ended, with an error of its own
        store.set(_key(rank), f"{kind.__name__}:{error}")


def _noted(store: "Store", size: int) -> ModisteError | None:
    """Return the error that ended another process, whose number the message names unless it leads; None without one."""
    with suppress(RuntimeError):
        for rank in range(size):
            if store.check([_key(rank)]):
                kind, _, message = store.get(_key(rank)).decode().partition(":")
                found: ModisteError = getattr(errors, kind)(f"process {rank}: {message}" if rank else message)
                return found
    return None


def _key(rank: int) -> str:
    """Return the name in the store for the error of a process."""
    return f"error of process {rank}"


def normalize_together(layer: BatchNorm, x: Float[Tensor, "n c ..."]) -> Float[Tensor, "n c ..."]:
    """Normalise over the images of all processes, on any device, in the precision of the layer's weights.

    Updates the running statistics.
    """
    precision = layer.weight.dtype
    values = x.to(precision)
    axes, shape = [0, *range(2, x.dim())], [1, -1, *[1] * (x.dim() - 2)]
    count = torch.tensor([x.numel() / x.shape[1]], dtype=torch.float64, device=x.device)
    sums = _summed(torch.cat([values.sum(axes, dtype=torch.float64), count]))
    number = sums[-1].detach()
    mean = (sums[:-1] / number).to(precision)
    centred = values - mean.view(shape)
    variance = (_summed(centred.square().sum(axes, dtype=torch.float64)) / number).to(precision)
    layer.follow(mean, variance * (number / (number - 1)).to(precision))
    scale = (variance + layer.eps).rsqrt() * layer.weight
    normal: Tensor = centred * scale.view(shape) + layer.bias.view(shape)
    return normal.to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over processes; its gradient is the sum of their gradients."""

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
