"""The recipe: everything that decides a result, as frozen plain data.

A recipe is checked once, when it is made; it prints, compares, round-trips through JSON and TOML, and every field is
a flag of ``modiste train``. Defaults exist here and nowhere else.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from modiste.errors import RecipeError
from modiste.recipes.networks import CNNRecipe, ModelRecipe
from modiste.recipes.plain import Part, build, demand

MOST_BYTES = 64 * 1024
"""Of a file that holds a recipe or a space."""
Precision = Literal["float32", "bfloat16", "auto"]


@dataclass(frozen=True, kw_only=True)
class DataRecipe(Part):
    """Which images, and how they are divided."""

    source: str = "fashion-mnist"
    """A known data set, a folder of sets in IDX form, a folder of class folders, or a .csv of paths and labels."""
    split: Literal["stratified", "last"] = "stratified"
    """How validation images are chosen: each class alike at random, or the last ones in the file as the paper does."""
    validation_fraction: float = 1 / 6
    """Share of the training images held out for validation; a sixth of Fashion-MNIST is 10,000."""
    split_seed: int = 0
    """Seed of the stratified split, apart from the seed of training, so that seeds share one validation set."""
    images_per_class: int = 0
    """Train on so many images of each class alone, to see what few labels give; 0 takes all. Validation stays whole."""
    subset_seed: int = 0
    """Seed of the choice of those few, apart from the split's, so that several choices share one validation set."""
    repeats: int = 1
    """How often an epoch shows each training image, so that a few images make an epoch worth a validation."""
    pictures: Literal["garment", "whole", "stretched"] = "garment"
    """What picture files become, now and ever after: the garment alone; the whole picture, padded, or stretched."""
    side: int = 28
    """Pixels a side of the images that picture files become."""
    colour: bool = False
    """Keep red, green and blue of picture files; not with garment, which is grey."""
    test_fraction: float = 1 / 6
    """Share of picture files sealed away for the test, where the source names none; 0 seals none."""
    test_seed: int = 0
    """Seed of the choice of those, apart from the split's, so that another split leaves them sealed."""

    def check(self) -> None:
        demand(
            0 < self.validation_fraction < 1,
            "validation_fraction",
            "between 0 and 1",
            self.validation_fraction,
        )
        self.at_least(0, "images_per_class")
        self.at_least(1, "repeats")
        demand(8 <= self.side <= 1024, "side", "from 8 to 1024", self.side)
        self.below_one("test_fraction")
        grey = self.pictures == "garment"
        demand(not (grey and self.colour), "pictures", "whole or stretched with colour", self.pictures)


@dataclass(frozen=True, kw_only=True)
class AugmentationRecipe(Part):
    """Random changes to the training images, drawn anew at every step; 0 switches each off."""

    flip: bool = False
    """Mirror half of the images left to right."""
    shift: int = 0
    """Move each image by up to this many pixels in both directions, filling with zeros."""
    crop: float = 0.0
    """Cut away up to this share of each side and enlarge the rest."""
    rotate: float = 0.0
    """Turn each image by up to this many degrees either way."""
    photo: float = 0.0
    """Imitate a bad photo: margin, blur, background and noise, up to this strength; 1 is harsh."""
    erase: float = 0.0
    """Probability of replacing a rectangle by noise (random erasing)."""
    cutout: int = 0
    """Blacken a square of this many pixels a side."""
    mixup: float = 0.0
    """Blend pairs of images by a share from Beta(a, a); this is a."""
    cutmix: float = 0.0
    """Paste rectangles between pairs of images, their area from Beta(a, a); this is a."""

    def check(self) -> None:
        self.at_least(0, "shift", "rotate", "cutout", "mixup", "cutmix")
        self.below_one("crop")
        for name in ("photo", "erase"):
            demand(0 <= getattr(self, name) <= 1, name, "from 0 to 1", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class PretrainingRecipe(Part):
    """Layer by layer training of restricted Boltzmann machines, where the warm start is contrastive-divergence."""

    epochs: int = 10
    """Passes over the training images for each layer."""
    batch_size: int = 100
    """Images per step."""
    learning_rate: float = 0.01
    """Step along the gradient's estimate; at 0.1 the features collapse."""
    momentum: float = 0.9
    """Momentum after the first epoch, which has 0.5 (Hinton, 2010)."""
    weight_decay: float = 0.0002
    """Decay of weights per unit of learning rate."""
    gibbs_steps: int = 1
    """Alternations of each chain, the k of CD-k."""

    def check(self) -> None:
        self.at_least(1, "epochs", "batch_size", "gibbs_steps")
        self.above_zero("learning_rate")
        self.below_one("momentum")
        self.at_least(0, "weight_decay")


@dataclass(frozen=True, kw_only=True)
class SelfSupervisedRecipe(Part):
    """Contrastive learning from images without their labels, where the warm start is simclr."""

    epochs: int = 5
    """Passes over every training image, those too whose labels ``images_per_class`` leaves out."""
    batch_size: int = 256
    """Images per step; each gives two views, told apart from those of the others."""
    learning_rate: float = 2e-3
    """Peak of one cycle, by AdamW."""
    weight_decay: float = 0.01
    """Decay of weights per unit of learning rate."""
    temperature: float = 0.2
    """What similarities are divided by; the smaller, the more the nearest images count."""
    projection: int = 128
    """Outputs of the head in which views are compared; it is thrown away afterwards."""
    flip: bool = True
    """Mirror half of the views left to right."""
    crop: float = 0.5
    """Cut away up to this share of each side and enlarge the rest."""
    rotate: float = 10.0
    """Turn each view by up to this many degrees either way."""
    photo: float = 0.0
    """Imitate a bad photo up to this strength; 1 is harsh."""
    erase: float = 0.5
    """Probability of replacing a rectangle by noise."""

    @property
    def views(self) -> AugmentationRecipe:
        """What turns an image into a view."""
        return AugmentationRecipe(
            flip=self.flip, crop=self.crop, rotate=self.rotate, photo=self.photo, erase=self.erase
        )

    def check(self) -> None:
        self.at_least(2, "batch_size")
        self.at_least(1, "epochs", "projection")
        self.above_zero("learning_rate", "temperature")
        self.at_least(0, "weight_decay")
        self.views.check()


@dataclass(frozen=True, kw_only=True)
class OptimizerRecipe(Part):
    """How a gradient becomes an update."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    """Adam (Kingma and Ba, 2015), AdamW (Loshchilov and Hutter, 2019) or momentum SGD (Sutskever et al., 2013)."""
    learning_rate: float = 1e-3
    """Peak learning rate; the schedule multiplies it."""
    weight_decay: float = 0.0
    """Decay of weights per unit of learning rate; biases and normalisation are never decayed."""
    momentum: float = 0.9
    """Momentum of SGD."""
    nesterov: bool = True
    """Nesterov's momentum for SGD."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates of the first and second moment."""
    epsilon: float = 1e-7
    """Adam's guard against division by zero; Keras' default, the paper's."""
    clip_norm: float = 0.0
    """Largest norm of the whole gradient, beyond which it is scaled down; 0 switches it off."""

    def check(self) -> None:
        self.above_zero("learning_rate", "epsilon")
        self.at_least(0, "weight_decay", "clip_norm")
        self.below_one("momentum", "betas")
        ahead = self.name == "sgd" and self.nesterov
        demand(not ahead or self.momentum > 0, "momentum", "above 0 with nesterov, or nesterov off", self.momentum)


@dataclass(frozen=True, kw_only=True)
class ScheduleRecipe(Part):
    """The learning rate's factor over the run."""

    shape: Literal["constant", "step", "linear", "cosine", "one-cycle"] = "constant"
    """Course of the factor after warm-up."""
    warm_up: float = 0.0
    """Share of the run in which the factor rises linearly to 1; the rise of one-cycle."""
    final_factor: float = 0.0
    """Where linear, cosine and one-cycle end."""
    step_every: float = 0.3
    """Share of the run after which ``step`` multiplies the factor by ``step_factor``, again and again."""
    step_factor: float = 0.1
    """What ``step`` multiplies by."""

    def check(self) -> None:
        self.below_one("warm_up")
        demand(
            self.shape != "one-cycle" or self.warm_up > 0,
            "warm_up",
            "above 0 for one-cycle (try 0.3)",
            self.warm_up,
        )
        demand(0 <= self.final_factor <= 1, "final_factor", "from 0 to 1", self.final_factor)
        demand(0 < self.step_every <= 1, "step_every", "above 0 and at most 1", self.step_every)
        demand(0 < self.step_factor <= 1, "step_factor", "above 0 and at most 1", self.step_factor)


@dataclass(frozen=True, kw_only=True)
class TransferRecipe(Part):
    """Weights taken from another run, and what they may still learn."""

    source: str = ""
    """SHA-256 of the model file that weights come from; --transfer-from fills it in."""
    freeze: tuple[str, ...] = ()
    """Beginnings of the names of parameters that do not learn, such as network.convolutions."""
    fresh: tuple[str, ...] = ()
    """Beginnings of the names of tensors that are not taken, such as network.head, whose classes are others."""
    learning_rate_factor: float = 1.0
    """What the learning rate is multiplied by for tensors that were taken."""
    rename: tuple[str, ...] = ()
    """OLD=NEW, as conv1=network.stem: a beginning of the source's names as the network has it; .OLD=.NEW inside."""

    def check(self) -> None:
        whole = len(self.source) == 64 and set(self.source) <= set("0123456789abcdef")
        demand(not self.source or whole, "source", "64 hexadecimal digits", self.source)
        for name in ("freeze", "fresh"):
            demand(all(getattr(self, name)), name, "names", getattr(self, name))
        self.above_zero("learning_rate_factor")
        for rule in self.rename:
            old, _, new = rule.partition("=")
            demand(rule.count("=") == 1 and old != new, "rename", "rules of the form OLD=NEW", rule)
            demand(
                old.startswith(".") == new.startswith("."), "rename", "both sides with a point in front, or none", rule
            )


@dataclass(frozen=True, kw_only=True)
class Recipe(Part):
    """Everything that decides a training run's result."""

    name: str
    """Name of the recipe, and of the run folder unless another is given."""
    epochs: int = 50
    """Passes over the training images."""
    batch_size: int = 128
    """Images per step."""
    seed: int = 0
    """Seed of initialisation, order, augmentation and dropout."""
    precision: Precision = "float32"
    """Number format of the network's arithmetic; auto takes bfloat16 where the hardware is faster with it."""
    standardize: bool = False
    """Subtract the training images' mean and divide by their deviation, inside the network; else only divide by 255."""
    objective: Literal["cross-entropy", "squared-error", "margin"] = "cross-entropy"
    """What training makes small."""
    label_smoothing: float = 0.0
    """Share of each target's probability that is spread over all classes."""
    balance: float = 0.0
    """How far classes of few images are made up for in the objective: 0 each image counts alike, 1 each class."""
    warm_start: Literal["none", "class-prior", "whitening", "contrastive-divergence", "simclr"] = "none"
    """What happens to the fresh network before the first step."""
    ema_decay: float = 0.0
    """Decay per step of the running average of weights that is evaluated in their place; 0 switches it off."""
    mirror: bool = False
    """Whenever images are classified, average the logits of each and of its mirror image."""
    patience: int = 0
    """Stop after this many epochs without a better validation accuracy; 0 never stops early."""
    pick: Literal["best-accuracy", "best-loss", "last"] = "best-accuracy"
    """Which epoch's weights become the model, by validation."""
    data: DataRecipe = field(default_factory=DataRecipe)
    """The images."""
    model: ModelRecipe = field(default_factory=CNNRecipe)
    """The network."""
    augmentation: AugmentationRecipe = field(default_factory=AugmentationRecipe)
    """Random changes to the training images."""
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    """The optimizer."""
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    """The learning rate's course."""
    pretraining: PretrainingRecipe = field(default_factory=PretrainingRecipe)
    """How the warm start contrastive-divergence trains."""
    self_supervised: SelfSupervisedRecipe = field(default_factory=SelfSupervisedRecipe)
    """How the warm start simclr trains."""
    transfer: TransferRecipe = field(default_factory=TransferRecipe)
    """Weights taken from another run."""

    def check(self) -> None:
        safe = self.name.replace("-", "").replace("_", "").replace(".", "").isalnum() and self.name[0] != "."
        demand(safe, "name", "letters, digits, '-', '_' and '.'", self.name)
        self.at_least(1, "epochs", "batch_size")
        self.below_one("label_smoothing", "ema_decay")
        demand(0 <= self.balance <= 1, "balance", "from 0 to 1", self.balance)
        self.at_least(0, "patience")


def from_plain(plain: Mapping[str, Any]) -> Recipe:
    """Turn a recipe's plain data back into the recipe; RecipeError names the first field that is wrong."""
    recipe: Recipe = build(Recipe, plain)
    return recipe


def load(path: Path) -> Recipe:
    """Read a recipe from a ``.toml`` or ``.json`` file; RecipeError names the file and what is wrong."""
    plain = read_table(path)
    try:
        return from_plain(plain)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def read_table(path: Path) -> Any:
    """Read plain data from a ``.toml`` or ``.json`` file; RecipeError names the file when that cannot be."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode()
        if len(content) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES:,} bytes")  # noqa: TRY301  (one message for all that it is not)
        return tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: not a valid {path.suffix} file ({error})") from error
