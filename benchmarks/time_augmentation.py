"""Time every augmentation of a batch on one thread of the processor, beside a step of a recipe; print a table.

    python benchmarks/time_augmentation.py [--recipe sprint-94] [--repetitions 100]

Times are milliseconds of the processor, the least of all repetitions, so that other work on the machine counts little.
Images are random: the time does not depend on what they show. A step without augmentation is the recipe's, in the
precision that is the faster one here.
"""

import argparse
import time
from collections.abc import Callable

import torch

import modiste
from modiste import machine
from modiste.data.augment import augment
from modiste.data.batch import Batch
from modiste.models.registry import Task, build_model
from modiste.recipes.recipe import AugmentationRecipe, Recipe
from modiste.reports.augmentations import EXAMPLES
from modiste.training.state import new_training_state
from modiste.training.step import train_step
from record import rows

SIZES = (128, 512)
"""Images in a batch."""
CLASSES = 10
WARM_UP = 3


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--recipe", default="sprint-94")
    arguments.add_argument("--repetitions", type=int, default=100)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    machine.keep_memory()
    recipe = machine.settle_precision(modiste.get_recipe(options.recipe), torch.device("cpu"))
    batches = [batch_of(size) for size in SIZES]
    print(rows([["", *(f"{size} images" for size in SIZES)], ["---"] * (1 + len(SIZES))]))
    for name, (changes, _) in EXAMPLES.items():
        print_row(
            f"`{name} {getattr(changes, name):g}`", [time_changes(one, changes, options.repetitions) for one in batches]
        )
    for name, measure in (("forward pass", time_forward), ("step", time_step)):
        print_row(f"{name} of `{recipe.name}`", [measure(one, recipe, options.repetitions // 5) for one in batches])


def batch_of(images: int) -> Batch:
    """Return random grey images with targets."""
    pixels = torch.rand(images, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return Batch(pixels, torch.eye(CLASSES)[torch.arange(images) % CLASSES])


def time_changes(batch: Batch, changes: AugmentationRecipe, repetitions: int) -> float:
    """Return the milliseconds of these changes of a batch."""
    generator = torch.Generator().manual_seed(0)
    return least(lambda: augment(batch, changes, generator), repetitions)


def time_forward(batch: Batch, recipe: Recipe, repetitions: int) -> float:
    """Return the milliseconds of the forward pass in training."""
    network = network_of(recipe)

    def forward() -> None:
        with machine.autocast(recipe.precision, batch.images.device):
            network(batch.images)

    return least(forward, repetitions)


def time_step(batch: Batch, recipe: Recipe, repetitions: int) -> float:
    """Return the milliseconds of a step: both passes and the update."""
    state = new_training_state(network_of(recipe), recipe)
    return least(lambda: train_step(state, batch, recipe), repetitions)


def network_of(recipe: Recipe) -> torch.nn.Module:
    """Return the recipe's network for grey images of 28 x 28 pixels."""
    names = tuple(map(str, range(CLASSES)))
    return build_model(recipe.model, Task(image_shape=(1, 28, 28), class_names=names, mean=0.3, deviation=0.35), seed=0)


def least(act: Callable[[], object], repetitions: int) -> float:
    """Return the least time of the processor, in milliseconds, that a call takes."""
    times = []
    for number in range(WARM_UP + repetitions):
        start = time.process_time()
        act()
        if number >= WARM_UP:
            times.append(time.process_time() - start)
    return 1000 * min(times)


def print_row(name: str, milliseconds: list[float]) -> None:
    print(rows([[name, *(f"{one:.1f}" for one in milliseconds)]]), flush=True)


if __name__ == "__main__":
    main()
