"""Figures, drawn by matplotlib without a screen; it is imported only when a figure is drawn."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from convnet.functional import as_count, as_real
from convnet.solver import Solver

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_examples", "plot_filters", "plot_training"]

DOTS = "#4c72b0"
TRAINING = "#dd8452"
VALIDATION = "#55a868"


def _figure(width: float, height: float, gap: float = 0.02) -> "Figure":
    """Return an empty figure of the given size in inches, with a gap between its panels as a fraction of theirs."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise ImportError(
            'figures need matplotlib: pip install "convnet[examples]", or pip install ".[examples]" in a clone'
        ) from None
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(wspace=gap, hspace=gap))


def plot_examples(
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    examples_per_class: int = 8,
) -> "Figure":
    """Draw a sheet of example images, a column a class.

    Parameters
    ----------
    images : array_like, shape (N, H, W) or (N, H, W, 3)
        Pixels from 0 to 255.
    labels : array_like of int, shape (N,)
    class_names : sequence of str, optional
        Written above the columns; the labels by default.
    examples_per_class : int
        The first this many of each class are drawn.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    ImportError
        If matplotlib is not installed.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    rows = as_count(examples_per_class, "examples_per_class")
    if (
        images.ndim not in (3, 4)
        or images.shape[3:] not in ((), (3,))
        or labels.shape != images.shape[:1]
        or not len(labels)
    ):
        raise ValueError(
            f"plot_examples: expected images (N, H, W) or (N, H, W, 3) and labels (N,), got {images.shape} "
            f"and {labels.shape}"
        )
    if images.dtype.kind not in "iuf" or not np.isfinite(images).all():
        raise ValueError(f"plot_examples: expected finite pixels from 0 to 255, got {images.dtype}")
    classes = np.unique(labels)
    if class_names is not None and not (classes[0] >= 0 and classes[-1] < len(class_names)):
        raise ValueError(
            f"plot_examples: expected a name for each label, got {len(class_names)} names and labels "
            f"from {classes[0]} to {classes[-1]}"
        )
    figure = _figure(0.65 * len(classes) + 0.2, 0.65 * rows + 0.4)
    grid = figure.subplots(rows, len(classes), squeeze=False)
    for column, label in enumerate(classes):
        grid[0, column].set_title(str(label) if class_names is None else class_names[label], fontsize=10)
        chosen = np.flatnonzero(labels == label)[:rows]
        for row in range(rows):
            grid[row, column].axis("off")
            if row < len(chosen):
                grid[row, column].imshow(
                    np.clip(images[chosen[row]], 0, 255).astype(np.uint8), cmap="gray", vmin=0, vmax=255
                )
    return figure


def plot_training(solver: Solver) -> "Figure":
    """Draw the training: above, the loss of every iteration as dots; below, the accuracies by epoch.

    Parameters
    ----------
    solver : Solver
        After at least one accuracy check.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the Solver has not trained.
    ImportError
        If matplotlib is not installed.
    """
    if not (solver.loss_history and solver.validation_accuracy_history):
        raise ValueError("plot_training: expected a Solver that has trained, got one without a history")
    figure = _figure(8, 7)
    above, below = figure.subplots(2, 1)

    iterations = np.arange(1, len(solver.loss_history) + 1)
    above.plot(iterations, solver.loss_history, ".", color=DOTS, markersize=2, alpha=0.5, rasterized=True)
    above.set(title="Training loss", xlabel="iteration", ylabel="loss of the minibatch", yscale="log")

    for name, history, colour in (
        ("training", solver.train_accuracy_history, TRAINING),
        ("validation", solver.validation_accuracy_history, VALIDATION),
    ):
        percent = 100 * np.array(history)
        below.plot(np.arange(len(percent)), percent, "o-", color=colour, label=f"{name}, at last {percent[-1]:.1f} %")
    title = "Accuracy"
    lowest = 100 * min(solver.train_accuracy_history[1:] + solver.validation_accuracy_history[1:], default=0)
    if lowest > 90:
        # From the tenth of the untrained model to 100 % nothing could be told apart: the figure begins higher.
        start = (100 * solver.train_accuracy_history[0], 100 * solver.validation_accuracy_history[0])
        title += f" (before training {start[0]:.1f} % and {start[1]:.1f} %, below the figure)"
        margin = 0.1 * (100 - lowest) + 0.01
        below.set_ylim(lowest - margin, 100 + margin)
    else:
        below.set_ylim(0, 102)
    below.set(title=title, xlabel="epoch", ylabel="accuracy (%)")
    below.xaxis.get_major_locator().set_params(integer=True)
    below.legend(loc="lower right")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    return figure


def plot_filters(before: npt.ArrayLike, after: npt.ArrayLike) -> "Figure":
    """Draw a convolution's filters before training beside those after it.

    Parameters
    ----------
    before, after : array_like, shape (F, C, KH, KW)
        Grey where C is 1, coloured where it is 3, the mean of the channels in grey otherwise. Each filter is scaled
        to its own range.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the shapes differ or have not four axes.
    ImportError
        If matplotlib is not installed.
    """
    panels = {"initialised": as_real(before, "before"), "trained": as_real(after, "after")}
    shapes = [weight.shape for weight in panels.values()]
    if not all(np.isfinite(weight).all() for weight in panels.values()):
        raise ValueError("plot_filters: expected finite filters, got NaN or infinity")
    if shapes[0] != shapes[1] or len(shapes[0]) != 4 or 0 in shapes[0]:
        raise ValueError(f"plot_filters: expected two arrays of one shape (F, C, KH, KW), got {shapes[0]}, {shapes[1]}")
    figure = _figure(9, 4.8, gap=0.08)
    for axes, (name, weight) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        axes.imshow(filter_sheet(weight), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(f"{name} filters")
        axes.axis("off")
    return figure


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
