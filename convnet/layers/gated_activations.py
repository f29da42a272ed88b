"""Activation functions that multiply x by a gate, a smooth step from 0 to 1: the functions and the layers."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from math import pi, sqrt
from typing import Any

import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import FloatArray, as_flag
from convnet.layers.activations import Activation

__all__ = ["GELU", "SiLU", "gelu_backward", "gelu_forward", "silu_backward", "silu_forward"]

# The gates as the kernels take them: that of the approximate GELU is a sigmoid of LINEAR * x + CUBIC * x**3.
LINEAR = 2 * sqrt(2 / pi)
CUBIC = LINEAR * 0.044715
NORMAL, NEARLY_NORMAL, SIGMOID = _kernels.Gate(), _kernels.Gate(LINEAR, CUBIC), _kernels.Gate(1)


class GatedActivation(Activation):
    """Base of the activation functions ``y = x * gate``: a subclass gives its `gate`."""

    work = 12

    @property
    def gate(self) -> _kernels.Gate:
        """The gate, as the kernels take it."""
        raise NotImplementedError(f"{type(self).__name__} has no gate")

    def compute(self, x: FloatArray, y: FloatArray) -> None:
        _kernels.gate_forward(self.gate, x, y)

    def differentiate(self, dy: FloatArray, kept: FloatArray, dx: FloatArray) -> None:
        _kernels.gate_backward(self.gate, dy, kept, dx)


# --------------------------------------------------------------------------------------------------- GELU


class GELU(GatedActivation):
    """Gaussian error linear unit ``y = x * Phi(x)``, for inputs of any shape; see `functional.gelu_forward`.

    Phi is the distribution function of the standard normal distribution.

    Parameters
    ----------
    approximate : bool
        If True, the gate is ``0.5 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))`` instead of Phi(x), as in models
        that were trained with it. It is faster.

    Raises
    ------
    TypeError
        If `approximate` is neither True nor False.

    Notes
    -----
    D. Hendrycks, K. Gimpel, "Gaussian error linear units (GELUs)", 2016.
    """

    kind = "gelu"

    def __init__(self, approximate: bool = False) -> None:
        super().__init__()
        self.approximate = as_flag(approximate, "GELU: approximate")

    def hyperparameters(self) -> dict[str, Any]:
        return {"approximate": self.approximate}

    @property
    def gate(self) -> _kernels.Gate:
        return NEARLY_NORMAL if self.approximate else NORMAL


def gelu_forward(x: npt.ArrayLike, approximate: bool = False) -> FloatArray:
    """Gaussian error linear unit: ``y = x * Phi(x)``.

    ``Phi(x) = 0.5 * (1 + erf(x / sqrt(2)))`` is the distribution function of the standard normal distribution. It is
    computed as ``0.5 * erfc(-x / sqrt(2))``, which keeps its precision where Phi is close to 0; in float32 from
    polynomials.

    Parameters
    ----------
    x : array_like, any shape
    approximate : bool
        If True, the gate is ``0.5 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))`` instead of Phi(x), and y
        differs by less than 0.0005.

    Returns
    -------
    ndarray, of the shape of x
        0 where x is minus infinity, and NaN where x is NaN.

    Raises
    ------
    TypeError
        If x does not hold real numbers, or `approximate` is neither True nor False.

    Notes
    -----
    D. Hendrycks, K. Gimpel, "Gaussian error linear units (GELUs)", 2016, section 2.
    """
    return GELU(approximate)(x)


def gelu_backward(dy: npt.ArrayLike, x: npt.ArrayLike, approximate: bool = False) -> FloatArray:
    """Gradient of `gelu_forward`: ``dx = dy * (Phi(x) + x * exp(-x**2 / 2) / sqrt(2 * pi))``.

    With `approximate` it is ``dx = dy * (s + x * s * (1 - s) * 2 * sqrt(2 / pi) * (1 + 3 * 0.044715 * x**2))``, where
    s is the gate of the forward pass.

    Parameters
    ----------
    dy : array_like, any shape
        Gradient of the loss with respect to the output.
    x : array_like, of the shape of dy
        Input of the forward pass.
    approximate : bool
        As in the forward pass.

    Returns
    -------
    ndarray, of the shape of dy

    Raises
    ------
    ValueError
        If the shapes differ.
    TypeError
        If an array does not hold real numbers, or `approximate` is neither True nor False.
    """
    return GELU(approximate).backward(dy, x)[0]


# --------------------------------------------------------------------------------------------------- SiLU


class SiLU(GatedActivation):
    """Sigmoid-weighted linear unit ``y = x / (1 + exp(-x))``, for inputs of any shape; see `functional.silu_forward`.

    Notes
    -----
    S. Elfwing, E. Uchibe, K. Doya, "Sigmoid-weighted linear units for neural network function approximation in
    reinforcement learning", 2018. It is also called Swish.
    """

    kind = "silu"

    @property
    def gate(self) -> _kernels.Gate:
        return SIGMOID


def silu_forward(x: npt.ArrayLike) -> FloatArray:
    """Sigmoid-weighted linear unit: ``y = x * sigmoid(x) = x / (1 + exp(-x))``.

    Computed from ``exp(-abs(x))``, which never overflows.

    Parameters
    ----------
    x : array_like, any shape

    Returns
    -------
    ndarray, of the shape of x
        0 where x is minus infinity, and NaN where x is NaN.

    Raises
    ------
    TypeError
        If x does not hold real numbers.

    Notes
    -----
    S. Elfwing, E. Uchibe, K. Doya, "Sigmoid-weighted linear units for neural network function approximation in
    reinforcement learning", 2018. It is also called Swish.
    """
    return SiLU()(x)


def silu_backward(dy: npt.ArrayLike, x: npt.ArrayLike) -> FloatArray:
    """Gradient of `silu_forward`: ``dx = dy * (s + x * s * (1 - s))``, where s is the sigmoid of x.

    ``s * (1 - s)`` is computed as ``e / (1 + e)**2``, e = exp(-abs(x)). This form keeps its precision where s rounds to
    1: there ``1 - s`` would be 0.

    Parameters
    ----------
    dy : array_like, any shape
        Gradient of the loss with respect to the output.
    x : array_like, of the shape of dy
        Input of the forward pass.

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
    return SiLU().backward(dy, x)[0]
