"""Smooth activation functions: sigmoid, tanh, and those that multiply x by a gate; the functions and the layers."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from math import pi, sqrt
from typing import Any

import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import FloatArray, as_flag
from convnet.layers.activations import Activation

__all__ = [
    "GELU",
    "SiLU",
    "Sigmoid",
    "Tanh",
    "gelu_backward",
    "gelu_forward",
    "sigmoid_backward",
    "sigmoid_forward",
    "silu_backward",
    "silu_forward",
    "tanh_backward",
    "tanh_forward",
]

# The approximate GELU's gate is a sigmoid of LINEAR * x + CUBIC * x**3.
LINEAR = 2 * sqrt(2 / pi)
CUBIC = LINEAR * 0.044715
NORMAL = _kernels.SmoothActivation(_kernels.SmoothActivation.GATED)
NEARLY_NORMAL = _kernels.SmoothActivation(_kernels.SmoothActivation.GATED, LINEAR, CUBIC)


class SmoothActivation(Activation):
    """Base of the smooth activation functions: a subclass gives its `function`.

    Attributes
    ----------
    function : _kernels.SmoothActivation
        What the kernels compute.
    """

    function: _kernels.SmoothActivation

    def apply(self, x: FloatArray, y: FloatArray) -> None:
        _kernels.smooth_forward(self.function, x.reshape(-1), y.reshape(-1))

    def apply_gradient(self, dy: FloatArray, kept: FloatArray, dx: FloatArray) -> None:
        _kernels.smooth_backward(self.function, dy.reshape(-1), kept.reshape(-1), dx.reshape(-1))


# ------------------------------------------------------------------------------------------------ Sigmoid


class Sigmoid(SmoothActivation):
    """Logistic sigmoid ``y = 1 / (1 + exp(-x))``, for inputs of any shape; see `functional.sigmoid_forward`.

    Notes
    -----
    D. E. Rumelhart, G. E. Hinton, R. J. Williams, "Learning representations by back-propagating errors", 1986.
    """

    kind = "sigmoid"
    function = _kernels.SmoothActivation(_kernels.SmoothActivation.SIGMOID)


def sigmoid_forward(x: npt.ArrayLike) -> FloatArray:
    """Logistic sigmoid: ``y = 1 / (1 + exp(-x))``.

    Computed from ``exp(-abs(x))``, which never overflows: at the lower end y goes down to the smallest normal number of
    its dtype, and not to 0 at once.

    Parameters
    ----------
    x : array_like, any shape

    Returns
    -------
    ndarray, of the shape of x
        In [0, 1], and NaN where x is NaN.

    Raises
    ------
    TypeError
        If x does not hold real numbers.

    Notes
    -----
    D. E. Rumelhart, G. E. Hinton, R. J. Williams, "Learning representations by back-propagating errors", 1986,
    equation 2.
    """
    return Sigmoid()(x)


def sigmoid_backward(dy: npt.ArrayLike, x: npt.ArrayLike) -> FloatArray:
    """Gradient of `sigmoid_forward`: ``dx = dy * y * (1 - y)``, computed as ``dy * e / (1 + e)**2``, e = exp(-abs(x)).

    The second form keeps its precision where y rounds to 1: there ``1 - y`` would be 0.

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
    return Sigmoid().backward(dy, x)[0]


# --------------------------------------------------------------------------------------------------- Tanh


class Tanh(SmoothActivation):
    """Hyperbolic tangent ``y = tanh(x)``, for inputs of any shape; see `functional.tanh_forward`.

    Notes
    -----
    Y. LeCun, L. Bottou, G. B. Orr, K.-R. Müller, "Efficient BackProp", 1998, section 4.4.
    """

    kind = "tanh"
    function = _kernels.SmoothActivation(_kernels.SmoothActivation.TANH)


def tanh_forward(x: npt.ArrayLike) -> FloatArray:
    """Hyperbolic tangent: ``y = (exp(x) - exp(-x)) / (exp(x) + exp(-x))``.

    Parameters
    ----------
    x : array_like, any shape

    Returns
    -------
    ndarray, of the shape of x
        In [-1, 1], and NaN where x is NaN.

    Raises
    ------
    TypeError
        If x does not hold real numbers.

    Notes
    -----
    Y. LeCun, L. Bottou, G. B. Orr, K.-R. Müller, "Efficient BackProp", 1998, section 4.4.
    """
    return Tanh()(x)


def tanh_backward(dy: npt.ArrayLike, x: npt.ArrayLike) -> FloatArray:
    """Gradient of `tanh_forward`: ``dx = dy * (1 - y**2)``.

    It is computed as ``dy * 4 * e / (1 + e)**2`` with e = exp(-2 abs(x)). This form keeps its precision where y rounds
    to 1: there ``1 - y**2`` would be 0.

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
    return Tanh().backward(dy, x)[0]


# --------------------------------------------------------------------------------------------------- GELU


class GELU(SmoothActivation):
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
    def function(self) -> _kernels.SmoothActivation:  # type: ignore[override]
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


class SiLU(SmoothActivation):
    """Sigmoid-weighted linear unit ``y = x / (1 + exp(-x))``, for inputs of any shape; see `functional.silu_forward`.

    Notes
    -----
    S. Elfwing, E. Uchibe, K. Doya, "Sigmoid-weighted linear units for neural network function approximation in
    reinforcement learning", 2018. It is also called Swish.
    """

    kind = "silu"

    function = _kernels.SmoothActivation(_kernels.SmoothActivation.GATED, linear=1)


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
