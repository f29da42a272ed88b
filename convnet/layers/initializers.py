"""Initial values of parameters."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

import numpy as np
import numpy.typing as npt

from convnet.core.checks import NATIVE, FloatArray, as_count

__all__ = ["he_normal", "parameter_dtype"]


def parameter_dtype(dtype: npt.DTypeLike) -> np.dtype:
    """Return `dtype` as a NumPy dtype that parameters can have: float32 or float64.

    Raises
    ------
    TypeError
        If it is any other.
    """
    wanted = np.dtype(dtype)
    if wanted not in NATIVE:
        raise TypeError(f"dtype: expected float32 or float64, got {wanted}")
    return wanted.newbyteorder("=")


def he_normal(
    shape: tuple[int, ...], fan_in: int, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32
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
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a numpy.random.Generator such as numpy.random.default_rng(0), got {rng!r}")
    deviation = np.sqrt(2 / as_count(fan_in, "fan_in"))
    weight = rng.standard_normal(shape, parameter_dtype(dtype))
    weight *= weight.dtype.type(deviation)
    return weight
