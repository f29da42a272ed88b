"""Loss functions, from class scores and labels to a number and its gradient."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import (
    LARGEST,
    FloatArray,
    IntArray,
    as_array,
    as_count,
    as_labels,
    as_number,
    as_real,
    as_weights,
    listed,
    takes_keyword,
)
from convnet.layers.labels import BinaryLabels, takes_labels

__all__ = [
    "LOSSES",
    "SOFTMAX_LOSSES",
    "Loss",
    "balanced_weights",
    "binary_loss",
    "gives_probabilities",
    "softmax_loss",
    "svm_loss",
    "takes_weights",
]

Loss = Callable[[FloatArray, npt.ArrayLike], tuple[float, FloatArray]]


def softmax_loss(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    smoothing: float = 0.0,
    class_weights: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
) -> tuple[float, FloatArray]:
    """Softmax loss (cross-entropy of the softmax), the mean over the examples.

    ``loss = mean over n of (log(sum over k of exp(scores[n, k])) - scores[n, labels[n]])`` and
    ``dscores[n, k] = (softmax(scores)[n, k] - (k == labels[n])) / N``.

    With options it is a weighted mean. Let ``p = softmax(scores)``, ``c`` the weights of the classes and ``v`` those of
    the examples, 1 where they are not given. The label is smoothed to
    ``t[n, k] = (1 - smoothing) * (k == labels[n]) + smoothing / K``. With ``S = sum over n of (v[n] * c[labels[n]])``
    ``loss = sum over n, k of (-v[n] * c[k] * t[n, k] * log(p[n, k])) / S`` and
    ``dscores[n, k] = v[n] * (p[n, k] * sum over j of (c[j] * t[n, j]) - c[k] * t[n, k]) / S``.
    A class weight so multiplies every term of its class, those of smoothing too. The mean divides by the weights of the
    labels alone. An example of weight 2 counts as two, one of weight 0 as none; if all of them count as
    none, the loss and its gradient are 0.

    Parameters
    ----------
    scores : array_like, shape (N, K)
        Class scores, N at least 1.
    labels : array_like of int, shape (N,)
        The right classes, in [0, K).
    smoothing : float
        At least 0 and below 1. The part of each label that is spread evenly over all K classes. For a model use
        ``functools.partial(softmax_loss, smoothing=0.1)``.
    class_weights : array_like, shape (K,), optional
        Weights of the classes, at least 0; for a model, fixed as `smoothing` is. With them the softmax of the scores
        estimates the probabilities for other data, in which a class of weight 2 is twice as frequent.
    weights : array_like, shape (N,), optional
        Weights of the examples, at least 0.

    Returns
    -------
    loss : float
        In natural units; log(K) where all scores are equal, without weights of the classes.
    dscores : ndarray, shape (N, K)
        Gradient of the loss with respect to the scores, in their dtype.

    Raises
    ------
    ValueError
        If N is 0, a shape is wrong, a label lies outside [0, K), or an option is out of range.
    TypeError
        If `scores` does not hold real numbers or `labels` integers, or an option is no number.

    Notes
    -----
    J. S. Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990; label smoothing:
    C. Szegedy et al., "Rethinking the Inception architecture for computer vision", 2016, section 7. The mean is that of
    PyTorch's ``cross_entropy`` with ``weight`` and ``label_smoothing``, which has no weights of examples.
    """
    scores, labels = _checked(scores, labels, "softmax_loss")
    if type(smoothing) is not float or smoothing != 0:
        smoothing = as_number(smoothing, "softmax_loss: smoothing", at_least=0, below=1)
    if smoothing or class_weights is not None or weights is not None:
        return _weighted_softmax_loss(scores, labels, smoothing, class_weights, weights)
    dscores = np.empty_like(scores)
    return _kernels.softmax_loss(scores, labels, dscores), dscores


def _weighted_softmax_loss(
    scores: FloatArray,
    labels: IntArray,
    smoothing: float,
    class_weights: npt.ArrayLike | None,
    weights: npt.ArrayLike | None,
) -> tuple[float, FloatArray]:
    """Do what `softmax_loss` does with options, after the check of scores, labels and smoothing."""
    n, k = scores.shape
    per_class = np.ones(k) if class_weights is None else as_weights(class_weights, "softmax_loss: class_weights", k)
    factors = np.ones(n) if weights is None else as_weights(weights, "softmax_loss: weights", n)
    right = np.arange(n), labels
    factors = _shares(factors, factors * per_class[labels], "softmax_loss")
    with np.errstate(invalid="ignore", over="ignore"):  # of scores that are not finite
        shifted = scores.astype(np.float64)
        shifted -= shifted.max(axis=1, keepdims=True)
        dscores = np.exp(shifted)
        totals = dscores.sum(axis=1, keepdims=True)
        dscores /= totals
        logs = np.log(totals)  # minus the log of each probability is logs - shifted
        own = (1 - smoothing) * per_class[labels]
        losses = own * (logs[:, 0] - shifted[right])
        spread = smoothing / k * per_class
        if smoothing:  # without it a score of minus infinity gives no NaN here
            losses += ((logs - shifted) * spread).sum(axis=1)
        dscores *= (own + spread.sum())[:, None]
        dscores -= spread
        dscores[right] -= own
        dscores *= factors[:, None]
        return float((factors * losses).sum()), dscores.astype(scores.dtype)


def _shares(weights: FloatArray, counts: FloatArray, what: str) -> FloatArray:
    """Return the weights of the examples divided by the sum of what each counts, or 0 where all count as none."""
    with np.errstate(over="ignore"):
        total = counts.sum()
    if not np.isfinite(total):
        raise ValueError(f"{what}: expected weights with a finite sum, got {total}")
    return weights / total if total > 0 else np.zeros_like(weights)


def svm_loss(scores: npt.ArrayLike, labels: npt.ArrayLike, margin: float = 1.0) -> tuple[float, FloatArray]:
    """Multi-class SVM loss (hinge loss), summed over the wrong classes, the mean over the examples.

    ``loss = mean over n of (sum over k != labels[n] of max(0, scores[n, k] - scores[n, labels[n]] + margin))``. Each
    term above 0 adds 1 / N to ``dscores[n, k]`` and takes it from ``dscores[n, labels[n]]``; one that is exactly 0
    has no gradient.

    Parameters
    ----------
    scores : array_like, shape (N, K)
        Class scores, N at least 1.
    labels : array_like of int, shape (N,)
        The right classes, in [0, K).
    margin : float
        Above 0. By how much the right score has to lead. For a model use ``functools.partial(svm_loss, margin=2.0)``.

    Returns
    -------
    loss : float
        ``(K - 1) * margin`` where all scores are equal.
    dscores : ndarray, shape (N, K)
        Gradient of the loss with respect to the scores.

    Raises
    ------
    ValueError
        If N is 0, a shape is wrong, a label lies outside [0, K), or the margin is not above 0.
    TypeError
        If `scores` does not hold real numbers or `labels` integers.

    Notes
    -----
    J. Weston, C. Watkins, "Support vector machines for multi-class pattern recognition", 1999, with the margin as a
    parameter.
    """
    scores, labels = _checked(scores, labels, "svm_loss")
    margin = as_number(margin, "svm_loss: margin", above=0)
    dscores = np.empty_like(scores)
    return _kernels.svm_loss(scores, labels, margin, dscores), dscores


@takes_labels(BinaryLabels())
def binary_loss(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    positive_weights: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
) -> tuple[float, FloatArray]:
    """Binary loss (cross-entropy of the sigmoid), the mean over the examples and the classes.

    Each class is a question of its own, whose answer is yes with the probability ``p = sigmoid(scores)``: for problems
    of two classes (K = 1), and for those in which an example may belong to several classes or to none. With ``y`` the
    labels, ``c`` the weights of the positive answers and ``v`` those of the examples, 1 where they are not given,
    ``loss = sum over n, k of (v[n] * (-c[k] * y[n, k] * log(p[n, k]) - (1 - y[n, k]) * log(1 - p[n, k]))) / S`` and
    ``dscores[n, k] = v[n] * ((1 - y[n, k]) * p[n, k] - c[k] * y[n, k] * (1 - p[n, k])) / S``, where
    ``S = K * sum over n of v[n]``. An example of weight 2 counts as two, one of weight 0 as none; if all weights are 0,
    the loss and its gradient are 0.

    Parameters
    ----------
    scores : array_like, shape (N, K)
        Scores of the classes, N at least 1.
    labels : array_like of bool, int or float, shape (N, K)
        The right answers, 0 or 1, or how probable a 1 is, in [0, 1]; where K is 1, of shape (N,) too.
    positive_weights : array_like, shape (K,), optional
        Weights of the classes' positive answers, at least 0; for a model, fixed by `functools.partial`. The number of
        negative examples divided by that of the positive ones makes both count the same.
    weights : array_like, shape (N,), optional
        Weights of the examples, at least 0.

    Returns
    -------
    loss : float
        In natural units; log(2) where all scores are 0, without weights of the positive answers.
    dscores : ndarray, shape (N, K)
        Gradient of the loss with respect to the scores, in their dtype.

    Raises
    ------
    ValueError
        If N is 0, a shape is wrong, a label lies outside [0, 1], or a weight is below 0 or not finite.
    TypeError
        If `scores`, `labels` or weights do not hold numbers.

    Notes
    -----
    What a model with it predicts, its probabilities and its accuracy stand in `BinaryLabels`.

    D. R. Cox, "The regression analysis of binary sequences", 1958. Without weights of examples it is PyTorch's
    ``binary_cross_entropy_with_logits`` with ``pos_weight``; with them, PyTorch divides by ``N * K`` all the same.
    """
    scores = _checked_scores(scores, "binary_loss")
    n, k = scores.shape
    targets = BinaryLabels().check(labels, "binary_loss", n, k).astype(np.float64)
    per_class = (
        np.ones(k) if positive_weights is None else as_weights(positive_weights, "binary_loss: positive_weights", k)
    )
    factors = np.ones(n) if weights is None else as_weights(weights, "binary_loss: weights", n)
    factors = _shares(factors, factors, "binary_loss")[:, None] / k
    positive, negative = factors * per_class * targets, factors * (1 - targets)
    with np.errstate(invalid="ignore", over="ignore"):  # of scores that are not finite
        wide = scores.astype(np.float64)
        # log(1 + exp(-s)) and log(1 + exp(s)), minus the logs of p and of 1 - p.
        missed, raised = np.logaddexp(0, -wide), np.logaddexp(0, wide)
        loss = float((positive * missed + negative * raised).sum())
        dscores = negative * np.exp(-missed) - positive * np.exp(-raised)
        return loss, dscores.astype(scores.dtype)


def balanced_weights(
    labels: npt.ArrayLike, num_classes: int | None = None, *, weights: npt.ArrayLike | None = None
) -> npt.NDArray[np.float64]:
    """Return weights of the classes with which all classes together weigh the same: ``N / (K * counts)``.

    Parameters
    ----------
    labels : array_like of int, shape (N,)
        Those of the training examples, N at least 1.
    num_classes : int, optional
        K. By default one more than the largest label.
    weights : array_like, shape (N,), optional
        Weights of the examples, at least 0. An example of weight 2 counts as two, in N too.

    Returns
    -------
    ndarray of float64, shape (K,)
        For ``class_weights`` of `softmax_loss`: ``functools.partial(softmax_loss,
        class_weights=balanced_weights(data["y_train"]))``. The mean weight of an example is 1.

    Raises
    ------
    ValueError
        If there is no example, a label lies outside [0, K), or a class has no example, or none of a weight above 0, so
        that no weight could balance it. The message names the classes. If weights are below 0 or not finite.
    TypeError
        If labels are not integers, or weights no real numbers.

    Notes
    -----
    G. King, L. Zeng, "Logistic regression in rare events data", 2001.

    Examples
    --------
    >>> balanced_weights([0, 0, 0, 1])
    array([0.66666667, 2.        ])
    """
    count = as_array(labels, "balanced_weights: labels").size
    if not count:
        raise ValueError("balanced_weights: expected at least one example, got none")
    limit = LARGEST if num_classes is None else as_count(num_classes, "balanced_weights: num_classes")
    classes = as_labels(labels, "balanced_weights: labels", count, limit)
    number = int(classes.max()) + 1 if num_classes is None else limit
    factors = None if weights is None else as_weights(weights, "balanced_weights: weights", count)
    counted = classes if factors is None else classes[factors > 0]
    known = set(np.unique(counted).tolist())
    if len(known) < number:
        missing = [label for label in range(min(number, len(known) + 10)) if label not in known]
        raise ValueError(
            f"balanced_weights: expected examples of all {number:,} classes, got none of {number - len(known):,}, the "
            f"first of which are {listed(missing[:10])}"
        )
    counts = np.bincount(classes, factors).astype(np.float64)
    return (count if factors is None else float(factors.sum())) / (number * counts)


def _checked(scores: npt.ArrayLike, labels: npt.ArrayLike, what: str) -> tuple[FloatArray, IntArray]:
    scores = _checked_scores(scores, what)
    return scores, as_labels(labels, what, *scores.shape)


def _checked_scores(scores: npt.ArrayLike, what: str) -> FloatArray:
    scores = as_real(scores, f"{what}: scores")
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(f"{what}: expected scores of shape (N, K) with N and K at least 1, got {scores.shape}")
    return scores


# LOSSES: losses by their name in model files. SOFTMAX_LOSSES: those that make softmax(scores) estimate the classes'
# probabilities, with any values of their options but `class_weights`.
LOSSES: dict[str, Loss] = {function.__name__: function for function in (softmax_loss, svm_loss, binary_loss)}
SOFTMAX_LOSSES: tuple[Loss, ...] = (softmax_loss,)


def gives_probabilities(loss: Loss) -> bool:
    """Return whether the softmax of the scores estimates probabilities in a model with this loss.

    With weights of the classes it does not: it estimates those of data in which the classes are as frequent as their
    weights make them.

    Parameters
    ----------
    loss : callable
        A loss function, or a ``functools.partial`` of one that fixes its options.
    """
    if isinstance(loss, partial):
        return loss.func in SOFTMAX_LOSSES and loss.keywords.get("class_weights") is None
    return loss in SOFTMAX_LOSSES


def takes_weights(loss: Callable[..., Any]) -> bool:
    """Return whether a loss can be called with ``weights=``, the weights of the examples.

    Parameters
    ----------
    loss : callable
        A loss function, or a ``functools.partial`` of one that fixes its options.
    """
    return takes_keyword(loss, "weights")
