"""What a model needs of the objects that it is given: statistics, an optimizer, a loss."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from convnet.core.checks import FloatArray, as_number, as_real
from convnet.layers.labels import labels_of
from convnet.layers.losses import Loss
from convnet.layers.stage import Update

__all__ = ["Preparation", "Updater", "check_loss"]


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
    labels = labels_of(loss)
    try:
        value, dscores = loss(np.zeros((1, num_classes)), labels.example(num_classes))
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    except Exception as error:
        raise TypeError(
            f"{what}: expected a function such as softmax_loss, got {loss!r:.60}, which raised {error!r:.200} with "
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
