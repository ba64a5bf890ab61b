"""Training steps as CUDA graphs: batch, gradient, update and metrics stay on the GPU and need a single launch."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from modiste.errors import DivergedError
from modiste.training.distillation import taught
from modiste.training.sharpness import is_sharp
from modiste.training.state import Context, TrainingState
from modiste.training.step import ADVICE, Steps, average, clip, count_correct, gradient


def branches_for(computations: int, device: torch.device) -> list[torch.cuda.Stream]:
    """Return a CUDA stream for each computation; none without a GPU."""
    on_gpu = device.type == "cuda"
    return [torch.cuda.Stream(device) for _ in range(computations if on_gpu else 0)]  # type: ignore[no-untyped-call]


class Recording:
    """Runs computations side by side. On a GPU, calls after the warm-up replay one CUDA graph of them all.

    A small network's step is a hundred short kernels. A processor cannot launch them as fast as a GPU runs them, and
    each leaves most of the GPU idle. So the kernels of several networks run beside each other, each network in a branch
    of the graph. A graph reads and writes the same memory at each replay. So the computations must keep their tensors,
    and may not ask for a tensor's value. Random numbers follow the seeds that the generators have at each call.

    Args:
        computes: Each takes its row of the input, and writes its results into tensors of its own.
        like: An example of the input; every input has its shape and device.
        generators: All generators that the computations draw from.
        branches: One CUDA stream per computation, reused on every call, because autograd's saved buffers belong to the
            stream that made them; empty without a GPU.
    """

    WARM_UP = 2
    """Calls before the recording; in them, libraries choose their kernels and optimizers create their state."""

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
        """Run every computation on its row of ``values``."""
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
        """Run each computation in its own stream, and let the current stream wait for all."""
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
    """Tell whether steps can stay on the device.

    It is a GPU, one process trains alone, all code is Modiste's, and the order of the images depends on no loss.
    """
    is_alone, is_pruned = context.group.is_alone, bool(context.recipe.data_pruning)
    return context.device.type == "cuda" and is_alone and not is_pruned and not runs_own_code(context)


def runs_own_code(context: Context) -> bool:
    """Return whether a step runs code that is not Modiste's: of the recipe, or a teacher that answers in every step."""
    asked = context.teachers if context.recipe.distillation.on == "augmented" else None
    return bool(context.recipe.own_code) or (asked is not None and asked.have_own_code)


class ResidentSteps(Steps):
    """Takes steps without any transfer to the host until ``settle`` reads the results.

    If a step's loss or gradient is not finite, that step and all later ones are refused: they change no weight.
    """

    SECONDS_BETWEEN_STATES = 10.0
    """An epoch on a GPU can be shorter than the time that it takes to save a state."""

    def __init__(self, state: TrainingState, context: Context) -> None:
        super().__init__(state, context)
        self.loss_sum, self.correct, self.refusals = torch.zeros(3, dtype=torch.float64, device=context.device)
        self.zero_or_nan, self.refused = torch.zeros(2, device=context.device)
        self.alone = SideBySide([self])
        state.optimizer.make_recordable(self.refused)

    def take(self, chosen: Int64[Tensor, " n"]) -> None:
        """Take one step with the training images of these indices."""
        self.alone.take([chosen])

    def prepare(self, images: int) -> None:
        """Do the host's part of a step: set the learning rate, the seeds and the optimizer's numbers."""
        super().prepare(images)
        self.state.optimizer.prepare()

    def compute(self, chosen: Int64[Tensor, " n"]) -> None:
        """Do the device's part of a step: batch, gradient, update and metrics."""
        state, recipe = self.state, self.context.recipe
        batch = taught(self.batches.make(chosen), self.context.teachers)
        found = gradient(state, batch, recipe)
        # Zero times a number is 0 if that is finite, else NaN. The sum stays NaN after a failed step, and NaN != 0.
        self.zero_or_nan.add_((found.loss + found.norm) * 0)
        torch.ne(self.zero_or_nan, 0, out=self.refused)
        clip(state, recipe, found.norm)
        state.optimizer.update()
        self.refusals.add_(self.refused)
        self.loss_sum.add_(found.loss, alpha=len(batch))
        self.correct.add_(count_correct(found.logits, batch.targets))

    def settle(self) -> None:
        """Add the losses and counts of the steps taken to the state; DivergedError if a step was refused."""
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
    """Takes a step of several runs at once, on a GPU in one launch.

    Args:
        steps: Steps of runs with batches of equal size.
    """

    def __init__(self, steps: Sequence[ResidentSteps]) -> None:
        self.steps = steps
        self.branches = branches_for(len(steps), steps[0].context.device)
        self.recordings: dict[tuple[int, bool], Recording] = {}  # by batch size, and whether a step has two passes

    def take(self, chosen: Sequence[Int64[Tensor, " n"]]) -> None:
        """Take one step of every run; ``chosen`` holds the indices of each run's training images."""
        for own in self.steps:
            own.prepare(len(chosen[0]))
        rows = torch.stack(list(chosen))
        first = self.steps[0]
        kind = rows.shape[1], is_sharp(first.context.recipe.optimizer, first.state.step)
        if kind not in self.recordings:
            drawn_from = [generator for own in self.steps for generator in (own.batches.generator, *own.dropout)]
            self.recordings[kind] = Recording([own.compute for own in self.steps], rows, drawn_from, self.branches)
        self.recordings[kind](rows)
        for own in self.steps:
            average(own.state, own.context.recipe)
            own.state.step += 1
