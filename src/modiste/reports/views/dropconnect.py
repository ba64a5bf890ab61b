"""Moment matching compared with sampling: class probabilities under Gaussian draws and under drawn masks."""

import copy

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from modiste import machine
from modiste.models.dropconnect import DropConnectNet
from modiste.reports.image_rows import COLOURS
from modiste.reports.style import BLUE, FAINT, SMALL, VERMILLION, WIDTH, drawn, shorten
from modiste.reports.views.scene import Scene

DRAWS, SAMPLE, BINS = 1000, 1000, 25


@drawn
def masks(scene: Scene) -> Figure:
    """Return histograms of the predicted class's probability, for the most and the least confident prediction."""
    images, _ = scene.sample(SAMPLE)
    network = scene.network_as(DropConnectNet)
    with torch.no_grad():
        confidence = network(scene.standardize(images)).softmax(1).max(1).values
    figure = Figure(figsize=(WIDTH, 4.4))
    panels = figure.subplots(2, 2, width_ratios=(1, 3), squeeze=False)
    chosen = {"most confident": int(confidence.argmax()), "least confident": int(confidence.argmin())}
    for (left, right), (name, index) in zip(panels, chosen.items(), strict=True):
        _draw_image(left, images[index], name)
        _draw_histograms(right, scene, images[index : index + 1])
    panels[-1][1].set_xlabel("probability of that class")
    figure.legend(*panels[0][1].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


@torch.no_grad()
def gaussian_draws(network: DropConnectNet, pixels: Float[Tensor, "1 c h w"], draws: int) -> Float[Tensor, "d classes"]:
    """Return class probabilities when the units' inputs are drawn from their matched Gaussians."""
    mean, variance = network.dropconnect.moments(network.trunk(pixels).flatten(1))
    generator = machine.generator(0, "gaussian view")
    noise = torch.randn(draws, mean.shape[1], generator=generator)
    return network.head(torch.relu(mean + variance.sqrt() * noise)).softmax(1)  # type: ignore[no-any-return]


@torch.no_grad()
def masked_draws(network: DropConnectNet, pixels: Float[Tensor, "1 c h w"], draws: int) -> Float[Tensor, "d classes"]:
    """Return class probabilities when masks over the weights are drawn, as in training."""
    features = network.trunk(pixels).flatten(1)
    layer = copy.deepcopy(network.dropconnect).train()
    layer.generator = machine.generator(0, "mask view")
    parts = [layer(features.expand(min(100, draws - start), -1)) for start in range(0, draws, 100)]
    return network.head(torch.cat(parts)).softmax(1)  # type: ignore[no-any-return]


def _draw_image(axes: Axes, image: Float[Tensor, "c h w"], name: str) -> None:
    pixels = image[0] if len(image) == 1 else image.permute(1, 2, 0)
    axes.imshow(pixels.numpy(), cmap=COLOURS["ink"][0], vmin=0, vmax=1, interpolation="none")
    axes.set(xticks=[], yticks=[], title=name)
    axes.spines[:].set_visible(True)


def _draw_histograms(axes: Axes, scene: Scene, image: Float[Tensor, "1 c h w"]) -> None:
    network, pixels = scene.network_as(DropConnectNet), scene.standardize(image)
    with torch.no_grad():
        answer = network(pixels).softmax(1)[0]
    predicted = int(answer.argmax())
    gaussian, masked = (draw(network, pixels, DRAWS)[:, predicted] for draw in (gaussian_draws, masked_draws))
    low = min(float(gaussian.min()), float(masked.min()))
    high = max(float(gaussian.max()), float(masked.max()))
    edges = torch.linspace(low, max(high, low + 1e-6), BINS + 1).tolist()
    axes.hist(masked.numpy(), edges, color=VERMILLION, histtype="step", linewidth=1.5, label="masks drawn")
    axes.hist(gaussian.numpy(), edges, color=BLUE, alpha=0.4, label="Gaussian draws")
    axes.axvline(float(answer[predicted]), color=FAINT, linestyle="--", label="prediction")
    axes.set_title(shorten(scene.class_names[predicted], 16), fontsize=SMALL)
    axes.set_yticks([])
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0 if high - low > 0.08 else 1, symbol=" %"))
