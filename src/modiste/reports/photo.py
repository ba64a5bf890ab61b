"""A photo's preprocessing as a figure: every step, the evidence for the answer, and a typical image of its class."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from modiste.data.dataset import ImageSet, load_development
from modiste.data.locations import FASHION_MNIST
from modiste.evaluation import run_images
from modiste.inference.answers import FileAnswer
from modiste.inference.predictor import Predictor
from modiste.reports.style import SMALL, WIDTH, drawn
from modiste.runs.run_folder import IMAGES, is_listed, open_run

Typical = Mapping[str, UInt8[np.ndarray, "h w *colours"]]
WHERE = "where it looked"
EVIDENCE_COLOURS = "PuOr_r"
"""Orange speaks for the class, violet against it."""
LEAST_EVIDENCE = 0.05
"""Weaker evidence than this loss of probability is drawn pale, not scaled up."""
COARSE = 64
"""Pictures with fewer pixels a side are drawn with sharp pixels."""


@drawn
def steps_figure(answer: FileAnswer, looked: Float[np.ndarray, "side side"], typical: Typical) -> Figure:
    """Return a figure of the steps from left to right, then the evidence, then a typical image of the predicted class.

    Args:
        answer: The answer to a picture that could be read.
        looked: Evidence of each position for the predicted class: the probability lost when it is hidden.
        typical: An image of each class.
    """
    prepared, (name, probability) = answer.prepared, answer.probabilities[0]
    assert prepared is not None
    own = {f"typical: {name}": typical[name]} if name in typical else {}
    pictures = {**prepared.steps, WHERE: prepared.image, **own}
    figure = Figure(figsize=(WIDTH * len(pictures) / 4, 1.9))
    places = figure.subplots(1, len(pictures))
    for axes, (title, picture) in zip(places, pictures.items(), strict=True):
        how = "nearest" if len(picture) < COARSE else "antialiased"
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation=how)
        if title == WHERE:
            reach = max(float(np.abs(looked).max()), LEAST_EVIDENCE)
            alpha = 0.8 * np.abs(looked) / reach
            axes.imshow(looked, cmap=EVIDENCE_COLOURS, vmin=-reach, vmax=reach, alpha=alpha, interpolation="nearest")
        axes.set_title(title, fontsize=SMALL)
        axes.set_axis_off()
    doubt = "" if prepared.separated else ", not separated from its background"
    figure.suptitle(f"{answer.verdict}, {probability:.1%}{doubt}", fontsize=SMALL)
    return figure


def typical_images(
    predictor: Predictor, data_folder: Path | str | None = None
) -> dict[str, UInt8[np.ndarray, "h w *colours"]]:
    """Return for each class the validation image with the highest probability.

    Returns an empty dictionary if the images are the user's own, the run keeps no copy and no folder is given.

    Raises:
        DataError: The images are missing or damaged.
    """
    validation = _validation(predictor, data_folder)
    if validation is None:
        return {}
    probabilities, labels = predictor.probabilities(validation.images), validation.labels.cpu()
    found = {}
    for label, name in enumerate(predictor.class_names):
        of_class = (labels == label).nonzero().flatten()
        if len(of_class):
            planes = validation.images[of_class[probabilities[of_class, label].argmax()]].cpu().numpy()
            found[name] = planes[0] if len(planes) == 1 else np.moveaxis(planes, 0, 2)
    return found


def _validation(predictor: Predictor, data_folder: Path | str | None) -> ImageSet | None:
    """Return the validation images, or None; a run from an untrusted source cannot choose which files are read."""
    data, run = predictor.info.recipe.data, open_run(predictor.folder) if predictor.folder else None
    is_kept = run is not None and is_listed(run, IMAGES)
    if data_folder is None and (data.extra or data.source != FASHION_MNIST) and not is_kept:
        return None
    if run is not None:
        return run_images.development_of(run, data_folder).validation
    return load_development(data, data_folder, instead=True).validation
