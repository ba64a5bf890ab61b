"""The settings of the benchmarks. A default exists here alone: the command's flags and the function read it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

from modiste.errors import RecipeError
from modiste.recipes.plain import demand, fit, nearest


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a caller may set; each benchmark uses its own part."""

    split: Literal["validation", "test"] = "test"
    """Images to measure on; each call on test counts as one evaluation of each run."""
    against: tuple[str, ...] = ()
    """For ood: other sets of images, such as MNIST, each as data.source takes it; noise and textures are made here."""
    coverage: float = 0.95
    """For conformal: probability with which a set of classes shall hold the label."""
    attacked: int = 1000
    """For robust: images that are attacked, the classes by turns."""
    steps: int = 20
    """For robust: steps of PGD."""
    labels: Path | None = None
    """For human: a CSV file of how many people gave each class to each image, such as fmh_counts.csv."""
    share: float = 0.2
    """For noise: share of the training labels that are wrong."""
    wrong: Literal["symmetric", "confusion"] = "symmetric"
    """For noise: symmetric: any other class; confusion: the classes that the run itself confuses on validation."""
    noisy_runs: Path = Path("runs/noise")
    """For noise: folder of the runs that are trained with wrong labels."""


def from_names(values: Mapping[str, Any]) -> Settings:
    """Return settings from a program's keywords; RecipeError for an unknown name or a value of another type.

    Paths may be texts, and a single set of images need not be in a list.

    Example:
        >>> from_names({"split": "validation"}).split
        'validation'
    """
    kinds = get_type_hints(Settings)
    for name in values:
        if name not in kinds:
            raise RecipeError(f"benchmark: no setting {name!r}; {nearest(name, kinds)}")
    return Settings(**{name: _fitted(kinds[name], value, name) for name, value in values.items()})


def _fitted(kind: Any, value: Any, name: str) -> Any:
    """Return a value as the type of its setting."""
    if kind in (Path, Path | None):
        is_fit = isinstance(value, str | os.PathLike) or (value is None and kind is not Path)
        demand(is_fit, name, "a path", value)
        return None if value is None else Path(value)
    if name == "against":
        paths = [value] if isinstance(value, str | os.PathLike) else value
        demand(isinstance(paths, list | tuple), name, "a list of paths", value)
        value = [os.fspath(one) if isinstance(one, os.PathLike) else one for one in paths]
    return fit(kind, value, name)
