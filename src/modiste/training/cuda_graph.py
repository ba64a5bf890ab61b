"""Training steps as CUDA graphs: batch, gradient, update and metrics stay on the GPU and are launched as one."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from modiste.errors import DivergedError
from modiste.training.context import Context
from modiste.training.state import TrainingState
from modiste.training.step import ADVICE, Steps, average, clip, count_correct, gradient


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


def can_stay(context: Context) -> bool:
    """Tell whether steps can stay on the device: on a GPU whose state shares its batches with no other process."""
    return context.device.type == "cuda" and context.group.is_alone


class ResidentSteps(Steps):
    """Takes a state's steps without a word to the host, which hears of them in ``settle``.

    A step that is not finite, and every one after it, is refused: it moves no weight.
    """

    SECONDS_BETWEEN_STATES = 10.0
    """An epoch can be over before its state is on disk."""

    def __init__(self, state: TrainingState, context: Context) -> None:
        super().__init__(state, context)
        self.loss_sum, self.correct, self.refusals = torch.zeros(3, dtype=torch.float64, device=context.device)
        self.nothing, self.refused = torch.zeros(2, device=context.device)
        self.alone = SideBySide([self])
        state.optimizer.make_recordable(self.refused)

    def take(self, chosen: Int64[Tensor, " n"]) -> None:
        """Take one step with these images of the training set."""
        self.alone.take([chosen])

    def prepare(self, images: int) -> None:
        """Do what the host does of a step."""
        super().prepare(images)
        self.state.optimizer.prepare()

    def compute(self, chosen: Int64[Tensor, " n"]) -> None:
        """Do what the device does of a step."""
        state, recipe = self.state, self.context.recipe
        batch = self.batches.make(chosen)
        found = gradient(state, batch, recipe)
        self.nothing.add_((found.loss + found.norm) * 0)  # not a number from the first that is not finite
        torch.ne(self.nothing, 0, out=self.refused)
        clip(state, recipe, found.norm)
        state.optimizer.update()
        self.refusals.add_(self.refused)
        self.loss_sum.add_(found.loss, alpha=len(batch))
        self.correct.add_(count_correct(found.logits, batch.targets))

    def settle(self) -> None:
        """Bring the state's figures up to date; DivergedError when a step was refused."""
        loss_sum, correct, refusals = torch.stack([self.loss_sum, self.correct, self.refusals]).tolist()
        for tensor in (self.loss_sum, self.correct):
            tensor.zero_()
        if refusals:
            raise DivergedError(
                f"step {self.state.step - int(refusals) + 1}: the loss or its gradient is not finite; "
                f"the step was not applied; {ADVICE}"
            )
        self.state.loss_sum += loss_sum
        self.state.correct += int(correct)


class SideBySide:
    """Takes the steps of several learners at once, on a GPU in one launch.

    Args:
        steps: of learners whose batches are equally large.
    """

    def __init__(self, steps: Sequence[ResidentSteps]) -> None:
        self.steps = steps
        self.branches = branches_for(len(steps), steps[0].context.device)
        self.recordings: dict[int, Recording] = {}

    def take(self, chosen: Sequence[Int64[Tensor, " n"]]) -> None:
        """Take one step of every state, each with its own images."""
        for own in self.steps:
            own.prepare(len(chosen[0]))
        rows = torch.stack(list(chosen))
        images = rows.shape[1]
        if images not in self.recordings:
            drawn_from = [generator for own in self.steps for generator in (own.batches.generator, own.dropout)]
            self.recordings[images] = Recording([own.compute for own in self.steps], rows, drawn_from, self.branches)
        self.recordings[images](rows)
        for own in self.steps:
            average(own.state)
            own.state.step += 1
