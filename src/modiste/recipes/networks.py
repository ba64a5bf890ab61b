"""The options of every network as plain data: one dataclass for each kind, which a network in ``models`` takes."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from modiste.recipes.plain import Part, demand

Activation = Literal["relu", "sigmoid", "tanh", "linear"]
MOST_BLOCKS = 1000
"""The largest number of blocks of one kind. A number in a file must not keep a program busy forever."""
MOST_NEIGHBOURS = 256
"""The most neighbours of a node in a graph over patches. They are counted in bfloat16, which is exact up to here."""


@dataclass(frozen=True, kw_only=True)
class NetworkRecipe(Part):
    """Base of the recipes of all networks."""

    def smallest_side(self) -> int:
        """Return the smallest height and width, in pixels, of images that the network accepts."""
        return 1

    def dropped(self) -> float:
        """Return the share of units or weights that the network drops during training, from 0 to 1."""
        return float(getattr(self, "dropout", 0.0))


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
    """A small network that reaches an accuracy in little time."""

    KIND: ClassVar[str] = "sprint"

    filters: tuple[int, ...] = (16, 64)
    """Filters of each 3x3 convolution outside the blocks; the first and the last are followed by 2x2 max-pooling."""
    early_blocks: int = 0
    """Residual blocks of two convolutions before the last convolution outside them, at half the image's side."""
    blocks: int = 0
    """Residual blocks of two convolutions after the last convolution outside them, at a quarter of the image's side."""
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
    """Pre-activation residual network; a wide one if its width is above 1."""

    KIND: ClassVar[str] = "resnet"

    depth: int = 16
    """Layers with weights, 6n + 4."""
    width: int = 1
    """Factor by which the three stages are wider than 16, 32 and 64 channels."""
    dropout: float = 0.0
    """Share of values dropped inside each block in training; 0 switches it off."""

    def check(self) -> None:
        possible = 10 <= self.depth <= 6 * MOST_BLOCKS + 4 and self.depth % 6 == 4
        demand(possible, "depth", f"10, 16, 22, 28 ... {6 * MOST_BLOCKS + 4} (6n + 4)", self.depth)
        self.at_least(1, "width")
        self.below_one("dropout")


@dataclass(frozen=True, kw_only=True)
class DropConnectRecipe(NetworkRecipe):
    """Convolutions, then a dense layer that drops other weights for each image."""

    KIND: ClassVar[str] = "dropconnect"

    filters: tuple[int, ...] = (32, 64, 64)
    """Filters of each convolution; 2x2 max-pooling follows each."""
    hidden: int = 128
    """Units of the DropConnect layer."""
    rate: float = 0.5
    """Share of the DropConnect layer's weights dropped in training."""
    samples: int = 64
    """Gaussian draws averaged in evaluation."""

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
    """Channels after the stem, and of all primary capsules together; a multiple of 8."""
    stem: Literal["single", "deep"] = "single"
    """One convolution as in the original (single), or six with primary capsules that see the whole image (deep)."""
    kernel_size: int = 9
    """Side of the kernels of a single stem and of the primary capsules after it, in pixels."""
    routing: Literal["agreement", "attention"] = "agreement"
    """How primary capsules are routed to class capsules: by agreement as in the original, or by attention."""
    iterations: int = 3
    """Rounds of routing by agreement."""
    hidden: tuple[int, ...] = (512, 1024)
    """Units of the decoder's hidden layers."""

    def smallest_side(self) -> int:
        return 2 * self.kernel_size - 1 if self.stem == "single" else 4

    def check(self) -> None:
        demand(self.filters > 0 and self.filters % 8 == 0, "filters", "a multiple of 8", self.filters)
        self.at_least(1, "kernel_size", "iterations", "hidden")


@dataclass(frozen=True, kw_only=True)
class FashionNetRecipe(NetworkRecipe):
    """VGG trunk with two fused branches: local features around keypoints, and global features."""

    KIND: ClassVar[str] = "fashionnet"

    width: int = 32
    """Channels of the trunk's first stage."""
    keypoints: int = 8
    """Keypoints of the local branch."""
    hidden: int = 256
    """Units of the dense layer that fuses the branches."""
    dropout: float = 0.5
    """Share of these units dropped in training."""

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
    """Share of values dropped inside the blocks in training; 0 switches it off."""

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
    """Superpixels, then graph attention between superpixels that touch; no convolution."""

    KIND: ClassVar[str] = "superpixel-graph"

    regions: int = 49
    """Approximate number of superpixels of an image; their grid follows the image's shape."""
    compactness: float = 0.5
    """Difference in intensity, in the scale that enters the network, that counts as much as the grid's spacing."""
    iterations: int = 3
    """Rounds of moving the superpixels' centres."""
    channels: int = 64
    """Features of a region, a multiple of the attention heads."""
    blocks: int = 3
    """Graph blocks."""
    heads: int = 4
    """Attention heads."""
    neighbours: int = 8
    """Largest number of neighbours of a region, itself included."""
    dropout: float = 0.0
    """Share of values dropped inside the blocks in training; 0 switches it off."""

    def check(self) -> None:
        self.at_least(1, "regions", "iterations", "blocks", "heads", "neighbours")
        self.at_most(MOST_BLOCKS, "blocks")
        self.above_zero("compactness")
        wanted = f"a multiple of the {self.heads} heads"
        demand(self.channels >= 1 and self.channels % self.heads == 0, "channels", wanted, self.channels)
        self.below_one("dropout")


@dataclass(frozen=True, kw_only=True)
class DBNRecipe(NetworkRecipe):
    """Deep belief network: sigmoid layers pre-trained as restricted Boltzmann machines, and a linear layer."""

    KIND: ClassVar[str] = "dbn"

    hidden: tuple[int, ...] = (1024, 1024)
    """Units of each layer of the stack."""
    frozen: bool = False
    """Train only the linear layer after pre-training."""
    dropout: float = 0.0
    """Share of each hidden layer's units dropped in fine-tuning."""

    def check(self) -> None:
        demand(len(self.hidden) > 0, "hidden", "at least one number", self.hidden)
        self.at_least(1, "hidden")
        self.below_one("dropout")


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
)
