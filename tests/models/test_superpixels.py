"""SLIC against a plain loop and against scikit-image's, and what holds for every segmentation."""

from itertools import product

import numpy as np
import pytest
import torch
from skimage.segmentation import slic as skimage_slic
from sklearn.metrics import adjusted_rand_score

from modiste.models.superpixels import adjacency, areas, features, grid_of, means, slic


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scenes(count: int, side: int = 40) -> torch.Tensor:
    """Images of a few flat, overlapping, blurred rectangles with a little noise, each from 0 to 1."""
    draws = generator()
    images = torch.zeros(count, 1, side, side)
    for image, _ in product(range(count), range(6)):
        top, left = torch.randint(0, side - 8, (2,), generator=draws).tolist()
        height, width = torch.randint(6, 24, (2,), generator=draws).tolist()
        images[image, 0, top : top + height, left : left + width] = torch.rand((), generator=draws)
    blurred = torch.nn.functional.avg_pool2d(images, 3, stride=1, padding=1)
    noisy = (blurred + 0.02 * torch.randn(blurred.shape, generator=draws)).flatten(1)
    noisy = noisy - noisy.amin(1, keepdim=True)
    return (noisy / noisy.amax(1, keepdim=True)).view_as(images)


def slow_slic(image: np.ndarray, grid: tuple[int, int], compactness: float, iterations: int) -> np.ndarray:
    """The same algorithm for one image (channels, height, width), pixel by pixel, in double precision."""
    (_, height, width), (rows, columns) = image.shape, grid
    places = list(product(range(height), range(width)))
    home = {(y, x): (y * rows // height, x * columns // width) for y, x in places}
    label = {place: home[place][0] * columns + home[place][1] for place in places}
    centre: dict[int, np.ndarray] = {}
    for _ in range(iterations):
        for region in range(rows * columns):
            members = [np.array([*image[:, y, x], y, x]) for y, x in places if label[y, x] == region]
            if members:
                centre[region] = np.mean(members, axis=0)
        for y, x in places:
            around = product(range(home[y, x][0] - 1, home[y, x][0] + 2), range(home[y, x][1] - 1, home[y, x][1] + 2))
            candidates = [r * columns + c for r, c in around if 0 <= r < rows and 0 <= c < columns]
            apart = {region: np.array([*image[:, y, x], y, x]) - centre[region] for region in candidates}
            spacing = height * width / (rows * columns)
            label[y, x] = min(
                candidates,
                key=lambda r: (apart[r][:-2] ** 2).sum() + compactness**2 / spacing * (apart[r][-2:] ** 2).sum(),
            )
    return np.array([[label[y, x] for x in range(width)] for y in range(height)])


@pytest.mark.parametrize(
    ("shape", "grid", "compactness"),
    [((1, 12, 12), (3, 3), 1.0), ((2, 9, 14), (2, 4), 0.3), ((3, 7, 5), (4, 2), 0.05), ((1, 10, 11), (9, 10), 0.1)],
)
def test_slic_equals_a_plain_loop(shape: tuple[int, int, int], grid: tuple[int, int], compactness: float) -> None:
    images = torch.randint(0, 1025, (3, *shape), generator=generator()) / 1024
    found = slic(images, grid=grid, compactness=compactness, iterations=4)
    for image, labels in zip(images.double().numpy(), found.numpy(), strict=True):
        assert (labels == slow_slic(image, grid, compactness, 4)).all()


def explained(image: np.ndarray, labels: np.ndarray) -> float:
    """Share of an image's variance that the means of its regions explain (Moore et al., 2008)."""
    inside = sum(image[labels == region].var() * (labels == region).sum() for region in np.unique(labels))
    return float(1 - inside / (image.var() * image.size))


def test_it_divides_images_as_scikit_image_does() -> None:
    """Theirs searches wider windows and begins with black centres, so that a few borders differ."""
    images = scenes(12)
    ours = slic(images, grid=(8, 8), compactness=0.2, iterations=10).numpy()
    start = slic(images, grid=(8, 8), compactness=1e6, iterations=1).numpy()
    alike, unlike, quality = [], [], []
    for image, labels, cells in zip(images[:, 0].double().numpy(), ours, start, strict=True):
        options = {"n_segments": 64, "compactness": 0.2, "max_num_iter": 10, "enforce_connectivity": False}
        theirs = skimage_slic(image, channel_axis=None, **options)
        assert len(np.unique(theirs)) > 50
        alike.append(adjusted_rand_score(theirs.ravel(), labels.ravel()))
        unlike.append(adjusted_rand_score(theirs.ravel(), cells.ravel()))
        quality.append(explained(image, labels) - explained(image, theirs))
    assert np.mean(alike) > 0.9  # 0.97 as measured; the grid that both begin with has 0.69
    assert np.mean(unlike) < 0.8
    assert np.abs(quality).max() < 0.02


def test_a_constant_image_keeps_its_grid() -> None:
    labels = slic(torch.full((2, 1, 28, 28), 0.3), grid=(7, 7), compactness=1.0, iterations=5)
    cells = torch.arange(28) // 4
    assert torch.equal(labels, (cells[:, None] * 7 + cells).expand(2, -1, -1))


def test_no_region_crosses_the_edge_between_two_halves() -> None:
    """The edge lies inside a column of cells, which the first grid crosses."""
    images = torch.zeros(1, 1, 28, 28)
    images[..., 13:] = 1.0
    grid = grid_of(49, 28, 28)
    crossed = [
        len(set(labels[:, :13].unique().tolist()) & set(labels[:, 13:].unique().tolist()))
        for labels in (slic(images, grid=grid, compactness=0.1, iterations=n)[0] for n in (0, 5))
    ]
    assert crossed == [7, 0]


def test_an_image_is_divided_alike_in_any_batch_and_any_order_of_sums() -> None:
    images = torch.randn(5, 2, 17, 23, generator=generator())
    options = {"grid": (5, 6), "compactness": 0.5, "iterations": 6}
    together = slic(images, **options)
    assert torch.equal(together, torch.cat([slic(image[None], **options) for image in images]))
    pixels, labels = features(images), together.flatten(1)
    order = torch.randperm(pixels.shape[2], generator=generator())
    nothing = torch.zeros(5, 4, 30)
    assert torch.equal(means(pixels, labels, nothing), means(pixels[:, :, order], labels[:, order], nothing))


def test_a_region_without_pixels_keeps_what_it_was() -> None:
    pixels, labels = torch.tensor([[[1.0, 3.0, 5.0]]]), torch.tensor([[0, 0, 2]])
    assert means(pixels, labels, torch.full((1, 1, 3), 9.0)).tolist() == [[[2.0, 9.0, 5.0]]]
    assert areas(labels, 3).tolist() == [[[2.0, 0.0, 1.0]]]


def test_regions_are_adjacent_where_pixels_touch() -> None:
    images = torch.randn(3, 1, 11, 13, generator=generator())
    labels = slic(images, grid=(4, 4), compactness=0.2, iterations=3)
    touching = adjacency(labels, 16)
    for image in range(3):
        expected = {(region, region) for region in range(16)}
        for y, x in product(range(11), range(13)):
            for below, beside in ((y + 1, x), (y, x + 1)):
                if below < 11 and beside < 13:
                    one, other = labels[image, y, x].item(), labels[image, below, beside].item()
                    expected |= {(one, other), (other, one)}
        assert {tuple(pair) for pair in touching[image].nonzero().tolist()} == expected


@pytest.mark.parametrize(
    ("regions", "shape", "grid"),
    [(64, (28, 28), (8, 8)), (75, (28, 28), (9, 9)), (8, (10, 20), (2, 4)), (64, (1, 1), (1, 1)), (99, (2, 9), (2, 9))],
)
def test_the_grid_is_of_nearly_square_cells(regions: int, shape: tuple[int, int], grid: tuple[int, int]) -> None:
    assert grid_of(regions, *shape) == grid
