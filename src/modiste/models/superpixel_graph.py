"""Graph over superpixels: after Avelar, Tavares, da Silveira, Jung and Lamb, "Superpixel Image Classification with
Graph Attention Networks", 2020, which attends as Veličković et al., "Graph Attention Networks", 2018. No convolution.

Here regions also tell their deviation, area and extent, attention knows where a neighbour lies, and blocks are residual
with a two-layer network on each node, as in a transformer.
"""

from math import sqrt

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from modiste.models import superpixels
from modiste.models.layers import Dropout, OwnWeights
from modiste.models.superpixels import Graph, adjacency, describe, join


class Superpixels(nn.Module):
    """The region of every pixel (N, H, W) of images (N, C, H, W), found by SLIC in float32 and without gradients.

    Args:
        grid: rows and columns of the regions.
        compactness: difference in intensity that counts as much as the spacing of the grid.
        iterations: of SLIC.
    """

    def __init__(self, grid: tuple[int, int], compactness: float, iterations: int) -> None:
        super().__init__()
        self.grid = grid
        self.compactness = compactness
        self.iterations = iterations

    def forward(self, images: Float[Tensor, "n c h w"]) -> Int64[Tensor, "n h w"]:
        with torch.autocast(images.device.type, enabled=False):
            return superpixels.slic(images, grid=self.grid, compactness=self.compactness, iterations=self.iterations)


class GraphAttention(OwnWeights):
    """Each node becomes the mean of its neighbours, weighted by attention, for each head apart.

    The attention of node i to j is the softmax over neighbours of LeakyReLU(a . Wx_i + b . Wx_j + c . e_ij), where e_ij
    is what lies between them.

    Args:
        channels: of a node, a multiple of heads.
        heads: that attend apart, each to its share of the channels.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(heads, channels // heads, channels))
        self.attention = nn.Parameter(torch.empty(2, heads, channels // heads))
        self.edge = nn.Parameter(torch.empty(heads, 3))
        self.bias = nn.Parameter(torch.empty(channels))

    def initialize(self, generator: torch.Generator) -> None:
        """Set matrices after Glorot and Bengio (2010), the bias to zero."""
        for weight in (self.weight.flatten(0, 1), self.attention.flatten(0, 1), self.edge):
            nn.init.xavier_uniform_(weight, generator=generator)
        nn.init.zeros_(self.bias)

    def forward(self, x: Float[Tensor, "n k c"], graph: Graph) -> Float[Tensor, "n k c"]:
        values = F.linear(x, self.weight.flatten(0, 1)).view(*x.shape[:2], *self.weight.shape[:2]).transpose(1, 2)
        with torch.autocast(x.device.type, enabled=False):
            heard = self.weights(x.float(), graph) @ values.float()
        heads: Tensor = heard.transpose(1, 2).flatten(2)
        return heads + self.bias

    def weights(self, x: Float[Tensor, "n k c"], graph: Graph) -> Float[Tensor, "n h k k"]:
        """Return the attention of every node to each, a row for a node; 0 where they are no neighbours."""
        towards, of = F.linear(x, (self.attention.unsqueeze(2) @ self.weight).flatten(0, 2)).mT.chunk(2, dim=1)
        index = graph.neighbours.unsqueeze(1).expand(-1, len(self.weight), -1, -1)
        there = of.gather(2, index.flatten(2)).view_as(index)
        scores = towards.unsqueeze(2) + there + F.linear(graph.between, self.edge).permute(0, 3, 1, 2)
        known = F.leaky_relu(scores, 0.2).masked_fill(~graph.touching.unsqueeze(1), -torch.inf)
        nothing = scores.new_zeros(*towards.shape, x.shape[1])
        return nothing.scatter(2, index, known.softmax(2)).mT


class AttentionBlock(nn.Module):
    """Attention, then a two-layer network on each node, both normalised before and around an identity.

    Args:
        channels: of a node.
        heads: of attention.
        dropout: share dropped before both identities are added.
    """

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.before = nn.LayerNorm(channels)
        self.attention = GraphAttention(channels, heads)
        self.node = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "n k c"], graph: Graph) -> Float[Tensor, "n k c"]:
        x = x + self.dropout(self.attention(self.before(x), graph))
        grown: Tensor = x + self.dropout(self.node(x))
        return grown


class SuperpixelGraph(nn.Module):
    """Superpixels, joined where they touch, graph blocks, mean and maximum over regions; logits out.

    Args:
        image_shape: (channels, height, width) of the images.
        classes: number of logits.
        regions: about how many superpixels; their grid follows the image's shape.
        compactness: difference in intensity, after standardisation, that counts as much as the spacing of the grid.
        iterations: of SLIC.
        channels: of a node, a multiple of heads.
        blocks: graph blocks.
        heads: of attention.
        neighbours: most of a region, itself included.
        dropout: share dropped inside the blocks.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        classes: int,
        regions: int = 49,
        compactness: float = 0.5,
        iterations: int = 3,
        channels: int = 64,
        blocks: int = 3,
        heads: int = 4,
        neighbours: int = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        grid = superpixels.grid_of(regions, *image_shape[1:])
        self.regions = grid[0] * grid[1]
        self.neighbours = neighbours
        self.superpixels = Superpixels(grid, compactness, iterations)
        self.embed = nn.Linear(2 * image_shape[0] + 5, channels)
        self.blocks = nn.ModuleList(AttentionBlock(channels, heads, dropout) for _ in range(blocks))
        self.after = nn.LayerNorm(channels)
        self.head = nn.Linear(2 * channels, classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        return self.classify(*self.read(images))

    def classify(self, known: Float[Tensor, "n k d"], graph: Graph) -> Float[Tensor, "n classes"]:
        """Return the logits of images of whose regions this is known."""
        present = known[:, :, -1:] > 0
        x = self.embed(known)
        for block in self.blocks:
            x = block(x, graph)
        x = self.after(x)
        mean = (x * present).sum(1) / present.sum(1)
        largest = x.masked_fill(~present, -torch.inf).amax(1)
        logits: Tensor = self.head(torch.cat([mean, largest], dim=1))
        return logits

    @torch.no_grad()
    def read(self, images: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n k d"], Graph]:
        """Return what is known of the regions of each image, and how they touch."""
        labels = self.superpixels(images)
        with torch.autocast(images.device.type, enabled=False):
            known = describe(images, labels, self.regions)
            spacing = 2 / sqrt(self.regions)  # the image is 2 wide and 2 high
            places = known[:, :, images.shape[1] : images.shape[1] + 2] / spacing
            return known, join(adjacency(labels, self.regions), places, self.neighbours)
