"""Accuracy under adversarial changes of the images: FGSM and PGD, with full knowledge of the network.

This measures how easily a network is fooled. No recipe here is a defence, and these two attacks prove none: a stronger
attack may fool a network that withstands both. The checks at the end of ``measure`` show gradients that hide what an
attack needs.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from modiste import machine
from modiste.benchmarks.result import Figure, Findings
from modiste.benchmarks.settings import Settings
from modiste.benchmarks.subjects import Subjects
from modiste.data.batch import as_floats
from modiste.data.dataset import balanced_sample
from modiste.display import Table, percent
from modiste.evaluation.inference import BATCH_PIXELS, answer
from modiste.evaluation.statistics import wilson_interval
from modiste.recipes.plain import demand

SIZES = (0.05, 0.1)
"""Largest change of a pixel, with pixels from 0 to 1."""
UNBOUNDED = 0.5
"""A change so large that any image can become grey: an attack that fails here does not see the gradient."""
REACH = 2.5
"""Length of all steps of PGD together, in multiples of the largest change (Madry et al., 2018)."""
BATCH = 250
"""Most images that are attacked together; fewer of photographs, whose maps are all kept for the gradient."""
Images = Float[Tensor, "n c h w"]
Labels = Int64[Tensor, " n"]
Network = Callable[[Images], Float[Tensor, "n classes"]]


def fgsm(network: Network, images: Images, labels: Labels, size: float) -> Images:
    """Return images changed by one step along the sign of the loss's gradient (Goodfellow et al., 2015).

    Args:
        network: Returns logits.
        images: Pixels from 0 to 1.
        labels: Labels of the images.
        size: Largest change of a pixel.
    """
    return (images + size * gradient(network, images, labels).sign()).clamp(0, 1)


def pgd(network: Network, images: Images, labels: Labels, size: float, *, steps: int, draw: torch.Generator) -> Images:
    """Return images changed by projected gradient ascent from a random start (Madry et al., 2018).

    Args:
        network: Returns logits.
        images: Pixels from 0 to 1.
        labels: Labels of the images.
        size: Largest change of a pixel.
        steps: Number of steps, each of REACH x size / steps.
        draw: Draws the start.
    """
    start = torch.rand(images.shape, generator=draw).to(images.device)
    low, high = (images - size).clamp(min=0), (images + size).clamp(max=1)
    changed = (images + size * (2 * start - 1)).clamp(0, 1)
    for _ in range(steps):
        moved = changed + REACH * size / steps * gradient(network, changed, labels).sign()
        changed = torch.minimum(torch.maximum(moved, low), high)
    return changed


def gradient(network: Network, images: Images, labels: Labels) -> Images:
    """Return the gradient of each image's cross-entropy with respect to its pixels; zeros if these do not reach it."""
    watched = images.detach().clone().requires_grad_()
    with torch.enable_grad():
        loss = F.cross_entropy(network(watched), labels, reduction="sum")
        (found,) = torch.autograd.grad(loss, watched, allow_unused=True)
    return torch.zeros_like(watched) if found is None else found


def check(settings: Settings) -> None:
    """Raise RecipeError if the number of images or steps is below 1."""
    demand(settings.attacked >= 1, "attacked", "at least 1", settings.attacked)
    demand(settings.steps >= 1, "steps", "at least 1", settings.steps)


def measure(subjects: Subjects, settings: Settings) -> Findings:
    """Measure accuracy on the images, under noise of the same size, under FGSM and under PGD.

    Three checks show masked gradients (Athalye, Carlini and Wagner, 2018): images whose gradient is zero; noise that
    fools the network as often as FGSM; and images that PGD cannot change even when it may make them all grey.
    """
    chosen = balanced_sample(subjects.images.labels.cpu(), settings.attacked, "adversarial")
    details = [_of_run(subjects, number, chosen, settings.steps) for number in range(len(subjects))]
    tables = [_table(str(run.folder), one, len(chosen)) for run, one in zip(subjects.found.runs, details, strict=True)]
    return Findings(
        figures=tuple(_figures(one, len(chosen)) for one in details),
        details=tuple(details),
        tables=tuple(tables),
        settings={"attacked": len(chosen), "pgd_steps": settings.steps, "pgd_step": f"{REACH} x size / steps"},
        measured=len(chosen),
    )


def _of_run(subjects: Subjects, number: int, chosen: Int64[Tensor, " k"], steps: int) -> dict[str, Any]:
    """Return the number of images classified correctly under each attack, and of those with a gradient of zero."""
    model, recipe = subjects.model(number), subjects.found.runs[number].recipe
    draw, counts = machine.generator(0, "adversarial"), dict[str, int]()

    def network(images: Images) -> Float[Tensor, "n classes"]:
        return answer(model, images, recipe.views)

    def note(name: str, images: Images, labels: Labels) -> None:
        with torch.no_grad():
            right = int((network(images).argmax(1) == labels).sum())
        counts[name] = counts.get(name, 0) + right

    pixels = subjects.images.images.shape[2:].numel()
    for some in torch.split(chosen, max(1, min(BATCH, BATCH_PIXELS // pixels))):
        images = as_floats(subjects.images.images[some.to(subjects.images.images.device)].to(subjects.device))
        labels = subjects.images.labels[some.to(subjects.images.labels.device)].to(subjects.device)
        note("clean", images, labels)
        flat = int((gradient(network, images, labels).flatten(1).abs().amax(1) == 0).sum())
        counts["zero gradient"] = counts.get("zero gradient", 0) + flat
        for size in SIZES:
            noise = torch.rand(images.shape, generator=draw).to(images.device)
            note(f"noise {size:g}", (images + size * (2 * noise - 1)).clamp(0, 1), labels)
            note(f"FGSM {size:g}", fgsm(network, images, labels, size), labels)
            note(f"PGD {size:g}", pgd(network, images, labels, size, steps=steps, draw=draw), labels)
        note(f"PGD {UNBOUNDED:g}", pgd(network, images, labels, UNBOUNDED, steps=steps, draw=draw), labels)
    return {"correct": counts, "warnings": warnings(counts, len(chosen))}


def warnings(counts: dict[str, int], images: int) -> list[str]:
    """Return what speaks for masked gradients, as sentences without a full stop.

    Args:
        counts: Images classified correctly by attack, and those with a gradient of zero.
        images: Number of images that were attacked.
    """
    found = []
    if counts["zero gradient"] > images // 20:
        found.append(
            f"{counts['zero gradient']:,} of {images:,} images have a gradient of zero: attacks cannot see them"
        )
    for size in SIZES:
        if counts[f"FGSM {size:g}"] >= counts[f"noise {size:g}"]:
            found.append(f"noise of {size:g} fools the network as often as FGSM: the gradient does not lead anywhere")
        if counts[f"PGD {size:g}"] > counts[f"FGSM {size:g}"]:
            found.append(f"PGD at {size:g} is weaker than a single step: take more steps, or the gradient is masked")
    if counts[f"PGD {UNBOUNDED:g}"] > images // 100:
        found.append(f"PGD at {UNBOUNDED:g} leaves {counts[f'PGD {UNBOUNDED:g}']:,} images right: it should leave none")
    return found


def _figures(one: dict[str, Any], images: int) -> dict[str, Figure]:
    return {
        f"accuracy, {name}": Figure(count / images, wilson_interval(count, images))
        for name, count in one["correct"].items()
        if name not in ("zero gradient", f"PGD {UNBOUNDED:g}")
    }


def _table(name: str, one: dict[str, Any], images: int) -> Table:
    rows = [
        [attack, percent(count / images), " to ".join(map(percent, wilson_interval(count, images)))]
        for attack, count in one["correct"].items()
        if attack != "zero gradient"
    ]
    notes = one["warnings"] or ["no sign of masked gradients"]
    return Table(f"Share of {images:,} images, {name}", rows, ("largest change", "share right", "95% interval"), notes)
