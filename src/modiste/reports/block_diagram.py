"""Block diagrams of a network's characteristic part: steps in sequence and in parallel branches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import nn

from modiste.models.capsnet import CLASS_DIMENSIONS, PRIMARY_DIMENSIONS, CapsNet
from modiste.models.efficientnet_lite import InvertedResidual
from modiste.models.fashionnet import FashionNet
from modiste.models.inception import InceptionModule
from modiste.models.patch_graph import GraphBlock
from modiste.models.resnet import Block
from modiste.models.sprint import ResidualBlock
from modiste.models.superpixel_graph import AttentionBlock
from modiste.reports.style import FAINT, INK, MUTED, ON_LIGHT, PALE_BLUE, PALE_GREEN, WIDTH, drawn, number_of, schematic


@dataclass(frozen=True)
class Fork:
    """Parallel branches.

    Attributes:
        branches: The steps of each branch; a branch without steps is the identity.
        join: How the branches are combined; empty if they are not.
    """

    branches: tuple[tuple[str, ...], ...]
    join: str = ""


Step = str | Fork
MARGIN, GAP, ARROW = 0.12, 0.14, 0.2
"""Inches around the diagram, between branches, and of an arrow."""
LINE, PADDING = 0.14, 0.14
"""Inches of a line of text, and of the space that a box adds to its lines."""
WIDEST = 2.6
"""Inches of the widest box."""
FINE = 8.0
"""Font size in points."""
IDENTITY = "identity"


@drawn
def block_diagram(steps: Sequence[Step]) -> Figure:
    """Return a diagram of the steps from top to bottom."""
    height = sum(map(_height, steps)) + ARROW * (len(steps) - 1) + 2 * MARGIN
    figure, axes = schematic(WIDTH, height)
    y = height - MARGIN
    for number, step in enumerate(steps):
        if number:
            _arrow(axes, WIDTH / 2, y, y - ARROW)
            y -= ARROW
        if isinstance(step, Fork):
            _draw_fork(axes, step, y)
        else:
            _box(axes, step, WIDTH / 2, y, width=WIDEST, colour=PALE_BLUE if number else MUTED)
        y -= _height(step)
    return figure


def _height(step: Step) -> float:
    if isinstance(step, str):
        return PADDING + LINE * (step.count("\n") + 1)
    joined = 1.5 * ARROW + _height(step.join) if step.join else 0.0
    return ARROW + max(map(_branch_height, step.branches)) + joined


def _branch_height(branch: tuple[str, ...]) -> float:
    return sum(map(_height, branch)) + ARROW * (len(branch) - 1) if branch else 0.0


def _draw_fork(axes: Axes, fork: Fork, top: float) -> None:
    room = (WIDTH - 2 * MARGIN + GAP) / len(fork.branches)
    middles = [MARGIN + room * (index + 0.5) - GAP / 2 for index in range(len(fork.branches))]
    bottom = top - 1.5 * ARROW - max(map(_branch_height, fork.branches))
    axes.plot([middles[0], middles[-1]], [top, top], color=FAINT, linewidth=1)
    for x, branch in zip(middles, fork.branches, strict=True):
        y = top
        for text in branch:
            _arrow(axes, x, y, y - ARROW)
            y -= ARROW
            _box(axes, text, x, y, width=min(WIDEST, room - GAP), colour=PALE_GREEN)
            y -= _height(text)
        if not branch:
            axes.text(x + 0.08, (y + bottom) / 2, IDENTITY, va="center", fontsize=FINE, color=FAINT)
        if fork.join:
            axes.plot([x, x], [y, bottom], color=FAINT, linewidth=1)
    if fork.join:
        axes.plot([middles[0], middles[-1]], [bottom, bottom], color=FAINT, linewidth=1)
        _arrow(axes, WIDTH / 2, bottom, bottom - ARROW)
        _box(axes, fork.join, WIDTH / 2, bottom - ARROW, width=WIDEST, colour=MUTED)


def _arrow(axes: Axes, x: float, start: float, end: float) -> None:
    style = {"arrowstyle": "->", "color": FAINT, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (x, end), (x, start), arrowprops=style)


def _box(axes: Axes, text: str, x: float, top: float, *, width: float, colour: str) -> None:
    height = _height(text)
    corner = (x - width / 2, top - height)
    shape = FancyBboxPatch(
        corner, width, height, boxstyle="round,pad=0,rounding_size=0.05", facecolor=colour, edgecolor=INK, linewidth=0.7
    )
    axes.add_patch(shape)
    axes.text(x, top - height / 2, text, ha="center", va="center", fontsize=FINE, color=ON_LIGHT, linespacing=1.2)


def inside(model: nn.Module) -> tuple[str, tuple[Step, ...]] | None:
    """Return the name and the steps of the last part of ``model`` listed in ``BLOCKS``; None if there is none.

    Inverted residuals without a shortcut are passed over.
    """
    known = [part for part in model.modules() if type(part) in BLOCKS and getattr(part, "has_shortcut", True)]
    if not known:
        return None
    name, describe = BLOCKS[type(known[-1])]
    return name, describe(known[-1])


def _inception(module: InceptionModule) -> tuple[Step, ...]:
    convolutions = [[part for part in branch.modules() if isinstance(part, nn.Conv2d)] for branch in module.branches]
    total = sum(branch[-1].out_channels for branch in convolutions)
    branches = tuple(tuple(filter(None, map(_layer, branch.modules()))) for branch in module.branches)
    return f"{convolutions[0][0].in_channels} maps", Fork(branches, f"concatenated: {total} maps")


def _residual(block: Block) -> tuple[Step, ...]:
    active = "batch normalisation, relu"
    long_way = (active, _layer(block.first), active, _layer(block.second))
    short_way = () if block.shortcut is None else (_layer(block.shortcut),)
    return f"{block.first.in_channels} maps", Fork((long_way, short_way), "added")


def _residual_first_form(block: ResidualBlock) -> tuple[Step, ...]:
    first, second = (_layer(part) for part in block.residual if isinstance(part, nn.Conv2d))
    long_way = (first, "batch normalisation, relu", second, "batch normalisation")
    return f"{block.residual[0].in_channels} maps", Fork((long_way, ()), "added, relu")


def _inverted_residual(block: InvertedResidual) -> tuple[Step, ...]:
    active = "batch normalisation, relu up to 6"
    convolutions = [part for part in block.modules() if isinstance(part, nn.Conv2d)]
    widen, filters, narrow = map(_layer, convolutions)
    long_way = (widen, active, f"{filters},\neach of one channel", active, narrow, "batch normalisation")
    return f"{convolutions[0].in_channels} maps", Fork((long_way, ()), "added")


def _graph(block: GraphBlock) -> tuple[Step, ...]:
    channels = block.before.in_features
    first = block.node[0]
    grown = first.out_features if isinstance(first, nn.Linear) else 0
    message = (
        "dense",
        f"the {block.neighbours} nearest nodes by cosine;\nlargest difference to them, by channel",
        "dense with the node itself,\nbatch normalisation, gelu",
        "dense, batch normalisation",
    )
    node = (f"dense to {grown:,}, batch normalisation, gelu", f"dense to {channels:,}, batch normalisation")
    return f"nodes of {channels:,} numbers", Fork((message, ()), "added"), Fork((node, ()), "added")


def _attention(block: AttentionBlock) -> tuple[Step, ...]:
    heads, size, channels = block.attention.weight.shape
    grown = next(layer.out_features for layer in block.node if isinstance(layer, nn.Linear))
    message = (
        "layer normalisation",
        f"{number_of(heads, 'head')}: attention to adjacent regions,\nby both vectors and relative position",
        f"weighted mean of their vectors by head,\n{size} numbers each",
    )
    node = ("layer normalisation", f"dense to {grown:,}, gelu", f"dense to {channels:,}")
    return f"regions of {channels:,} numbers", Fork((message, ()), "added"), Fork((node, ()), "added")


def _fashionnet(network: FashionNet) -> tuple[Step, ...]:
    score = network.keypoints.score
    channels, count = score.in_channels, score.out_channels
    local = (
        f"1 × 1 convolution: scores of {count} keypoints",
        "softmax over positions;\nexpected position of each",
        "mean of the maps in a window\naround each position",
        f"{count} × {channels} numbers",
    )
    whole = (f"VGG stage, {channels} filters", "mean over the image", f"{channels} numbers")
    dense = network.fuse[0]
    fused = dense.out_features if isinstance(dense, nn.Linear) else 0
    return (
        "image",
        f"three VGG stages, pooling between:\n{channels} maps",
        Fork((local, whole), f"concatenated: {(count + 1) * channels:,} numbers"),
        f"dense, {fused} units, batch normalisation, relu",
        f"dense, {network.head.out_features} classes",
    )


def _capsules(network: CapsNet) -> tuple[Step, ...]:
    lower, classes = network.votes.shape[:2]
    sizes = [part.out_features for part in network.decoder if isinstance(part, nn.Linear)]
    decoder = ("capsules of other classes masked", *(f"dense, {size:,} units" for size in sizes[:-1]))
    return (
        "image",
        *_stem(network),
        f"{lower:,} capsules of {PRIMARY_DIMENSIONS} numbers",
        f"a vote of each capsule for every class,\n{CLASS_DIMENSIONS} numbers",
        _routing(network),
        f"{classes} class capsules of {CLASS_DIMENSIONS} numbers",
        Fork((("length of each: the logits",), (*decoder, f"reconstructed image, {sizes[-1]:,} pixels"))),
    )


def _stem(network: CapsNet) -> tuple[str, ...]:
    if isinstance(network.stem, nn.Conv2d):
        return f"{_layer(network.stem)}, relu", _layer(network.primary)
    filters = [part.out_channels for part in network.stem.modules() if isinstance(part, nn.Conv2d)]
    (whole,) = (part for part in network.primary.modules() if isinstance(part, nn.Conv2d))
    return (
        f"{len(filters)} convolutions of 3 × 3, pooling twice:\n{filters[-1]} maps",
        f"each map by a kernel of its size,\n{_layer(whole).replace('filters', 'numbers')}",
    )


def _routing(network: CapsNet) -> str:
    if network.prior is None:
        return f"{number_of(network.iterations, 'round')} of routing by agreement"
    return "routing by attention: agreement with\nall votes at once, and a learnt prior"


def _layer(layer: nn.Module) -> str:
    if isinstance(layer, nn.MaxPool2d):
        return f"max-pooling {layer.kernel_size} × {layer.kernel_size}"
    if not isinstance(layer, nn.Conv2d):
        return ""
    height, width = layer.kernel_size
    stride = ", stride 2" if layer.stride[0] == 2 else ""
    return f"{height} × {width}, {layer.out_channels} filters{stride}"


BLOCKS: dict[type[nn.Module], tuple[str, Callable[[Any], tuple[Step, ...]]]] = {
    InceptionModule: ("Inception module", _inception),
    Block: ("Residual block", _residual),
    ResidualBlock: ("Residual block", _residual_first_form),
    InvertedResidual: ("Inverted residual", _inverted_residual),
    GraphBlock: ("Graph block", _graph),
    AttentionBlock: ("Graph block", _attention),
    FashionNet: ("Two branches on one trunk", _fashionnet),
    CapsNet: ("Capsules and decoder", _capsules),
}
