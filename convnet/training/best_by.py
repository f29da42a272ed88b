"""What decides which accuracy check of a training is the best one: a Solver's `best_by`."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.training.metrics import calibration_error

__all__ = ["BestBy", "as_best_by", "called", "outputs_for", "value_of"]

# A name, or a function of the labels and of the model's predictions, scores or probabilities.
BestBy = str | Callable[..., float]
NAMES = ("accuracy", "loss")
PREDICTIONS, SCORES, PROBABILITIES = "predictions", "scores", "probabilities"


def as_best_by(best_by: BestBy) -> BestBy:
    """Return a Solver's `best_by`, after checking that it is one."""
    expected = (
        "Solver: best_by: expected 'accuracy', 'loss', or a function of labels and predictions such as "
        "convnet.balanced_accuracy (the function, not its name)"
    )
    if isinstance(best_by, str):
        if best_by not in NAMES:
            raise ValueError(f"{expected}, got {best_by!r:.60}")
        return best_by
    if not callable(best_by) or isinstance(best_by, type):
        raise TypeError(f"{expected}, got {best_by!r:.60}")
    if getattr(best_by, "func", best_by) is calibration_error:
        raise ValueError(
            "Solver: best_by: expected a function that is the higher the better, got calibration_error, which is an "
            "error: lambda labels, probabilities: -calibration_error(labels, probabilities)"
        )
    return best_by


def called(best_by: BestBy) -> str:
    """Return the name of a `best_by` in messages, such as ``"validation loss"`` or ``"balanced_accuracy"``."""
    if isinstance(best_by, str):
        return f"validation {best_by}"
    function = best_by.func if isinstance(best_by, partial) else best_by
    return str(getattr(function, "__name__", type(function).__name__))


def outputs_for(function: Callable[..., float]) -> str:
    """Return what a function is given as its second argument.

    ``"scores"`` or ``"probabilities"`` if the argument has that name, otherwise ``"predictions"``.
    """
    try:
        names = list(inspect.signature(function).parameters)[1:2]
    except (TypeError, ValueError):  # a function without a signature, such as one of C
        names = []
    return names[0] if names and names[0] in (SCORES, PROBABILITIES) else PREDICTIONS


def value_of(function: Callable[..., float], labels: npt.NDArray[Any], outputs: npt.NDArray[Any]) -> float:
    """Return a function's value for labels and outputs of the model, after checking that it is one number."""
    value: Any = function(labels, outputs)
    array = np.asarray(value)
    if array.ndim or array.dtype.kind not in "biuf":
        name = called(function)
        found = f"an array of shape {array.shape}" if array.ndim else f"{value!r:.60}"
        remedy = ""
        if array.ndim:
            remedy = f"; lambda labels, predictions: {name}(labels, predictions).mean() gives the mean over the classes"
        raise TypeError(f"Solver: best_by: expected one number of {name}, got {found}{remedy}")
    return float(value)
