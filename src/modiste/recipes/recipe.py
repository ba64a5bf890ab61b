"""The recipe: everything that decides the result of a training run, as frozen plain data.

A recipe is checked once, at construction. It prints, compares, and is read from JSON and TOML. Every field is a flag of
``modiste train``. Defaults exist here, and for the networks in ``networks``, and nowhere else.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from modiste.display import Displayed, Table
from modiste.errors import RecipeError
from modiste.recipes.networks import CNNRecipe, ModelRecipe, OwnNetworkRecipe
from modiste.recipes.own_code import is_reference, path_in
from modiste.recipes.plain import Part, build, demand, each_once, flatten, nearest, to_plain

MOST_BYTES = 64 * 1024
"""Largest file of a recipe or a search space that is read."""
DECODERS = (1, 2, 3)
"""Versions of the decoder of picture files: 1 ignores colour profiles, 2 converts colours to sRGB, 3 also decodes
large JPEGs at a fraction of their size."""
EARLIER_DATA = {"decoder": 1}
"""Fields of the data recipe that earlier versions did not have, and what those versions did."""
MOST_SHIFT = 10_000
"""Pixels by which an image can be moved: more than any has, and few enough to be padded by."""
MOST_EVEN = 10**6
"""Largest a of Beta(a, a), which is then 1/2 to three digits; torch's arithmetic overflows far above."""
MOST_REPEATS = 10**9
"""Times that an epoch can show an image."""
MOST_RATE = 10**6
"""Learning rate of pre-training, above any that can be of use."""
Precision = Literal["float32", "bfloat16", "auto"]


@dataclass(frozen=True, kw_only=True)
class Views:
    """The views of an image over which its logits are averaged.

    Attributes:
        mirror: Whether the mirror image counts as much as the image.
        shifts: Number of pixels by which all of these are also moved up, down, left and right; 0 for none of this.

    Example:
        >>> Views(mirror=True, shifts=1).passes
        10
    """

    mirror: bool = False
    shifts: int = 0

    @property
    def passes(self) -> int:
        """Number of views, and so of forward passes that classify one image."""
        return (1 + self.mirror) * (5 if self.shifts else 1)


@dataclass(frozen=True, kw_only=True)
class DataRecipe(Part):
    """The images, and how they are split."""

    source: str = "fashion-mnist"
    """fashion-mnist, or a path: class folders, IDX, .npz or .parquet files, a .csv of pixels or of paths and labels."""
    transpose: bool = False
    """Exchange rows and columns of images in arrays and IDX files, as those of EMNIST need."""
    split: Literal["stratified", "last", "grouped"] = "stratified"
    """Validation: stratified, a random share of each class; grouped, near duplicates together; last, the last ones."""
    validation_fraction: float = 1 / 6
    """Share of the training images used for validation; a sixth of Fashion-MNIST's is 10,000."""
    split_seed: int = 0
    """Seed of the split, if it is random; apart from the training seed, so that all seeds share one validation set."""
    images_per_class: int = 0
    """Training images per class, to measure how few labels suffice; 0 uses all. Validation keeps all its images."""
    subset_seed: int = 0
    """Seed of the choice of images_per_class; apart from the split's, so that all choices share one validation set."""
    repeats: int = 1
    """Times that an epoch shows each training image; with few images this makes validation less frequent."""
    pictures: Literal["garment", "whole", "stretched"] = "garment"
    """How a run prepares picture files, also to predict: the garment alone; the whole picture, padded; or stretched."""
    background: Literal["plain", "network", "auto"] = "plain"
    """How a garment is found: on a plain background; by a segmentation network, on any; auto takes what holds."""
    side: int = 28
    """Side in pixels of the images that picture files become."""
    colour: bool = False
    """Keep the colours of picture files; not for garment, which is grey."""
    decoder: int = DECODERS[-1]
    """Decoder of picture files: 1 takes fewer formats; 2 converts colours to sRGB; 3 also decodes large JPEGs small."""
    test_fraction: float = 1 / 6
    """Share of picture files held out for testing if the source has no test split; 0 holds out none."""
    test_seed: int = 0
    """Seed of the choice of test files; apart from the split's, so that they stay held out when split_seed changes."""
    extra: str = ""
    """More pictures to learn from: clothing, after `modiste data fetch clothing`, or a folder of class folders."""
    extra_classes: tuple[str, ...] = ()
    """What its folders show, such as shoes=Sneaker+Sandal; folders without a rule show none of the classes."""
    extra_share: float = 0.25
    """Share of each batch that is taken from the extra pictures."""

    def check(self) -> None:
        demand(
            0 < self.validation_fraction < 1,
            "validation_fraction",
            "between 0 and 1",
            self.validation_fraction,
        )
        self.at_least(0, "images_per_class")
        self.at_least(1, "repeats")
        self.at_most(MOST_REPEATS, "repeats")
        demand(8 <= self.side <= 1024, "side", "from 8 to 1024", self.side)
        demand(self.decoder in DECODERS, "decoder", " or ".join(map(str, DECODERS)), self.decoder)
        self.below_one("test_fraction", "extra_share")
        for rule in self.extra_classes:
            folder, _, classes = rule.partition("=")
            whole = bool(folder) and all(classes.split("+"))
            demand(whole, "extra_classes", "rules of the form FOLDER=CLASS+CLASS", rule)
        demand(bool(self.extra) <= bool(self.extra_classes), "extra_classes", "a rule for extra", self.extra_classes)
        grey = self.pictures == "garment"
        demand(not (grey and self.colour), "pictures", "whole or stretched with colour", self.pictures)
        demand(grey or self.background == "plain", "background", "plain with whole pictures", self.background)


@dataclass(frozen=True, kw_only=True)
class AugmentationRecipe(Part):
    """Random changes to the training images, drawn again at every step; 0 switches a change off."""

    flip: bool = False
    """Mirror half of the images left to right."""
    shift: int = 0
    """Move each image by up to this many pixels in both directions, filling with zeros."""
    crop: float = 0.0
    """Crop up to this share of each side and enlarge the rest."""
    resized_crop: float = 0.0
    """Crop up to this share of the area, with an aspect from 3:4 to 4:3 of the image's, and enlarge the rest. Shares
    below 0.25 may be exceeded, 0.1 by 0.08."""
    rotate: float = 0.0
    """Rotate each image by up to this many degrees either way."""
    photo: float = 0.0
    """Simulate a bad photo with margin, blur, background and noise, up to this strength; 1 is strong."""
    colour: float = 0.0
    """Change brightness, contrast, saturation and the light's colour, each by up to this share."""
    trivial: float = 0.0
    """Apply one random operation to each image, of a random strength up to this (TrivialAugment); 1 is as published."""
    random_ops: int = 0
    """Apply this many random operations to each image, all at random_strength (RandAugment)."""
    random_strength: float = 0.0
    """Strength of the random_ops; 1 is level 30 of 30 as published."""
    erase: float = 0.0
    """Probability of replacing a rectangle by noise (random erasing)."""
    cutout: int = 0
    """Blacken a square of this many pixels a side."""
    aspect: float = 0.0
    """Make each image wider or narrower, by a factor of up to 1 plus this, and fill the frame with it."""
    fold: float = 0.0
    """Displace parts of each image smoothly, by up to this share of a side."""
    pattern: float = 0.0
    """Probability of covering the garment by a printed pattern, more or less."""
    tone: float = 0.0
    """Change brightness, contrast, sharpness and grain, and exchange light and dark of some, up to this strength."""
    hide: float = 0.0
    """Probability of hiding a part at the edge, as by a head, a hand or a wrong outline."""
    mixup: float = 0.0
    """Blend pairs of images, with a share drawn from Beta(a, a); this is a."""
    cutmix: float = 0.0
    """Paste a rectangle of another image, with a share of the area drawn from Beta(a, a); this is a."""
    fmix: float = 0.0
    """Show another image through a smooth mask, with a share of the area drawn from Beta(a, a); this is a."""

    @property
    def random_operations(self) -> tuple[int, float] | None:
        """Number and strength of the random operations, or None if there are none."""
        return (self.random_ops, self.random_strength) if self.random_ops else None

    @property
    def mixes_images(self) -> bool:
        """Whether images are mixed with others, and so are their targets."""
        return bool(self.mixup or self.cutmix or self.fmix)

    @property
    def of_single_images(self) -> "AugmentationRecipe":
        """The same without the fields that mix images."""
        return replace(self, mixup=0.0, cutmix=0.0, fmix=0.0)

    def check(self) -> None:
        self.at_least(0, "shift", "rotate", "random_ops", "cutout", "mixup", "cutmix", "fmix", "aspect")
        self.at_most(MOST_SHIFT, "shift")
        self.at_most(MOST_EVEN, "mixup", "cutmix", "fmix")
        self.below_one("crop", "resized_crop", "colour")
        for name in ("photo", "trivial", "random_strength", "erase", "fold", "pattern", "tone", "hide"):
            demand(0 <= getattr(self, name) <= 1, name, "from 0 to 1", getattr(self, name))
        has_both = (self.random_ops > 0) == (self.random_strength > 0)
        demand(has_both, "random_strength", "above 0 with random_ops, and only then", self.random_strength)


@dataclass(frozen=True, kw_only=True)
class ByClassRecipe(Part):
    """Random changes to the training images that depend on their class; they come before the augmentation."""

    pair: tuple[int, ...] = ()
    """Labels of images that are also shown as mirrored pairs, as seen from above: shoes."""
    legs: tuple[int, ...] = ()
    """Labels of images that are also shown with their legs apart: trousers."""
    outliers: float = 0.0
    """Share of each batch that becomes images of none of the classes, with the same target for every class."""
    upper: tuple[int, ...] = ()
    """Labels of classes whose upper part alone is an outlier: of trousers it looks like shorts."""
    lower: tuple[int, ...] = ()
    """Labels of classes whose lower part alone is an outlier: of dresses it looks like a skirt."""

    def check(self) -> None:
        self.at_least(0, "pair", "legs", "upper", "lower")
        self.below_one("outliers")
        cut = bool(self.upper or self.lower)
        demand(not cut or self.outliers > 0, "outliers", "above 0 with upper or lower", self.outliers)


@dataclass(frozen=True, kw_only=True)
class PretrainingRecipe(Part):
    """Layer-by-layer training of restricted Boltzmann machines, for the warm start contrastive-divergence."""

    epochs: int = 10
    """Passes over the training images for each layer."""
    batch_size: int = 100
    """Images per step."""
    learning_rate: float = 0.01
    """Step size for momentum 0.9, scaled by (1 - momentum) / 0.1 for others; at 0.1 the features collapse."""
    momentum: float = 0.9
    """Momentum after the first epoch, in which it is 0.5 (Hinton, 2010); velocities begin at 0 in each epoch."""
    weight_decay: float = 0.0002
    """Weight decay per unit of learning rate."""
    gibbs_steps: int = 1
    """Gibbs steps of each chain, the k of CD-k."""

    def check(self) -> None:
        self.at_least(1, "epochs", "batch_size", "gibbs_steps")
        self.above_zero("learning_rate")
        self.at_most(MOST_RATE, "learning_rate")
        self.below_one("momentum")
        self.at_least(0, "weight_decay")


@dataclass(frozen=True, kw_only=True)
class SelfSupervisedRecipe(Part):
    """Contrastive learning from images without labels, for the warm start simclr."""

    epochs: int = 5
    """Passes over all training images, including those that images_per_class leaves out."""
    batch_size: int = 256
    """Images per step; the two views of each are contrasted with those of the others."""
    learning_rate: float = 2e-3
    """Peak learning rate of one cycle, with AdamW."""
    weight_decay: float = 0.01
    """Weight decay per unit of learning rate."""
    temperature: float = 0.2
    """Similarities are divided by this; a smaller value gives the nearest images more weight."""
    projection: int = 128
    """Outputs of the head that compares views; it is dropped after pre-training."""
    flip: bool = True
    """Mirror half of the views left to right."""
    crop: float = 0.5
    """Crop up to this share of each side and enlarge the rest."""
    resized_crop: float = 0.0
    """Crop up to this share of the area, with an aspect from 3:4 to 4:3 of the image's, and enlarge the rest. Shares
    below 0.25 may be exceeded, 0.1 by 0.08."""
    rotate: float = 10.0
    """Rotate each view by up to this many degrees either way."""
    photo: float = 0.0
    """Simulate a bad photo up to this strength; 1 is strong."""
    erase: float = 0.5
    """Probability of replacing a rectangle by noise."""

    @property
    def views(self) -> AugmentationRecipe:
        """The augmentation that turns an image into a view."""
        return AugmentationRecipe(
            flip=self.flip,
            crop=self.crop,
            resized_crop=self.resized_crop,
            rotate=self.rotate,
            photo=self.photo,
            erase=self.erase,
        )

    def check(self) -> None:
        self.at_least(2, "batch_size")
        self.at_least(1, "epochs", "projection")
        self.above_zero("learning_rate", "temperature")
        self.at_least(0, "weight_decay")
        self.views.check()


@dataclass(frozen=True, kw_only=True)
class OptimizerRecipe(Part):
    """How gradients become updates of the weights."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    """Adam (Kingma and Ba, 2015), AdamW (Loshchilov and Hutter, 2019) or momentum SGD (Sutskever et al., 2013)."""
    learning_rate: float = 1e-3
    """Peak learning rate; the schedule multiplies it."""
    weight_decay: float = 0.0
    """Weight decay per unit of learning rate; biases and normalisation are never decayed."""
    momentum: float = 0.9
    """Momentum of SGD."""
    nesterov: bool = True
    """Nesterov's momentum for SGD."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates of the first and second moment."""
    epsilon: float = 1e-7
    """Adam's guard against division by zero; the default is that of Keras, which the paper used."""
    clip_norm: float = 0.0
    """Largest norm of the whole gradient; a larger one is scaled down. 0 switches it off."""
    sam_rho: float = 0.0
    """Radius rho of sharpness-aware minimisation (SAM), such as 0.05; a step takes twice as long. 0 switches it off."""
    sam_every: int = 1
    """Steps from one sharpness-aware step to the next; those between are plain, and cost less."""
    sam_adaptive: bool = False
    """Adaptive SAM: each weight moves in proportion to its size; with a larger sam_rho, such as 0.5."""

    def check(self) -> None:
        self.above_zero("learning_rate", "epsilon")
        self.at_least(0, "weight_decay", "clip_norm", "sam_rho")
        self.at_least(1, "sam_every")
        self.below_one("momentum", "betas")
        ahead = self.name == "sgd" and self.nesterov
        demand(not ahead or self.momentum > 0, "momentum", "above 0 with nesterov, or nesterov off", self.momentum)


@dataclass(frozen=True, kw_only=True)
class ScheduleRecipe(Part):
    """The learning rate's factor over the run."""

    shape: Literal["constant", "step", "linear", "cosine", "one-cycle"] = "constant"
    """How the factor changes after warm-up."""
    warm_up: float = 0.0
    """Share of the run, or of each cycle, in which the factor rises to 1: linearly, or in one-cycle along a cosine."""
    final_factor: float = 0.0
    """Final factor of linear, cosine and one-cycle."""
    step_every: float = 0.3
    """Distance of two steps of the shape step, as a share of what warm_up and hold leave; each is by step_factor."""
    step_factor: float = 0.1
    """Factor of each step of the shape step."""
    hold: float = 0.0
    """Share of the run, at its end, in which the factor stays at its last value."""
    cycles: int = 1
    """Times that warm-up, shape and hold are repeated; the run keeps the weights at each cycle's end as snapshots."""

    def check(self) -> None:
        self.below_one("warm_up", "hold")
        demand(self.warm_up + self.hold < 1, "hold", "with warm_up below 1", self.hold)
        self.at_least(1, "cycles")
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
    """Weights taken from another run, and which of them are trained."""

    source: str = ""
    """SHA-256 of the model file that weights come from; --transfer-from fills it in."""
    freeze: tuple[str, ...] = ()
    """Prefixes of the names of parameters that are not trained, such as network.convolutions."""
    fresh: tuple[str, ...] = ()
    """Prefixes of the names of tensors that are not taken, such as network.head for other classes."""
    learning_rate_factor: float = 1.0
    """Factor of the learning rate for the tensors that were taken."""
    keep_statistics: bool = False
    """Keep the running statistics of batch normalisation, and normalise by them in training too."""
    linear_probe: bool = False
    """Fit the last layer by logistic regression before the first step; with no epochs it is all that is trained."""
    rename: tuple[str, ...] = ()
    """OLD=NEW renames a prefix of the source's names, such as conv1=network.stem; .OLD=.NEW renames a part inside."""

    def check(self) -> None:
        demand(not self.source or _is_sha256(self.source), "source", "64 hexadecimal digits", self.source)
        for name in ("freeze", "fresh"):
            demand(all(getattr(self, name)), name, "names", getattr(self, name))
        self.above_zero("learning_rate_factor")
        for rule in self.rename:
            old, _, new = rule.partition("=")
            demand(rule.count("=") == 1 and old != new, "rename", "rules of the form OLD=NEW", rule)
            demand(
                old.startswith(".") == new.startswith("."), "rename", "both sides with a point in front, or none", rule
            )
            names_a_word = not old.startswith(".") or bool(old.strip("."))
            demand(names_a_word, "rename", "a word after the point on the left side", rule)


@dataclass(frozen=True, kw_only=True)
class DistillationRecipe(Part):
    """Learning from the answers of finished runs, the teachers, beside the labels."""

    teachers: tuple[str, ...] = ()
    """SHA-256 of each teacher's model file; --teacher fills them in."""
    on: Literal["augmented", "stored"] = "augmented"
    """augmented: they answer to every image as the network sees it; stored: once, to the images before augmentation."""
    weight: float = 0.5
    """Share of the teachers' answers in the loss; the rest is the loss against the labels."""
    temperature: float = 2.0
    """Divides the logits of teachers and student before softmax; larger values show more of the unlikely classes."""

    def check(self) -> None:
        for teacher in self.teachers:
            demand(_is_sha256(teacher), "teachers", "64 hexadecimal digits each", teacher)
        demand(len(set(self.teachers)) == len(self.teachers), "teachers", "each once", self.teachers)
        demand(0 <= self.weight <= 1, "weight", "from 0 to 1", self.weight)
        self.above_zero("temperature")


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


@dataclass(frozen=True, kw_only=True)
class OwnCodeRecipe(Part):
    """Functions that are not part of Modiste, each named by its import path and the hash of its source."""

    loss: str = ""
    """Takes the place of the objective, MODULE:NAME@HASH; --loss fills it in."""
    augmentation: str = ""
    """Follows the other augmentations, MODULE:NAME@HASH; --augment fills it in."""

    def check(self) -> None:
        for name in ("loss", "augmentation"):
            value = getattr(self, name)
            demand(not value or is_reference(value), name, "MODULE:NAME@HASH", value)


@dataclass(frozen=True, kw_only=True, repr=False)
class Recipe(Displayed, Part):
    """Everything that decides the result of a training run."""

    name: str
    """Name of the recipe, and of the run folder unless --out is given."""
    epochs: int = 50
    """Passes over the training images; with data_pruning, as many steps."""
    batch_size: int = 128
    """Images per step."""
    seed: int = 0
    """Seed of initialisation, order, augmentation and dropout."""
    precision: Precision = "float32"
    """Number format of the network's arithmetic; auto is bfloat16 if the hardware is faster with it, else float32."""
    standardize: bool = False
    """Subtract the training images' mean and divide by their standard deviation, in the network; else divide by 255."""
    objective: Literal["cross-entropy", "squared-error", "margin"] = "cross-entropy"
    """Loss function."""
    label_smoothing: float = 0.0
    """Share of each target's probability that is spread evenly over all classes."""
    balance: float = 0.0
    """Weight in the loss: 0 weights images equally, 1 weights classes equally; values between interpolate."""
    data_pruning: float = 0.0
    """Probability with which a pass leaves out an image whose newest loss is below the mean; 0 leaves none out."""
    warm_start: Literal["none", "class-prior", "whitening", "contrastive-divergence", "simclr"] = "none"
    """Preparation of the untrained network before the first step."""
    ema_decay: float = 0.0
    """Decay per step of the moving average of weights, which is evaluated in their place; 0 switches it off."""
    ema_warm_up: bool = False
    """Begin with a smaller decay: after t steps at most (1 + t) / (10 + t)."""
    swa_start: float = 0.0
    """Share of the run after which the weights at the ends of epochs are averaged equally (SWA); 0 switches it off."""
    mirror: bool = False
    """When classifying, average the logits of each image and its mirror image."""
    shifts: int = 0
    """When classifying, also average over the image moved by this many pixels in four directions: 5 passes, not 1."""
    patience: int = 0
    """Stop after this many epochs without a better validation accuracy; 0 never stops early."""
    pick: Literal["best-accuracy", "best-loss", "last"] = "best-accuracy"
    """Epoch whose weights become the model, selected on validation."""
    data: DataRecipe = field(default_factory=DataRecipe)
    """The images."""
    model: ModelRecipe = field(default_factory=CNNRecipe)
    """The network."""
    augmentation: AugmentationRecipe = field(default_factory=AugmentationRecipe)
    """Random changes to the training images."""
    by_class: ByClassRecipe = field(default_factory=ByClassRecipe)
    """Random changes to the training images that depend on their class."""
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    """The optimizer."""
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    """The learning rate schedule."""
    pretraining: PretrainingRecipe = field(default_factory=PretrainingRecipe)
    """Settings of the warm start contrastive-divergence."""
    self_supervised: SelfSupervisedRecipe = field(default_factory=SelfSupervisedRecipe)
    """Settings of the warm start simclr."""
    transfer: TransferRecipe = field(default_factory=TransferRecipe)
    """Weights taken from another run."""
    distillation: DistillationRecipe = field(default_factory=DistillationRecipe)
    """Answers of finished runs to learn from."""
    own: OwnCodeRecipe = field(default_factory=OwnCodeRecipe)
    """Loss and augmentation that are not part of Modiste."""

    @property
    def views(self) -> Views:
        """The views of each image that classifying averages over."""
        return Views(mirror=self.mirror, shifts=self.shifts)

    def with_(self, **changes: Any) -> "Recipe":
        """Return a recipe with changed fields, checked like every recipe.

        Args:
            changes: Values by the field's path, ``**{"optimizer.learning_rate": 0.003}``. Two underscores may stand for
                the point: ``optimizer__learning_rate=0.003``. The value of a part is a part, or a dictionary of fields.

        Raises:
            RecipeError: Names the first field that does not exist or has an impossible value.

        Example:
            >>> from modiste.recipes import named
            >>> named.get("sprint").with_(epochs=2, optimizer__learning_rate=0.003).optimizer.learning_rate
            0.003
        """
        plain = to_plain(self)
        for path, value in changes.items():
            *parts, name = path.replace("__", ".").split(".")
            table = plain
            for number, part in enumerate(parts):
                if not isinstance(table.get(part), dict):
                    known = [key for key, item in table.items() if isinstance(item, dict)]
                    raise RecipeError(f"{'.'.join(parts[: number + 1])}: no such part; {nearest(part, known)}")
                table = table[part]
            table[name] = to_plain(value)
        return from_plain(plain)

    def table(self) -> Table:
        """Return every field whose value is not the usual one."""
        usual = dict(flatten(to_plain(Recipe(name=self.name, model=self.model))))
        rows = [[name, _as_text(value)] for name, value in flatten(to_plain(self)) if value != usual[name]]
        network = [["model.kind", self.model.KIND], *self._fields_of_network()]
        named = {"epochs": self.epochs, "batch_size": self.batch_size, "seed": self.seed, "precision": self.precision}
        first = [[name, _as_text(value)] for name, value in named.items()]
        rest = [row for row in rows if row[0] not in named and row[0] != "name"]
        return Table(f"recipe {self.name}; other fields have their defaults", [*first, *network, *rest])

    def _fields_of_network(self) -> list[list[str]]:
        return [[f"model.{item.name}", _as_text(getattr(self.model, item.name))] for item in fields(self.model)]

    @property
    def loss_name(self) -> str:
        """The objective, or the import path of the loss that takes its place."""
        return path_in(self.own.loss) if self.own.loss else self.objective

    @property
    def own_references(self) -> dict[str, str]:
        """References to the network, the loss and the augmentation that are not part of Modiste, by kind."""
        network = self.model.code if isinstance(self.model, OwnNetworkRecipe) else ""
        named = {"network": network, "loss": self.own.loss, "augmentation": self.own.augmentation}
        return {kind: reference for kind, reference in named.items() if reference}

    @property
    def own_code(self) -> dict[str, str]:
        """Import paths of the same, by kind."""
        return {kind: path_in(reference) for kind, reference in self.own_references.items()}

    def check(self) -> None:
        safe = self.name.replace("-", "").replace("_", "").replace(".", "").isalnum() and self.name[0] != "."
        demand(safe, "name", "letters, digits, '-', '_' and '.'", self.name)
        self.at_least(1, "batch_size")
        demand(
            self.epochs >= (not self.transfer.linear_probe), "epochs", "at least 1, or 0 with linear_probe", self.epochs
        )
        self.below_one("label_smoothing", "data_pruning", "ema_decay", "swa_start")
        if self.data_pruning:
            self._check_single_images()
        demand(not (self.ema_decay and self.swa_start), "swa_start", "0 with ema_decay, or the reverse", self.swa_start)
        demand(0 <= self.balance <= 1, "balance", "from 0 to 1", self.balance)
        self.at_least(0, "patience")
        cycles = self.schedule.cycles
        demand(not self.epochs % cycles, "schedule.cycles", f"a divisor of the {self.epochs} epochs", cycles)
        demand(cycles == 1 or self.epochs > 0, "schedule.cycles", "1 without epochs", cycles)
        demand(cycles == 1 or not self.patience, "schedule.cycles", "1 with patience", cycles)
        demand(0 <= self.shifts <= 8, "shifts", "from 0 to 8 pixels", self.shifts)
        if self.distillation.teachers:
            self._check_taught()

    def _check_single_images(self) -> None:
        """Refuse fields that mix images: the loss of a mixture is that of no single image."""
        found = {
            "mixup, cutmix or fmix": self.augmentation.mixes_images,
            "by_class.outliers": self.by_class.outliers,
            "data.extra": self.data.extra,
        }
        for name, value in found.items():
            demand(not value, "data_pruning", f"0 with {name}", self.data_pruning)

    def _check_taught(self) -> None:
        demand(self.epochs > 0, "epochs", "at least 1 with a teacher", self.epochs)
        demand(self.objective != "margin", "objective", "cross-entropy or squared-error with a teacher", self.objective)
        others = {
            "data.extra": self.data.extra,
            "by_class.outliers": self.by_class.outliers,
            "own.augmentation": self.own.augmentation,
        }
        for name, value in others.items():  # there are no stored answers for the images that these make
            is_stored = self.distillation.on == "stored"
            demand(not (value and is_stored), "distillation.on", f"augmented with {name}", self.distillation.on)


def _as_text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def from_plain(plain: Mapping[str, Any]) -> Recipe:
    """Return the recipe that plain data describes; RecipeError names the first field that is wrong."""
    recipe: Recipe = build(Recipe, plain)
    return recipe


def from_stored(plain: Mapping[str, Any]) -> Recipe:
    """Return the recipe that a run or a model file holds.

    Fields that it lacks were added by later versions. They take the value with which its run was trained, in place of
    the default for new runs.

    Raises:
        RecipeError: Names the first field that is wrong.
    """
    earlier = _earlier_data(plain)
    return from_plain({**plain, "data": {**plain["data"], **earlier}} if earlier else plain)


def as_stored(recipe: Recipe, plain: Any) -> Recipe:
    """Return ``recipe`` with the values of ``from_stored(plain)`` where ``plain`` lacks a field and it has the default.

    So a recipe of this version is compared with one that an earlier version wrote.
    """
    data, usual = recipe.data, DataRecipe()
    earlier = _earlier_data(plain).items()
    same = {name: value for name, value in earlier if getattr(data, name) == getattr(usual, name)}
    return replace(recipe, data=replace(data, **same))


def _earlier_data(plain: Any) -> dict[str, Any]:
    """Return the fields of the data recipe that a stored recipe lacks, with what earlier versions did."""
    data = plain.get("data") if isinstance(plain, Mapping) else None
    return {name: value for name, value in EARLIER_DATA.items() if isinstance(data, Mapping) and name not in data}


def load(path: Path) -> Recipe:
    """Read a recipe from a ``.toml`` or ``.json`` file; RecipeError names the file and what is wrong."""
    plain = read_table(path)
    try:
        return from_plain(plain)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def read_table(path: Path) -> Any:
    """Read plain data from a ``.toml`` or ``.json`` file; RecipeError names the file if it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8-sig")  # some editors begin a file with a mark
        if len(content) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES:,} bytes")  # noqa: TRY301  (one message for every fault)
        if path.suffix.lower() == ".toml":
            return tomllib.loads(text)
        return json.loads(text, object_pairs_hook=each_once)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: not a valid {path.suffix} file ({error})") from error
