"""Computations that a GPU repeats in one launch."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor


def branches_for(computations: int, device: torch.device) -> list[torch.cuda.Stream]:
    """Return a stream for each computation; none without a GPU."""
    on_gpu = device.type == "cuda"
    return [torch.cuda.Stream(device) for _ in range(computations if on_gpu else 0)]  # type: ignore[no-untyped-call]


class Recording:
    """Calls computations side by side; on a GPU only at first, then repeats what it recorded of them, as a CUDA graph.

    A small network's step is a hundred short kernels, which a processor cannot launch as fast as a GPU runs them, and
    each of which leaves most of the GPU idle: several networks' run beside each other, each in a branch of the graph.
    What is recorded reads and writes the same memory each time: it works on tensors that stay, and nothing in it may
    ask for a tensor's value. Random numbers follow the seeds that the generators have at each call.

    Args:
        computes: each takes its row of the input, and leaves what it comes to in tensors of its own.
        like: an input, whose shape and device all have.
        generators: all that is drawn from.
        branches: a stream of the GPU for each computation, always the same, for autograd ties what it keeps from one
            call to the next to the stream that it was made in; empty without a GPU.
    """

    WARM_UP = 2
    """Calls before the recording, in which libraries choose their kernels and optimizers make their state."""

    def __init__(
        self,
        computes: Sequence[Callable[[Tensor], None]],
        like: Int64[Tensor, "s n"],
        generators: Sequence[torch.Generator],
        branches: Sequence[torch.cuda.Stream],
    ) -> None:
        self.computes, self.generators, self.branches, self.calls = computes, generators, branches, 0
        self.input = torch.empty_like(like)
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, values: Int64[Tensor, "s n"]) -> None:
        """Compute with these values as the input."""
        self.input.copy_(values)
        self.calls += 1
        if not self.branches:
            for compute, row in zip(self.computes, self.input, strict=True):
                compute(row)
        elif self.calls <= self.WARM_UP:
            self._fan_out()
        else:
            self.graph = self.graph or self._record()
            self.graph.replay()

    def _fan_out(self) -> None:
        """Compute each in its branch."""
        trunk = torch.cuda.current_stream()
        for compute, row, branch in zip(self.computes, self.input, self.branches, strict=True):
            branch.wait_stream(trunk)
            with torch.cuda.stream(branch):
                compute(row)
        for branch in self.branches:
            trunk.wait_stream(branch)

    def _record(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph):
            self._fan_out()
        return graph
