"""Figures of images and of what a model says of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from convnet.core.checks import IntArray, as_array, as_count, as_real, count_of
from convnet.plotting.figures import AxesArgument, check_images, check_names, panels_for, show_image, width_of
from convnet.training.metrics import as_answers, confusion_matrix, precision, recall

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_confusion", "plot_errors", "plot_examples", "plot_predictions"]

# More classes than anyone can tell apart in a confusion matrix; its memory grows with their square.
MAX_CLASSES = 200
# Images that `plot_predictions` draws, one below the other.
MAX_DRAWN = 50
# Inches of a figure.
MAX_HEIGHT = 100
# Bars of probabilities.
WINNER, OTHERS = "#1f4e9c", "#a3b8dd"


def plot_examples(
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    examples_per_class: int = 8,
    ax: AxesArgument = None,
) -> "Figure":
    """Draw a sheet of example images, one column per class.

    Parameters
    ----------
    images : array_like, shape (N, H, W) or (N, H, W, 3)
        Pixels from 0 to 255, or floats that all are in 0..1, from black to white. Other numbers, such as those of
        prepared inputs, are refused.
    labels : array_like of int, shape (N,)
    class_names : sequence of str, optional
        Written above the columns; the labels by default.
    examples_per_class : int
        The first this many of each class are drawn.
    ax : Axes, optional
        An Axes of a figure of your own, in whose place the images are drawn; by default in a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        A new one, or that of `ax`.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or pixels are out of range.
    ImportError
        If matplotlib is not installed.
    """
    images, labels = as_array(images, "plot_examples: images"), as_array(labels, "plot_examples: labels")
    rows = as_count(examples_per_class, "plot_examples: examples_per_class")
    check_names(class_names, "plot_examples")
    unit = check_images(images, labels, "plot_examples")
    try:
        classes = np.unique(labels)
    except TypeError:  # of objects
        raise TypeError("plot_examples: labels: expected integers or texts, got objects of other kinds") from None
    if class_names is not None and labels.dtype.kind not in "iu":
        raise TypeError(
            f"plot_examples: expected integer labels where there are class names, got dtype {labels.dtype}; without "
            "class_names the labels are the titles"
        )
    if class_names is not None and not (classes[0] >= 0 and classes[-1] < len(class_names)):
        raise ValueError(
            f"plot_examples: expected a name for each label, got {len(class_names)} names and labels "
            f"from {classes[0]} to {classes[-1]}"
        )
    size = 0.65 * len(classes) + 0.2, 0.65 * rows + 0.4
    drawn = panels_for("plot_examples", ax, size, rows, len(classes), is_sheet=True)
    grid = np.array(drawn.axes, object).reshape(rows, len(classes))
    for column, label in enumerate(classes):
        grid[0, column].set_title(
            str(label) if class_names is None else class_names[label], fontsize=10, parse_math=False
        )
        chosen = np.flatnonzero(labels == label)[:rows]
        for row in range(rows):
            grid[row, column].axis("off")
            if row < len(chosen):
                show_image(grid[row, column], images[chosen[row]], unit)
    return drawn.figure


def plot_confusion(
    labels: npt.ArrayLike,
    predictions: npt.ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    ax: AxesArgument = None,
) -> "Figure":
    """Draw the confusion matrix: how many examples of each class were predicted as which.

    The shade is the rate among the examples of the true class: blue for the right predictions, on the diagonal, and
    orange for errors, on a scale of their own, because next to the right ones no error would be seen. On the right
    stands the recall of each class, in red where it is 0: no example of the class was found. Above stands the
    precision.

    Parameters
    ----------
    labels, predictions : array_like of int, shape (N,)
        The right classes and the predicted ones; without names at most 199.
    class_names : sequence of str, optional
        The labels by default.
    ax : Axes, optional
        Where to draw, such as a panel of a figure of your own; by default in a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        A new one, or that of `ax`.

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
    counts = confusion_matrix(labels, predictions, classes)
    found, right = recall(labels, predictions, classes), precision(labels, predictions, classes)
    errors = counts.copy()
    np.fill_diagonal(errors, 0)
    rates = errors / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(4.0, 0.55 * classes + 1.6)
    figure, (axes,) = panels_for("plot_confusion", ax, (side + 0.6, side + 0.4))
    axes.imshow(np.ma.masked_equal(rates, 0), cmap="Oranges", vmin=0, vmax=max(0.01, 1.6 * rates.max()))
    diagonal = np.diag(np.nan_to_num(found))
    axes.imshow(np.ma.masked_equal(diagonal, 0), cmap="Blues", vmin=0, vmax=1.6)  # light enough for numbers
    for true, predicted in np.ndindex(counts.shape):
        if count := counts[true, predicted]:
            weight = "bold" if true == predicted else "normal"
            axes.text(predicted, true, str(count), ha="center", va="center", fontsize=9, fontweight=weight)
    axes.set_xticks(range(classes), names, rotation=90 if max(map(len, names)) > 3 else 0, parse_math=False)
    axes.set_yticks(range(classes), names, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true")
    recalls = axes.secondary_yaxis("right")
    recalls.set_yticks(range(classes), _percent(found), fontsize=8)
    recalls.set_ylabel("recall")
    for text, rate in zip(recalls.get_yticklabels(), found, strict=True):
        if rate == 0:
            text.set(color="red", fontweight="bold")
    precisions = axes.secondary_xaxis("top")
    precisions.set_xticks(range(classes), _percent(right), fontsize=8)
    precisions.set_xlabel("precision")
    axes.set_title(f"{count_of(errors.sum(), 'error')} in {len(labels):,} images ({errors.sum() / len(labels):.2%})")
    return figure


def _percent(rates: npt.NDArray[np.float64]) -> list[str]:
    """Return rates as texts, a dash where there is none, and 100 % and 0 % for all and none alone."""
    texts = []
    for rate in rates.tolist():
        percent = min(max(round(100 * rate), int(rate > 0)), 99 + int(rate == 1)) if rate == rate else None
        texts.append("\u2013" if percent is None else f"{percent} %")
    return texts


def plot_errors(
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
    predictions: npt.ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    max_errors: int = 120,
    ax: AxesArgument = None,
) -> "Figure":
    """Draw a sheet of the misclassified images, each with what it is and what was predicted.

    Parameters
    ----------
    images : array_like, shape (N, H, W) or (N, H, W, 3)
        Pixels from 0 to 255, or floats that all are in 0..1, from black to white. Other numbers, such as those of
        prepared inputs, are refused.
    labels, predictions : array_like of int, shape (N,)
        The right classes and the predicted ones; without names at most 199.
    class_names : sequence of str, optional
        The labels by default.
    max_errors : int
        The first this many are drawn; the title tells of how many.
    ax : Axes, optional
        An Axes of a figure of your own, in whose place the images are drawn; by default in a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        A new one, or that of `ax`.

    Raises
    ------
    ValueError
        If the shapes do not fit together, pixels are out of range, there is no example, or a label has no name.
    TypeError
        If labels or predictions are not integers.
    ImportError
        If matplotlib is not installed.
    """
    images = as_array(images, "plot_errors: images")
    labels, predictions, names = _checked_predictions(labels, predictions, class_names, "plot_errors")
    unit = check_images(images, labels, "plot_errors")
    wrong = np.flatnonzero(labels != predictions)
    drawn = wrong[: as_count(max_errors, "plot_errors: max_errors")]
    longest = max(map(len, names))
    separator = " \u2192 " if longest <= 2 else "\n\u2192 "  # long names stand below each other
    cell = max(0.8, 0.09 * (longest + 2))
    columns = max(1, min(int(width_of(ax, 10) / cell), len(drawn)))
    rows = max(1, -(-len(drawn) // columns))
    size = max(cell * columns + 0.2, 5.5), (1.0 if longest <= 2 else 1.2) * rows + 0.6
    first = f", the first {len(drawn):,}" if len(drawn) < len(wrong) else ""
    title = f"{count_of(len(wrong), 'error')} in {len(labels):,} images{first}: true \u2192 predicted"
    sheet = panels_for("plot_errors", ax, size, rows, columns, is_sheet=True, title=title)
    for axes in sheet.axes:
        axes.axis("off")
    for axes, index in zip(sheet.axes, drawn, strict=False):
        show_image(axes, images[index], unit)
        axes.set_title(f"{names[labels[index]]}{separator}{names[predictions[index]]}", fontsize=9, parse_math=False)
    return sheet.figure


def plot_predictions(
    images: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    ax: AxesArgument = None,
) -> "Figure":
    """Draw images, each with a bar for the probability of every class.

    Parameters
    ----------
    images : array_like, shape (N, H, W) or (N, H, W, 3)
        Pixels from 0 to 255, or floats that all are in 0..1, from black to white. Other numbers, such as those of
        prepared inputs, are refused. At most 50 images, and fewer of 10 classes or more: the figure is at most 100
        inches high.
    probabilities : array_like, shape (N, K)
        In [0, 1]; the largest of each image is marked.
    class_names : sequence of str, optional
        Written beside the bars; the labels by default.
    ax : Axes, optional
        An Axes of a figure of your own, in whose place the images are drawn; by default in a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        A new one, or that of `ax`.

    Raises
    ------
    ValueError
        If the shapes do not fit together, pixels are out of range, there are more images or more than 200 classes, or
        names are missing.
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
    check_names(class_names, "plot_predictions")
    count, classes = shares.shape
    unit = check_images(images, shares[:, 0], "plot_predictions")
    height = max(1.8, 0.2 * classes)
    most = min(MAX_DRAWN, int((MAX_HEIGHT - 0.2) / height))
    if count > most:
        raise ValueError(f"plot_predictions: expected at most {most} images of {classes} classes, got {count}")
    names = [str(label) for label in range(classes)] if class_names is None else class_names
    if len(names) != classes:
        raise ValueError(f"plot_predictions: expected {classes} class names, got {len(names)}")
    drawn = panels_for("plot_predictions", ax, (6, height * count + 0.2), count, 2, gap=0.1, is_sheet=True)
    for left, right, image, row in zip(drawn.axes[::2], drawn.axes[1::2], images, shares, strict=True):
        show_image(left, image, unit)
        left.axis("off")
        winner = int(row.argmax())
        bars = right.barh(
            range(classes), row, color=[WINNER if label == winner else OTHERS for label in range(classes)]
        )
        right.bar_label(bars, [f"{100 * share:.1f} %" for share in row], padding=3, fontsize=8)
        right.set_yticks(range(classes), names, fontsize=8, parse_math=False)
        right.set_xticks([])
        right.set_xlim(0, 1.25)
        right.invert_yaxis()
        right.spines[["top", "right", "bottom"]].set_visible(False)
    return drawn.figure


def _checked_predictions(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, class_names: Sequence[str] | None, what: str
) -> tuple[IntArray, IntArray, Sequence[str]]:
    """Return labels and predictions as index arrays of one length, and a name for every class."""
    check_names(class_names, what)
    count = as_array(labels, f"{what}: labels").size
    if not count:
        raise ValueError(f"{what}: expected at least one example, got none")
    if class_names is not None and len(class_names) > MAX_CLASSES:
        raise ValueError(f"{what}: expected at most {MAX_CLASSES} class names, got {len(class_names)}")
    right, predicted = as_answers(labels, predictions, what, count, MAX_CLASSES)
    classes = range(int(max(right.max(), predicted.max())) + 1)
    if class_names is not None and len(class_names) < len(classes):
        raise ValueError(
            f"{what}: class_names: expected a name for each label, got {len(class_names)} names and labels up to "
            f"{classes[-1]}"
        )
    return right, predicted, [str(label) for label in classes] if class_names is None else class_names
