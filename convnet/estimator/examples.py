"""The examples that a classifier is trained with: their classes as numbers, and their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convnet.core.checks import as_number, as_weights, listed
from convnet.layers.losses import balanced_weights

__all__ = ["Examples", "class_weights_of", "distinct", "written"]


def written(labels: npt.NDArray[Any] | Sequence[Any]) -> str:
    """Return labels as they stand in a message, where the text '1' is not the number 1."""
    return listed([repr(label) for label in (labels.tolist() if isinstance(labels, np.ndarray) else labels)])


def distinct(classes: npt.ArrayLike, what: str) -> npt.NDArray[Any]:
    """Return the classes that `partial_fit` is given, sorted, each once; `what` begins an error."""
    labels = np.asarray(classes)
    if labels.ndim != 1 or (labels.dtype.kind == "f" and not np.isfinite(labels).all()):
        raise ValueError(f"{what}: classes: expected a list of all labels there are, got {classes!r:.60}")
    return np.unique(labels)


class Examples(NamedTuple):
    """Examples that count.

    Attributes
    ----------
    rows : ndarray, shape (N, D)
        As they came.
    classes : ndarray of int, shape (N,)
        Each in [0, K).
    weights : ndarray of float64, shape (N,)
        Above 0.
    """

    rows: npt.NDArray[Any]
    classes: npt.NDArray[np.intp]
    weights: npt.NDArray[np.float64]

    @classmethod
    def counting(
        cls,
        rows: npt.NDArray[Any],
        labels: npt.NDArray[Any],
        classes: npt.NDArray[Any],
        sample_weight: npt.ArrayLike | None,
        what: str,
    ) -> Examples:
        """Return the examples of a weight above 0.

        Parameters
        ----------
        rows : ndarray, shape (N, D)
        labels : ndarray, shape (N,)
        classes : ndarray, shape (K,)
            The labels that there are, in order.
        sample_weight : array_like, shape (N,), optional
        what : str
            Begins an error.

        Raises
        ------
        ValueError
            If a label is of no class, a weight is below 0 or not finite, or none is above 0.
        TypeError
            If weights are no real numbers.
        """
        known = {label: place for place, label in enumerate(classes.tolist())}
        values, inverse = np.unique(labels, return_inverse=True)
        unknown = [label for label in values.tolist() if label not in known]
        if unknown:
            raise ValueError(f"{what}: expected labels among the classes {written(classes)}, got {written(unknown)}")
        places = np.array([known[label] for label in values.tolist()], np.intp)[inverse.reshape(-1)]
        weights = np.ones(len(rows))
        if sample_weight is not None:
            given = np.asarray(sample_weight)
            given = given.astype(np.float64) if given.dtype == bool else given  # a mask, as scikit-learn takes it
            weights[:] = as_weights(given, f"{what}: sample_weight", len(rows))
        if not weights.any():
            raise ValueError(f"{what}: sample_weight: expected a weight above zero, got none")
        examples, counts = cls(rows, places, weights), weights > 0
        return examples if counts.all() else examples.of(counts)

    def of(self, chosen: npt.NDArray[Any]) -> Examples:
        """Return the chosen examples."""
        return Examples(*(array[chosen] for array in self))


def class_weights_of(
    given: Mapping[Any, float] | str | None, labels: npt.NDArray[Any], examples: Examples, what: str
) -> npt.NDArray[np.float64]:
    """Return the weight of each class.

    Parameters
    ----------
    given : mapping, "balanced" or None
        Weights by label, 1 for those that are missing. ``"balanced"`` are those of `balanced_weights` for the examples,
        and 1 for a class without one.
    labels : ndarray, shape (K,)
        The labels of the classes.
    examples : Examples
    what : str
        Begins an error.

    Raises
    ------
    ValueError, TypeError
        If it is something else, a label is of no class, or a weight is no number of at least 0.
    """
    known = labels.tolist()
    if given is None:
        return np.ones(len(known))
    if isinstance(given, Mapping):
        unknown = [label for label in given if label not in known]
        if unknown:
            raise ValueError(
                f"{what}: class_weight: expected weights of the classes {written(known)}, got one of {written(unknown)}"
            )
        weights = {
            label: as_number(weight, f"{what}: class_weight of {label!r}", at_least=0)
            for label, weight in given.items()
        }
        return np.array([weights.get(label, 1.0) for label in known])
    if given != "balanced":
        raise ValueError(f'{what}: expected class_weight to be None, "balanced" or a dictionary, got {given!r:.60}')
    present, places = np.unique(examples.classes, return_inverse=True)
    balanced = np.ones(len(known))
    balanced[present] = balanced_weights(places, weights=examples.weights)
    return balanced
