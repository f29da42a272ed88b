"""The loss of examples each of which is mixed of two."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.core.checks import FloatArray, as_array, as_number

__all__ = ["Mixed", "mixed_loss"]

# With which examples of the minibatch those are mixed, and the part of their own.
Mixed = tuple[npt.ArrayLike, float]


def mixed_loss(
    loss: Callable[..., tuple[float, FloatArray]], mixed: Mixed, what: str
) -> Callable[..., tuple[float, FloatArray]]:
    """Return the loss of mixed examples, ``factor * loss(labels) + (1 - factor) * loss(labels[partners])``.

    A cross-entropy is linear in the probabilities of the classes. Its mixture is that for mixed probabilities, and so
    it is with label smoothing and with weights: those of the examples go with the labels.

    Parameters
    ----------
    loss : callable
        ``loss(scores, labels) -> (loss, dscores)``, and with ``weights=`` if that is given.
    mixed : (partners, factor)
        Integers of shape (N,), in [0, N), and a number in [0, 1].
    what : str
        Names the model in errors.

    Returns
    -------
    callable
        Like `loss`. It raises a ValueError or a TypeError if `mixed` does not fit.
    """

    def mixture(scores: FloatArray, labels: npt.ArrayLike, **weights: npt.ArrayLike) -> tuple[float, FloatArray]:
        partners, factor = _checked(mixed, len(scores), what)
        own_loss, own_dscores = loss(scores, labels, **weights)
        others: dict[str, Any] = {name: np.asarray(array)[partners] for name, array in weights.items()}
        loss_of_others, dscores = loss(scores, np.asarray(labels)[partners], **others)
        return (
            factor * own_loss + (1 - factor) * loss_of_others,
            factor * np.asarray(own_dscores) + (1 - factor) * np.asarray(dscores),
        )

    return mixture


def _checked(mixed: Mixed, count: int, what: str) -> tuple[npt.NDArray[np.integer[Any]], float]:
    """Return partners and factor after checking them."""
    try:
        partners, factor = mixed
    except Exception:
        raise TypeError(f"{what}: expected mixed to be the partners and the factor, got {mixed!r:.60}") from None
    array = as_array(partners, f"{what}: partners")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{what}: partners: expected integers, got dtype {array.dtype}")
    if array.shape != (count,) or (count and not 0 <= array.min() <= array.max() < count):
        raise ValueError(
            f"{what}: partners: expected {count} numbers of examples, in [0, {count}), got "
            + (f"shape {array.shape}" if array.shape != (count,) else f"{array.min()} to {array.max()}")
        )
    return array, as_number(factor, f"{what}: factor", at_least=0, at_most=1)
