"""The paper's experiments, which it reports without numbers: what each varies, and what the paper chose."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from modiste.errors import RecipeError
from modiste.recipes.named import paper, paper_text
from modiste.recipes.networks import InceptionRecipe
from modiste.recipes.plain import nearest
from modiste.recipes.recipe import Recipe
from modiste.searches.space import apply


@dataclass(frozen=True)
class Variant:
    """One variant of an experiment: its label and its recipe."""

    label: str
    recipe: Recipe


@dataclass(frozen=True)
class Experiment:
    """An experiment of the paper: variants of one setting.

    Attributes:
        name: The setting that varies.
        section: Section of the paper.
        statement: What the paper says or chose.
        variants: The variants, in the order of the figure.
        chosen: Label of the variant that the paper chose.
        expected_worse: Label of the variant that the paper calls worse; empty if there is none.
    """

    name: str
    section: str
    statement: str
    variants: tuple[Variant, ...]
    chosen: str
    expected_worse: str = ""

    @property
    def slug(self) -> str:
        """The name as part of a file name, and as the command takes it."""
        return self.name.replace(" ", "-")


def _varied(field: str, values: Sequence[Any], labels: Sequence[str] = ()) -> tuple[Variant, ...]:
    names = labels or [f"{value:g}" for value in values]
    return tuple(Variant(name, apply(paper(), {field: value})) for name, value in zip(names, values, strict=True))


EXPERIMENTS = (
    Experiment(
        "learning rate",
        "4, 6",
        "learning rate 0.001, chosen by experiment",
        _varied("optimizer.learning_rate", (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
        "0.001",
    ),
    Experiment(
        "batch size",
        "4, 6",
        "batch size 128, chosen by experiment",
        _varied("batch_size", (32, 64, 128, 256, 512)),
        "128",
    ),
    Experiment(
        "dropout",
        "4, 5",
        "dropout 0.5, chosen by experiment",
        _varied("model.dropout", (0.0, 0.25, 0.5, 0.75)),
        "0.5",
    ),
    Experiment(
        "batch normalisation",
        "4",
        "no batch normalisation, chosen by experiment",
        _varied("model.batch_norm", (False, True), ("without", "with")),
        "without",
    ),
    Experiment(
        "kernel size",
        "5",
        "3x3 kernels in Listing 1, 2x2 in the prose",
        _varied("model.kernel_size", (2, 3, 5)),
        "3",
    ),
    Experiment(
        "filters",
        "5",
        "32, 64 and 128 filters in Listing 1, 64 and 32 in the prose, because more were not necessary",
        _varied(
            "model.filters",
            ([64, 32], [32, 64], [32, 64, 128], [64, 128, 256]),
            ("64, 32", "32, 64", "32, 64, 128", "64, 128, 256"),
        ),
        "32, 64, 128",
    ),
    Experiment(
        "network",
        "5",
        "kernels of several sizes, as Inception has them, were not as good as one",
        (
            Variant("Listing 1", paper()),
            Variant("the prose's", replace(paper_text(), name="paper")),
            Variant("Inception", replace(paper(), model=InceptionRecipe())),
        ),
        "Listing 1",
        "Inception",
    ),
)
"""All variants are trained like the paper's model: only the named setting differs."""


def selected(names: Sequence[str]) -> tuple[Experiment, ...]:
    """Return the experiments of these slugs in the paper's order; all of them without names.

    Raises:
        RecipeError: The paper has no such experiment.

    Example:
        >>> [one.name for one in selected(["dropout", "batch-size"])]
        ['batch size', 'dropout']
    """
    by_slug = {one.slug: one for one in EXPERIMENTS}
    for name in names:
        if name not in by_slug:
            raise RecipeError(f"experiments: the paper has no experiment {name!r}; {nearest(name, by_slug)}")
    return tuple(one for one in EXPERIMENTS if one.slug in names) or EXPERIMENTS
