"""The networks as plain data: one dataclass per kind, its fields the arguments of the network in ``models``."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from modiste.recipes.own_code import is_reference
from modiste.recipes.plain import Part, demand

Activation = Literal["relu", "sigmoid", "tanh", "linear"]
MOST_BLOCKS = 1000
"""Of one kind in a network: what a file names as a number must not keep a reader busy for ever."""
MOST_ROUNDS = 100
"""Of routing, or of moving superpixels: they too are numbers without weights, and each takes its time."""
MOST_REGIONS = 1000
"""Superpixels of an image. Attention compares each with each."""
MOST_NEIGHBOURS = 256
"""Of a node in a graph over patches: bfloat16, in which they are counted, knows every whole number up to here."""


@dataclass(frozen=True, kw_only=True)
class NetworkRecipe(Part):
    """Base of the recipes of all networks."""

    def smallest_side(self) -> int:
        """Return the least height and width, in pixels, of images that the network can take."""
        return 1

    def dropped(self) -> float:
        """Return the share of units or weights that the network drops in training alone."""
        return float(getattr(self, "dropout", 0.0))

    def standardization(self) -> tuple[float, float] | None:
        """Return the mean and deviation of pixels that the network's published weights expect; None without such."""
        return None


@dataclass(frozen=True, kw_only=True)
class CNNRecipe(NetworkRecipe):
    """A plain convolutional network: convolutions with pooling, then dense layers."""

    KIND: ClassVar[str] = "cnn"

    filters: tuple[int, ...] = (32, 64, 128)
    """Filters of each convolution."""
    kernel_size: int = 3
    """Side of every convolution's kernel, in pixels."""
    pools: int = 2
    """How many of the first convolutions are followed by 2x2 max-pooling."""
    hidden: tuple[int, ...] = (128,)
    """Units of each dense layer between the convolutions and the output."""
    dropout: float = 0.5
    """Share of the last hidden units dropped in training; 0 switches it off."""
    batch_norm: bool = False
    """Apply batch normalisation after each convolution, before its activation."""
    activation: Activation = "relu"
    """Activation after every layer except the last."""

    def smallest_side(self) -> int:
        return 1 << self.pools

    def check(self) -> None:
        demand(len(self.filters) > 0, "filters", "at least one number", self.filters)
        self.at_least(1, "filters", "hidden", "kernel_size")
        demand(0 <= self.pools <= len(self.filters), "pools", f"0 to {len(self.filters)}", self.pools)
        self.below_one("dropout")


@dataclass(frozen=True, kw_only=True)
class MLPRecipe(NetworkRecipe):
    """A multilayer perceptron; a single-layer perceptron without hidden layers."""

    KIND: ClassVar[str] = "mlp"

    hidden: tuple[int, ...] = ()
    """Units of each hidden layer."""
    activation: Activation = "relu"
    """Activation after every hidden layer."""
    dropout: float = 0.0
    """Share of each hidden layer's units dropped in training; 0 switches it off."""
    batch_norm: bool = False
    """Apply batch normalisation after each hidden layer, before its activation."""

    def dropped(self) -> float:
        return self.dropout if self.hidden else 0.0

    def check(self) -> None:
        self.at_least(1, "hidden")
        self.below_one("dropout")


@dataclass(frozen=True, kw_only=True)
class SprintRecipe(NetworkRecipe):
    """A small network for the least time to an accuracy."""

    KIND: ClassVar[str] = "sprint"

    filters: tuple[int, ...] = (16, 64)
    """Filters of each 3x3 convolution outside the blocks; the first and the last are followed by 2x2 max-pooling."""
    early_blocks: int = 0
    """Residual blocks of two convolutions in front of the last of these, at half the image's side, or at its full side
    if the last is the only one."""
    blocks: int = 0
    """Residual blocks behind it, at a quarter of the side."""
    hidden: int = 128
    """Units of the dense layer."""

    def smallest_side(self) -> int:
        return 1 << min(2, len(self.filters))

    def check(self) -> None:
        demand(len(self.filters) > 0, "filters", "at least one number", self.filters)
        self.at_least(1, "filters", "hidden")
        self.at_least(0, "early_blocks", "blocks")
        self.at_most(MOST_BLOCKS, "early_blocks", "blocks")


@dataclass(frozen=True, kw_only=True)
class InceptionRecipe(NetworkRecipe):
    """Parallel 1x1, 3x3, 5x5 and pooled branches with batch normalisation."""

    KIND: ClassVar[str] = "inception"

    width: int = 64
    """Channels of the first convolution, a multiple of 8; the last module has four times as many."""
    dropout: float = 0.3
    """Share of the pooled features dropped in training."""

    def smallest_side(self) -> int:
        return 4

    def check(self) -> None:
        demand(self.width >= 8 and self.width % 8 == 0, "width", "a multiple of 8", self.width)
        self.below_one("dropout")


@dataclass(frozen=True, kw_only=True)
class ResNetRecipe(NetworkRecipe):
    """Pre-activation residual network; wide where width is above 1."""

    KIND: ClassVar[str] = "resnet"

    depth: int = 16
    """Layers with weights, 6n + 4."""
    width: int = 1
    """Factor by which the three stages are wider than 16, 32 and 64 channels."""
    dropout: float = 0.0
    """Share dropped inside each block in training."""

    def check(self) -> None:
        possible = 10 <= self.depth <= 6 * MOST_BLOCKS + 4 and self.depth % 6 == 4
        demand(possible, "depth", f"10, 16, 22, 28 ... {6 * MOST_BLOCKS + 4} (6n + 4)", self.depth)
        self.at_least(1, "width")
        self.below_one("dropout")


@dataclass(frozen=True, kw_only=True)
class DropConnectRecipe(NetworkRecipe):
    """Convolutions, then a dense layer whose weights are dropped anew for each image."""

    KIND: ClassVar[str] = "dropconnect"

    filters: tuple[int, ...] = (32, 64, 64)
    """Filters of each convolution; 2x2 max-pooling follows each."""
    hidden: int = 128
    """Units of the DropConnect layer."""
    rate: float = 0.5
    """Share of its weights dropped, rounded to 1/256; at most 255/256."""
    samples: int = 64
    """Gaussian draws averaged at test time."""

    def smallest_side(self) -> int:
        return 1 << len(self.filters)

    def dropped(self) -> float:
        return self.rate

    def check(self) -> None:
        demand(len(self.filters) > 0, "filters", "at least one number", self.filters)
        self.at_least(1, "filters", "hidden", "samples")
        self.below_one("rate")


@dataclass(frozen=True, kw_only=True)
class CapsNetRecipe(NetworkRecipe):
    """Capsules connected by routing, with a decoder that reconstructs the image."""

    KIND: ClassVar[str] = "capsnet"

    filters: int = 256
    """Channels of the stem's end, and of the primary capsules together; a multiple of 8."""
    stem: Literal["single", "deep"] = "single"
    """One convolution as in the original, or six, with primary capsules that each see the whole image."""
    kernel_size: int = 9
    """Side of both convolutions' kernels where the stem is single, in pixels."""
    routing: Literal["agreement", "attention"] = "agreement"
    """How capsules choose the capsules above: by rounds of agreement as in the original, or by attention."""
    iterations: int = 3
    """Rounds of routing by agreement."""
    hidden: tuple[int, ...] = (512, 1024)
    """Units of the decoder's hidden layers."""

    def smallest_side(self) -> int:
        return 2 * self.kernel_size - 1 if self.stem == "single" else 4

    def check(self) -> None:
        demand(self.filters > 0 and self.filters % 8 == 0, "filters", "a multiple of 8", self.filters)
        self.at_least(1, "kernel_size", "iterations", "hidden")
        self.at_most(MOST_ROUNDS, "iterations")


@dataclass(frozen=True, kw_only=True)
class FashionNetRecipe(NetworkRecipe):
    """VGG trunk, a branch of keypoints that gates local features, a global branch, fused."""

    KIND: ClassVar[str] = "fashionnet"

    width: int = 32
    """Channels of the trunk's first stage."""
    keypoints: int = 8
    """Places that the local branch looks at."""
    hidden: int = 256
    """Units of the fusing layer."""
    dropout: float = 0.5
    """Share of them dropped in training."""

    def smallest_side(self) -> int:
        return 4

    def check(self) -> None:
        self.at_least(1, "width", "keypoints", "hidden")
        self.below_one("dropout")


@dataclass(frozen=True, kw_only=True)
class PatchGraphRecipe(NetworkRecipe):
    """Convolutional stem, then graph convolutions over nearest neighbours."""

    KIND: ClassVar[str] = "patch-graph"

    channels: int = 128
    """Features of a node; a multiple of 4."""
    blocks: int = 2
    """Graph blocks."""
    neighbours: int = 9
    """Neighbours of a node, itself included; at most 256."""
    dropout: float = 0.0
    """Share dropped inside the blocks in training."""

    def smallest_side(self) -> int:
        return 4

    def check(self) -> None:
        demand(self.channels >= 4 and self.channels % 4 == 0, "channels", "a multiple of 4", self.channels)
        self.at_least(1, "blocks", "neighbours")
        self.at_most(MOST_BLOCKS, "blocks")
        self.at_most(MOST_NEIGHBOURS, "neighbours")
        self.below_one("dropout")


@dataclass(frozen=True, kw_only=True)
class SuperpixelGraphRecipe(NetworkRecipe):
    """Superpixels, then graph attention between those that touch; no convolution."""

    KIND: ClassVar[str] = "superpixel-graph"

    regions: int = 49
    """About how many superpixels an image has; their grid follows its shape."""
    compactness: float = 0.5
    """Difference in intensity, in the scale that enters the network, that counts as much as the grid's spacing."""
    iterations: int = 3
    """Rounds of moving the superpixels' centres."""
    channels: int = 64
    """Features of a region, a multiple of heads."""
    blocks: int = 3
    """Graph blocks."""
    heads: int = 4
    """Heads of attention."""
    neighbours: int = 8
    """Most neighbours of a region, itself included."""
    dropout: float = 0.0
    """Share dropped inside the blocks in training."""

    def check(self) -> None:
        self.at_least(1, "regions", "iterations", "blocks", "heads", "neighbours")
        self.at_most(MOST_BLOCKS, "blocks")
        self.at_most(MOST_ROUNDS, "iterations")
        self.at_most(MOST_REGIONS, "regions")
        self.above_zero("compactness")
        wanted = f"a multiple of the {self.heads} heads"
        demand(self.channels >= 1 and self.channels % self.heads == 0, "channels", wanted, self.channels)
        self.below_one("dropout")


@dataclass(frozen=True, kw_only=True)
class DBNRecipe(NetworkRecipe):
    """Deep belief network: sigmoid layers that restricted Boltzmann machines have trained, and a readout."""

    KIND: ClassVar[str] = "dbn"

    hidden: tuple[int, ...] = (1024, 1024)
    """Units of each layer of the stack."""
    frozen: bool = False
    """Whether only the readout learns after pre-training."""
    dropout: float = 0.0
    """Share of each hidden layer's units dropped in fine-tuning."""

    def check(self) -> None:
        demand(len(self.hidden) > 0, "hidden", "at least one number", self.hidden)
        self.at_least(1, "hidden")
        self.below_one("dropout")


@dataclass(frozen=True, kw_only=True)
class EfficientNetLiteRecipe(NetworkRecipe):
    """EfficientNet-Lite: inverted residuals for colour pictures of 224 pixels and more, with weights from ImageNet."""

    KIND: ClassVar[str] = "efficientnet-lite"

    size: int = 0
    """0, 1 or 2: for pictures of 224, 240 or 260 pixels a side; a larger network is slower and more accurate."""
    dropout: float = 0.2
    """Share of the 1,280 features dropped in training."""

    def standardization(self) -> tuple[float, float]:
        return 127 / 255, 128 / 255

    def check(self) -> None:
        demand(self.size in (0, 1, 2), "size", "0, 1 or 2", self.size)
        self.below_one("dropout")


@dataclass(frozen=True, kw_only=True)
class OwnNetworkRecipe(NetworkRecipe):
    """A network that is not part of Modiste, named by its import path and the hash of its source."""

    KIND: ClassVar[str] = "own"

    code: str
    """Import path and hash of the source, MODULE:NAME@HASH; --network fills it in."""

    def check(self) -> None:
        demand(is_reference(self.code), "code", "MODULE:NAME@HASH, as --network MODULE:NAME writes it", self.code)


ModelRecipe = (
    CNNRecipe
    | MLPRecipe
    | SprintRecipe
    | InceptionRecipe
    | ResNetRecipe
    | DropConnectRecipe
    | CapsNetRecipe
    | FashionNetRecipe
    | PatchGraphRecipe
    | SuperpixelGraphRecipe
    | DBNRecipe
    | EfficientNetLiteRecipe
    | OwnNetworkRecipe
)
