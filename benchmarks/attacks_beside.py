"""Measure FGSM and PGD beside two public packages; write ``attacks`` in ``records/benchmarks``.

    pip install foolbox torchattacks      # in an environment of its own
    python benchmarks/attacks_beside.py RUN [--images 200] [--steps 20]

Validation images of a run are attacked. Without a random start all packages should give the same images. With one, each
draws its own, and the accuracies are compared.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from modiste import machine
from modiste.benchmarks import robust
from modiste.data.batch import as_floats
from modiste.data.dataset import balanced_sample
from modiste.evaluation.assessment import load_split
from modiste.runs.run_folder import open_run
from record import Record, describe_machine, parser, provenance, rows

PACKAGES = ("foolbox", "torchattacks")
Attack = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    made = parser(__doc__, "records/benchmarks")
    made.add_argument("run", type=Path)
    made.add_argument("--images", type=int, default=200)
    made.add_argument("--steps", type=int, default=20)
    options = made.parse_args()
    run = open_run(options.run)
    known = load_split(run, "validation", None)
    chosen = balanced_sample(known.labels, options.images, "adversarial")
    images, labels = as_floats(known.images[chosen]), known.labels[chosen]
    found = compare(run.load_model()[0].eval(), images, labels, options.steps)
    versions = {name: version(name) for name in PACKAGES}
    settings = {"recipe": run.recipe.name, "images": len(labels), "steps": options.steps, "versions": versions}
    content = provenance() | settings | {"attacks": found}
    Record(options.out, "attacks.json", "attacks.md").save(content, as_markdown(content))
    print(options.out / "attacks.md")


def attacks(network: nn.Module, size: float, steps: int, *, is_random: bool) -> dict[str, dict[str, Attack]]:
    """Return FGSM and PGD of each package, with the same size, number and length of steps."""
    import foolbox  # not before: the two packages are in no extra of ours
    import torchattacks

    step = robust.REACH * size / steps
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    fast = foolbox.attacks.LinfFastGradientAttack()
    iterated = foolbox.attacks.LinfPGD(abs_stepsize=step, steps=steps, random_start=is_random)
    return {
        "Modiste": {
            "FGSM": lambda images, labels: robust.fgsm(network, images, labels, size),
            "PGD": lambda images, labels: own_pgd(network, images, labels, size, steps, is_random=is_random),
        },
        "foolbox": {
            "FGSM": lambda images, labels: fast.run(model, images, labels, epsilon=size),
            "PGD": lambda images, labels: iterated.run(model, images, labels, epsilon=size),
        },
        "torchattacks": {
            "FGSM": torchattacks.FGSM(network, eps=size),
            "PGD": torchattacks.PGD(network, eps=size, alpha=step, steps=steps, random_start=is_random),
        },
    }


def own_pgd(network: nn.Module, images: Tensor, labels: Tensor, size: float, steps: int, *, is_random: bool) -> Tensor:
    """Return the images that ``robust.pgd`` makes; if not random, from a start in the middle of what is allowed."""
    draw = machine.generator(0, "adversarial")
    if is_random:
        return robust.pgd(network, images, labels, size, steps=steps, draw=draw)
    with mock.patch.object(robust.torch, "rand", lambda shape, generator: torch.full(shape, 0.5)):
        return robust.pgd(network, images, labels, size, steps=steps, draw=draw)


def compare(network: nn.Module, images: Tensor, labels: Tensor, steps: int) -> list[dict[str, Any]]:
    """Return a row for each package, attack and size: accuracies, and the share of pixels that differ from ours."""
    found = []
    for size in robust.SIZES:
        plain, random = (attacks(network, size, steps, is_random=is_random) for is_random in (False, True))
        for attack in ("FGSM", "PGD"):
            own = plain["Modiste"][attack](images, labels)
            for package in plain:
                other = plain[package][attack](images, labels).detach()
                started = random[package][attack](images, labels) if attack == "PGD" else other
                found.append(
                    {
                        "attack": f"{attack} {size:g}",
                        "package": package,
                        "accuracy": accuracy(network, started, labels),
                        "accuracy_without_random_start": accuracy(network, other, labels),
                        "pixels_that_differ": float(((other - own).abs() > 1e-5).double().mean()),
                    }
                )
    return found


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((network(images).argmax(1) == labels).double().mean())


def as_markdown(content: Mapping[str, Any]) -> str:
    """Return the page."""
    header = ["attack", "package", "right", "right, no random start", "pixels that differ from ours"]
    cells = [
        [
            row["attack"],
            row["package"],
            f"{row['accuracy']:.1%}",
            f"{row['accuracy_without_random_start']:.1%}",
            f"{row['pixels_that_differ']:.4%}",
        ]
        for row in content["attacks"]
    ]
    versions = " and ".join(f"{name} {number}" for name, number in content["versions"].items())
    return "\n".join(
        [
            "# FGSM and PGD beside public packages\n",
            f"Made by `{content['command']}`, beside {versions}.",
            f"{content['images']:,} validation images of `{content['recipe']}` are attacked, with",
            f"{content['steps']} steps of PGD. In the last two columns PGD starts from the image itself:",
            "all should agree. With a random start each draws its own.\n",
            rows([header, ["---"] * len(header), *cells]),
            "",
            describe_machine(content["machine"]),
            "",
        ]
    )


if __name__ == "__main__":
    main()
