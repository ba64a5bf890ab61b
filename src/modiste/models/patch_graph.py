"""Graph over image patches: after Han, Wang, Guo, Tang and Wu, "Vision GNN: An Image is Worth Graph of Nodes", 2022.

The paper cites "FashGraphs, Wang et al. 2019, 94.8 %", which could not be found; this network stands in for it. A
convolutional stem gives a grid of nodes. Each block finds every node's nearest neighbours by their features and gives
the node the largest difference to them (max-relative graph convolution, Li et al., 2019). Unlike in Han et al. there
are no relative positions and no dilation.
"""

from math import prod

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from modiste.models.layers import BatchNorm1d, Dropout, vgg_trunk
from modiste.recipes.networks import PatchGraphRecipe


def nearest_neighbours(nodes: Float[Tensor, "n k c"], neighbours: int) -> Int64[Tensor, "n k m"]:
    """Return the indices of each node's nearest nodes by cosine similarity, the node itself among them.

    It computes in float32: in bfloat16 the similarities of the nearest nodes are often the same number.
    """
    with torch.autocast(nodes.device.type, enabled=False):
        unit = F.normalize(nodes.detach().float(), dim=2)
        return (unit @ unit.transpose(1, 2)).topk(neighbours, dim=2).indices


def max_relative(nodes: Float[Tensor, "n k c"], edges: Int64[Tensor, "n k m"]) -> Float[Tensor, "n k c"]:
    """Return for each node and channel the largest difference of a neighbour to the node.

    The neighbour, the first among equals, is found without gradients. Gradients then flow through its value alone,
    a fraction of the work of a backward pass through every neighbour.
    """
    count, size = nodes.shape[:2]
    rows = (edges + torch.arange(0, count * size, size, device=nodes.device)[:, None, None]).flatten(0, 1)
    flat = nodes.flatten(0, 1)
    if not torch.is_grad_enabled():  # the value is enough, and exported files support few integer operations
        return flat.index_select(0, rows.flatten()).view(*rows.shape, -1).amax(1).view_as(nodes) - nodes
    return flat.gather(0, rows.gather(1, _winners(flat.detach(), rows))).view_as(nodes) - nodes


def _winners(flat: Float[Tensor, "r c"], rows: Int64[Tensor, "r m"]) -> Int64[Tensor, "r c"]:
    """Return which of each row's ``rows`` has the largest value in each channel; the first of several."""
    first, *others = rows.T.contiguous()
    best = flat.index_select(0, first)
    winners = torch.zeros_like(best)  # exact in bfloat16 up to 256
    for number, other in enumerate(others, start=1):
        values = flat.index_select(0, other)
        larger = torch.maximum(best, values)
        is_larger = best.lt_(values)  # as a number of the same kind, many times as fast as a boolean
        winners = torch.maximum(winners, is_larger.mul_(number))
        best = larger
    return winners.long()


class NodeNorm(BatchNorm1d):
    """Batch normalisation of features (N, nodes, channels) over images and nodes."""

    def forward(self, x: Float[Tensor, "n k c"]) -> Float[Tensor, "n k c"]:
        return super().forward(x.flatten(0, 1)).view_as(x)


class GraphBlock(nn.Module):
    """A graph convolution, then a two-layer network on each node, each with an identity shortcut.

    Args:
        channels: Features of a node.
        neighbours: Neighbours of each node, itself included.
        dropout: Share of values dropped before each shortcut is added.
    """

    def __init__(self, channels: int, neighbours: int, dropout: float) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.dropout = Dropout(dropout)
        self.before = nn.Linear(channels, channels)
        self.join = nn.Sequential(nn.Linear(2 * channels, channels, bias=False), NodeNorm(channels), nn.GELU())
        self.after = nn.Sequential(nn.Linear(channels, channels, bias=False), NodeNorm(channels))
        self.node = nn.Sequential(
            nn.Linear(channels, 4 * channels, bias=False),
            NodeNorm(4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels, bias=False),
            NodeNorm(channels),
        )

    def forward(self, x: Float[Tensor, "n k c"]) -> Float[Tensor, "n k c"]:
        nodes = self.before(x)
        edges = nearest_neighbours(nodes, self.neighbours)
        joined = self.join(torch.cat([nodes, max_relative(nodes, edges)], dim=2))
        x = x + self.dropout(self.after(joined))
        grown: Tensor = x + self.dropout(self.node(x))
        return grown


class PatchGraph(nn.Module):
    """A convolutional stem to a grid of nodes, graph blocks, mean over nodes; returns logits.

    The grid has a quarter of the image's height and width.

    Args:
        recipe: The sizes of the layers; see PatchGraphRecipe.
        image_shape: (channels, height, width) of the images.
        classes: Number of logits.
    """

    def __init__(self, recipe: PatchGraphRecipe, *, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, nodes = recipe.channels, prod(side // 4 for side in image_shape[1:])
        neighbours = min(recipe.neighbours, nodes)
        self.stem = vgg_trunk(image_shape[0], channels // 4)
        self.position = nn.Parameter(torch.zeros(nodes, channels))
        self.blocks = nn.Sequential(*(GraphBlock(channels, neighbours, recipe.dropout) for _ in range(recipe.blocks)))
        self.head = nn.Linear(channels, classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        nodes = self.stem(images).flatten(2).transpose(1, 2) + self.position
        logits: Tensor = self.head(self.blocks(nodes).mean(1))
        return logits
