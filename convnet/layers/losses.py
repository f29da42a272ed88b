"""Loss functions, from class scores and labels to a number and its gradient; and the softmax."""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import FloatArray, IntArray, as_labels, as_number, as_real, check_shape

__all__ = ["LOSSES", "SOFTMAX_LOSSES", "Loss", "gives_probabilities", "softmax", "softmax_loss", "svm_loss"]

Loss = Callable[[FloatArray, npt.ArrayLike], tuple[float, FloatArray]]


def softmax_loss(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[float, FloatArray]:
    """Softmax loss (cross-entropy of the softmax), the mean over the examples.

    ``loss = mean over n of (log(sum over k of exp(scores[n, k])) - scores[n, labels[n]])`` and
    ``dscores[n, k] = (softmax(scores)[n, k] - (k == labels[n])) / N``.

    Parameters
    ----------
    scores : array_like, shape (N, K)
        Class scores, N at least 1.
    labels : array_like of int, shape (N,)
        The right classes, in [0, K).

    Returns
    -------
    loss : float
        In natural units; log(K) where all scores are equal.
    dscores : ndarray, shape (N, K)
        Gradient of the loss with respect to the scores.

    Raises
    ------
    ValueError
        If N is 0, a shape is wrong, or a label lies outside [0, K).
    TypeError
        If `scores` does not hold real numbers or `labels` integers.

    Notes
    -----
    J. S. Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990.
    """
    scores, labels = _checked(scores, labels, "softmax_loss")
    dscores = np.empty_like(scores)
    return _kernels.softmax_loss(scores, labels, dscores), dscores


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


def _checked(scores: npt.ArrayLike, labels: npt.ArrayLike, what: str) -> tuple[FloatArray, IntArray]:
    scores = as_real(scores, f"{what}: scores")
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(f"{what}: expected scores of shape (N, K) with N and K at least 1, got {scores.shape}")
    return scores, as_labels(labels, what, *scores.shape)


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


# LOSSES: losses by their name in model files. SOFTMAX_LOSSES: those that make softmax(scores) estimate the classes'
# probabilities, with any values of their options.
LOSSES: dict[str, Loss] = {function.__name__: function for function in (softmax_loss, svm_loss)}
SOFTMAX_LOSSES: tuple[Loss, ...] = (softmax_loss,)


def gives_probabilities(loss: Loss) -> bool:
    """Return whether the softmax of the scores estimates probabilities in a model with this loss.

    Parameters
    ----------
    loss : callable
        A loss function, or a ``functools.partial`` of one that fixes its options.
    """
    return (loss.func if isinstance(loss, partial) else loss) in SOFTMAX_LOSSES
