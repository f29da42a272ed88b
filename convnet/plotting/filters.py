"""Figures of a convolution's filters."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from convnet.core.checks import as_real
from convnet.plotting.figures import AxesArgument, panels_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["filter_sheet", "plot_filters"]


def plot_filters(before: npt.ArrayLike, after: npt.ArrayLike, *, ax: AxesArgument = None) -> "Figure":
    """Draw a convolution's filters before training, those after it, and what training has changed.

    Filters that begin with large random numbers look much alike before and after. The change, after minus before,
    shows what was learned.

    Parameters
    ----------
    before, after : array_like, shape (F, C, KH, KW)
        Grey where C is 1, coloured where it is 3, the mean of the channels in grey otherwise. Each filter is scaled
        to its own range.
    ax : Axes, or three of them, optional
        Where to draw: into three Axes, or in the place of one, which they share; by default in a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        A new one, or that of `ax`.

    Raises
    ------
    ValueError
        If the shapes differ or have not four axes.
    ImportError
        If matplotlib is not installed.
    """
    first, last = as_real(before, "plot_filters: before"), as_real(after, "plot_filters: after")
    if not (np.isfinite(first).all() and np.isfinite(last).all()):
        raise ValueError("plot_filters: expected finite filters, got NaN or infinity")
    if first.shape != last.shape or first.ndim != 4 or 0 in first.shape:
        raise ValueError(
            f"plot_filters: expected two arrays of one shape (F, C, KH, KW), got {first.shape}, {last.shape}"
        )
    drawn = panels_for("plot_filters", ax, (13, 4.8), 1, 3, gap=0.08)
    panels = {"before training": first, "after training": last, "change: after - before": last - first}
    for axes, (name, weight) in zip(drawn.axes, panels.items(), strict=True):
        axes.imshow(filter_sheet(weight), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(name)
        axes.axis("off")
    return drawn.figure


def filter_sheet(weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return one image of all filters (F, C, KH, KW) on the smallest square grid, row by row, a white line between."""
    f, c, kh, kw = weight.shape
    tiles = weight.transpose(0, 2, 3, 1) if c == 3 else weight.mean(axis=1)
    flat = tiles.reshape(f, -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    scale = np.where(high > low, high - low, 1)
    flat = (flat - low[:, None]) / scale[:, None]
    columns = int(np.ceil(np.sqrt(f)))
    rows = -(-f // columns)
    sheet = np.ones((rows * (kh + 1) - 1, columns * (kw + 1) - 1, *tiles.shape[3:]), np.float32)
    for index, tile in enumerate(flat.reshape(tiles.shape)):
        top, left = index // columns * (kh + 1), index % columns * (kw + 1)
        sheet[top : top + kh, left : left + kw] = tile
    return sheet
