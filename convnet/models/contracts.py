"""What a model needs of the objects that it is given: statistics, class names, an optimizer, a loss."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from convnet.core.checks import FloatArray, as_number, as_real, listed, takes_keyword
from convnet.core.names import meant_by
from convnet.datasets.preprocessing import Statistics
from convnet.layers.labels import labels_of
from convnet.layers.losses import Loss
from convnet.layers.stage import Update

__all__ = ["NOT_HERE", "Preparation", "Updater", "as_class_names", "as_statistics", "check_loss"]


# Arguments that are looked for in a model, and where they belong.
NOT_HERE = {
    "classes": "a ConvNet1 has num_classes=, and another model as many classes as its last layer has outputs",
    "class_names": "it is an attribute: model.class_names = names",
    "statistics": "it is an attribute: model.statistics = statistics",
    "optimizer": "it is an argument of the Solver: Solver(model, data, Adam(1e-3))",
    "learning_rate": "it is an argument of the optimizer: Adam(1e-3)",
    "class_weights": "it is an option of the loss: loss=partial(softmax_loss, class_weights=...)",
}


class Preparation(Protocol):
    """What a model's `statistics` have to be able to do."""

    def apply(self, images: npt.ArrayLike) -> FloatArray:
        """Return the prepared inputs (N, C, H, W) for raw images."""


class Updater(Protocol):
    """What `Sequential.train_step` needs of an optimizer."""

    regularised: frozenset[str] | None

    def begin(self, params: Mapping[str, FloatArray], l2: float) -> Callable[[str], Update] | None:
        """Check the parameters; return what says how a weight is updated while its gradient is computed, or None."""

    def update(self, params: Mapping[str, FloatArray], grads: Mapping[str, FloatArray]) -> None:
        """Update every parameter in place."""


def check_loss(loss: Loss, num_classes: int, what: str) -> None:
    """Raise a TypeError unless the loss of a trial, one example with equal scores, is a number and its gradient.

    What the loss itself finds wrong with its arguments, such as a margin below 0, stays the ValueError that it is.
    """
    if not callable(loss) or isinstance(loss, type):
        raise TypeError(f"{what}: expected a function such as softmax_loss, got {loss!r:.60}")
    _check_options(loss, what)
    labels = labels_of(loss)
    try:
        value, dscores = loss(np.zeros((1, num_classes)), labels.example(num_classes))
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    except Exception as error:
        if isinstance(error, TypeError) and str(error).startswith(f"{_name_of(loss)}: "):  # a check of the loss itself
            raise TypeError(f"{what}: {error}") from error
        raise TypeError(
            f"{what}: expected a function such as softmax_loss, got {_name_of(loss)}, which raised {error!r:.200} with "
            f"labels of {labels!r}; see takes_labels for losses of other labels"
        ) from error
    try:
        as_number(value, "loss")
        fits = as_real(dscores, "dscores").shape == (1, num_classes)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise TypeError(
            f"{what}: expected a function like softmax_loss, (scores, labels) -> (loss, dscores), got {loss!r:.60}"
        )


def _check_options(loss: Loss, what: str) -> None:
    """Raise a TypeError that names an option which `functools.partial` fixes and the loss has not."""
    if not isinstance(loss, partial):
        return
    try:
        parameters = inspect.signature(loss.func).parameters
    except (TypeError, ValueError):  # a function without a signature, such as one of C
        return
    for option in loss.keywords:
        if not takes_keyword(loss.func, option):
            known = [name for name in parameters if name not in ("scores", "labels")]
            meant = meant_by(option, known)
            remedy = f"did you mean {meant!r}?" if meant else f"its options are {listed(known)}"
            raise TypeError(f"{what}: {_name_of(loss)} has no option {option!r}; {remedy}")


def _name_of(loss: Loss) -> str:
    """Return what a message calls a loss."""
    function = loss.func if isinstance(loss, partial) else loss
    return str(getattr(function, "__name__", format(repr(function), ".60")))


def as_class_names(names: Sequence[str] | None, num_classes: int, what: str) -> Sequence[str] | None:
    """Return class names, after checking that there is a string for each class; None stays."""
    if names is None:
        return None
    if isinstance(names, np.ndarray) and names.ndim == 1 and names.dtype.kind == "U":
        names = names.tolist()
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{what}: expected {num_classes} class names, a list of strings, got {names!r:.60}")
    if len(names) != num_classes:
        raise ValueError(
            f"{what}: expected {num_classes} class names, one for each class, got {len(names)}: {names!r:.60}"
        )
    return names


def as_statistics(statistics: Preparation | None, shape: tuple[int, ...], what: str) -> Preparation | None:
    """Return statistics, after checking that they can prepare images of a model's input shape; None stays."""
    if statistics is None:
        return None
    if isinstance(statistics, type) or not callable(getattr(statistics, "apply", None)):
        if isinstance(statistics, (tuple, dict)):
            found = f"a {type(statistics).__name__}; data, statistics = preprocess(...)"
        else:
            found = format(repr(statistics), ".60")
        raise TypeError(f"{what}: expected statistics from preprocess, got {found}")
    if isinstance(statistics, Statistics) and statistics.image_shape != shape:
        raise ValueError(
            f"{what}: expected statistics of images of shape {shape}, the model's input, got {statistics.image_shape}"
        )
    return statistics
