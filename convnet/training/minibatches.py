"""Minibatches of the training set, as a step takes them: gathered, prepared and augmented."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convnet.core.checks import FloatArray, IntArray, as_real
from convnet.datasets.augmentation import Augment, Augmentation, Mixture
from convnet.datasets.mixup import Mixup
from convnet.models.sequential import Sequential
from convnet.training.run import raw_statistics

__all__ = ["Minibatch", "Minibatches"]


class Minibatch(NamedTuple):
    """The arguments of `Sequential.train_step` that make a minibatch.

    Attributes
    ----------
    x : ndarray, shape (N, *input_shape)
        Or of a part of the examples.
    labels : ndarray of int, shape (N,)
    options : dict
        ``weights`` and ``mixed``, where there are any.
    """

    x: FloatArray
    labels: IntArray
    options: dict[str, Any]


class Minibatches:
    """Makes minibatches of the training set, in memory that each step uses again.

    Parameters
    ----------
    model : Sequential
        Its statistics prepare raw images, and its parameters' dtype is that of the inputs.
    x : ndarray, shape (N, *input_shape)
        Prepared inputs, or raw images of uint8.
    labels : ndarray, shape (N, ...)
    weights : ndarray of float64, shape (N,), or None
    batch_size : int
    """

    def __init__(
        self, model: Sequential, x: npt.NDArray[Any], labels: IntArray, weights: FloatArray | None, batch_size: int
    ) -> None:
        self._model, self._x, self._labels, self._weights = model, x, labels, weights
        self._largest = min(batch_size, len(x))
        # Memory for the inputs, by what is done to them.
        self._memory: dict[str, npt.NDArray[Any]] = {}

    def take(self, chosen: IntArray, augmentation: Augment | None, rng: np.random.Generator, part: slice) -> Minibatch:
        """Return the minibatch of the chosen examples, augmented by what is drawn from a generator.

        The inputs are those of a part of the examples, the same ones as in the whole minibatch. No others are read,
        unless they are mixed or a user's function changes them.

        Raises
        ------
        ValueError
            If there are raw images and the model has no statistics any more, or the augmentation changes the shape.
        """
        options: dict[str, Any] = {} if self._weights is None else {"weights": self._weights[chosen]}
        mixup = augmentation if isinstance(augmentation, Mixup) else None
        inner = augmentation if mixup is None else mixup.augmentation
        is_divided = mixup is None and (inner is None or type(inner) is Augmentation)
        gathered = self._gathered(chosen[part] if is_divided else chosen)
        x = self._augmented(gathered, inner, rng, (part.start, len(chosen)) if is_divided else None)
        if mixup is not None:
            own = mixup.unmixed(x)
            # What a user's function returned may be an array that it needs again.
            x = mixup.mix(own if inner is None or isinstance(inner, Augmentation) else np.array(own), rng)
        if isinstance(x, Mixture):
            options["mixed"] = x.partners, x.factor
            x = x.x
        if np.shape(x) != gathered.shape:
            raise ValueError(f"augmentation: expected x of shape {gathered.shape}, got {np.shape(x)}")
        return Minibatch(x if is_divided else x[part], self._labels[chosen], options)

    def _augmented(
        self,
        x: npt.NDArray[Any],
        augmentation: Augment | None,
        rng: np.random.Generator,
        among: tuple[int, int] | None,
    ) -> FloatArray | Mixture:
        """Return the inputs prepared and augmented: raw images go through an `Augmentation` in one pass."""
        options: dict[str, Any] = {} if among is None else {"among": among}
        statistics = raw_statistics(self._model, x, "x_train")
        if isinstance(augmentation, Augmentation):
            if statistics is None:
                x = as_real(self._converted(x), "augmentation: x")
                return augmentation(x, rng, out=self._array("augmented", len(x), x.dtype), **options)
            out = self._array("augmented", len(x), np.float32)
            return augmentation(x, rng, statistics=statistics, out=out, **options)
        if statistics is not None:
            x = statistics.prepare(x, out=self._array("prepared", len(x), np.float32))
        x = self._converted(x)
        return x if augmentation is None else augmentation(x, rng)

    def _gathered(self, chosen: IntArray) -> npt.NDArray[Any]:
        """Return a copy of the chosen examples."""
        taken = self._array("taken", len(chosen), self._x.dtype)
        if self._x.flags.c_contiguous:
            np.take(self._x, chosen, axis=0, out=taken, mode="clip")  # any other mode makes a copy first
        else:  # of which `take` would copy everything
            taken[...] = self._x[chosen]
        return taken

    def _converted(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return floats in the dtype of the model's parameters, and anything else as it is."""
        dtype = next((param.dtype for param in self._model.params.values()), x.dtype)
        if x.dtype.kind != "f" or x.dtype == dtype:
            return x
        converted = self._array("converted", len(x), dtype)
        converted[...] = x
        return converted

    def _array(self, name: str, count: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return memory for the inputs of so many examples."""
        kept = self._memory.get(name)
        if kept is None or kept.dtype != dtype:
            kept = self._memory[name] = np.empty((self._largest, *self._x.shape[1:]), dtype)
        return kept[:count]
