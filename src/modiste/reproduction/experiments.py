"""The paper's experiments, which it reports without numbers: what each varies, what the paper chose, and their runs.

The runs of a reproduction are of the final model and of every variant of every experiment, over seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modiste.errors import RecipeError
from modiste.recipes.claims import PAPER_EPOCHS
from modiste.recipes.named import paper, paper_text
from modiste.recipes.networks import InceptionRecipe
from modiste.recipes.plain import Part, nearest
from modiste.recipes.recipe import Precision, Recipe
from modiste.reproduction.paper import Shortage
from modiste.searches.space import apply
from modiste.searches.trial import TrialTask


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


@dataclass(frozen=True, kw_only=True)
class Scope(Part):
    """How much of the paper's training is done."""

    seeds: int = 3
    """Runs of each recipe, seeds 0, 1, 2 ..."""
    epochs: int = PAPER_EPOCHS
    """Epochs of the final model; the paper's are 50."""
    study_epochs: int = PAPER_EPOCHS
    """Epochs of the experiments' runs."""
    images_per_class: int = 0
    """Training images of each class; 0 takes all."""
    precision: Precision = "float32"
    """Number format of training; the paper's is float32."""

    def check(self) -> None:
        self.at_least(1, "seeds", "epochs", "study_epochs")
        self.at_least(0, "images_per_class")

    @property
    def is_whole(self) -> bool:
        """Whether no run is trained for less than in the paper."""
        return not self.shortage(self.epochs) and not self.shortage(self.study_epochs)

    def shortage(self, epochs: int) -> Shortage:
        """Return how runs of this many epochs fall short of the paper."""
        if self.images_per_class:
            return "quick"
        return "shortened" if epochs < PAPER_EPOCHS else ""


QUICK = Scope(epochs=4, study_epochs=4, images_per_class=300, precision="auto")
"""A reproduction in about ten minutes; the whole takes a day."""


def scope_of(*, quick: bool, seeds: int, study_epochs: int | None = None, precision: Precision | None = None) -> Scope:
    """Return the whole scope or, with ``quick``, that of a preview, with other values in place of those not None."""
    base = QUICK if quick else Scope()
    epochs = base.study_epochs if study_epochs is None else study_epochs
    return replace(base, seeds=seeds, study_epochs=epochs, precision=precision or base.precision)


@dataclass(frozen=True)
class Work:
    """The runs of a reproduction, or of some of its experiments, and their folders."""

    scope: Scope
    folder: Path
    experiments: Sequence[Experiment] = EXPERIMENTS

    def recipe(self, recipe: Recipe, seed: int, *, final: bool = False) -> Recipe:
        """Return a recipe as this scope trains it for an experiment or, with ``final``, as the final model."""
        return replace(
            recipe,
            seed=seed,
            epochs=self.scope.epochs if final else self.scope.study_epochs,
            precision=self.scope.precision,
            data=replace(recipe.data, images_per_class=self.scope.images_per_class),
        )

    def final_folders(self) -> list[Path]:
        """Return the folders of the final model's runs."""
        same = self.scope.epochs == self.scope.study_epochs
        return [self._named("paper" if same else "final", seed) for seed in range(self.scope.seeds)]

    def variant_folders(self, experiment: Experiment, variant: Variant) -> list[Path]:
        """Return the folders of a variant's runs; all experiments share the runs of the paper's own recipe."""
        name = "paper" if variant.recipe == paper() else f"{experiment.slug}-{_slug(variant.label)}"
        return [self._named(name, seed) for seed in range(self.scope.seeds)]

    def tasks(self, device: str, data_folder: Path | None) -> list[TrialTask]:
        """Return every run: the final model's, then the first seed of all variants, then the second, and so on."""
        recipes: dict[Path, Recipe] = {}
        for seed, folder in enumerate(self.final_folders()):
            recipes[folder] = self.recipe(paper(), seed, final=True)
        for seed in range(self.scope.seeds):
            for experiment in self.experiments:
                for variant in experiment.variants:
                    folder = self.variant_folders(experiment, variant)[seed]
                    recipes.setdefault(folder, self.recipe(variant.recipe, seed))
        return [
            TrialTask(
                number=number,
                values={"run": folder.name},
                recipe=recipe,
                folder=folder,
                device=device,
                data_folder=data_folder,
            )
            for number, (folder, recipe) in enumerate(recipes.items())
        ]

    def _named(self, name: str, seed: int) -> Path:
        return self.folder / "runs" / f"{name}-seed-{seed}"


def _slug(label: str) -> str:
    return "-".join("".join(c if c.isalnum() or c == "." else " " for c in label).split()).lower()
