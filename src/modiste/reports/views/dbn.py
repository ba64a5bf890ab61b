"""The first restricted Boltzmann machine of a deep belief network: its filters, Gibbs chains and errors."""

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn

from modiste import machine
from modiste.models.dbn import DBN, RBM
from modiste.reports.image_rows import Row, image_rows
from modiste.reports.style import BLUE, FAINT, VERMILLION, WIDTH, drawn
from modiste.reports.views.scene import MOST, Scene, tile_grid, weight_images
from modiste.runs.run_folder import PretrainingRow

QUANTITY = "reconstruction error"
IMAGES, SAMPLE = 8, 1000
CHAIN = (1, 10, 100, 1000)
"""Gibbs steps after which a chain is shown."""


def filters(scene: Scene) -> Figure:
    """Return a figure of the weights of the first forty hidden units on one scale."""
    return tile_grid(weight_images(_first(scene).weight[:MOST], _shape(scene)), columns=8, scale="signed")


@torch.no_grad()
def chains(scene: Scene) -> Figure:
    """Return a figure of images, their reconstructions, and samples of Gibbs chains that start at them."""
    images, labels = scene.examples(IMAGES)
    rbm = first_machine(scene)
    visible = scene.standardize(images).flatten(1)
    rows = [Row("image", images), Row("reconstructed", _pictures(rbm.visible(rbm.hidden(visible)), images))]
    generator = machine.generator(0, "gibbs view")
    done = 0
    for steps in CHAIN:
        visible = rbm.gibbs(visible, steps - done, generator)
        rows.append(Row(f"step {steps:,}", _pictures(visible, images)))
        visible, done = torch.bernoulli(visible, generator=generator), steps
    return image_rows(rows, heads=scene.names(labels))


def errors(scene: Scene) -> Figure | None:
    """Return the reconstruction error by epoch of pre-training, a curve for each layer; None if it was not recorded."""
    rows = [row for row in scene.pretraining if row.quantity == QUANTITY]
    return _curves(rows) if rows else None


@torch.no_grad()
def first_machine(scene: Scene) -> RBM:
    """Return the first machine of the stack, with its visible biases estimated.

    A model file holds only the weights that predictions need, which do not include visible biases. Contrastive
    divergence converges where the mean reconstruction is the mean image. The estimated biases are those for which this
    holds on validation images.
    """
    rbm = RBM(_first(scene))
    images, _ = scene.sample(SAMPLE)
    visible = scene.standardize(images).flatten(1)
    downward = rbm.hidden(visible) @ rbm.weight
    low, high = torch.full_like(visible[0], -100), torch.full_like(visible[0], 100)
    for _ in range(40):  # bisection for every pixel
        middle = (low + high) / 2
        short = torch.sigmoid(downward + middle).mean(0) < visible.mean(0)
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    rbm.visible_bias.copy_((low + high) / 2)
    return rbm


@drawn
def _curves(rows: list[PretrainingRow]) -> Figure:
    figure = Figure(figsize=(WIDTH, 2.8))
    axes = figure.subplots()
    for number, part in enumerate(dict.fromkeys(row.part for row in rows)):
        chosen = [row for row in rows if row.part == part]
        colour, style = (BLUE, "-") if number == 0 else (VERMILLION, "--") if number == 1 else (FAINT, ":")
        epochs, values = [row.epoch for row in chosen], [row.value for row in chosen]
        axes.plot(epochs, values, style, marker="o", markersize=4, color=colour, label=part)
    axes.set(xlabel="epoch of pre-training", ylabel="squared error of an image")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y")
    axes.legend()
    return figure


def _first(scene: Scene) -> nn.Linear:
    layer = scene.network_as(DBN).stack[0]
    assert isinstance(layer, nn.Linear)
    return layer


def _shape(scene: Scene) -> tuple[int, int, int]:
    _, channels, height, width = scene.validation.images.shape
    return channels, height, width


def _pictures(visible: Float[Tensor, "n pixels"], images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    return visible.view(images.shape).clamp(0, 1)
