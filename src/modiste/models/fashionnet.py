"""FashionNet: after Liu, Luo, Qiu, Wang and Tang, "DeepFashion: Powering Robust Clothes Recognition", 2016.

The paper cites "FashionNet, Zhang et al. 2018, 94.5 %", which could not be found; this network stands in for it. As in
FashionNet, a VGG trunk feeds two branches that are fused: one gathers local features around landmarks, one is global.
Fashion-MNIST has no landmark labels. A keypoint here is the expected position under a softmax map, learnt from the
class labels alone, and it gathers features through a Gaussian window.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modiste.models.layers import BatchNorm1d, ConvolutionStage, Dropout, average_maps, vgg_trunk
from modiste.recipes.networks import FashionNetRecipe

WINDOW = 0.25
"""Standard deviation of a keypoint's window, in half image sides."""


class Keypoints(nn.Module):
    """Find keypoints in feature maps and gather the features around each.

    Args:
        channels: Channels of the maps.
        keypoints: Number of keypoints.
    """

    def __init__(self, channels: int, keypoints: int) -> None:
        super().__init__()
        self.score = nn.Conv2d(channels, keypoints, 1)

    def locate(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k 2"]:
        """Return each keypoint's expected (row, column) in [-1, 1]."""
        height, width = maps.shape[2:]
        weights = self.score(maps).float().flatten(2).softmax(2).unflatten(2, (height, width))
        rows = torch.linspace(-1, 1, height, device=maps.device)
        columns = torch.linspace(-1, 1, width, device=maps.device)
        return torch.stack([weights.sum(3) @ rows, weights.sum(2) @ columns], dim=2)

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n kc"]:
        height, width = maps.shape[2:]
        places = self.locate(maps)
        rows = torch.linspace(-1, 1, height, device=maps.device) - places[:, :, :1]
        columns = torch.linspace(-1, 1, width, device=maps.device) - places[:, :, 1:]
        windows = (-(rows.square()[:, :, :, None] + columns.square()[:, :, None, :]) / (2 * WINDOW**2)).exp()
        windows = (windows / windows.sum((2, 3), keepdim=True)).to(maps.dtype)
        return torch.einsum("nkhw,nchw->nkc", windows, maps).flatten(1)


class FashionNet(nn.Module):
    """VGG trunk, a keypoint branch and a global branch on its maps, fused by a dense layer; returns logits.

    Args:
        recipe: The sizes of the layers; see FashionNetRecipe.
        image_shape: (channels, height, width) of the images.
        classes: Number of logits.
    """

    def __init__(self, recipe: FashionNetRecipe, *, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, hidden = 4 * recipe.width, recipe.hidden
        self.trunk = vgg_trunk(image_shape[0], recipe.width)
        self.keypoints = Keypoints(channels, recipe.keypoints)
        self.context = ConvolutionStage(channels, channels)
        self.fuse = nn.Sequential(
            nn.Linear(channels * (recipe.keypoints + 1), hidden, bias=False), BatchNorm1d(hidden), nn.ReLU()
        )
        self.dropout = Dropout(recipe.dropout)
        self.head = nn.Linear(hidden, classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        maps = self.trunk(images)
        whole = average_maps(self.context(maps))
        fused = self.fuse(torch.cat([self.keypoints(maps), whole], dim=1))
        logits: Tensor = self.head(self.dropout(fused))
        return logits
