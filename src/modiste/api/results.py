"""What is done with finished runs: measure, compare, classify, report, export."""

import logging
import os
from collections.abc import Iterable, Sequence
from datetime import date
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

import numpy as np

from modiste.api.own import Code, register
from modiste.api.run import RunLike, folder_of, folders_of
from modiste.errors import DataError, PhotoError, RecipeError
from modiste.evaluation import assessment, comparison
from modiste.evaluation.assessment import Assessment, Split, Weights
from modiste.evaluation.comparison import Comparison
from modiste.evaluation.predictions import check_path
from modiste.evaluation.unfinished import check_possible, evaluate_unfinished, is_unfinished
from modiste.machine import check_device
from modiste.runs import run_folder

if TYPE_CHECKING:
    from modiste.evaluation.averaging import AveragingComparison
    from modiste.evaluation.ensemble import SeedAssessments
    from modiste.evaluation.fitted_ensemble import FittedEnsemble
    from modiste.exports.export import Exported
    from modiste.inference.answers import FileAnswer
    from modiste.inference.classifier import Classifier
    from modiste.monitoring.drift import Drift
    from modiste.photo.preparation import PictureInput
    from modiste.reports.shown_images import ImageAnswer

Picture = Any
"""A path, the bytes of a picture file, an image of PIL, or an array of bytes."""
CONTENTS = bytes | bytearray | memoryview
"""The content of a file, as Python's own types hold it."""


def evaluate(
    run: RunLike,
    *,
    split: Split = "validation",
    weights: Weights = "picked",
    data: Any = None,
    device: str = "auto",
    data_folder: Path | str | None = None,
    predictions: Path | str | None = None,
    network: Code | None = None,
) -> Assessment:
    """Evaluate a run on validation, on the held-out test set, or on other labelled images.

    Logits are computed once and stored in the run folder; later calls read them. The run counts every evaluation on
    test. If the run folder is read-only, the measures are still returned, with a warning that nothing was stored.

    A run that was stopped, or still trains, is measured on validation as its newest saved state is. A warning says so,
    and its folder stays as it is.

    Args:
        run: A run, or its folder.
        split: ``validation`` or ``test``; a run that has not finished has no test.
        weights: ``picked`` for those selected by validation, ``last`` for those of the last epoch, ``snapshots`` for
            all that a run with several cycles of the learning rate keeps, as an ensemble.
        data: The data in memory that the run was trained on, as ``train`` takes them. Or other labelled images of the
            same classes, in memory or as a path: they are kept beside the run, and its test set stays closed.
        device: Where the logits are computed.
        data_folder: Folder of Fashion-MNIST, or of data that have moved; see ``load_dataset``.
        predictions: A .csv, .npz or .parquet file to write with the prediction of every image.
        network: The code of a network that is not Modiste's, unless this process has trained with it.

    Raises:
        RecipeError: There is no such split, or there are no such weights.
        RunError: The run is damaged, or the data are not those it was trained or evaluated on; or it has not finished,
            and test, other data or a file of predictions is asked for.
        DataError: The images are missing or damaged.

    Example::

        print(modiste.evaluate("runs/sprint", split="test").accuracy)
    """
    register(network)
    check_device(device)  # also where stored logits leave nothing to compute
    folder, images = folder_of(run), None
    if is_unfinished(folder):
        check_possible(folder, split, predictions, data)
        return evaluate_unfinished(folder, weights=weights, device=device, data_folder=data_folder, data=data)
    if data is not None:
        from modiste.evaluation.other_data import check_data_alone, evaluate_on, own_images

        images = own_images(folder, data, split)
        if images is None:
            check_data_alone(split, predictions, 1)
            return evaluate_on(folder, data, weights=weights, device=device)
    if predictions is not None:
        check_path(predictions)
    found = assessment.measure(
        folder, split=split, weights=weights, device=device, data_folder=data_folder, images=images
    )
    found = assessment.keep(found)
    if predictions is not None:
        found.write_predictions(predictions)
    return found.assess()


def evaluate_seeds(
    runs: RunLike | Sequence[RunLike],
    *,
    split: Split = "validation",
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
) -> "SeedAssessments":
    """Evaluate several runs that differ only in the seed, each by itself, and return their mean accuracy too.

    With ``split="test"``, this counts as an evaluation on test for each of them.

    Args:
        runs: At least two runs, or their folders.
        split: ``validation`` or ``test``.
        weights: ``picked`` or ``last``.
        device: Where the logits are computed.
        data_folder: Folder of Fashion-MNIST, or of data that have moved.

    Raises:
        RunError: The recipes differ in more than the seed, or a run is unfinished or damaged.
        DataError: The images are missing or damaged.

    Example::

        print(modiste.evaluate_seeds(modiste.train_seeds("sprint", 5)))
    """
    from modiste.evaluation.ensemble import evaluate_seeds as measure

    check_device(device)
    return measure(folders_of(runs), split=split, weights=weights, device=device, data_folder=data_folder)


def evaluate_ensemble(
    runs: RunLike | Sequence[RunLike],
    *,
    split: Split = "validation",
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
    predictions: Path | str | None = None,
) -> "FittedEnsemble":
    """Evaluate finished runs as one, by a sum of their logits with weights fitted on validation.

    The result also has the mean of the runs' probabilities, for which nothing is fitted, each run by itself, and what
    the weights are worth on validation images to which they were not fitted.

    Args:
        runs: At least two runs of any recipes, or their folders; they need the same validation images.
        split: ``validation``; or ``test``, which counts as an evaluation on test for each run.
        weights: Weights of each network: ``picked``, ``last`` or ``snapshots``; see ``evaluate``.
        device: Where the logits are computed.
        data_folder: Folder of Fashion-MNIST, or of data that have moved.
        predictions: A .csv, .npz or .parquet file to write with the ensemble's prediction of every image.

    Raises:
        RunError: There are fewer than two runs; one is unfinished, damaged or named twice; or they have other classes
            or other images.
        DataError: The images are missing or damaged.

    Example::

        print(modiste.evaluate_ensemble(["runs/sprint-94", "runs/resnet"]).weights)
    """
    from modiste.evaluation.fitted_ensemble import evaluate_fitted

    check_device(device)
    return evaluate_fitted(
        folders_of(runs),
        split=split,
        weights=weights,
        device=device,
        data_folder=data_folder,
        predictions=predictions,
    )


def compare_averaging(
    run: RunLike, *, weights: Weights = "picked", device: str = "auto", data_folder: Path | str | None = None
) -> "AveragingComparison":
    """Measure a run on validation with several ways to average over mirror and moved images; it stays as it is.

    Args:
        run: A run, or its folder.
        weights: ``picked``, ``last`` or ``snapshots``; see ``evaluate``.
        device: Where the logits are computed.
        data_folder: Folder of Fashion-MNIST, or of data that have moved.

    Raises:
        RunError: The run is unfinished or damaged, or the data are not those that it was trained on.
        DataError: The images are missing or damaged.

    Example::

        print(modiste.compare_averaging("runs/sprint"))
    """
    from modiste.evaluation.averaging import compare_averaging as compare_ways

    return compare_ways(folder_of(run), weights=weights, device=device, data_folder=data_folder)


def compare(
    runs: RunLike | Sequence[RunLike],
    *,
    split: Split = "validation",
    weights: Weights = "picked",
    device: str = "auto",
    data_folder: Path | str | None = None,
) -> Comparison:
    """Compare finished runs: by how much they differ, and how certain that is.

    Runs of one recipe with different seeds form one side. See ``evaluation.comparison.compare`` for the tests.

    Args:
        runs: At least two runs, or their folders.
        split: ``validation`` or ``test``.
        weights: ``picked`` or ``last``.
        device: Where the logits are computed.
        data_folder: Folder of Fashion-MNIST, or of data that have moved.

    Raises:
        RunError, DataError, MissingExtraError: As ``evaluation.comparison.compare``.

    Example::

        print(modiste.compare(["runs/paper", "runs/sprint"]).contrasts[0].verdict)
    """
    check_device(device)
    return comparison.compare(folders_of(runs), split=split, weights=weights, device=device, data_folder=data_folder)


def predict(
    model: "RunLike | Classifier",
    pictures: Picture | Iterable[Picture],
    *,
    background: Literal["plain", "network", "auto"] | None = None,
    accept: float | None = None,
    coverage: float | None = None,
    keep_steps: bool = False,
    device: str = "auto",
    data_folder: Path | str | None = None,
    network: Code | None = None,
) -> "list[FileAnswer]":
    """Classify pictures; return an answer for each, in order.

    A picture that cannot be read has an answer whose ``fault`` says why.

    Args:
        model: A run, its folder, a model file, an ONNX file, or a model that was loaded before.
        pictures: One or many. A path is a picture file, a folder of such, an IDX file, or a CSV file of pixels. Bytes
            are the content of a file. An image of PIL is a photo, like a file of it; so is an array (H, W, 3) of bytes.
            An array (H, W) or (H, W, 1) of the network's size is an image like those of the data set, and is used as it
            is; so is each of (N, H, W).
        background: How garments are found; None as in training.
        accept: Share of garments that may wrongly be answered none of the classes; None for 0.04.
        coverage: Probability with which ``answer.possible``, a set of classes, shall hold the right one, such as 0.95;
            None for no sets. A picture that is answered none has an empty set. The model must be a run, its folder, or
            an ONNX file.
        keep_steps: Whether ``answer.prepared.steps`` keeps the images of the preparation, some megabytes for each
            picture.
        device: Where a run computes.
        data_folder: Folder of the training images, for a run that has no detector of other pictures yet. Without it,
            such a run may answer with a class for any picture, and a warning says so.
        network: The code of a network that is not Modiste's, unless this process has trained with it.

    Raises:
        RunError, RecipeError, MissingExtraError: The model cannot be used.
        DataError: The images in ``data_folder`` are missing or damaged.
        PhotoError: There is no such file or folder.

    Example::

        for answer in modiste.predict("runs/sprint", ["coat.jpg", "boot.jpg"]):
            print(answer.source, answer.answer, answer.probabilities[0])
    """
    from modiste.inference.answers import answers
    from modiste.photo.opening import SILENCE

    classifier = _classifier(model, device, data_folder, network)
    least = None if coverage is None else _least_probability(model, classifier, coverage)
    if accept is not None:
        classifier = classifier.accepting(accept)
    many = [pictures] if _is_one(pictures) else pictures
    if not isinstance(many, Iterable):
        raise PhotoError(f"pictures: expected a path, bytes, an image or an array, or many of them, found {pictures!r}")
    found = _numbered(many, 0, classifier)
    with SILENCE:
        answered = answers(classifier, found, background=background, keep_steps=keep_steps)
        return [one if least is None else one.with_set(least) for one in answered]


def report(
    run: RunLike | Sequence[RunLike],
    *,
    split: Split = "validation",
    out: Path | str | None = None,
    title: str = "",
    author: str = "",
    data: Any = None,
    data_folder: Path | str | None = None,
    network: Code | None = None,
) -> Path:
    """Write the report of a run, or one page that compares several finished ones; return the path of the HTML file.

    The page of a run that was stopped, or still trains, is of its newest saved state, and says so at its top. The
    run's folder stays as it is.

    Args:
        run: A run, or its folder; or a list of at least two.
        split: For several runs: ``validation``; or ``test``, if all were evaluated on test. No evaluation is counted.
        out: The file; by default ``report.html`` in the run's folder. In the current folder it is
            ``NAME-unfinished.html`` for a run that has not finished, and ``comparison.html`` for several runs.
        title: Heading of the page; by default the name of the recipe.
        author: Name of who hands the report in.
        data: The data in memory that one run was trained on, as ``train`` takes them. A finished run needs none.
        data_folder: Folder of Fashion-MNIST, or of data that have moved.
        network: The code of a network that is not Modiste's, unless this process has trained with it.

    Raises:
        RunError, DataError, StorageError: The runs or the images are damaged or do not fit together, a run was not yet
            evaluated on test, or the page cannot be written.
        RecipeError: ``split`` is ``test`` for a single run.
        MissingExtraError: Matplotlib or Jinja is not installed; for several seeds SciPy.

    Example::

        modiste.report("runs/sprint", author="Ada")
        modiste.report(["runs/paper", "runs/sprint"])
    """
    from modiste.reports.comparison import write_comparison
    from modiste.reports.report import write_report

    register(network)
    place, file = (None if path is None else Path(path) for path in (data_folder, out))
    run_folder.check_split(split)
    if isinstance(run, str | os.PathLike):
        if split == "test":
            raise RecipeError("split: test is for several runs, found one; leave it out: its report has both splits")
        return write_report(folder_of(run), data=data, data_folder=place, out=file, title=title, author=author)
    if data is not None:
        raise DataError("data: expected none for a page of several runs, which read their own; leave it out")
    folders = [folder_of(one) for one in run]
    return write_comparison(folders, split=split, data_folder=place, out=file, title=title, author=author)


def show(
    run: RunLike,
    images: SupportsIndex | Iterable[SupportsIndex],
    *,
    split: Split = "validation",
    out: Path | str | None = None,
    data_folder: Path | str | None = None,
    network: Code | None = None,
) -> "list[ImageAnswer]":
    """Draw images by their numbers into a file; return class, answer and probabilities of each.

    Args:
        run: A run, or its folder.
        images: A number from 0, or several, such as those in ``compare([...]).contrasts[0].first_alone``.
        split: ``validation``; or ``test``, if the run was already evaluated on test. No evaluation is counted.
        out: The file, .png, .svg or .pdf; by default ``images.png`` in the run's folder.
        data_folder: Folder of Fashion-MNIST, or of data that have moved.
        network: The code of a network that is not Modiste's, unless this process has trained with it.

    Raises:
        RunError, DataError, StorageError: There is no such image, the run was not measured on this split, the run or
            the images are damaged, or the figure cannot be written.
        MissingExtraError: Matplotlib is not installed.

    Example::

        for answer in modiste.show("runs/sprint", [7, 21]):
            print(answer)
    """
    from modiste.reports.shown_images import write_images

    register(network)
    place, file = (None if path is None else Path(path) for path in (data_folder, out))
    numbers = [index(one) for one in (images if isinstance(images, Iterable) else [images])]
    return write_images(folder_of(run), numbers, split=split, out=file, data_folder=place)[1]


def figures(
    out: Path | str = "figures",
    *,
    run: RunLike | None = None,
    data_folder: Path | str | None = None,
    format: Literal["png", "svg", "pdf"] = "png",  # noqa: A002 - the word that users look for
) -> list[Path]:
    """Draw the five figures of the paper, the effect of augmentation, and what a run's network sees; return the paths.

    Args:
        out: Folder of the figures.
        run: A finished run; without one the learning curves and the network's views are left out.
        data_folder: Folder of Fashion-MNIST, or of data that have moved.
        format: Format of the files.

    Raises:
        RecipeError: There is no such format.
        RunError, DataError, StorageError, MissingExtraError: As ``reports.figures.write_figures``.

    Example::

        modiste.figures("figures", run="runs/paper")
    """
    from modiste.reports.figures import write_figures

    folder = None if run is None else folder_of(run)
    place = None if data_folder is None else Path(data_folder)
    return write_figures(Path(out), run=folder, data_folder=place, format=format)


def export(
    run: RunLike | Sequence[RunLike],
    out: Path | str | None = None,
    *,
    to: Literal["onnx", "html", "safetensors", "torch"] = "onnx",
    int8: bool = False,
    opset: int | None = None,
    data_folder: Path | str | None = None,
    network: Code | None = None,
) -> "Exported":
    """Write a finished run, or several as one, as one file, and check its answers.

    Args:
        run: A run, or its folder; or a list of at least two, whose logits are summed with weights fitted on validation.
        out: The file; by default in the run's folder, ``model.onnx`` and the like. Several runs need it.
        to: ``onnx`` for any program, ``html`` for a page that classifies by itself, ``safetensors`` for Modiste,
            ``torch`` for ``torch.export.load``.
        int8: Quantize an ONNX file to eight bits.
        opset: Version of ONNX's operators; 18 to 23, for some networks lower; None for the choice of torch.
        data_folder: Folder of Fashion-MNIST, or of data that have moved.
        network: The code of a network that is not Modiste's, unless this process has trained with it.

    Raises:
        RunError, DataError, RecipeError, MissingExtraError, StorageError: As ``exports.export.export``.

    Example::

        print(modiste.export("runs/sprint").path)
    """
    from modiste.exports.export import export as write

    register(network)
    if not isinstance(run, str | os.PathLike):
        return _export_ensemble(run, out, data_folder, is_plain=(to, int8, opset) == ("onnx", False, None))
    return write(folder_of(run), out, to=to, int8=int8, opset=opset, data_folder=data_folder)


def drift(
    model: RunLike,
    log: Path | str,
    *,
    since: date | str | None = None,
    until: date | str | None = None,
    baseline_since: date | str | None = None,
    baseline_until: date | str | None = None,
    out: Path | str | None = None,
) -> "Drift":
    """Compare a served model's answers with those on validation images, or with earlier answers.

    Args:
        model: The ONNX file that was served, or its run.
        log: Folder that ``modiste serve --log`` wrote.
        since: First day (UTC) of the answers, a date or ``2026-11-28``; None for the earliest.
        until: Last day; None for the latest.
        baseline_since: First day of earlier answers to compare with, in place of validation images.
        baseline_until: Their last day.
        out: HTML file to write, with charts; None for none.

    Raises:
        RunError: The model is missing, damaged, or an earlier version exported it.
        DataError: The log holds no answers of the model in these days.
        RecipeError: A day is no date, or the days of both sides overlap.
        StorageError: A file cannot be read, or the page cannot be written.
        MissingExtraError: A package is not installed.

    Example::

        print(modiste.drift("runs/sprint", "answers", since="2026-11-22").verdict)
    """
    from modiste.monitoring.drift import find_drift

    found = find_drift(
        folder_of(model),
        Path(log),
        since=since,
        until=until,
        baseline_since=baseline_since,
        baseline_until=baseline_until,
    )
    if out is not None:
        from modiste.reports.drift_page import write_drift

        write_drift(found, Path(out))
    return found


def _classifier(
    model: "RunLike | Classifier", device: str, data_folder: Path | str | None, network: Code | None
) -> Any:
    from modiste.inference.classifier import Classifier
    from modiste.inference.predictor import Predictor

    if isinstance(model, Classifier):
        return model
    path = folder_of(model)
    if path.suffix == ".onnx":
        from modiste.inference.onnx_model import OnnxModel

        return OnnxModel.load(path)
    register(network)
    predictor = Predictor.load(path, device=device)
    if predictor.folder is not None and data_folder is not None:
        return predictor.with_novelty(path, data_folder)
    return predictor.with_novelty_or_warning(logging.getLogger(__name__).warning)


def _export_ensemble(
    runs: Sequence[RunLike], out: Path | str | None, data_folder: Path | str | None, *, is_plain: bool
) -> "Exported":
    from modiste.exports.ensemble import export_ensemble

    if out is None or not is_plain:
        raise RecipeError(
            "export: several runs become one ONNX file in float32; name it with out, and leave out to, int8 and opset"
        )
    return export_ensemble([folder_of(run) for run in runs], out, data_folder=data_folder)


def _least_probability(model: "RunLike | Classifier", classifier: "Classifier", coverage: float) -> float:
    """Return the probability from which on a class belongs to a prediction set."""
    from modiste.evaluation.conformal import least_probability_of
    from modiste.inference.classifier import Classifier

    if isinstance(model, Classifier) or not folder_of(model).is_dir():
        return classifier.least_probability(coverage)
    return least_probability_of(run_folder.open_run(folder_of(model)), coverage)


def _is_one(pictures: Any) -> bool:
    """Return whether this is a single picture, or an array of several."""
    is_named = isinstance(pictures, str | os.PathLike | CONTENTS)
    return is_named or hasattr(pictures, "__array__") or hasattr(pictures, "convert")


def _numbered(
    pictures: Iterable[Picture], first: int, classifier: "Classifier"
) -> "list[tuple[str, PictureInput | PhotoError]]":
    """Return the name and the content of each picture; those without a name are numbered on from ``first``."""
    found: list[tuple[str, PictureInput | PhotoError]] = []
    for one in pictures:
        found += _inputs(one, first + len(found), classifier)
    return found


def _inputs(
    picture: Picture, number: int, classifier: "Classifier"
) -> "Iterable[tuple[str, PictureInput | PhotoError]]":
    """Yield the name and the content of each picture that one item of ``predict`` stands for."""
    from modiste.inference.answers import find_pictures

    if isinstance(picture, str | os.PathLike):
        return find_pictures(Path(picture), transpose=classifier.transpose)
    if isinstance(picture, CONTENTS):
        return [(f"picture {number}", bytes(picture))]
    if hasattr(picture, "convert"):
        return [(f"picture {number}", _photo(picture, classifier))]
    array = np.asarray(picture)
    if array.dtype != np.uint8:
        raise PhotoError(f"picture {number}: expected bytes from 0 to 255, found {array.dtype}; scale and convert it")
    _, height, width = classifier.image_shape
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 2:
        return [(f"picture {number}", array)]
    if array.ndim == 3 and array.shape[2] == 3:
        return [(f"picture {number}", _as_file(array))]
    if array.ndim == 3 and array.shape[1:] == (height, width):
        return [(f"picture {index}", image) for index, image in enumerate(array, start=number)]
    if array.ndim == 4:
        return _numbered(array, number, classifier)
    raise PhotoError(
        f"picture {number}: expected an array (H, W), (H, W, 3) or (N, {height}, {width}), found {array.shape}"
    )


def _photo(image: Any, classifier: "Classifier") -> bytes | PhotoError:
    """Return an image of PIL as the content of a picture file, or why that is impossible."""
    from modiste.photo.opening import photo_of

    try:
        return _as_file(photo_of(image, decoder=classifier.decoder))
    except PhotoError as error:
        return error


def _as_file(photo: np.ndarray) -> bytes:
    """Return a photo (H, W, 3) as the content of a picture file, which is where its preparation begins."""
    height, width = photo.shape[:2]
    return b"P6\n%d %d\n255\n" % (width, height) + np.ascontiguousarray(photo).tobytes()
