"""Loss functions: from class scores and labels to a number and its gradient."""

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.functional import FloatArray, as_labels, as_real

__all__ = ["softmax_loss"]


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
    scores = as_real(scores, "softmax_loss: scores")
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(f"softmax_loss: expected scores of shape (N, K) with N and K at least 1, got {scores.shape}")
    labels = as_labels(labels, "softmax_loss", *scores.shape)
    dscores = np.empty_like(scores)
    return _kernels.softmax_loss(scores, labels, dscores), dscores
