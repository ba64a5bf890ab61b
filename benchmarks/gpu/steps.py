"""Compare steps that stay on the GPU with the same steps checked one by one: losses, weights, time.

    python benchmarks/gpu/steps.py [RECIPE ...] [--images 5000] [--epochs 4] [--data-folder DIR] [--out DIR]

Every recipe is trained three times on a few images from the same initial weights: step by step, and twice with steps
recorded as a CUDA graph, which do not synchronise with the host. The script writes ``steps.json`` and ``steps.md`` with
the differences of losses and weights, whether the last two agree to the last bit, and the time of a step in the last
epoch. Without a GPU no graph is recorded, and the steps run directly.
"""

import argparse
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import lent
import torch
from zoo import SYSTEMS

import modiste
from modiste import machine
from modiste.data.dataset import Development, load_development
from modiste.recipes.recipe import Recipe
from modiste.training.cuda_graph import ResidentSteps
from modiste.training.loop import train_epoch
from modiste.training.setup import Inputs, open_session, set_up
from modiste.training.step import Steps
from modiste.training.tracking import Listener
from modiste.training.trainer import starting_state
from record import Record, describe_machine, provenance, rows

SPRINTS = ("sprint", "sprint-93", "sprint-94", "sprint-95")
WARM_STARTS = ("none", "class-prior", "whitening")
"""Warm starts that take no time."""


def main() -> None:
    parser = lent.parser(__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=(*SPRINTS, *SYSTEMS))
    parser.add_argument("--images", type=int, default=5000)
    parser.set_defaults(epochs=4)
    parser.add_argument("--out", type=Path, default=Path("records/gpu"))
    options = parser.parse_args()
    device = machine.choose_device()
    files = Record(options.out, "steps.json", "steps.md")
    record: dict[str, Any] = provenance(device) | {"results": []}
    for name in options.recipes:
        try:
            record["results"].append(compare(briefly(lent.tried(modiste.get_recipe(name), options)), options))
        except Exception:  # the other recipes are worth their minutes
            record["results"].append({"recipe": name, "failed": traceback.format_exc()})
        print(record["results"][-1], flush=True)
        files.save(record, as_markdown(record))


def briefly(recipe: Recipe) -> Recipe:
    """Return the recipe without a warm start that takes long."""
    return recipe if recipe.warm_start in WARM_STARTS else replace(recipe, warm_start="none")


def compare(recipe: Recipe, options: argparse.Namespace) -> dict[str, Any]:
    """Train a recipe three times and set what came of it side by side."""
    whole = load_development(recipe.data, options.data_folder)
    development = replace(whole, train=whole.train[: options.images])
    watched, one, other = (train(recipe, development, kind) for kind in (Steps, ResidentSteps, ResidentSteps))
    return {
        "recipe": recipe.name,
        "watched_milliseconds": watched["milliseconds"],
        "resident_milliseconds": one["milliseconds"],
        "losses": [watched["losses"], one["losses"], other["losses"]],
        "largest_weight_difference": max_difference(watched["weights"], one["weights"]),
        "twice_the_same": max_difference(one["weights"], other["weights"]) == 0,
    }


def train(recipe: Recipe, development: Development, kind: type[Steps]) -> dict[str, Any]:
    """Train a recipe with steps of one kind; return each epoch's loss, the last one's milliseconds a step, weights."""
    with tempfile.TemporaryDirectory() as folder, open_session() as session:
        run = set_up(recipe, Path(folder), session, Inputs(development))
        assert run is not None, "a new folder holds no finished run"
        context = run.context(Listener())
        state = starting_state(run, context)
        steps, losses = kind(state, context), []
        for _ in range(recipe.epochs):
            started = time.perf_counter()
            train_epoch(state, context, steps)
            losses.append(state.loss_sum / len(development.train))
            state.loss_sum = 0.0
            seconds = time.perf_counter() - started
    weights = {name: tensor.float() for name, tensor in state.model.state_dict().items()}
    return {"losses": losses, "milliseconds": 1000 * seconds / context.steps_per_epoch, "weights": weights}


def max_difference(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> float:
    """Return the largest difference between two networks' weights."""
    return max((some[name] - others[name]).abs().max().item() for name in some)


def as_markdown(record: dict[str, Any]) -> str:
    """Return the page."""
    return f"""# Steps that stay on the GPU

Milliseconds of a step: checked one by one, as on a CPU, and recorded once as a CUDA graph and launched as one; and the
speed-up. Then the largest difference between the final weights of both, and whether two runs of the second kind agree
to the last bit.

Every number is in `steps.json`. Made by `{record["command"]}`.

| recipe | one by one | recorded | times | difference | twice the same |
|---|---|---|---|---|---|
{rows(map(line, record["results"]))}

{record["machine"]["device"]}; {describe_machine(record["machine"])}
"""


def line(found: dict[str, Any]) -> tuple[object, ...]:
    """Return a recipe's row."""
    if "failed" in found:
        return f"`{found['recipe']}`", "failed", "", "", "", ""
    watched, resident = found["watched_milliseconds"], found["resident_milliseconds"]
    return (
        f"`{found['recipe']}`",
        f"{watched:.2f}",
        f"{resident:.2f}",
        f"{watched / resident:.1f}",
        f"{found['largest_weight_difference']:.2g}",
        "yes" if found["twice_the_same"] else "no",
    )


if __name__ == "__main__":
    main()
