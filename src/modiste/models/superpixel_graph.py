"""Graph over superpixels: after Avelar et al., "Superpixel Image Classification with Graph Attention Networks", 2020.

Attention is that of Veličković et al., "Graph Attention Networks", 2018. There is no convolution. Three things differ
from Avelar et al. The features of a region include its deviation, area and extent. Attention sees where a neighbour
lies. Blocks are residual, with a two-layer network on each node as in a transformer.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from modiste.models import superpixels
from modiste.models.layers import Dropout, OwnWeights
from modiste.models.superpixels import Graph, adjacency, describe, join
from modiste.recipes.networks import SuperpixelGraphRecipe


class Superpixels(nn.Module):
    """SLIC as a layer: images (N, C, H, W) enter, the region of every pixel (N, H, W) is returned.

    It computes in float32 and without gradients.

    Args:
        grid: Rows and columns of the regions.
        compactness: Difference in intensity that counts as much as the spacing of the grid.
        iterations: Rounds of SLIC.
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
    """Each node becomes the mean of its neighbours, weighted by attention, separately for each head.

    The attention of node i to j is the softmax over neighbours of LeakyReLU(a . Wx_i + b . Wx_j + c . e_ij), where e_ij
    holds the rows, columns and distance from i to j.

    Args:
        channels: Features of a node, a multiple of ``heads``.
        heads: Number of attention heads; each returns its share of the channels.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(heads, channels // heads, channels))
        self.attention = nn.Parameter(torch.empty(2, heads, channels // heads))
        self.edge = nn.Parameter(torch.empty(heads, 3))
        self.bias = nn.Parameter(torch.empty(channels))

    def initialize(self, generator: torch.Generator) -> None:
        """Set the matrices after Glorot and Bengio (2010) and the bias to zero."""
        for weight in (self.weight.flatten(0, 1), self.attention.flatten(0, 1), self.edge):
            nn.init.xavier_uniform_(weight, generator=generator)
        nn.init.zeros_(self.bias)

    def forward(self, x: Float[Tensor, "n k c"], graph: Graph) -> Float[Tensor, "n k c"]:
        values = F.linear(x, self.weight.flatten(0, 1)).view(*x.shape[:2], *self.weight.shape[:2]).transpose(1, 2)
        with torch.autocast(x.device.type, enabled=False):
            values = values.to(torch.float32, memory_format=torch.contiguous_format)
            attended = self.weights(x.float(), graph) @ values
        heads: Tensor = attended.transpose(1, 2).flatten(2)
        return heads + self.bias

    def weights(self, x: Float[Tensor, "n k c"], graph: Graph) -> Float[Tensor, "n h k k"]:
        """Return the attention of every node (row) to every node (column); 0 where they are not neighbours."""
        (images, nodes), heads = x.shape[:2], len(self.weight)
        from_node, to_neighbour = F.linear(x, (self.attention.unsqueeze(2) @ self.weight).flatten(0, 2)).mT.chunk(
            2, dim=1
        )
        index = graph.neighbours.unsqueeze(1).expand(-1, heads, -1, -1)
        gathered = to_neighbour.gather(2, index.flatten(2))
        apart = graph.between.permute(0, 3, 1, 2).flatten(2)
        of_edge = torch.baddbmm(gathered, self.edge.expand(images, -1, -1), apart).view(index.shape)
        padding = torch.zeros_like(graph.touching, dtype=x.dtype).masked_fill_(~graph.touching, -torch.inf)
        scores = F.leaky_relu(from_node.unsqueeze(2) + of_edge, 0.2) + padding.unsqueeze(1)
        return x.new_zeros(images, heads, nodes, nodes).scatter_(2, index, scores.softmax(2)).mT


class AttentionBlock(nn.Module):
    """Attention, then a two-layer network on each node, each after normalisation and with an identity shortcut.

    Args:
        channels: Features of a node.
        heads: Number of attention heads.
        dropout: Share of values dropped before each shortcut is added.
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
    """A graph of superpixels that touch, attention blocks, mean and maximum over regions; returns logits.

    Args:
        recipe: The sizes of the layers; see SuperpixelGraphRecipe.
        image_shape: (channels, height, width) of the images.
        classes: Number of logits.
    """

    def __init__(self, recipe: SuperpixelGraphRecipe, *, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels = recipe.channels
        grid = superpixels.grid_of(recipe.regions, *image_shape[1:])
        self.grid, self.regions = grid, grid[0] * grid[1]
        self.neighbours = recipe.neighbours
        self.superpixels = Superpixels(grid, recipe.compactness, recipe.iterations)
        self.embed = nn.Linear(2 * image_shape[0] + 5, channels)
        self.blocks = nn.ModuleList(
            AttentionBlock(channels, recipe.heads, recipe.dropout) for _ in range(recipe.blocks)
        )
        self.after = nn.LayerNorm(channels)
        self.head = nn.Linear(2 * channels, classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        return self.classify(*self.read(images))

    def classify(self, regions: Float[Tensor, "n k d"], graph: Graph) -> Float[Tensor, "n classes"]:
        """Return the logits for images with these regions, described as by ``read``."""
        present = regions[:, :, -1:] > 0  # the last feature is the area
        x = self.embed(regions)
        for block in self.blocks:
            x = block(x, graph)
        x = self.after(x)
        mean = (x * present).sum(1) / present.sum(1)
        largest = x.masked_fill(~present, -torch.inf).amax(1)
        logits: Tensor = self.head(torch.cat([mean, largest], dim=1))
        return logits

    @torch.no_grad()
    def read(self, images: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n k d"], Graph]:
        """Return the features of each image's regions (see ``describe``), and the graph of regions that touch."""
        labels = self.superpixels(images)
        with torch.autocast(images.device.type, enabled=False):
            regions = describe(images, labels, self.regions)
            centres = regions[:, :, images.shape[1] : images.shape[1] + 2].unbind(2)
            # The image is 2 wide and 2 high, whatever its shape.
            places = [centre / (2 / cells) for centre, cells in zip(centres, self.grid, strict=True)]
            return regions, join(adjacency(labels, self.regions), torch.stack(places, dim=2), self.neighbours)
