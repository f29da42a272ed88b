"""What several chapters draw: small arrays as grids of numbers, windows over them, arrows between them.

An element ``array[row, column]`` is a square of side 1 around the point (column, row), with row 0 above. Windows and
arrows take the same numbers as the index of an array.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Rectangle

# The colours of all chapters, for a white ground. The first four tell curves and windows apart.
BLUE, ORANGE, GREEN, VIOLET = "#1f6fb4", "#d1600a", "#2e8540", "#7d4fa3"
COLORS = (BLUE, ORANGE, GREEN, VIOLET)
PINK, INK, FAINT, PADDING = "#e0559f", "#222222", "#9a9a9a", "#e6e6e6"
# Negative numbers are orange, zero is white, positive ones are blue.
SIGNED = LinearSegmentedColormap.from_list("signed", [ORANGE, "white", BLUE])


def panels(
    columns: int, rows: int = 1, *, size: tuple[float, float] = (2.4, 2.4), widths: Sequence[float] | None = None
) -> tuple[Figure, Any]:
    """Return a new figure and its panels, an array of shape (columns,) or (rows, columns).

    `size` is the width and the height of one panel, in inches; `widths` are the shares of the columns, all alike by
    default.
    """
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(size[0] * columns, size[1] * rows),
        layout="constrained",
        squeeze=False,
        gridspec_kw={"width_ratios": widths},
    )
    return figure, axes[0] if rows == 1 else axes


def draw_grid(
    ax: Axes,
    array: npt.ArrayLike,
    title: str = "",
    *,
    numbers: bool = True,
    form: str = "g",
    limit: float | None = None,
    padding: int | tuple[int, int] = 0,
) -> None:
    """Draw an array of shape (H, W) as a grid with its numbers, blue above 0 and orange below.

    The strongest colour stands for `limit`, by default the largest number in size. `form` is how a number is written.
    `padding` is the width of a ring of grey zeros around the array, or a pair: above and below, and to both sides. Its
    rows and columns have negative numbers. NaN is an empty square.
    """
    array = np.asarray(array, float)
    height, width = array.shape
    above, beside = (padding, padding) if isinstance(padding, int) else padding
    limit = limit or np.nanmax(np.abs(array), initial=0) or 1
    for row, column in product(range(-above, height + above), range(-beside, width + beside)):
        inside = 0 <= row < height and 0 <= column < width
        value = array[row, column] if inside else 0.0
        # Half of the full colour at most, so that dark numbers can be read on it.
        color = SIGNED(0.5 + 0.3 * np.clip(np.nan_to_num(value) / limit, -1, 1)) if inside else PADDING
        square = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=color, edgecolor=FAINT, linewidth=0.8)
        ax.add_patch(square)
        if numbers and not np.isnan(value):
            text = format(value + 0.0, form)  # + 0.0 makes -0 a 0
            ax.text(column, row, text, ha="center", va="center", fontsize=9, color=INK if inside else FAINT)
    ax.set(xlim=(-beside - 0.6, width + beside - 0.4), ylim=(height + above - 0.4, -above - 0.6), aspect="equal")
    ax.set_axis_off()
    ax.set_title(title, fontsize=10)


def draw_window(
    ax: Axes, row: float, column: float, height: float = 1, width: float = 1, *, color: str = ORANGE, inset: float = 0
) -> None:
    """Draw the outline of a window whose upper left element is [row, column]; `inset` makes it a little smaller."""
    corner = (column - 0.5 + inset, row - 0.5 + inset)
    sides = (width - 2 * inset, height - 2 * inset)
    ax.add_patch(Rectangle(*[corner, *sides], fill=False, edgecolor=color, linewidth=2.5, zorder=3, clip_on=False))


def draw_arrow(
    source: Axes, start: Sequence[float], target: Axes, end: Sequence[float], *, color: str = INK, bend: float = 0
) -> None:
    """Draw an arrow from [row, column] of one panel to [row, column] of another one, or of the same."""
    arrow = ConnectionPatch(
        (start[1], start[0]),
        (end[1], end[0]),
        "data",
        "data",
        axesA=source,
        axesB=target,
        arrowstyle="-|>",
        mutation_scale=12,
        connectionstyle=f"arc3,rad={bend}",
        color=color,
        linewidth=1.4,
        zorder=4,
    )
    source.figure.add_artist(arrow)


def draw_text(ax: Axes, text: str, *, size: float = 20) -> None:
    """Write a sign, such as a plus, in the middle of an otherwise empty panel."""
    ax.text(0.5, 0.5, text, ha="center", va="center", fontsize=size, color=INK, transform=ax.transAxes)
    ax.set_axis_off()


def draw_image(
    ax: Axes, image: npt.ArrayLike, title: str = "", *, signed: bool = False, white: float | None = None
) -> None:
    """Draw an image of shape (H, W), in greys from 0, which is black, or of shape (H, W, 3).

    `white` is the number that is drawn white, by default the largest one of the image. With `signed` negative numbers
    are orange, zero is white, and positive ones are blue.
    """
    image = np.asarray(image)
    limit = white or np.abs(image).max() or 1
    if signed:
        ax.imshow(image, cmap=SIGNED, vmin=-limit, vmax=limit)
    else:
        ax.imshow(image, cmap="gray", vmin=0, vmax=limit)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title(title, fontsize=10)


def draw_node(ax: Axes, x: float, y: float, text: str, *, color: str = INK) -> None:
    """Draw a circle with a text around the point (x, y) of a panel: a step of a computation."""
    style = {"boxstyle": "circle,pad=0.35", "facecolor": "white", "edgecolor": color, "linewidth": 1.5}
    ax.text(x, y, text, ha="center", va="center", fontsize=11, color=color, bbox=style, zorder=4)


def draw_step(ax: Axes, start: tuple[float, float], end: tuple[float, float], value: str, gradient: str) -> None:
    """Draw an arrow from one node to another: the value that goes along it in blue, its gradient in orange below."""
    (x0, y0), (x1, y1) = start, end
    arrow = {"arrowstyle": "-|>", "color": FAINT, "linewidth": 1.2, "shrinkA": 15, "shrinkB": 15}
    ax.annotate("", end, start, arrowprops=arrow)
    near_start = (0.62 * x0 + 0.38 * x1, 0.62 * y0 + 0.38 * y1)
    ground = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
    for text, color, side, align in ((value, BLUE, 1, "bottom"), (gradient, ORANGE, -1, "top")):
        ax.annotate(
            text,
            near_start,
            (0, side),
            textcoords="offset points",
            ha="center",
            va=align,
            fontsize=10,
            color=color,
            bbox=ground,
        )


def draw_neuron(
    x: npt.NDArray[Any],
    w: npt.NDArray[Any],
    b: float,
    target: float,
    *,
    dx: npt.NDArray[Any],
    dw: npt.NDArray[Any],
    dy: float,
) -> None:
    """Draw a neuron with two inputs, ``y = x[0] * w[0] + x[1] * w[1] + b``, its loss, and its gradients, step by step.

    The loss is the square of ``y - target``.
    """
    _, ax = plt.subplots(figsize=(7.5, 3.9), layout="constrained")
    plus, loss, bias = (4, 2), (6, 2), (2, 0.3)
    for i, top in enumerate((3.6, 1.4)):
        factors, times = ((0, top), (0, top - 1)), (2, top - 0.5 if i == 0 else top + 0.2)
        for name, place, value, gradient in zip("xw", factors, (x[i], w[i]), (dx[i], dw[i]), strict=True):
            draw_node(ax, *place, f"${name}_{i}$")
            draw_step(ax, place, times, f"{value:g}", f"{gradient:g}")
        draw_node(ax, *times, r"$\times$")
        draw_step(ax, times, plus, f"{x[i] * w[i]:g}", f"{dy:g}")
    draw_node(ax, *bias, "$b$")
    draw_step(ax, bias, plus, f"{b:g}", f"{dy:g}")
    draw_node(ax, *plus, "$+$")
    draw_step(ax, plus, loss, f"y = {x @ w + b:g}", f"dy = {dy:g}")
    draw_node(ax, *loss, "loss")
    ax.text(6, 1.5, f"$(y - {target:g})^2$\n= {(x @ w + b - target) ** 2:g}", ha="center", va="top", color=BLUE)
    ax.text(4, 3.7, "values go to the right", color=BLUE)
    ax.text(4, 3.35, "gradients come back", color=ORANGE)
    ax.set(xlim=(-0.4, 6.5), ylim=(-0.1, 4))
    ax.set_axis_off()
