"""Measures of predictions beside the accuracy: functions of the right labels and of a model's predictions.

The confusion matrix ``n[i, j]`` is the number of examples of class i that were predicted as class j. Where a measure of
a class would divide by 0, it is NaN.
"""

import numpy as np
import numpy.typing as npt

from convnet.core.checks import LARGEST, FloatArray, IntArray, as_array, as_count, as_labels, as_real

__all__ = [
    "balanced_accuracy",
    "calibration_error",
    "confusion_matrix",
    "f1_score",
    "precision",
    "recall",
    "top_k_accuracy",
]

# The matrix has the square of it.
MOST_CLASSES = 10_000

Floats = npt.NDArray[np.float64]


def confusion_matrix(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, num_classes: int | None = None
) -> npt.NDArray[np.int64]:
    """Count for each class how many of its examples were predicted as each class.

    Parameters
    ----------
    labels, predictions : array_like of int, shape (N,)
        The right classes and the predicted ones, such as ``model.predict(x)``.
    num_classes : int, optional
        K. By default one more than the largest label or prediction.

    Returns
    -------
    ndarray of int64, shape (K, K)
        ``n[i, j]``: row i is the right class, column j the predicted one.

    Raises
    ------
    ValueError
        If the shapes differ, a label lies outside [0, K), or there is no example and no `num_classes`.
    TypeError
        If labels or predictions are not integers.

    Examples
    --------
    >>> confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1])
    array([[1, 1],
           [0, 2]])
    """
    return _confusion(labels, predictions, num_classes, "confusion_matrix")


def precision(labels: npt.ArrayLike, predictions: npt.ArrayLike, num_classes: int | None = None) -> Floats:
    """Return for each class j how many of its predictions are right: ``n[j, j] / sum over i of n[i, j]``.

    Parameters
    ----------
    labels, predictions, num_classes
        As of `confusion_matrix`, which says what is raised.

    Returns
    -------
    ndarray of float64, shape (K,)
        NaN for a class that was never predicted.
    """
    counts = _confusion(labels, predictions, num_classes, "precision")
    return _ratio(counts.diagonal(), counts.sum(axis=0))


def recall(labels: npt.ArrayLike, predictions: npt.ArrayLike, num_classes: int | None = None) -> Floats:
    """Return for each class i how many of its examples are found: ``n[i, i] / sum over j of n[i, j]``.

    Parameters
    ----------
    labels, predictions, num_classes
        As of `confusion_matrix`, which says what is raised.

    Returns
    -------
    ndarray of float64, shape (K,)
        NaN for a class without examples.
    """
    counts = _confusion(labels, predictions, num_classes, "recall")
    return _ratio(counts.diagonal(), counts.sum(axis=1))


def f1_score(labels: npt.ArrayLike, predictions: npt.ArrayLike, num_classes: int | None = None) -> Floats:
    """Return the harmonic mean of precision and recall of each class.

    ``2 * n[k, k] / (sum over i of n[i, k] + sum over j of n[k, j])``.

    Parameters
    ----------
    labels, predictions, num_classes
        As of `confusion_matrix`, which says what is raised.

    Returns
    -------
    ndarray of float64, shape (K,)
        NaN for a class without examples that was never predicted.

    Notes
    -----
    C. J. van Rijsbergen, "Information retrieval", 1979: 1 minus his effectiveness E, with equal weights.
    """
    counts = _confusion(labels, predictions, num_classes, "f1_score")
    return _ratio(2 * counts.diagonal(), counts.sum(axis=0) + counts.sum(axis=1))


def balanced_accuracy(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Return the mean of the recall over the classes that have examples.

    A model that always predicts the most frequent of K classes gets 1 / K, however frequent that class is.

    Parameters
    ----------
    labels, predictions : array_like of int, shape (N,)
        N at least 1.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError, TypeError
        As of `confusion_matrix`.

    Notes
    -----
    K. H. Brodersen et al., "The balanced accuracy and its posterior distribution", 2010.
    """
    counts = _confusion(labels, predictions, None, "balanced_accuracy")
    return float(np.nanmean(_ratio(counts.diagonal(), counts.sum(axis=1))))


def top_k_accuracy(labels: npt.ArrayLike, scores: npt.ArrayLike, k: int = 5) -> float:
    """Return the fraction of examples whose class is among the k classes with the highest scores.

    Of equal scores the one of the class with the lower number counts as the higher, as in `Sequential.predict`. With
    k = 1 this is the accuracy.

    Parameters
    ----------
    labels : array_like of int, shape (N,)
        N at least 1.
    scores : array_like, shape (N, K)
        Scores or probabilities, such as ``model.scores(x)``.
    k : int
        From 1 to K.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If a shape is wrong, a label lies outside [0, K), k is larger than K, or a score is NaN.
    TypeError
        If labels are not integers or scores not real numbers.
    """
    values, right = _scored(scores, labels, "top_k_accuracy")
    classes = values.shape[1]
    if as_count(k, "top_k_accuracy: k") > classes:
        raise ValueError(f"top_k_accuracy: k: expected at most the {classes} classes, got {k}")
    own = np.take_along_axis(values, right[:, np.newaxis], axis=1)
    ahead = (values > own) | ((values == own) & (np.arange(classes) < right[:, np.newaxis]))
    return float((ahead.sum(axis=1) < k).mean())


def calibration_error(labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = 15) -> float:
    """Return the expected calibration error: how far the model's confidence is from its accuracy.

    The confidence of an example is its highest probability. Bin b of B holds the examples whose confidence lies in
    ``(b / B, (b + 1) / B]``. The error is ``sum over bins of size / N * abs(accuracy - mean confidence)``. It is 0 if
    four in five of the examples with a confidence of 80 % are right, and so on.

    Parameters
    ----------
    labels : array_like of int, shape (N,)
        N at least 1.
    probabilities : array_like, shape (N, K)
        In [0, 1], such as ``model.probabilities(x)``.
    bins : int
        B.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If a shape is wrong, a label lies outside [0, K), or a probability outside [0, 1].
    TypeError
        If labels are not integers or probabilities not real numbers.

    Notes
    -----
    C. Guo et al., "On calibration of modern neural networks", 2017.
    """
    values, right = _scored(probabilities, labels, "calibration_error")
    number = as_count(bins, "calibration_error: bins")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            f"calibration_error: expected probabilities in [0, 1], got values from {values.min():g} to {values.max():g}"
        )
    confidence = values.max(axis=1)
    is_right = values.argmax(axis=1) == right
    # The sum of the differences in each bin: the bin's size cancels out.
    _, bin_of = np.unique(np.ceil(confidence * number), return_inverse=True)
    gaps = np.bincount(bin_of.reshape(-1), is_right - confidence)
    return float(np.abs(gaps).sum() / len(right))


def _confusion(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, num_classes: int | None, what: str
) -> npt.NDArray[np.int64]:
    """Return the confusion matrix of checked arguments."""
    count = as_array(labels, f"{what}: labels").size
    limit = LARGEST if num_classes is None else as_count(num_classes, f"{what}: num_classes")
    if num_classes is None and not count:
        raise ValueError(f"{what}: expected at least one example, got none")
    right, predicted = as_answers(labels, predictions, what, count, limit)
    classes = limit if num_classes is not None else int(max(right.max(), predicted.max())) + 1
    if classes > MOST_CLASSES:
        raise ValueError(f"{what}: expected at most {MOST_CLASSES:,} classes, got {classes:,}")
    counts = np.bincount(right * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def as_answers(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, what: str, count: int, num_classes: int
) -> tuple[IntArray, IntArray]:
    """Return right and predicted classes, `count` each, after checking them."""
    for name, value in (("labels", labels), ("predictions", predictions)):
        array = as_array(value, f"{what}: {name}")
        if array.dtype.kind in "UST":  # if each were numbered on its own, a word could get two numbers
            raise TypeError(
                f"{what}: {name}: expected integer labels, got dtype {array.dtype}; names.index(word) is the number of "
                "a word in a list of class names"
            )
        if array.dtype.kind == "f" and array.ndim == 2 and array.shape[1] > 1:
            raise TypeError(
                f"{what}: {name}: expected integer labels, got dtype {array.dtype} of shape {array.shape}; scores and "
                "one-hot labels become classes by argmax(axis=1)"
            )
    right = as_labels(labels, f"{what}: labels", count, num_classes)
    return right, as_labels(predictions, f"{what}: predictions", count, num_classes)


def _ratio(counts: npt.NDArray[np.int64], totals: npt.NDArray[np.int64]) -> Floats:
    with np.errstate(invalid="ignore"):  # NaN for 0 / 0
        ratio: Floats = counts / totals
    return ratio


def _scored(scores: npt.ArrayLike, labels: npt.ArrayLike, what: str) -> tuple[FloatArray, IntArray]:
    """Return scores (N, K) in float64, and labels, of at least one example and without NaN."""
    values = as_real(scores, what, np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"{what}: expected an array (N, K) with N and K at least 1, got shape {values.shape}")
    if np.isnan(values).any():
        raise ValueError(f"{what}: expected real numbers, got NaN")
    return values, as_labels(labels, f"{what}: labels", *values.shape)
