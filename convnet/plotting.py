"""Figures, drawn by matplotlib without a screen; it is imported only when a figure is drawn."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from convnet.checks import IntArray, as_array, as_count, as_labels, as_real
from convnet.solver import Solver

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "filter_sheet",
    "plot_confusion",
    "plot_curves",
    "plot_errors",
    "plot_examples",
    "plot_filters",
    "plot_predictions",
    "plot_training",
]

DOTS = "#4c72b0"
TRAINING = "#dd8452"
VALIDATION = "#55a868"
STROKES = ("-", "--", ":", "-.")

# More classes than anyone can tell apart in a confusion matrix; its memory grows with their square.
MAX_CLASSES = 200
# Images that `plot_predictions` draws, one below the other.
MAX_DRAWN = 50
# Inches of a figure.
MAX_HEIGHT = 100


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
    _check_images(images, labels, "plot_examples")
    classes = np.unique(labels)
    if class_names is not None and not (classes[0] >= 0 and classes[-1] < len(class_names)):
        raise ValueError(
            f"plot_examples: expected a name for each label, got {len(class_names)} names and labels "
            f"from {classes[0]} to {classes[-1]}"
        )
    figure = _figure(0.65 * len(classes) + 0.2, 0.65 * rows + 0.4)
    grid = figure.subplots(rows, len(classes), squeeze=False)
    for column, label in enumerate(classes):
        grid[0, column].set_title(
            str(label) if class_names is None else class_names[label], fontsize=10, parse_math=False
        )
        chosen = np.flatnonzero(labels == label)[:rows]
        for row in range(rows):
            grid[row, column].axis("off")
            if row < len(chosen):
                _show(grid[row, column], images[chosen[row]])
    return figure


def _check_images(images: npt.NDArray[Any], labels: npt.NDArray[Any], what: str) -> None:
    if (
        images.ndim not in (3, 4)
        or images.shape[3:] not in ((), (3,))
        or labels.shape != images.shape[:1]
        or not len(labels)
    ):
        raise ValueError(
            f"{what}: expected images (N, H, W) or (N, H, W, 3) and labels (N,), got {images.shape} and {labels.shape}"
        )
    if images.dtype.kind not in "iuf" or not np.isfinite(images).all():
        raise ValueError(f"{what}: expected finite pixels from 0 to 255, got {images.dtype}")


def _show(axes: Any, image: npt.NDArray[Any]) -> None:
    axes.imshow(np.clip(image, 0, 255).astype(np.uint8), cmap="gray", vmin=0, vmax=255)


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
    size = min(max(200 / len(iterations) ** 0.5, 2), 6)  # thousands of dots small, a hundred large
    above.plot(iterations, solver.loss_history, ".", color=DOTS, markersize=size, alpha=0.5, rasterized=True)
    above.set(title="Training loss", xlabel="iteration", ylabel="loss of the minibatch")
    positive = [loss for loss in solver.loss_history if loss > 0]
    if len(positive) == len(solver.loss_history):
        above.set_yscale("log")
    else:  # the SVM loss can be 0, which a logarithmic scale leaves out
        above.set_yscale("symlog", linthresh=min(positive, default=1.0))

    for name, history, colour in (
        ("training", solver.train_accuracy_history, TRAINING),
        ("validation", solver.validation_accuracy_history, VALIDATION),
    ):
        percent = 100 * np.array(history)
        below.plot(np.arange(len(percent)), percent, "o-", color=colour, label=f"{name}, at last {percent[-1]:.1f} %")
    title = "Accuracy"
    lowest = 100 * min(solver.train_accuracy_history[1:] + solver.validation_accuracy_history[1:], default=0)
    if lowest > 90 and solver.epoch > 1:
        # From the tenth of the untrained model to 100 % nothing could be told apart: the figure begins higher.
        start = (100 * solver.train_accuracy_history[0], 100 * solver.validation_accuracy_history[0])
        title += f" (before training: training {start[0]:.1f} %, validation {start[1]:.1f} %)"
        margin = 0.1 * (100 - lowest) + 0.01
        below.set_ylim(lowest - margin, 100 + margin)
    else:
        below.set_ylim(0, 102)
    below.set(title=title, xlabel="epoch", ylabel="accuracy (%)")
    below.xaxis.get_major_locator().set_params(integer=True)
    below.legend(loc="best")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    return figure


def plot_curves(
    panels: Mapping[str, Mapping[str, npt.ArrayLike]],
    x: npt.ArrayLike,
    *,
    xlabel: str,
    ylabel: str,
    log_scale: bool = False,
) -> "Figure":
    """Draw curves for comparison, a panel a group, all on one scale.

    Parameters
    ----------
    panels : mapping of str to mapping of str to array_like, shape (M,)
        The curves by their panel's title and their own name.
    x : array_like, shape (M,)
        The common abscissa.
    xlabel, ylabel : str
        Of the axes.
    log_scale : bool
        Whether the ordinate is logarithmic, where anything is above 0; what is not is left out then.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is no panel or a panel has no curve, or a curve has not as many points as x.
    ImportError
        If matplotlib is not installed.
    """
    x = as_real(x, "plot_curves: x")
    if x.ndim != 1:
        raise ValueError(f"plot_curves: expected x of shape (M,), got {x.shape}")
    if not panels or not all(panels.values()):
        raise ValueError("plot_curves: expected at least one panel, and a curve in each, got none")
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    # The legends stand below the axes, where they hide no curve; the strokes differ, so that no curve hides another.
    entries = max(len(curves) for curves in panels.values())
    figure = _figure(4.2 * columns, (3.4 + 0.22 * -(-entries // 2)) * rows + 0.2, gap=0.06)
    from matplotlib.ticker import LogLocator, NullFormatter
    from matplotlib.transforms import ScaledTranslation

    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    largest = 0.0
    for axes, (title, curves) in zip(grid, panels.items(), strict=False):
        for (name, values), stroke in zip(curves.items(), cycle(STROKES), strict=False):
            y = as_real(values, f"plot_curves: {name}")
            if y.shape != x.shape:
                raise ValueError(f"plot_curves: {name}: expected {x.size} points, got shape {y.shape}")
            axes.plot(x, y, linestyle=stroke, linewidth=1.6, label=name)
            largest = max(largest, float(y.max(initial=0)))
        axes.set_title(title)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.tick_params(labelbottom=True, labelleft=True)
        anchor = axes.transAxes + ScaledTranslation(0, -0.55, figure.dpi_scale_trans)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=anchor, ncols=2, fontsize=9)
        axes.grid(alpha=0.3)
    for axes in grid[: len(panels)] if log_scale and largest > 0 else []:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    for axes in grid[len(panels) :]:
        axes.remove()
    return figure


def plot_confusion(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, *, class_names: Sequence[str] | None = None
) -> "Figure":
    """Draw the confusion matrix: how many examples of each class were predicted as which.

    The shade counts the errors; the right predictions, on the diagonal, are left white, because next to them no error
    would be seen.

    Parameters
    ----------
    labels, predictions : array_like of int, shape (N,)
        The right classes and the predicted ones; without names at most 199.
    class_names : sequence of str, optional
        The labels by default.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the shapes differ, there is no example, or a label has no name.
    TypeError
        If labels or predictions are not integers.
    ImportError
        If matplotlib is not installed.
    """
    labels, predictions, names = _checked_predictions(labels, predictions, class_names, "plot_confusion")
    classes = len(names)
    counts = np.bincount(labels * classes + predictions, minlength=classes * classes).reshape(classes, classes)
    errors = counts.copy()
    np.fill_diagonal(errors, 0)
    side = max(4.0, 0.55 * classes + 1.6)
    figure = _figure(side, side)
    axes = figure.subplots()
    axes.imshow(np.ma.masked_equal(errors, 0), cmap="Oranges", vmin=0, vmax=max(1, 1.6 * errors.max()))
    for true, predicted in np.ndindex(counts.shape):
        if count := counts[true, predicted]:
            weight = "bold" if true == predicted else "normal"
            axes.text(predicted, true, str(count), ha="center", va="center", fontsize=9, fontweight=weight)
    axes.set_xticks(range(classes), names, rotation=90 if max(map(len, names)) > 3 else 0, parse_math=False)
    axes.set_yticks(range(classes), names, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"{errors.sum():,} errors in {len(labels):,} images ({errors.sum() / len(labels):.2%})")
    return figure


def plot_errors(
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
    predictions: npt.ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    max_errors: int = 120,
) -> "Figure":
    """Draw a sheet of the misclassified images, each with what it is and what was predicted.

    Parameters
    ----------
    images : array_like, shape (N, H, W) or (N, H, W, 3)
        Pixels from 0 to 255.
    labels, predictions : array_like of int, shape (N,)
        The right classes and the predicted ones; without names at most 199.
    class_names : sequence of str, optional
        The labels by default.
    max_errors : int
        The first this many are drawn; the title tells of how many.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the shapes do not fit together, there is no example, or a label has no name.
    TypeError
        If labels or predictions are not integers.
    ImportError
        If matplotlib is not installed.
    """
    images = np.asarray(images)
    labels, predictions, names = _checked_predictions(labels, predictions, class_names, "plot_errors")
    _check_images(images, labels, "plot_errors")
    wrong = np.flatnonzero(labels != predictions)
    drawn = wrong[: as_count(max_errors, "max_errors")]
    longest = max(map(len, names))
    separator = " \u2192 " if longest <= 2 else "\n\u2192 "  # long names stand below each other
    cell = max(0.8, 0.09 * (longest + 2))
    columns = max(1, min(int(10 / cell), len(drawn)))
    rows = max(1, -(-len(drawn) // columns))
    figure = _figure(max(cell * columns + 0.2, 5.5), (1.0 if longest <= 2 else 1.2) * rows + 0.6)
    first = f", the first {len(drawn):,}" if len(drawn) < len(wrong) else ""
    figure.suptitle(f"{len(wrong):,} errors in {len(labels):,} images{first}: true \u2192 predicted", fontsize=11)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, index in zip(grid, drawn, strict=False):
        _show(axes, images[index])
        axes.set_title(f"{names[labels[index]]}{separator}{names[predictions[index]]}", fontsize=9, parse_math=False)
    return figure


def plot_predictions(
    images: npt.ArrayLike, probabilities: npt.ArrayLike, *, class_names: Sequence[str] | None = None
) -> "Figure":
    """Draw images, each with a bar for the probability of every class.

    Parameters
    ----------
    images : array_like, shape (N, H, W) or (N, H, W, 3)
        Pixels from 0 to 255; at most 50 images, and fewer of 10 classes or more: the figure is at most 100 inches
        high.
    probabilities : array_like, shape (N, K)
        In [0, 1]; the largest of each image is marked.
    class_names : sequence of str, optional
        Written beside the bars; the labels by default.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the shapes do not fit together, there are more images or more than 200 classes, or names are missing.
    TypeError
        If the probabilities are not real numbers.
    ImportError
        If matplotlib is not installed.
    """
    images = as_array(images, "plot_predictions: images")
    shares = as_real(probabilities, "plot_predictions: probabilities")
    if shares.ndim != 2 or not 1 <= shares.shape[1] <= MAX_CLASSES or not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(
            f"plot_predictions: expected probabilities in [0, 1] of shape (N, K) with K from 1 to {MAX_CLASSES}, "
            f"got shape {shares.shape} and values from {shares.min(initial=1):g} to {shares.max(initial=0):g}"
        )
    count, classes = shares.shape
    _check_images(images, shares[:, 0], "plot_predictions")
    height = max(1.8, 0.2 * classes)
    most = min(MAX_DRAWN, int((MAX_HEIGHT - 0.2) / height))
    if count > most:
        raise ValueError(f"plot_predictions: expected at most {most} images of {classes} classes, got {count}")
    names = [str(label) for label in range(classes)] if class_names is None else class_names
    if len(names) != classes:
        raise ValueError(f"plot_predictions: expected {classes} class names, got {len(names)}")
    figure = _figure(6, height * count + 0.2, gap=0.1)
    for (left, right), image, row in zip(figure.subplots(count, 2, squeeze=False), images, shares, strict=True):
        _show(left, image)
        left.axis("off")
        winner = int(row.argmax())
        bars = right.barh(range(classes), row, color=["C3" if label == winner else "C0" for label in range(classes)])
        right.bar_label(bars, [f"{100 * share:.1f} %" for share in row], padding=3, fontsize=8)
        right.set_yticks(range(classes), names, fontsize=8, parse_math=False)
        right.set_xticks([])
        right.set_xlim(0, 1.25)
        right.invert_yaxis()
        right.spines[["top", "right", "bottom"]].set_visible(False)
    return figure


def _checked_predictions(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, class_names: Sequence[str] | None, what: str
) -> tuple[IntArray, IntArray, Sequence[str]]:
    """Return labels and predictions as index arrays of one length, and a name for every class."""
    count = np.size(labels)
    if not count:
        raise ValueError(f"{what}: expected at least one example, got none")
    if class_names is not None and len(class_names) > MAX_CLASSES:
        raise ValueError(f"{what}: expected at most {MAX_CLASSES} class names, got {len(class_names)}")
    limit = MAX_CLASSES if class_names is None else len(class_names)
    labels = as_labels(labels, f"{what}: labels", count, limit)
    predictions = as_labels(predictions, f"{what}: predictions", count, limit)
    classes = range(int(max(labels.max(), predictions.max())) + 1)
    return labels, predictions, [str(label) for label in classes] if class_names is None else class_names


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
