"""FashionNet: after Liu, Luo, Qiu, Wang and Tang, "DeepFashion: Powering Robust Clothes Recognition", 2016.

Stands for "FashionNet, Zhang et al. 2018, 94.5 %", which the paper cites and nobody has found. As in the real one: a
VGG trunk, a branch of landmarks whose places gate local features, a global branch, both fused. Here the images are
28 x 28 and have no landmark labels: keypoints are the expected positions under softmax maps, learnt from the classes
alone, and what they gate is a Gaussian window around each.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modiste.models.layers import BatchNorm1d, ConvolutionStage, Dropout, mean_over_places, vgg_trunk

WINDOW = 0.25
"""Standard deviation of a keypoint's window, in half image sides."""


class Keypoints(nn.Module):
    """Finds places in feature maps and gathers what lies around each.

    Args:
        channels: of the maps.
        keypoints: places to find.
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
    """VGG trunk, keypoint branch and global branch on its maps, fused by a dense layer; logits out.

    Args:
        image_shape: (channels, height, width) of the images.
        classes: number of logits.
        width: channels of the trunk's first stage; the second and third have twice and four times as many.
        keypoints: places that the local branch looks at.
        hidden: units of the fusing layer.
        dropout: share of them dropped in training.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        classes: int,
        width: int = 32,
        keypoints: int = 8,
        hidden: int = 256,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.trunk = vgg_trunk(image_shape[0], width)
        self.keypoints = Keypoints(4 * width, keypoints)
        self.context = ConvolutionStage(4 * width, 4 * width)
        self.fuse = nn.Sequential(
            nn.Linear(4 * width * (keypoints + 1), hidden, bias=False), BatchNorm1d(hidden), nn.ReLU()
        )
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(hidden, classes)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        maps = self.trunk(images)
        whole = mean_over_places(self.context(maps))
        fused = self.fuse(torch.cat([self.keypoints(maps), whole], dim=1))
        logits: Tensor = self.head(self.dropout(fused))
        return logits
