"""A photo's way to the network as a figure: every step, and beside it what the network knows of that class."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64, UInt8
from matplotlib.figure import Figure
from torch import Tensor

from modiste.photo import Prepared
from modiste.predictor import Predictor
from modiste.report.style import SMALL, WIDTH, drawn

Typical = Mapping[str, UInt8[np.ndarray, "h w"]]
COARSE = 64
"""Below so many pixels a side, each is to be seen as such."""


@drawn
def steps_figure(prepared: Prepared, answer: tuple[str, float], typical: Typical) -> Figure:
    """Draw the steps from left to right, and a typical image of the class that was answered."""
    name, probability = answer
    pictures = {**prepared.steps, f"typical: {name}": typical[name]} if name in typical else prepared.steps
    figure = Figure(figsize=(WIDTH * len(pictures) / 4, 1.9))
    places = np.atleast_1d(figure.subplots(1, len(pictures)))
    for axes, (title, picture) in zip(places, pictures.items(), strict=True):
        how = "nearest" if len(picture) < COARSE else "antialiased"
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation=how)
        axes.set_title(title, fontsize=SMALL)
        axes.set_axis_off()
    doubt = "" if prepared.separated else ", not told from its background"
    figure.suptitle(f"{name}, {probability:.1%}{doubt}", fontsize=SMALL)
    return figure


def typical_images(
    predictor: Predictor, images: UInt8[Tensor, "n 1 h w"], labels: Int64[Tensor, " n"]
) -> dict[str, UInt8[np.ndarray, "h w"]]:
    """Return for each class the image that the network is surest of."""
    sure = predictor.probabilities(images)
    found = {}
    for label, name in enumerate(predictor.class_names):
        of_class = (labels.cpu() == label).nonzero().flatten()
        if len(of_class):
            found[name] = images[of_class[sure[of_class, label].argmax()], 0].cpu().numpy()
    return found
