"""Kinds of labels: one class an example, yes or no for every class, or real numbers; and what scores then mean.

A loss says with `takes_labels` which labels it takes. From that follow the check of labels, the predictions, the
probabilities and the accuracy of every model with this loss.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from convnet.core.checks import FloatArray, IntArray, as_array, as_labels, as_plain, as_real, check_shape
from convnet.layers.smooth_activations import sigmoid_forward

__all__ = ["BinaryLabels", "ClassLabels", "Labels", "RealLabels", "labels_of", "softmax", "takes_labels"]

Function = TypeVar("Function", bound=Callable[..., Any])


class Labels:
    """Base of the kinds of labels; one of your own gives `check`, `predict` and `accuracy`.

    The kinds of the library are `ClassLabels`, `BinaryLabels` and `RealLabels`.
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def example(self, num_classes: int) -> npt.NDArray[Any]:
        """Return labels of one example, with which a model tries its loss: zeros (1, K), unless a subclass says more.

        Parameters
        ----------
        num_classes : int
            K, the number of scores.
        """
        return np.zeros((1, num_classes))

    def check(self, labels: npt.ArrayLike, what: str, count: int, num_classes: int) -> npt.NDArray[Any]:
        """Return labels as an array whose first axis is that of the examples, or raise an error that begins with what.

        Parameters
        ----------
        labels : array_like
        what : str
            Beginning of an error's message.
        count, num_classes : int
            N, the number of examples, and K, the number of scores.
        """
        raise NotImplementedError(f"{type(self).__name__} has no check")

    def predict(self, scores: FloatArray) -> npt.NDArray[Any]:
        """Return the predictions of scores (N, K); their first axis is that of the examples."""
        raise NotImplementedError(f"{type(self).__name__} has no predict")

    def accuracy(self, predicted: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
        """Return how good predictions are, in [-1, 1], the better the higher; 1 is perfect.

        Parameters
        ----------
        predicted : ndarray
            From `predict`, of at least one example.
        labels : ndarray
            From `check`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no accuracy")

    def missing(self, labels: npt.NDArray[Any], num_classes: int) -> list[int]:
        """Return the classes in [0, num_classes) of which no example is; none, unless a subclass says more.

        Parameters
        ----------
        labels : ndarray
            From `check`.
        num_classes : int
        """
        return []

    def probabilities(self, scores: FloatArray) -> FloatArray:
        """Return the probabilities of scores (N, K), or raise a ValueError if there are none."""
        raise ValueError(
            f"probabilities: expected a loss of labels with probabilities, such as softmax_loss, got one of {self!r}"
        )


class ClassLabels(Labels):
    """One class an example: integers (N,) in [0, K). Losses take these unless `takes_labels` says otherwise.

    The prediction is the class with the highest score, the accuracy the fraction of right ones, and the probabilities
    are the softmax of the scores.
    """

    def example(self, num_classes: int) -> IntArray:
        return np.zeros(1, np.intp)

    def check(self, labels: npt.ArrayLike, what: str, count: int, num_classes: int) -> IntArray:
        return as_labels(labels, what, count, num_classes)

    def predict(self, scores: FloatArray) -> IntArray:
        predicted: IntArray = scores.argmax(axis=1)
        return predicted

    def accuracy(self, predicted: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
        return float((predicted == labels).mean())

    def missing(self, labels: npt.NDArray[Any], num_classes: int) -> list[int]:
        """Return the classes that no label names."""
        return np.flatnonzero(np.bincount(labels, minlength=num_classes) == 0).tolist()

    def probabilities(self, scores: FloatArray) -> FloatArray:
        return softmax(scores)


class BinaryLabels(Labels):
    """Yes or no for every class: numbers (N, K), 0 or 1, or how probable a 1 is; where K is 1, of shape (N,) too.

    The predictions (N, K) are 1 where the score is above 0, else 0. The accuracy is the fraction of right ones among
    the N * K answers, where a label above 0.5 is a yes. Where nearly all labels are 0, it is high for a model that
    always says no. The probabilities (N, K) are the sigmoid of the scores.
    """

    def check(self, labels: npt.ArrayLike, what: str, count: int, num_classes: int) -> npt.NDArray[Any]:
        array = as_array(labels, f"{what}: labels")
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{what}: expected labels of numbers or truth values, got dtype {array.dtype}")
        array = _as_rows(array, what, count, num_classes)
        valid = (array >= 0) & (array <= 1)
        if not valid.all():
            raise ValueError(f"{what}: expected labels in [0, 1], got {array[~valid][0]}")
        return as_plain(array, array.dtype.newbyteorder("="))

    def predict(self, scores: FloatArray) -> IntArray:
        return (scores > 0).astype(np.intp)

    def accuracy(self, predicted: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
        return float((predicted == (labels > 0.5)).mean())

    def missing(self, labels: npt.NDArray[Any], num_classes: int) -> list[int]:
        """Return the classes that are 0 for all examples."""
        return np.flatnonzero(~(labels > 0).any(axis=0)).tolist()

    def probabilities(self, scores: FloatArray) -> FloatArray:
        return sigmoid_forward(scores)


class RealLabels(Labels):
    """Real numbers (N, K), for a regression with a loss of your own; where K is 1, of shape (N,) too.

    The predictions are the scores themselves. The accuracy is the coefficient of determination,
    ``1 - sum((predicted - labels) ** 2) / sum((labels - mean) ** 2)`` with the mean of each of the K numbers over the
    examples: 1 is perfect, and 0 as good as the means alone. It is cut off at -1. If the labels do not vary, it is 1
    for a perfect prediction and 0 otherwise. There are no probabilities.

    Notes
    -----
    S. Wright, "Correlation and causation", 1921.
    """

    def check(self, labels: npt.ArrayLike, what: str, count: int, num_classes: int) -> FloatArray:
        array = _as_rows(as_real(labels, f"{what}: labels"), what, count, num_classes)
        finite = np.isfinite(array)
        if not finite.all():
            raise ValueError(f"{what}: expected finite labels, got {array[~finite][0]}")
        return array

    def predict(self, scores: FloatArray) -> FloatArray:
        return scores

    def accuracy(self, predicted: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
        exact = labels.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # of predictions that are not finite
            error = float(np.square(predicted - exact).sum())
            spread = float(np.square(exact - exact.mean(axis=0)).sum())
        if not spread:
            return float(error == 0)
        return max(1 - error / spread, -1.0) if error < np.inf else -1.0


def _as_rows(array: npt.NDArray[Any], what: str, count: int, num_classes: int) -> npt.NDArray[Any]:
    """Return labels (N, K), after checking their shape; where K is 1 they may be of shape (N,)."""
    shape = count, num_classes
    if array.shape != shape and not (num_classes == 1 and array.shape == (count,)):
        wanted = f"{shape} or {shape[:1]}" if num_classes == 1 else f"{shape}, one for each class"
        one_class = array.shape == (count,) and array.dtype.kind in "iu"
        remedy = f"; numpy.eye({num_classes})[labels] has a row for each example" if one_class else ""
        raise ValueError(f"{what}: expected labels of shape {wanted}, got shape {array.shape}{remedy}")
    return array.reshape(shape)


def takes_labels(labels: Labels) -> Callable[[Function], Function]:
    """Say which labels a loss takes; a decorator.

    Parameters
    ----------
    labels : Labels
        Such as ``BinaryLabels()``.

    Returns
    -------
    callable
        Takes a loss and returns it, marked.

    Raises
    ------
    TypeError
        If `labels` is no `Labels`.

    Examples
    --------
    >>> import numpy as np
    >>> @takes_labels(RealLabels())
    ... def squared_loss(scores, labels):
    ...     difference = scores - labels
    ...     return float(np.square(difference).mean()), 2 * difference / difference.size
    >>> labels_of(squared_loss)
    RealLabels()
    """
    if not isinstance(labels, Labels):
        raise TypeError(f"takes_labels: expected labels such as BinaryLabels(), got {labels!r:.60}")

    def marked(loss: Function) -> Function:
        loss.labels = labels  # type: ignore[attr-defined]
        return loss

    return marked


def labels_of(loss: Callable[..., Any]) -> Labels:
    """Return which labels a loss takes: what `takes_labels` said, or else `ClassLabels`.

    Parameters
    ----------
    loss : callable
        A loss function, or a ``functools.partial`` of one that fixes its options.
    """
    while isinstance(loss, partial) and not hasattr(loss, "labels"):
        loss = loss.func
    found = getattr(loss, "labels", None)
    return found if isinstance(found, Labels) else ClassLabels()


def softmax(scores: npt.ArrayLike) -> FloatArray:
    """Probabilities of the classes: ``exp(scores[n, k]) / sum over j of exp(scores[n, j])``.

    Parameters
    ----------
    scores : array_like, shape (N, K)

    Returns
    -------
    ndarray, shape (N, K)
        Each row sums to 1.

    Raises
    ------
    ValueError
        If `scores` is not of two axes.
    TypeError
        If `scores` does not hold real numbers.
    """
    scores = as_real(scores, "softmax: scores")
    check_shape(scores.shape, ("N", "K"), "softmax: scores")
    with np.errstate(invalid="ignore", over="ignore"):  # an infinite score gives NaN
        exponentials: FloatArray = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf))
        exponentials /= exponentials.sum(axis=1, keepdims=True)
    return exponentials
