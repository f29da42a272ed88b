"""Numerical gradients: the way to check that a backward pass is the derivative of its forward pass."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from collections.abc import Callable
from math import inf, isfinite

import numpy as np

from convnet.core.checks import FloatArray, as_count

__all__ = ["gradient_error"]


def gradient_error(
    function: Callable[[], float],
    array: FloatArray,
    gradient: FloatArray,
    *,
    rng: np.random.Generator,
    directions: int = 20,
    h: float = 1e-5,
) -> float:
    """Compare a gradient with central differences along random directions.

    For each of the random unit directions d, ``(function(array + h d) - function(array - h d)) / (2 h)`` is compared
    with ``sum(gradient * d)``.

    Parameters
    ----------
    function : callable without arguments
        Returns the loss for what `array` holds at the time.
    array : ndarray of float64
        What the loss is differentiated by; changed in place during the check, and restored.
    gradient : ndarray, of the shape of `array`
        The gradient to check.
    rng : numpy.random.Generator
        Draws the directions.
    directions : int
        How many are tried.
    h : float
        Length of the step.

    Returns
    -------
    float
        The largest difference found, divided by the norm of `gradient` (by 1 where that is 0). A right gradient of a
        smooth function in float64 stays below 1e-7 with the default step. Infinite if a loss or gradient is not finite.

    Raises
    ------
    ValueError
        If the shapes differ.
    TypeError
        If `array` is not float64.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([1.0, 2.0, 3.0])
    >>> gradient_error(lambda: float((x**2).sum()), x, 2 * x, rng=np.random.default_rng(0)) < 1e-7
    True
    """
    if array.dtype != np.float64:
        raise TypeError(f"gradient_error: expected an array of float64, got {array.dtype}")
    if array.shape != gradient.shape:
        raise ValueError(f"gradient_error: expected a gradient of shape {array.shape}, got {gradient.shape}")
    original = array.copy()
    worst = 0.0
    for _ in range(as_count(directions, "directions")):
        direction = rng.standard_normal(array.shape)
        direction /= max(float(np.linalg.norm(direction)), np.finfo(float).tiny)
        try:
            array[...] = original + h * direction
            above = function()
            array[...] = original - h * direction
            below = function()
        finally:
            array[...] = original
        error = abs((above - below) / (2 * h) - float((gradient * direction).sum()))
        if not isfinite(error):
            return inf
        worst = max(worst, error)
    return worst / (float(np.linalg.norm(gradient)) or 1.0)
