"""The texts of a figure, and a check that they are legible: inside, apart, and large enough."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from modiste.reports import style

LEAST_POINTS = 7


def texts(figure: Figure) -> list[Text]:
    """Every text of a figure that is drawn; matplotlib also keeps labels of ticks beyond the axes' ends."""
    beyond = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    found = [item for item in figure.findobj(Text) if isinstance(item, Text) and item not in beyond]
    return [item for item in found if item.get_visible() and item.get_text().strip()]


def written(figure: Figure) -> list[str]:
    return [item.get_text() for item in texts(figure)]


def check_legible(figure: Figure) -> None:
    """No text leaves the figure, none lies upon another, none is tiny."""
    with style.figure_style():
        figure.canvas.draw()
        drawn = [(item, item.get_window_extent()) for item in texts(figure)]
    width, height = figure.get_size_inches() * figure.dpi
    for item, box in drawn:
        assert float(item.get_fontsize()) >= LEAST_POINTS, item
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"{item} leaves the figure: {box} in {width} by {height}"
    upright = [(item, box) for item, box in drawn if item.get_rotation() in (0, 90)]
    starts, ends = (np.array([getattr(box, name) for _, box in upright]).reshape(-1, 2) for name in ("min", "max"))
    for number, (item, _) in enumerate(upright):
        earlier = slice(number)
        common = np.minimum(ends[earlier], ends[number]) - np.maximum(starts[earlier], starts[number])
        under = [upright[other][0] for other in np.flatnonzero((common >= 1).all(1))]
        assert not under, f"{item} overlaps {under}"
