"""The accuracy of a model's predictions."""

from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.core.checks import all_finite, as_number
from convnet.core.workspace import Workspace
from convnet.layers.labels import labels_of
from convnet.models.sequential import Sequential

__all__ = ["accuracy_of", "check_scores"]


def accuracy_of(
    model: Sequential, x: npt.NDArray[Any], labels: npt.NDArray[Any], batch_size: int, workspace: Workspace
) -> tuple[float, bool]:
    """Return the accuracy of a model's predictions, and whether all scores are finite.

    Parameters
    ----------
    model : Sequential
    x : ndarray, shape (N, ...)
        N at least 1.
    labels : ndarray
        As `Labels.check` returns them.
    batch_size : int
        Examples that are predicted at a time.
    workspace : Workspace
    """
    kind, predicted, is_finite = labels_of(model.loss_function), list[npt.NDArray[Any]](), True
    for start in range(0, len(x), batch_size):
        scores = model.scores(x[start : start + batch_size], workspace)
        predicted.append(kind.predict(scores))
        is_finite = is_finite and all_finite(scores)
    accuracy = kind.accuracy(np.concatenate(predicted), labels)
    return as_number(accuracy, f"the accuracy of {kind!r}", at_least=-1, at_most=1), is_finite


def check_scores(model: Sequential, x: npt.NDArray[Any], chosen: npt.NDArray[Any] | None) -> None:
    """Raise a ValueError that names the first example, if there is one, with a score that is NaN.

    Parameters
    ----------
    model : Sequential
    x : ndarray, shape (N, ...)
    chosen : ndarray of int, shape (N,), or None
        The numbers of these examples for the message, if they are not the first ones.
    """
    unknown = np.isnan(model.scores(x)).any(axis=1)
    if unknown.any():
        n = int(unknown.argmax())
        where = model.first_non_finite(x[n : n + 1])
        found = "" if where is None else f": {where} is the first that is not finite"
        position = n if chosen is None else chosen[n]
        raise ValueError(f"check_accuracy: expected scores, got NaN for x[{position}]{found}")
