"""The accuracy of a model's predictions."""

from collections.abc import Callable
from math import nan
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convnet.core.checks import all_finite, as_number
from convnet.core.workspace import Workspace
from convnet.layers.labels import labels_of
from convnet.models.sequential import Sequential
from convnet.training.best_by import outputs_for, value_of

__all__ = ["Accuracy", "accuracy_of", "check_scores"]


class Accuracy(NamedTuple):
    """The accuracy of a model's predictions, and what else the scores tell.

    Attributes
    ----------
    accuracy : float
    loss : float
        The mean loss of the examples, without L2; that of each part of them, weighted by its size. NaN if it was not
        asked for.
    is_finite : bool
        Whether all scores are.
    is_constant : bool
        Whether the predictions are the same for all examples.
    metric : float
        What another function says of them; NaN without one.
    """

    accuracy: float
    loss: float
    is_finite: bool
    is_constant: bool
    metric: float = nan


def accuracy_of(
    model: Sequential,
    x: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    batch_size: int,
    workspace: Workspace,
    *,
    with_loss: bool = False,
    metric: Callable[..., float] | None = None,
) -> Accuracy:
    """Return the accuracy of a model's predictions.

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
    with_loss : bool
        Whether the loss is computed from the same scores.
    metric : callable, optional
        A function of the labels and the predictions, the scores or the probabilities; see `outputs_for`.
    """
    kind, is_finite = labels_of(model.loss_function), True
    wanted = None if metric is None else outputs_for(metric)
    predicted, outputs = list[npt.NDArray[Any]](), list[npt.NDArray[Any]]()
    total = 0.0 if with_loss else nan
    for start in range(0, len(x), batch_size):
        scores = model.scores(x[start : start + batch_size], workspace)
        predicted.append(kind.predict(scores))
        is_finite = is_finite and all_finite(scores)
        if wanted in ("scores", "probabilities"):
            outputs.append(scores if wanted == "scores" else kind.probabilities(scores))
        if with_loss:
            given = scores.view()
            given.flags.writeable = False  # as in training
            total += float(model.loss_function(given, labels[start : start + batch_size])[0]) * len(scores)
    predictions = np.concatenate(predicted)
    accuracy = as_number(kind.accuracy(predictions, labels), f"the accuracy of {kind!r}", at_least=-1, at_most=1)
    is_constant, value = bool((predictions == predictions[0]).all()), nan
    if metric is not None and is_finite:
        value = value_of(metric, labels, np.concatenate(outputs) if outputs else predictions)
    return Accuracy(accuracy, total / len(x), is_finite, is_constant, value)


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
