"""Dropout: the functions, the layer and its stage."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import FloatArray, as_generator, as_number, as_plain, as_real, check_shape
from convnet.core.threads import elementwise, in_parts
from convnet.core.workspace import ArraySpec, Memory
from convnet.layers.base import Layer
from convnet.layers.stage import Options, ParameterlessStage, Shape, Stage

__all__ = ["Dropout", "dropout_backward", "dropout_forward"]


def dropout_forward(
    x: npt.ArrayLike, rate: float, rng: np.random.Generator
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Inverted dropout: 0 with probability `rate`, ``x / (1 - rate)`` otherwise, so that the mean stays.

    Parameters
    ----------
    x : array_like, any shape
    rate : float
        In [0, 1).
    rng : numpy.random.Generator
        Draws the 64-bit key of the counter-based generator Philox4x32-10. Its 32-bit word i belongs to element i of x
        in C order. The element is dropped if the word is below ``floor(rate * 2 ** 32)``; see `naive.dropout_forward`.

    Returns
    -------
    y : ndarray, of the shape of x
    kept : ndarray of bool, of the shape of x
        For the backward pass.

    Raises
    ------
    ValueError
        If `rate` lies outside [0, 1).
    TypeError
        If x does not hold real numbers, or `rng` is not a Generator.

    Notes
    -----
    N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov, "Dropout: a simple way to prevent neural
    networks from overfitting", 2014; section 10 has the form that scales when training. J. K. Salmon, M. A. Moraes,
    R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.
    """
    x, rate = as_real(x, "Dropout: x"), as_number(rate, "Dropout: rate", at_least=0, below=1)
    as_generator(rng, "Dropout: rng")
    y, kept = np.empty_like(x), np.empty(x.shape, np.bool_)
    _drop(x, rate, rng, kept, y)
    return y, kept


def dropout_backward(dy: npt.ArrayLike, kept: npt.NDArray[np.bool_], rate: float) -> FloatArray:
    """Gradient of `dropout_forward`: 0 where the element was dropped, ``dy / (1 - rate)`` elsewhere.

    Parameters
    ----------
    dy : array_like, any shape
        Gradient of the loss with respect to the output.
    kept : ndarray of bool, of the shape of dy
        From the forward pass.
    rate : float
        In [0, 1), as in the forward pass.

    Returns
    -------
    ndarray, of the shape of dy

    Raises
    ------
    ValueError
        If the shapes differ or `rate` lies outside [0, 1).
    TypeError
        If `dy` does not hold real numbers or `kept` bools.
    """
    dy, kept = as_real(dy, "Dropout: dy"), np.asarray(kept)
    rate = as_number(rate, "Dropout: rate", at_least=0, below=1)
    if kept.dtype != np.bool_:
        raise TypeError(f"Dropout: kept: expected bool, got dtype {kept.dtype}")
    check_shape(dy.shape, kept.shape, "Dropout: dy")
    dx = np.empty_like(dy)
    _scale_kept(dy, as_plain(kept, np.bool_), rate, dx)
    return dx


def _drop(x: FloatArray, rate: float, rng: np.random.Generator, kept: npt.NDArray[np.bool_], y: FloatArray) -> None:
    """Draw which elements are kept, and write the output."""
    key, threshold = int(rng.integers(2**64, dtype=np.uint64)), int(rate * 2**32)
    flat_x, flat_kept, flat_y = x.reshape(-1), kept.reshape(-1).view(np.uint8), y.reshape(-1)

    def task(part: slice, _: int) -> None:  # a slice of the counters; each serves four elements
        elements = slice(4 * part.start, 4 * part.stop)
        _kernels.dropout_mask(key, part.start, threshold, flat_kept[elements])
        _kernels.dropout_scale(1 - rate, flat_x[elements], flat_kept[elements], flat_y[elements])

    in_parts(task, -(-x.size // 4), 16 * x.size)  # to draw takes much longer than to multiply


def _scale_kept(x: FloatArray, kept: npt.NDArray[np.bool_], rate: float, y: FloatArray) -> None:
    """Write x / (1 - rate) where an element is kept, and 0 elsewhere, even where x is not finite."""
    elementwise(partial(_kernels.dropout_scale, 1 - rate), x, kept.view(np.uint8), y)


class Dropout(Layer):
    """Inverted dropout of elements, when training only; see `functional.dropout_forward`.

    ``layer.forward(x, rng)``, for training, draws from `rng` which elements become 0; the others become
    ``x / (1 - rate)``. ``layer(x)``, for prediction, is x.

    Parameters
    ----------
    rate : float
        Probability, in [0, 1), with which an element becomes 0.

    Raises
    ------
    ValueError, TypeError
        If `rate` is not a number in [0, 1).

    Notes
    -----
    N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov, "Dropout: a simple way to prevent neural
    networks from overfitting", 2014.
    """

    kind = "dropout"

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = as_number(rate, "Dropout: rate", at_least=0, below=1)

    def hyperparameters(self) -> dict[str, Any]:
        return {"rate": self.rate}

    def __call__(self, x: npt.ArrayLike) -> FloatArray:
        return as_real(x, "Dropout: x")

    def forward(
        self, x: npt.ArrayLike, rng: np.random.Generator | None = None
    ) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        if rng is None:
            raise TypeError("Dropout: expected forward(x, rng) with a numpy.random.Generator to draw with, got none")
        return dropout_forward(x, self.rate, rng)

    def backward(
        self, dy: npt.ArrayLike, cache: npt.NDArray[np.bool_], need_dx: bool = True
    ) -> tuple[FloatArray | None, dict[str, FloatArray]]:
        return dropout_backward(dy, cache, self.rate), {}

    def stage(self, name: str, input_shape: Shape, dtype: np.dtype, options: Options) -> Stage:
        return DropoutStage(name, self, input_shape, dtype)


class DropoutStage(ParameterlessStage):
    """A dropout; nothing in prediction."""

    def __init__(self, name: str, layer: Dropout, input_shape: Shape, dtype: np.dtype) -> None:
        super().__init__((name,), input_shape, input_shape, dtype)
        self.rate = layer.rate

    def arrays(self, n: int, threads: int, training: bool) -> dict[str, ArraySpec]:
        if not training:
            return {}
        return super().arrays(n, threads, training) | {"kept": ((n, *self.input_shape), np.bool_)}

    def predict(self, x: FloatArray, memory: Memory) -> FloatArray:
        return x

    def forward(self, x: FloatArray, memory: Memory, rng: np.random.Generator) -> tuple[FloatArray, None]:
        _drop(x, self.rate, rng, memory["kept"], memory["y"])
        return memory["y"], None

    def write_dx(self, dy: FloatArray, cache: None, memory: Memory) -> None:
        _scale_kept(dy, memory["kept"], self.rate, memory["dx"])
