"""A recipe as a scikit-learn classifier. scikit-learn is imported only in this package."""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from numbers import Integral, Number
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped, UInt8

from modiste.api.training import RecipeLike, as_recipe
from modiste.data.dataset import Development, ImageSet
from modiste.data.split import split_indices
from modiste.errors import MissingExtraError, ModisteError, StoppedError
from modiste.inference.predictor import Predictor
from modiste.recipes.plain import Part, flatten, nearest, to_plain
from modiste.recipes.recipe import DataRecipe, Recipe
from modiste.runs import run_folder
from modiste.sklearn.pixels import Pixels
from modiste.training import trainer
from modiste.training.setup import Inputs, check_complete
from modiste.training.tracking import make_progress

try:
    from sklearn.base import BaseEstimator, ClassifierMixin  # type: ignore[import-untyped]
    from sklearn.utils.multiclass import check_classification_targets  # type: ignore[import-untyped]
    from sklearn.utils.validation import (  # type: ignore[import-untyped]
        check_array,
        check_is_fitted,
        check_random_state,
        validate_data,
    )
except ImportError as error:
    raise MissingExtraError("modiste.sklearn: needs scikit-learn: pip install 'modiste[sklearn]'") from error

EPOCH_IMAGES = 5_000
"""Fewer training images are shown several times in an epoch, so that there are enough steps."""
FEW = 12
"""Fewer samples are not split: they serve as validation images too."""
MOST_REPEATED = 1_000_000
"""Most images that whole weights may stand for; above, weights act on the loss."""
DECLARED = ("recipe", "random_state", "validation_fraction", "device", "verbose")


class ModisteClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Trains a recipe by ``fit``, and classifies by ``predict``.

    Fields of the recipe are parameters too, also for ``set_params`` and searches: ``epochs``, or
    ``optimizer__learning_rate`` for ``optimizer.learning_rate``. The seed and the fields of ``data`` are not: in their
    place are ``random_state``, ``validation_fraction`` and the samples. Training is in float32 unless ``precision`` is
    set.

    Samples are rows (N, features) or images (N, H, W), (N, H, W, C) or (N, C, H, W). A row that is no square is padded
    to one. Bytes, and numbers from 0 to 1, are pixels as they are. Other numbers are scaled to bytes by the range of
    the training samples; see ``Pixels.learn``.

    Whole ``sample_weight`` of n counts like a sample that is given n times. Other weights multiply the losses.

    Args:
        recipe: A name, a ``Recipe`` or the path of a file; its data source is not used.
        random_state: Seed of training; an int, a ``RandomState``, or None for a random one.
        validation_fraction: Share of the samples that measures each epoch; with fewer than 12 samples, all of them do.
        device: ``auto``, ``cpu``, ``cuda`` ...
        verbose: Show progress.
        fields: Fields of the recipe, or whole parts such as ``optimizer``; a field counts within its part.

    Attributes:
        classes_: The classes, sorted.
        n_features_in_: Number of columns of X, or the first size of its images.
        recipe_: The recipe that was trained.
        validation_accuracy_: Validation accuracy of the trained model, 0 to 1.
        history_: A row for each epoch.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from modiste.sklearn import ModisteClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> model = ModisteClassifier("mlp", epochs=2, device="cpu").fit(X[:1500], y[:1500])
        >>> model.score(X[1500:], y[1500:]) > 0.8
        True
    """

    def __init__(
        self,
        recipe: RecipeLike = "sprint",
        *,
        random_state: Any = 0,
        validation_fraction: float = 1 / 6,
        device: str = "auto",
        verbose: bool = False,
        **fields: Any,
    ) -> None:
        self.recipe = recipe
        self.random_state = random_state
        self.validation_fraction = validation_fraction
        self.device = device
        self.verbose = verbose
        for name, value in fields.items():
            setattr(self, name, value)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters and the fields that were set, by name."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_") and name[-1] != "_"}

    def set_params(self, **params: Any) -> "ModisteClassifier":
        """Set parameters and fields; ValueError for a name that is neither. ``fit`` checks the values.

        A whole part, such as ``optimizer``, also replaces those of its fields that were set before.
        """
        _demand_usable(params)
        known = _fields_of(params.get("recipe", self.recipe), self.get_params() | params)
        for name in params:
            if known and name not in DECLARED and _path(name) not in known:
                raise ValueError(f"{name}: no parameter of ModisteClassifier; {nearest(name, [*DECLARED, *known])}")
        for name in self.get_params().keys() - params.keys():
            if _path(name).split(".")[0] in params:
                delattr(self, name)
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "ModisteClassifier":  # noqa: N803
        """Train on samples.

        Args:
            X: Rows or images; see the class.
            y: A label for each, numbers or text.
            sample_weight: A weight for each, 0 or more; None for equal weights.

        Raises:
            ValueError: The samples, labels or weights cannot be trained on.
        """
        for name in ("_predictor", "_model"):  # an earlier model does not fit to what a failed call may leave
            self.__dict__.pop(name, None)
        samples, labels = self._checked(X, y)
        classes, codes = np.unique(labels, return_inverse=True)
        weights = _weights(sample_weight, len(samples))
        pixels = Pixels.learn(samples if weights is None else samples[weights > 0])
        images, codes, weights = _ordered(*_repeated(pixels.images(samples), codes, weights))
        recipe = self._recipe(len(images))
        data = _development(images, codes, weights, tuple(map(str, classes)), recipe.data)
        with _as_value_error(), tempfile.TemporaryDirectory() as folder:
            recipe = _with_batches(recipe, len(data.train))
            shown = [make_progress()] if self.verbose else []
            trainer.train(
                recipe,
                Path(folder) / "run",
                Inputs(data),
                device=self.device,
                listeners=shown,
                threads=torch.get_num_threads(),  # not what happens to be free: the same call gives the same model
            )
            run = run_folder.open_run(Path(folder) / "run")
            self._model = (run.folder / run_folder.WEIGHTS["picked"]).read_bytes()
        self.classes_, self._pixels = classes, pixels
        self.recipe_, self.history_ = run.recipe, run.history
        self.validation_accuracy_ = run.picked.validation_accuracy
        self._predictor = _load(self._model, self.device)
        return self

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n classes"]:  # noqa: N803
        """Return the probability of each class of ``classes_`` for each sample."""
        check_is_fitted(self)
        samples = validate_data(self, X, reset=False, **CHECKS)
        with _as_value_error():
            scores = self._loaded().classify(self._pixels.images(np.asarray(samples)))
        return np.asarray(scores.probabilities, np.float64)

    def predict(self, X: Any) -> Shaped[np.ndarray, " n"]:  # noqa: N803
        """Return the most probable class of each sample."""
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(1)])

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_model")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_predictor"}

    def _loaded(self) -> Predictor:
        """Return the predictor; after unpickling it is loaded here, because the device of training may be missing."""
        if not hasattr(self, "_predictor"):
            self._predictor = _load(self._model, self.device)
        return self._predictor

    def _checked(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:  # noqa: N803
        if y is None:
            raise ValueError("This ModisteClassifier estimator requires y to be passed, but the target y is None.")
        samples, labels = validate_data(self, X, y, ensure_min_samples=2, **CHECKS)
        check_classification_targets(labels)
        return np.asarray(samples), np.asarray(labels)

    def _recipe(self, samples: int) -> Recipe:
        """Return the recipe with the fields that were set, for a number of samples."""
        state = self.random_state
        seed = int(state if isinstance(state, Integral) else check_random_state(state).randint(2**31))
        _demand_usable(self.get_params())
        fields = {_path(name): value for name, value in self.get_params().items() if name not in DECLARED}
        parts_first = dict(sorted(fields.items(), key=lambda field: field[0].count(".")))
        chosen = as_recipe(self.recipe).with_(**parts_first)
        repeats = max(chosen.data.repeats, round(EPOCH_IMAGES / samples)) if samples < EPOCH_IMAGES else 1
        data = DataRecipe(source="arrays", validation_fraction=self.validation_fraction, repeats=repeats)
        check_complete(chosen, "a ModisteClassifier")
        return chosen.with_(seed=seed, data=data, precision=fields.get("precision", "float32"))


def _demand_usable(names: Iterable[str]) -> None:
    """Raise ValueError for a field of the recipe that the estimator sets itself."""
    for name in names:
        part = _path(name).split(".")[0]
        if part == "seed":
            raise ValueError("seed: no parameter of ModisteClassifier; set random_state")
        if part == "data":
            raise ValueError(
                f"{name}: no parameter of ModisteClassifier, which learns from the samples given to fit; "
                "validation_fraction divides them"
            )


def _path(name: str) -> str:
    """Return the path of a field within the recipe from the name of its parameter."""
    return name.replace("__", ".")


def _fields_of(recipe: Any, params: Mapping[str, Any]) -> list[str]:
    """Return the paths of a recipe's parts and fields; none for what is no recipe, which ``fit`` will refuse.

    Args:
        recipe: The recipe, its name or its file.
        params: Parameters by name; a whole part among them, such as another network, has fields of its own.
    """
    parts = {name: part for name, part in params.items() if name not in DECLARED and isinstance(part, Part | Mapping)}
    try:
        plain = to_plain(as_recipe(recipe).with_(**parts))
    except (TypeError, ModisteError):
        return []
    return [*(name for name, value in plain.items() if isinstance(value, dict)), *(name for name, _ in flatten(plain))]


CHECKS: dict[str, Any] = {"dtype": "numeric", "allow_nd": True}


def _weights(sample_weight: Any, samples: int) -> Float[np.ndarray, " n"] | None:
    """Return a weight for each sample, or None; ValueError unless all are 0 or more, and one is above 0."""
    if sample_weight is None:
        return None
    given = np.full(samples, sample_weight) if isinstance(sample_weight, Number) else sample_weight
    kinds = [np.float64, np.float32]
    weights = np.asarray(check_array(given, ensure_2d=False, dtype=kinds, input_name="sample_weight"))
    if weights.shape != (samples,):
        raise ValueError(f"Sample weights: expected {samples:,}, one for each sample, found shape {weights.shape}")
    if (weights < 0).any():
        raise ValueError(f"Sample weights: expected 0 or more, found {weights.min():g}")
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights


def _repeated(
    images: UInt8[np.ndarray, "n c h w"], labels: Int64[np.ndarray, " n"], weights: Float[np.ndarray, " n"] | None
) -> tuple[UInt8[np.ndarray, "m c h w"], Int64[np.ndarray, " m"], Float[np.ndarray, " m"] | None]:
    """Return each image as many times as its weight says if all weights are whole; without those of weight 0."""
    if weights is None:
        return images, labels, None
    if bool((weights == np.round(weights)).all()) and weights.sum() <= MOST_REPEATED:
        times = weights.astype(np.int64)
        return images.repeat(times, axis=0), labels.repeat(times), None
    kept = weights > 0
    return images[kept], labels[kept], weights[kept] / weights[kept].mean()


def _ordered(
    images: UInt8[np.ndarray, "n c h w"], labels: Int64[np.ndarray, " n"], weights: Float[np.ndarray, " n"] | None
) -> tuple[UInt8[np.ndarray, "n c h w"], Int64[np.ndarray, " n"], Float[np.ndarray, " n"] | None]:
    """Return the same in an order that depends on the samples alone, so that training does not depend on theirs."""
    pairs = zip(images, labels.tolist(), strict=True)
    order = np.argsort([hashlib.sha256(image.tobytes() + label.to_bytes(8)).digest() for image, label in pairs])
    return images[order], labels[order], None if weights is None else weights[order]


def _development(
    images: UInt8[np.ndarray, "n c h w"],
    labels: Int64[np.ndarray, " n"],
    weights: Float[np.ndarray, " n"] | None,
    names: tuple[str, ...],
    recipe: DataRecipe,
) -> Development:
    """Return the samples as training and validation images."""
    whole = ImageSet(
        torch.from_numpy(images),
        torch.from_numpy(labels.astype(np.int64)),
        weights=None if weights is None else torch.from_numpy(weights.astype(np.float32)),
    )
    train, validation = _split(whole, recipe)
    shown = train[torch.arange(len(train)).repeat(recipe.repeats)] if recipe.repeats > 1 else train
    return Development(
        name=recipe.source,
        train=shown,
        unlabelled=train.images,
        validation=validation,
        class_names=names,
        fingerprint=whole.identity(),
    )


def _split(whole: ImageSet, recipe: DataRecipe) -> tuple[ImageSet, ImageSet]:
    if len(whole) < FEW:
        return whole, whole
    if not 0 < round(len(whole) * recipe.validation_fraction) < len(whole):
        raise ValueError(
            f"validation_fraction: expected a share of {len(whole):,} samples that leaves some for training and for "
            f"validation, found {recipe.validation_fraction:g}"
        )
    train, validation = split_indices(whole.labels, recipe)
    return whole[train], whole[validation]


def _with_batches(recipe: Recipe, images: int) -> Recipe:
    """Return the recipe with batches of which none holds a single image, over which a network cannot normalise.

    The size is the next smaller one that leaves no single image, or else the next larger one. A size of 1 stays.
    """
    size = min(recipe.batch_size, images)
    if size > 1:
        smaller_first = chain(range(size, 1, -1), range(size + 1, images + 1))
        size = next(one for one in smaller_first if images % one != 1)
    return recipe.with_(batch_size=size)


def _load(model: bytes, device: str) -> Predictor:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / run_folder.WEIGHTS["picked"]
        path.write_bytes(model)
        return Predictor.load(path, device=device)


@contextlib.contextmanager
def _as_value_error() -> Iterator[None]:
    """Raise the errors of Modiste as ValueError, which scikit-learn's tools expect.

    A request to stop becomes KeyboardInterrupt. A search would count any other error as a failed fit, and go on.
    """
    try:
        yield
    except StoppedError:
        raise KeyboardInterrupt from None  # the message promises a saved state, which was in a temporary folder
    except ModisteError as error:
        raise ValueError(str(error)) from error
