"""Images that a Python program hands over: arrays, and data sets of torch and of Hugging Face."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from modiste.data.pictures.listing import join_names
from modiste.data.tables.arrays import pixels_of, refusal, to_labels, to_pixels
from modiste.data.tables.contents import Contents, Part, PartName
from modiste.photo.opening import DAMAGE

SPELLINGS: dict[str, PartName] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev"), "validation"),
    "test": "test",
}
IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img", "images"), ("label", "labels", "fine_label", "target")


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images in memory, in one to three parts.

    A part is a pair (images, labels), a torch ``Dataset`` of such pairs, or a Hugging Face ``Dataset``. Images: uint8,
    or floats from 0 to 1, of shape (N, H, W), (N, H, W, C), (N, C, H, W), or rows of H*H; or a list of PIL's images.
    Labels: whole numbers or text, (N) or (N, 1).

    Attributes:
        train: To learn from.
        validation: Decides; if None, a share of train.
        test: Held out; if None, a share of train. Only ``evaluate(..., split="test")`` looks at it.
        class_names: Names of the labels 0, 1 ...; if None, the labels in training, in ascending order.
        name: Name of the data set, for reports.

    Example:
        >>> images, labels = np.zeros((60, 8, 8), np.uint8), np.arange(60) % 3
        >>> Dataset(train=(images, labels), class_names=("coat", "dress", "shirt"))
        Dataset(train=(ndarray (60, 8, 8), ndarray (60,)), name='arrays')
    """

    train: Any
    validation: Any = None
    test: Any = None
    class_names: Sequence[str] | None = None
    name: str = "arrays"

    def __repr__(self) -> str:
        parts = {name: getattr(self, name) for name in ("train", "validation", "test")}
        given = ", ".join(f"{name}={_described(part)}" for name, part in parts.items() if part is not None)
        return f"Dataset({given}, name={self.name!r})"


def contents_of(data: Any) -> Contents:
    """Return what a person hands over: a ``Dataset``, a part alone, Keras's two pairs, or a mapping of parts.

    Raises:
        DataError: It is none of these, or the class names are no names in an order. Its parts are checked when they are
            read.
    """
    given = as_dataset(data)
    named: dict[PartName, Any] = {"train": given.train, "validation": given.validation, "test": given.test}
    names = _feature_names(given, named) if given.class_names is None else _in_order(given)
    readers = {
        name: partial(read_part, part, f"{given.name}, {name}") for name, part in named.items() if part is not None
    }
    return Contents(given.name, given.name, readers, names)


def _in_order(given: Dataset) -> tuple[str, ...]:
    """Return the class names that were given; DataError unless they are names in an order."""
    names: Any = given.class_names
    if isinstance(names, str | bytes | Mapping | Set) or not isinstance(names, Iterable):
        raise refusal(
            f"{given.name}, class_names",
            "no names in an order",
            expected="a list with the name of each label, that of 0 first",
            found=_described(names),
            remedy='give one such as ["coat", "dress"]',
        )
    return tuple(map(str, names))


def as_dataset(data: Any) -> Dataset:
    """Return what a person hands over as a ``Dataset``; DataError if it cannot be one."""
    if isinstance(data, Dataset):
        return data
    if isinstance(data, Mapping):
        named = {SPELLINGS.get(str(key).lower(), str(key)): part for key, part in data.items()}
        unknown = [key for key in named if key not in SPELLINGS]
        if "train" not in named or unknown or len(named) < len(data):
            found = ", ".join(map(str, data)) or "nothing"
            remedy = "name the parts so"
            raise refusal("data", "unknown parts", expected="train, validation, test", found=found, remedy=remedy)
        return Dataset(**named)
    if _is_pair(data) and all(isinstance(part, tuple) and _is_pair(part) for part in data):
        return Dataset(train=data[0], test=data[1])
    if _is_pair(data) or _is_collection(data):
        return Dataset(train=data)
    raise refusal(
        "data",
        "no data set",
        expected="(images, labels), a modiste.Dataset, a torch or a Hugging Face Dataset, or a path",
        found=_described(data),
        remedy="hand over one of these",
    )


def read_part(given: Any, where: str) -> Part:
    """Return a part's images and labels, checked; see ``Dataset``.

    Args:
        given: A pair, or a data set of torch or Hugging Face.
        where: Names the part in messages.

    Raises:
        DataError: It is none of these, or its images or labels are invalid.
    """
    if not (_is_pair(given) or _is_collection(given)):
        expected = "(images, labels), or a torch or a Hugging Face Dataset"
        raise refusal(where, "no data set", expected=expected, found=_described(given), remedy="give one of these")
    if _is_pair(given):
        images, labels = _stored(given[0], where), given[1]
    elif hasattr(given, "column_names"):
        images, labels = _from_columns(given, where)
    else:
        tensors = getattr(given, "tensors", None)
        images, labels = _from_items(given, where) if tensors is None or len(tensors) != 2 else tensors
    pixels = to_pixels(images, f"{where} images")
    return Part(pixels.images, to_labels(labels, f"{where} labels"), f"{where} labels", pixels.notes)


def _is_pair(data: Any) -> bool:
    return isinstance(data, tuple | list) and len(data) == 2


def _is_collection(data: Any) -> bool:
    """Return whether something is a data set: it has a length and items, and is neither text, array nor list."""
    plain = isinstance(data, str | bytes | np.ndarray | list | tuple | Mapping) or hasattr(data, "dtype")
    return not plain and hasattr(data, "__len__") and hasattr(data, "__getitem__")


def _from_columns(data: Any, where: str) -> tuple[Any, Any]:
    """Return the images and labels of a Hugging Face data set."""
    image, label = (_column(data, names, where) for names in (IMAGE_COLUMNS, LABEL_COLUMNS))
    return _from_pictures(data[image], where), np.asarray(list(data[label]))


def _column(data: Any, names: tuple[str, ...], where: str) -> str:
    found = [name for name in names if name in data.column_names]
    if len(found) != 1:
        raise refusal(
            where,
            "no such column" if not found else "several such columns",
            expected=f"one of {', '.join(names)}",
            found=", ".join(map(str, data.column_names)),
            remedy="rename or remove columns",
        )
    return found[0]


def _stored(images: Any, where: str) -> Any:
    """Return the images of a pair: arrays as they are, a list of PIL's images as an array."""
    is_list = isinstance(images, list | tuple) and bool(images) and all(hasattr(one, "convert") for one in images)
    return _from_pictures(images, where) if is_list else images


def _from_pictures(pictures: Iterable[Any], where: str) -> np.ndarray:
    return _stacked([_pixels(picture, f"{where}, image {at:,}") for at, picture in enumerate(pictures)], where)


def _feature_names(given: Dataset, parts: Mapping[PartName, Any]) -> tuple[str, ...] | None:
    """Return the names of the labels of Hugging Face's data sets; None if that for training has none.

    Raises DataError if another part has others: its labels would mean other classes.
    """
    names = {part: _names_of_labels(data) for part, data in parts.items()}
    for part, other in names.items():
        if names["train"] and other and other != names["train"]:
            raise refusal(
                f"{given.name}, {part}",
                "class names differ",
                expected=f"{join_names(names['train'])}, as in training",
                found=join_names(other),
                remedy="number the classes alike in all parts",
            )
    return names["train"]


def _names_of_labels(data: Any) -> tuple[str, ...] | None:
    """Return the names of the labels of a Hugging Face data set; None if it has none."""
    features = getattr(data, "features", None)
    if not isinstance(features, Mapping):
        return None
    names = [getattr(features[column], "names", None) for column in LABEL_COLUMNS if column in features]
    return tuple(map(str, names[0])) if names and names[0] else None


def _from_items(data: Any, where: str) -> tuple[Any, Any]:
    """Return the images and labels of a torch data set, whose items are pairs."""
    pictures, labels = [], []
    for number in range(len(data)):
        item = data[number]
        if not _is_pair(item):
            found = f"{_described(item)} at position {number:,}"
            remedy = "give pairs"
            raise refusal(where, "no pairs", expected="items (image, label)", found=found, remedy=remedy)
        pictures.append(_pixels(item[0], f"{where}, image {number:,}"))
        labels.append(item[1].item() if hasattr(item[1], "item") else item[1])
    return _stacked(pictures, where), np.asarray(labels)


def _pixels(picture: Any, where: str) -> np.ndarray:
    """Return a picture as an array; that of a PIL image has the pixels of its file, unless it is of floats.

    Raises DataError if the file of a PIL image is damaged.
    """
    if not (hasattr(picture, "convert") and getattr(picture, "mode", "F") != "F"):
        return np.asarray(picture)
    try:
        return pixels_of(picture)
    except DAMAGE as error:
        expected, remedy = "a picture that can be read", "repair it, or leave it out"
        raise refusal(where, "damaged", expected=expected, found=str(error), remedy=remedy) from None


def _stacked(pictures: list[np.ndarray], where: str) -> np.ndarray:
    if not pictures:
        raise refusal(where, "empty", expected="images", found="none", remedy="give images")
    shapes = [picture.shape for picture in pictures]
    if len(set(shapes)) > 1:
        at = next(number for number, shape in enumerate(shapes) if shape != shapes[0])
        found = f"{shapes[at]} at position {at:,}"
        remedy = "resize them, or write them as class folders"
        raise refusal(where, "images of several shapes", expected=f"{shapes[0]}", found=found, remedy=remedy)
    return np.stack(pictures)


def _described(data: Any) -> str:
    """Return a short description of a value: its type, with its length or shape."""
    if _is_pair(data):
        return f"({_described(data[0])}, {_described(data[1])})"
    shape = getattr(data, "shape", None)
    size = f" {tuple(shape)}" if shape is not None else f" of {len(data):,}" if hasattr(data, "__len__") else ""
    return f"{type(data).__name__}{size}"
