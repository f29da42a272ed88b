"""What all figures share: where they are drawn, how a notebook shows them, and how images are checked and drawn."""

import io
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from convnet.core.version import to_install

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "AxesArgument",
    "Panels",
    "check_images",
    "check_names",
    "legend_below",
    "panels_for",
    "show_image",
    "width_of",
]

# What a plot function takes as `ax`: one Axes, or as many as it has panels.
AxesArgument: TypeAlias = "Axes | Sequence[Axes] | npt.NDArray[Any] | None"

# Pixels may lie beyond black and white by so much of their range, such as by the rounding of a resized image.
ROUNDING = 1e-3
# The title of a sheet: its size in points, and the height of its strip in inches.
TITLE_SIZE, STRIP = 11, 0.5


class Panels(NamedTuple):
    """Where a plot is drawn.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        What the plot function returns.
    axes : list of Axes
        One for each panel, row by row.
    """

    figure: "Figure"
    axes: list[Any]


def panels_for(
    what: str,
    ax: AxesArgument,
    size: tuple[float, float],
    rows: int = 1,
    columns: int = 1,
    *,
    count: int | None = None,
    gap: float = 0.02,
    share: bool = False,
    is_sheet: bool = False,
    title: str = "",
) -> Panels:
    """Return where a plot is drawn: in a new figure, in the place of one Axes, or in as many Axes as it has panels.

    Parameters
    ----------
    what : str
        The function's name, for messages.
    ax : Axes, sequence of Axes, or None
        The user's argument. Where there are several panels, one Axes is turned off, and they share its place.
    size : tuple of floats
        Width and height of a new figure in inches.
    rows, columns : int
        How the panels lie.
    count : int, optional
        How many panels there are, if they do not fill the last row.
    gap : float
        Between the panels of a new figure, as a fraction of theirs.
    share : bool
        Whether the panels have one scale; Axes of the user's keep theirs.
    is_sheet : bool
        Whether the panels are images of which nobody knows the number before, so that one Axes alone can be given.
    title : str
        What stands above all panels of a sheet.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If `ax` is something else, or not as many Axes as there are panels.
    """
    try:
        from matplotlib.axes import Axes
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise ImportError(f"figures need matplotlib: {to_install('examples')}") from None
    count = rows * columns if count is None else count
    if ax is None:
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(wspace=gap, hspace=gap))
        if title:
            figure.suptitle(title, fontsize=TITLE_SIZE)
        return Panels(_shown(figure), _axes_of(figure, figure.add_gridspec(rows, columns), count, share))
    expected = f"{what}: ax: expected one Axes of matplotlib"
    if count > 1:
        expected += ", whose place the images share" if is_sheet else f", or {count} in a list"
    given = _in_a_row(ax)
    if not all(isinstance(axes, Axes) for axes in given):
        remedy = "; figure.subplots() makes one" if hasattr(ax, "subplots") else ""
        raise TypeError(f"{expected}, got {ax!r:.60}{remedy}")
    if len(given) not in (1, 1 if is_sheet else count):
        raise ValueError(f"{expected}, got {len(given)} in a list")
    if len({id(axes) for axes in given}) < len(given):
        raise ValueError(f"{expected}, got one of them twice")
    first = given[0]
    if len({axes.figure.figure for axes in given}) > 1:  # that which the subfigures are in
        raise ValueError(f"{expected} of one figure, got Axes of several")
    figure = _shown(first.figure.figure)
    if len(given) == count and not is_sheet:
        return Panels(figure, given)
    if (place := first.get_subplotspec()) is None:
        raise ValueError(f"{expected}, made by subplots or add_subplot, got one that was put at a place of its own")
    first.set_axis_off()
    # A layout engine makes room for titles and labels; without one there has to be some.
    space = {} if figure.get_layout_engine() else {"wspace": 0.4, "hspace": 0.6}
    if title:  # in a strip of its own, as the panels have titles, too
        first.text(0.5, 1, title, fontsize=TITLE_SIZE, ha="center", va="top", transform=first.transAxes)
        height = max(first.bbox.height / figure.dpi - STRIP, STRIP)
        place = place.subgridspec(2, 1, height_ratios=(STRIP, height), hspace=0)[1]
    return Panels(figure, _axes_of(first.figure, place.subgridspec(rows, columns, **space), count, share))


def width_of(ax: AxesArgument, default: float) -> float:
    """Return how wide a plot may be, in inches: as the user's Axes, or the default in a new figure."""
    first: Any = next(iter(_in_a_row(ax)), None)
    return float(first.bbox.width / first.figure.dpi) if hasattr(first, "get_subplotspec") else default


def legend_below(axes: Any, columns: int = 2) -> None:
    """Put the legend of an Axes below it, where it hides no curve."""
    from matplotlib.transforms import ScaledTranslation

    anchor = axes.transAxes + ScaledTranslation(0, -0.55, axes.figure.dpi_scale_trans)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=anchor, ncols=columns, fontsize=9)


def _in_a_row(ax: AxesArgument) -> list[Any]:
    """Return what a user gave as `ax` as a list, of one thing if it was no list and no array."""
    return list(np.ravel(np.asarray(ax, object)))


def _axes_of(figure: Any, grid: Any, count: int, share: bool) -> list[Any]:
    """Return new Axes in the first places of a grid, row by row."""
    axes: list[Any] = []
    for index in range(count):
        shared = {"sharex": axes[0], "sharey": axes[0]} if share and axes else {}
        axes.append(figure.add_subplot(grid[divmod(index, grid.ncols)], **shared))
    return axes


def _shown(figure: "Figure") -> "Figure":
    """Return a figure that a notebook shows as an image, without `%matplotlib`; pyplot shows its own."""
    if figure.canvas.manager is None:
        figure._repr_png_ = partial(_png, figure)  # type: ignore[attr-defined]
    return figure


def _png(figure: "Figure") -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def check_images(images: npt.NDArray[Any], labels: npt.NDArray[Any], what: str) -> float:
    """Return what one is in the unit of 0 to 255 that images are drawn in, after checking them and their labels.

    Integers, and floats up to 255, are in that unit. Floats are in 0..1 if all of all images are. Other numbers, such
    as those of prepared inputs, are an error: nobody knows which is black.

    Raises
    ------
    ValueError
        If these are no images with a label for each, or their pixels are neither in 0..255 nor in 0..1.
    """
    if (
        images.ndim not in (3, 4)
        or images.shape[3:] not in ((), (3,))
        or labels.shape != images.shape[:1]
        or not images.size
    ):
        remedy = "; images.transpose(0, 2, 3, 1) puts channels last" if images.shape[1:2] == (3,) else ""
        if images.ndim == 4 and 1 in (images.shape[1], images.shape[3]):
            remedy = (
                f"; images{'[:, 0]' if images.shape[1] == 1 else '[..., 0]'} leaves out the axis of the one channel"
            )
        raise ValueError(
            f"{what}: expected images (N, H, W) or (N, H, W, 3) and labels (N,), got {images.shape} and "
            f"{labels.shape}{remedy}"
        )
    if images.dtype.kind not in "biuf" or not np.isfinite(images).all():
        raise ValueError(f"{what}: expected finite pixels from 0 to 255, or floats in 0..1, got {images.dtype}")
    low, high = (float(value) for value in (images.min(initial=255), images.max(initial=0)))
    is_fraction = images.dtype.kind in "bf" and high <= 1 + ROUNDING
    unit = 255.0 if is_fraction else 1.0
    if low < -ROUNDING * 255 / unit or high > 255 / unit * (1 + ROUNDING):
        raise ValueError(
            f"{what}: expected pixels from 0 to 255, or floats in 0..1, got {images.dtype} from {low:g} to {high:g}; "
            "give the images from before they were prepared, or scale them: "
            "(images - images.min()) / (images.max() - images.min())"
        )
    return unit


def check_names(class_names: Sequence[str] | None, what: str) -> None:
    """Raise a TypeError unless class names are None or texts in a list or the like."""
    if class_names is None:
        return
    names = class_names.tolist() if isinstance(class_names, np.ndarray) else class_names
    is_list = isinstance(names, Sequence) and not isinstance(names, str)
    if not is_list or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{what}: class_names: expected a list of texts, got {class_names!r:.60}")


def show_image(axes: Any, image: npt.NDArray[Any], unit: float) -> None:
    """Draw an image whose pixels, times the unit that `check_images` returned, are from 0 to 255."""
    pixels = np.clip(np.rint(image * unit), 0, 255).astype(np.uint8)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
