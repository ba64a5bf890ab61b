"""A computation that a GPU repeats in one launch."""

import warnings
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor


class Recording:
    """Calls a computation; on a GPU only at first, then repeats what it recorded of it, as a CUDA graph.

    A small network's step is a hundred short kernels, which a processor cannot launch as fast as a GPU runs them. What
    is recorded reads and writes the same memory each time: it works on tensors that stay, and nothing in it may ask for
    a tensor's value. Random numbers follow the seeds that the generators have at each call.

    Args:
        compute: takes the input; leaves what it comes to in tensors of its own.
        like: an input, whose shape and device all have.
        generators: all that ``compute`` draws from.
    """

    WARM_UP = 2
    """Calls before the recording, in which libraries choose their kernels and optimizers make their state."""

    def __init__(
        self, compute: Callable[[Tensor], None], like: Int64[Tensor, "..."], generators: Sequence[torch.Generator]
    ) -> None:
        self.compute, self.generators, self.calls = compute, generators, 0
        self.input = torch.empty_like(like)
        self.stream = torch.cuda.Stream(like.device) if like.device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, values: Int64[Tensor, "..."]) -> None:
        """Compute with these values as the input."""
        self.input.copy_(values)
        self.calls += 1
        if self.stream is None:
            self.compute(self.input)
        elif self.calls <= self.WARM_UP:
            self._compute_aside(self.stream)
        else:
            self.graph = self.graph or self._record(self.stream)
            self.graph.replay()

    def _compute_aside(self, stream: torch.cuda.Stream) -> None:
        """Compute in the stream that will record, for autograd ties its nodes to the stream they were made in."""
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")
            self.compute(self.input)
        torch.cuda.current_stream().wait_stream(stream)

    def _record(self, stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=stream):
            self.compute(self.input)
        return graph
