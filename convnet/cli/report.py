"""How good a model is on a part of a data set: as numbers for programs, as a text, and as figures."""

from collections.abc import Sequence
from math import isnan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.core.checks import count_of
from convnet.core.tables import Table
from convnet.datasets.image_data import ImageData
from convnet.datasets.preprocessing import Statistics
from convnet.models.sequential import Sequential
from convnet.plotting import plot_confusion, plot_errors
from convnet.training.metrics import balanced_accuracy, confusion_matrix, f1_score, precision, recall

__all__ = ["draw", "interval", "measure", "probabilities_of", "written"]

# Images that are prepared and predicted at a time.
BATCH = 1000
WORST = 10
# Letters of a line of the matrix; a wider one is left out of the text.
WIDEST = 100
# More classes than these make a matrix that nobody can read in a figure, or that is a large part of a file.
MOST_IN_FIGURE, MOST_IN_JSON = 60, 200
# Of the normal distribution, for 95 %.
DEVIATIONS = 1.959963984540054


def probabilities_of(model: Sequential, part: ImageData) -> npt.NDArray[Any]:
    """Return the probabilities (N, K) of the images of a part, as the model prepares them."""
    statistics = model.statistics
    if not isinstance(statistics, Statistics):
        raise ValueError("expected a model with statistics, which prepare images, got one without; save it with them")
    if not len(part.images):
        raise ValueError("expected at least one image, got none")
    return np.concatenate(
        [
            model.probabilities(statistics.apply(part._replace(images=part.images[start : start + BATCH])))
            for start in range(0, len(part.images), BATCH)
        ]
    )


def measure(part: ImageData, probabilities: npt.NDArray[Any]) -> dict[str, Any]:
    """Return what a report says, as JSON types; a rate of a class that has no images is None.

    Parameters
    ----------
    part : ImageData
        N images, with the model's classes, and a name of each image in `files`.
    probabilities : ndarray, shape (N, K)
    """
    labels, classes = part.labels, len(part.class_names)
    predicted = probabilities.argmax(axis=1)
    right = int((predicted == labels).sum())
    counts = confusion_matrix(labels, predicted, classes)
    rates = zip(*(rate(labels, predicted, classes).tolist() for rate in (precision, recall, f1_score)), strict=True)
    return {
        "images": len(labels),
        "errors": len(labels) - right,
        "accuracy": right / len(labels),
        "accuracy_interval": interval(right, len(labels)),
        "balanced_accuracy": balanced_accuracy(labels, predicted),
        "classes": [
            {"name": name, "images": count} | dict(zip(("precision", "recall", "f1"), map(_or_none, row), strict=True))
            for name, count, row in zip(part.class_names, counts.sum(axis=1).tolist(), rates, strict=True)
        ],
        "confusion": counts.tolist() if classes <= MOST_IN_JSON else None,
        "confused": [
            {"class": part.class_names[true], "predicted": part.class_names[wrong], "images": int(counts[true, wrong])}
            for true, wrong in _most_confused(counts)
        ],
        "mistakes": [
            {
                "file": str(n) if part.files is None else str(part.files[n]),
                "class": part.class_names[labels[n]],
                "predicted": part.class_names[predicted[n]],
                "probability": float(probabilities[n, predicted[n]]),
            }
            for n in _worst_first(labels, probabilities)[:WORST].tolist()
        ],
    }


def interval(right: int, count: int) -> list[float]:
    """Return the bounds between which the accuracy lies with 95 % confidence, if `right` of `count` images are right.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    share, square = right / count, DEVIATIONS**2 / count
    centre = (share + square / 2) / (1 + square)
    half = sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    return [max(centre - half, 0.0), min(centre + half, 1.0)]


def written(report: dict[str, Any], what: str) -> str:
    """Return a report as a text.

    Parameters
    ----------
    report : dict
        Of `measure`.
    what : str
        What the images are, such as ``"test images"``.
    """
    low, high = report["accuracy_interval"]
    blocks = [
        f"accuracy {report['accuracy']:.2%} on {report['images']:,} {what} "
        f"({count_of(report['errors'], 'error')}; 95 % confidence: {low:.1%} to {high:.1%})"
    ]
    rows = [("class", "images", "precision", "recall", "F1")]
    for row in report["classes"]:
        rows.append(
            (row["name"], f"{row['images']:,}", *(_percent(row[rate]) for rate in ("precision", "recall", "f1")))
        )
    blocks.append(str(Table(rows, "<>>>>")))
    table = _matrix(report) if report["confusion"] else ""
    if 0 < len(table.partition("\n")[0]) <= WIDEST:
        blocks.append(f"confusion: the class in front, the predicted one above\n{table}")
    elif report["confused"]:
        lines = [f"  {pair['class']} taken for {pair['predicted']}: {pair['images']:,}" for pair in report["confused"]]
        blocks.append("\n".join(["most often confused:", *lines]))
    if report["mistakes"]:
        lines = [
            f"  {mistake['file']}: {mistake['class']}, predicted {mistake['predicted']} at {mistake['probability']:.1%}"
            for mistake in report["mistakes"]
        ]
        blocks.append("\n".join(["worst mistakes:", *lines]))
    return "\n\n".join(blocks)


def _matrix(report: dict[str, Any]) -> str:
    """Return the confusion matrix as a table."""
    names = [row["name"] for row in report["classes"]]
    counts = report["confusion"]
    rows = [(name, *(f"{count or '.'}" for count in row)) for name, row in zip(names, counts, strict=True)]
    return str(Table([("", *names), *rows], "<" + ">" * len(names)))


def draw(part: ImageData, probabilities: npt.NDArray[Any], folder: Path) -> list[str]:
    """Draw the confusion matrix and the worst mistakes into a folder, and return the files' names."""
    predicted, drawn = probabilities.argmax(axis=1), []
    if len(part.class_names) <= MOST_IN_FIGURE:
        figure = plot_confusion(part.labels, predicted, class_names=part.class_names)
        figure.savefig(folder / "confusion.png", dpi=100)
        drawn.append("confusion.png")
    worst = _worst_first(part.labels, probabilities)
    if worst.size and len(part.class_names) <= MOST_IN_JSON:
        order = np.concatenate([worst, np.flatnonzero(predicted == part.labels)])
        figure = plot_errors(
            part.images[order], part.labels[order], predicted[order], class_names=part.class_names, max_errors=60
        )
        figure.savefig(folder / "mistakes.png", dpi=100)
        drawn.append("mistakes.png")
    return drawn


def _worst_first(labels: npt.NDArray[Any], probabilities: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return the numbers of the misread images, those first that the model was surest of."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]


def _most_confused(counts: npt.NDArray[np.int64]) -> Sequence[tuple[int, int]]:
    """Return the pairs of right and predicted classes with the most errors, the most first."""
    errors = counts.copy()
    np.fill_diagonal(errors, 0)
    first = np.argsort(-errors, axis=None, kind="stable")[:WORST]
    return [(int(n // len(counts)), int(n % len(counts))) for n in first if errors.flat[n]]


def _or_none(rate: float) -> float | None:
    return None if isnan(rate) else rate


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1%}"
