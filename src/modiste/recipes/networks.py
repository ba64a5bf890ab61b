"""The networks as plain data: a dataclass for each kind, its fields the arguments of the network in ``models``."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from modiste.recipes.plain import Part, demand

Activation = Literal["relu", "sigmoid", "tanh", "linear"]
MOST_BLOCKS = 1000
"""Most blocks of one kind in a network, so that a number in a file from elsewhere cannot keep the program busy."""
MOST_NEIGHBOURS = 256
"""Most neighbours of a node in a patch graph; they are counted in bfloat16, which is exact up to this number."""


@dataclass(frozen=True, kw_only=True)
class NetworkRecipe(Part):
    """Base of the recipes of all networks."""

    def smallest_side(self) -> int:
        """Return the smallest height and width, in pixels, of images that the network accepts."""
        return 1

    def dropped(self) -> float:
        """Return the share of units or weights that the network drops in training, 0 to below 1."""
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
    """A small network that reaches an accuracy in the shortest time."""

    KIND: ClassVar[str] = "sprint"

    filters: tuple[int, ...] = (16, 64)
    """Filters of each 3x3 convolution outside the blocks; the first and the last are followed by 2x2 max-pooling."""
    early_blocks: int = 0
    """Residual blocks of two convolutions before the last convolution of filters, at half the image's side."""
    blocks: int = 0
    """Residual blocks after the last convolution of filters, at a quarter of the image's side."""
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
    """Pre-activation residual network; a wide one if width is above 1."""

    KIND: ClassVar[str] = "resnet"

    depth: int = 16
    """Number of layers with weights, 6n + 4."""
    width: int = 1
    """Factor by which the three stages are wider than 16, 32 and 64 channels."""
    dropout: float = 0.0
    """Share of values dropped between each block's convolutions in training."""

    def check(self) -> None:
        possible = 10 <= self.depth <= 6 * MOST_BLOCKS + 4 and self.depth % 6 == 4
        demand(possible, "depth", f"10, 16, 22, 28 ... {6 * MOST_BLOCKS + 4} (6n + 4)", self.depth)
        self.at_least(1, "width")
        self.below_one("dropout")


@dataclass(frozen=True, kw_only=True)
class DropConnectRecipe(NetworkRecipe):
    """Convolutions, then a dense layer with random weights dropped for each image."""

    KIND: ClassVar[str] = "dropconnect"

    filters: tuple[int, ...] = (32, 64, 64)
    """Filters of each convolution; 2x2 max-pooling follows each."""
    hidden: int = 128
    """Units of the DropConnect layer."""
    rate: float = 0.5
    """Share of that layer's weights dropped in training."""
    samples: int = 64
    """Gaussian samples averaged at inference."""

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
    """Output channels of the stem, and of all primary capsules together; a multiple of 8."""
    stem: Literal["single", "deep"] = "single"
    """single: one convolution as in the original; deep: six, and each primary capsule sees the whole image."""
    kernel_size: int = 9
    """Kernel side, in pixels, of both convolutions if the stem is single."""
    routing: Literal["agreement", "attention"] = "agreement"
    """How capsules choose the capsules above: by rounds of agreement, as in the original, or by attention."""
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
    """A VGG trunk, a keypoint branch that gates local features, and a global branch, fused at the end."""

    KIND: ClassVar[str] = "fashionnet"

    width: int = 32
    """Channels of the trunk's first stage."""
    keypoints: int = 8
    """Keypoints that the local branch looks at."""
    hidden: int = 256
    """Units of the layer that fuses both branches."""
    dropout: float = 0.5
    """Share of the fusing layer's units dropped in training."""

    def smallest_side(self) -> int:
        return 4

    def check(self) -> None:
        self.at_least(1, "width", "keypoints", "hidden")
        self.below_one("dropout")


@dataclass(frozen=True, kw_only=True)
class PatchGraphRecipe(NetworkRecipe):
    """A convolutional stem, then graph convolutions between nearest neighbours."""

    KIND: ClassVar[str] = "patch-graph"

    channels: int = 128
    """Features of a node; a multiple of 4."""
    blocks: int = 2
    """Graph blocks."""
    neighbours: int = 9
    """Neighbours of a node, including itself; at most 256."""
    dropout: float = 0.0
    """Share of values dropped inside each graph block in training."""

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
    """Graph attention between superpixels that touch; no convolution."""

    KIND: ClassVar[str] = "superpixel-graph"

    regions: int = 49
    """Approximate number of superpixels in an image; their grid follows the image's shape."""
    compactness: float = 0.5
    """Difference in intensity, in the network's input scale, that weighs as much as the grid's spacing."""
    iterations: int = 3
    """Rounds in which the superpixels' centres move."""
    channels: int = 64
    """Features of a region; a multiple of heads."""
    blocks: int = 3
    """Graph blocks."""
    heads: int = 4
    """Attention heads."""
    neighbours: int = 8
    """Largest number of neighbours of a region, including itself."""
    dropout: float = 0.0
    """Share of values dropped inside each graph block in training."""

    def check(self) -> None:
        self.at_least(1, "regions", "iterations", "blocks", "heads", "neighbours")
        self.at_most(MOST_BLOCKS, "blocks")
        self.above_zero("compactness")
        wanted = f"a multiple of the {self.heads} heads"
        demand(self.channels >= 1 and self.channels % self.heads == 0, "channels", wanted, self.channels)
        self.below_one("dropout")


@dataclass(frozen=True, kw_only=True)
class DBNRecipe(NetworkRecipe):
    """Deep belief network: sigmoid layers trained as restricted Boltzmann machines, and a linear readout."""

    KIND: ClassVar[str] = "dbn"

    hidden: tuple[int, ...] = (1024, 1024)
    """Units of each sigmoid layer."""
    frozen: bool = False
    """After pre-training, train only the readout."""
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
