"""Initial values of parameters.

An initializer is a function ``(shape, fan_in, rng, dtype, *, fan_out) -> array``. Those here, and functions of a
user's, are given to `Conv2D`, `Affine` and `ConvNet1`. An output sums over ``fan_in`` inputs, and ``fan_out`` outputs
take in an input: for an Affine layer these are D and M, for a convolution C * KH * KW and F * KH * KW.
"""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

import inspect
from math import sqrt
from typing import Protocol

import numpy as np
import numpy.typing as npt

from convnet.core.checks import NATIVE, FloatArray, as_count, as_generator, as_real, check_shape

__all__ = [
    "Initializer",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "initial_weight",
    "parameter_dtype",
]


class Initializer(Protocol):
    """What draws the initial values of a weight."""

    def __call__(
        self, shape: tuple[int, ...], fan_in: int, rng: np.random.Generator, dtype: npt.DTypeLike, *, fan_out: int
    ) -> npt.ArrayLike: ...


def parameter_dtype(dtype: npt.DTypeLike) -> np.dtype:
    """Return `dtype` as a NumPy dtype that parameters can have: float32 or float64.

    Raises
    ------
    TypeError
        If it is any other.
    """
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype: expected float32 or float64, got {dtype!r:.60}") from None
    if wanted not in NATIVE:
        raise TypeError(f"dtype: expected float32 or float64, got {wanted}")
    return wanted.newbyteorder("=")


def initial_weight(
    initializer: Initializer,
    shape: tuple[int, ...],
    fan_in: int,
    fan_out: int,
    rng: np.random.Generator,
    dtype: npt.DTypeLike,
    what: str,
) -> FloatArray:
    """Return what an initializer draws, after checking it, in an array of its own.

    Parameters
    ----------
    initializer : callable
    shape : tuple of ints
        Shape of the weight.
    fan_in, fan_out : int
        See the head of this module.
    rng : numpy.random.Generator
    dtype : float32 or float64
    what : str
        The layer's name, which errors begin with.

    Raises
    ------
    ValueError
        If the array is of another shape.
    TypeError
        If `initializer` is not a function that can be called so, or the array does not hold real numbers.
    """
    if isinstance(initializer, type) or not callable(initializer):
        raise TypeError(f"{what}: initializer: expected a function such as he_normal, got {initializer!r:.60}")
    try:
        inspect.signature(initializer).bind(shape, fan_in, rng, dtype, fan_out=fan_out)
    except TypeError as error:
        raise TypeError(
            f"{what}: initializer: expected a function that is called as initializer(shape, fan_in, rng, dtype, "
            f"fan_out=...), got {initializer!r:.60}: {error}"
        ) from None
    wanted = parameter_dtype(dtype)
    weight = as_real(initializer(shape, fan_in, rng, wanted, fan_out=fan_out), f"{what}: initializer", wanted)
    check_shape(weight.shape, shape, f"{what}: initializer")
    # A user's function may keep the array that it returns, or return a read-only one.
    return weight if initializer in OWN else weight.copy()


def he_normal(
    shape: tuple[int, ...],
    fan_in: int,
    rng: np.random.Generator,
    dtype: npt.DTypeLike = np.float32,
    *,
    fan_out: int | None = None,
) -> FloatArray:
    """Draw from a normal distribution with mean 0 and variance ``2 / fan_in``.

    With it the outputs of layers that are followed by ReLU keep their variance from layer to layer.

    Parameters
    ----------
    shape : tuple of ints
        Shape of the array.
    fan_in : int
        Number of inputs that each output sums over.
    rng : numpy.random.Generator
        Source of the random numbers.
    dtype : float32 or float64
    fan_out : int, optional
        Not used: all initializers are called alike.

    Returns
    -------
    ndarray, of the given shape

    Raises
    ------
    ValueError
        If `fan_in` is below 1.
    TypeError
        If `rng` is not a Generator, or `dtype` neither float32 nor float64.

    Notes
    -----
    K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers", 2015, equation 10.
    """
    return _normal(shape, 2 / as_count(fan_in, "fan_in"), rng, dtype)


def he_uniform(
    shape: tuple[int, ...],
    fan_in: int,
    rng: np.random.Generator,
    dtype: npt.DTypeLike = np.float32,
    *,
    fan_out: int | None = None,
) -> FloatArray:
    """Draw from the uniform distribution between ``-sqrt(6 / fan_in)`` and ``sqrt(6 / fan_in)``.

    Its variance is that of `he_normal`, ``2 / fan_in``.

    Parameters
    ----------
    shape : tuple of ints
        Shape of the array.
    fan_in : int
        Number of inputs that each output sums over.
    rng : numpy.random.Generator
        Source of the random numbers.
    dtype : float32 or float64
    fan_out : int, optional
        Not used: all initializers are called alike.

    Returns
    -------
    ndarray, of the given shape

    Raises
    ------
    ValueError
        If `fan_in` is below 1.
    TypeError
        If `rng` is not a Generator, or `dtype` neither float32 nor float64.

    Notes
    -----
    K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers", 2015: the variance is that of equation 10.
    """
    return _uniform(shape, 2 / as_count(fan_in, "fan_in"), rng, dtype)


def glorot_normal(
    shape: tuple[int, ...],
    fan_in: int,
    rng: np.random.Generator,
    dtype: npt.DTypeLike = np.float32,
    *,
    fan_out: int,
) -> FloatArray:
    """Draw from a normal distribution with mean 0 and variance ``2 / (fan_in + fan_out)``.

    It is a compromise: with ``1 / fan_in`` the outputs of layers followed by tanh would keep their variance from layer
    to layer, and with ``1 / fan_out`` the gradients would.

    Parameters
    ----------
    shape : tuple of ints
        Shape of the array.
    fan_in : int
        Number of inputs that each output sums over.
    rng : numpy.random.Generator
        Source of the random numbers.
    dtype : float32 or float64
    fan_out : int
        Number of outputs that each input goes into.

    Returns
    -------
    ndarray, of the given shape

    Raises
    ------
    ValueError
        If `fan_in` or `fan_out` is below 1.
    TypeError
        If `rng` is not a Generator, or `dtype` neither float32 nor float64.

    Notes
    -----
    X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010,
    equation 12.
    """
    return _normal(shape, _glorot_variance(fan_in, fan_out), rng, dtype)


def glorot_uniform(
    shape: tuple[int, ...],
    fan_in: int,
    rng: np.random.Generator,
    dtype: npt.DTypeLike = np.float32,
    *,
    fan_out: int,
) -> FloatArray:
    """Draw from the uniform distribution between ``-b`` and ``b``, where ``b = sqrt(6 / (fan_in + fan_out))``.

    Its variance is that of `glorot_normal`, ``2 / (fan_in + fan_out)``.

    Parameters
    ----------
    shape : tuple of ints
        Shape of the array.
    fan_in : int
        Number of inputs that each output sums over.
    rng : numpy.random.Generator
        Source of the random numbers.
    dtype : float32 or float64
    fan_out : int
        Number of outputs that each input goes into.

    Returns
    -------
    ndarray, of the given shape

    Raises
    ------
    ValueError
        If `fan_in` or `fan_out` is below 1.
    TypeError
        If `rng` is not a Generator, or `dtype` neither float32 nor float64.

    Notes
    -----
    X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010,
    equation 16.
    """
    return _uniform(shape, _glorot_variance(fan_in, fan_out), rng, dtype)


# Those of the library, which return a new array each time.
OWN = (he_normal, he_uniform, glorot_normal, glorot_uniform)


def _glorot_variance(fan_in: int, fan_out: int) -> float:
    return 2 / (as_count(fan_in, "fan_in") + as_count(fan_out, "fan_out"))


def _normal(shape: tuple[int, ...], variance: float, rng: np.random.Generator, dtype: npt.DTypeLike) -> FloatArray:
    """Draw from the normal distribution with mean 0 and a variance."""
    as_generator(rng, "rng")
    weight = rng.standard_normal(shape, parameter_dtype(dtype))
    weight *= weight.dtype.type(sqrt(variance))
    return weight


def _uniform(shape: tuple[int, ...], variance: float, rng: np.random.Generator, dtype: npt.DTypeLike) -> FloatArray:
    """Draw from the uniform distribution with mean 0 and a variance."""
    as_generator(rng, "rng")
    bound = sqrt(3 * variance)
    weight = rng.random(shape, parameter_dtype(dtype))  # in [0, 1), with a variance of 1 / 12
    weight -= weight.dtype.type(0.5)
    weight *= weight.dtype.type(2 * bound)
    return weight
