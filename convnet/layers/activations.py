"""Activation functions, which act on each element alone: the functions, the layers and their stage.

Sigmoid, Tanh, GELU and SiLU are in smooth_activations.py.
"""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import FloatArray, as_number, as_real, check_shape
from convnet.core.threads import elementwise
from convnet.core.workspace import Memory
from convnet.layers.base import Layer
from convnet.layers.stage import Options, ParameterlessStage, Shape, Stage

__all__ = [
    "Activation",
    "LeakyReLU",
    "ReLU",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "relu_backward",
    "relu_forward",
    "slope_of",
]


class Activation(Layer):
    """Base of the activation functions: a subclass gives `compute` and `differentiate` for flat arrays.

    Attributes
    ----------
    reads_output : bool
        If True, the gradient is computed from the output y. If False, from the input x.
    """

    reads_output: ClassVar[bool] = False

    def compute(self, x: FloatArray, y: FloatArray) -> None:
        """Write the output of x to y, both flat."""
        raise NotImplementedError(f"{type(self).__name__} has no compute")

    def differentiate(self, dy: FloatArray, kept: FloatArray, dx: FloatArray) -> None:
        """Write the gradient to dx, given that of the output and what `reads_output` says, all flat."""
        raise NotImplementedError(f"{type(self).__name__} has no differentiate")

    def apply(self, x: FloatArray, y: FloatArray) -> None:
        """Write the output of x to y, of any shape, on all threads."""
        elementwise(self.compute, x, y)

    def apply_gradient(self, dy: FloatArray, kept: FloatArray, dx: FloatArray) -> None:
        """Write the gradient to dx, of any shape, on all threads."""
        elementwise(self.differentiate, dy, kept, dx)

    def forward(self, x: npt.ArrayLike, rng: np.random.Generator | None = None) -> tuple[FloatArray, FloatArray]:
        x = as_real(x, f"{type(self).__name__}: x")
        y = np.empty_like(x)
        self.apply(x, y)
        return y, y if self.reads_output else x

    def backward(
        self, dy: npt.ArrayLike, cache: npt.ArrayLike, need_dx: bool = True
    ) -> tuple[FloatArray, dict[str, FloatArray]]:
        name = type(self).__name__
        dy = as_real(dy, f"{name}: dy")
        kept = as_real(cache, f"{name}: {'y' if self.reads_output else 'x'}", dy.dtype)
        check_shape(dy.shape, kept.shape, f"{name}: dy")
        dx = np.empty_like(dy)
        self.apply_gradient(dy, kept, dx)
        return dx, {}

    def stage(self, name: str, input_shape: Shape, dtype: np.dtype, options: Options) -> Stage:
        return ActivationStage(name, self, input_shape, dtype)


class ActivationStage(ParameterlessStage):
    """An activation function."""

    layouts = "same"

    def __init__(self, name: str, layer: Activation, input_shape: Shape, dtype: np.dtype) -> None:
        super().__init__((name,), input_shape, input_shape, dtype)
        self.layer = layer

    def predict(self, x: FloatArray, memory: Memory) -> FloatArray:
        self.layer.apply(x, memory["y"])
        return memory["y"]

    def forward(self, x: FloatArray, memory: Memory, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        y = self.predict(x, memory)
        return y, y if self.layer.reads_output else x

    def write_dx(self, dy: FloatArray, cache: FloatArray, memory: Memory) -> None:
        self.layer.apply_gradient(dy, cache, memory["dx"])


# --------------------------------------------------------------------------------------------------- ReLU


class ReLU(Activation):
    """Rectified linear unit ``y = max(x, 0)``, for inputs of any shape; see `functional.relu_forward`.

    Notes
    -----
    V. Nair, G. E. Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.
    """

    kind = "relu"
    reads_output = True

    def compute(self, x: FloatArray, y: FloatArray) -> None:
        _kernels.relu_forward(x, y)

    def differentiate(self, dy: FloatArray, kept: FloatArray, dx: FloatArray) -> None:
        _kernels.relu_backward(dy, kept, dx)


def relu_forward(x: npt.ArrayLike) -> FloatArray:
    """Rectified linear unit: ``y = max(x, 0)``, and NaN where x is NaN.

    Parameters
    ----------
    x : array_like, any shape

    Returns
    -------
    ndarray, of the shape of x

    Raises
    ------
    TypeError
        If x does not hold real numbers.

    Notes
    -----
    V. Nair, G. E. Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.
    """
    return ReLU()(x)


def relu_backward(dy: npt.ArrayLike, y: npt.ArrayLike) -> FloatArray:
    """Gradient of `relu_forward`: ``dx = dy`` where y is positive (or NaN), 0 elsewhere, at y = 0 too.

    Parameters
    ----------
    dy : array_like, any shape
        Gradient of the loss with respect to the output.
    y : array_like, of the shape of dy
        Output of the forward pass. Its input serves as well: both are positive for the same elements.

    Returns
    -------
    ndarray, of the shape of dy

    Raises
    ------
    ValueError
        If the shapes differ.
    TypeError
        If an array does not hold real numbers.
    """
    return ReLU().backward(dy, y)[0]


# ---------------------------------------------------------------------------------------------- LeakyReLU


class LeakyReLU(Activation):
    """Leaky rectified linear unit ``y = x`` where x is positive, ``slope * x`` elsewhere, for inputs of any shape.

    See `functional.leaky_relu_forward`.

    Parameters
    ----------
    slope : float
        Factor on x where x is not positive.

    Raises
    ------
    ValueError, TypeError
        If `slope` is not a finite number.

    Notes
    -----
    A. L. Maas, A. Y. Hannun, A. Y. Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013.
    """

    kind = "leaky_relu"

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = as_number(slope, "LeakyReLU: slope")

    def hyperparameters(self) -> dict[str, Any]:
        return {"slope": self.slope}

    def compute(self, x: FloatArray, y: FloatArray) -> None:
        _kernels.leaky_relu_forward(self.slope, x, y)

    def differentiate(self, dy: FloatArray, kept: FloatArray, dx: FloatArray) -> None:
        _kernels.leaky_relu_backward(self.slope, dy, kept, dx)


def leaky_relu_forward(x: npt.ArrayLike, slope: float = 0.01) -> FloatArray:
    """Leaky rectified linear unit: ``y = x`` where x is positive, ``slope * x`` elsewhere, and NaN where x is NaN.

    Parameters
    ----------
    x : array_like, any shape
    slope : float
        Factor on x where x is not positive.

    Returns
    -------
    ndarray, of the shape of x

    Raises
    ------
    ValueError
        If `slope` is not finite.
    TypeError
        If x does not hold real numbers, or `slope` is not a number.

    Notes
    -----
    A. L. Maas, A. Y. Hannun, A. Y. Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013.
    """
    return LeakyReLU(slope)(x)


def leaky_relu_backward(dy: npt.ArrayLike, x: npt.ArrayLike, slope: float = 0.01) -> FloatArray:
    """Gradient of `leaky_relu_forward`: ``dx = dy`` where x is positive (or NaN), ``slope * dy`` elsewhere, at 0 too.

    Parameters
    ----------
    dy : array_like, any shape
        Gradient of the loss with respect to the output.
    x : array_like, of the shape of dy
        Input of the forward pass.
    slope : float
        As in the forward pass.

    Returns
    -------
    ndarray, of the shape of dy

    Raises
    ------
    ValueError
        If the shapes differ, or `slope` is not finite.
    TypeError
        If an array does not hold real numbers, or `slope` is not a number.
    """
    return LeakyReLU(slope).backward(dy, x)[0]


def slope_of(layer: Layer) -> float:
    """Return what a ReLU or LeakyReLU multiplies numbers with that are not positive."""
    return layer.slope if isinstance(layer, LeakyReLU) else 0.0
