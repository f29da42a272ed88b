"""Numerical gradients: the way to check that a backward pass is the derivative of its forward pass."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from collections.abc import Callable
from math import inf, isfinite
from typing import NamedTuple

import numpy as np

from convnet.core.checks import FloatArray, as_array, as_count, as_generator, as_number

__all__ = ["gradient_error"]

# Steps that are tried along a direction: h, and shorter ones that may not reach a kink nearby.
SHORTER = (1.0, 0.1, 0.01)
# A kink that changes a slope by less than this share of the gradient's norm is taken for rounding.
TOLERANCE = 1e-7
# Rounding errors of a function's values, in units of the last place.
ROUNDING = 64
# Elements of the array that a message names.
NAMED = 5


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

    A function with kinks, such as a network with ReLU or max pooling, has no derivative at a kink, and a central
    difference across one tells nothing. With a kink at distance t, the slopes to the two sides of the point,
    ``(function(array + s d) - function(array)) / s`` and ``(function(array) - function(array - s d)) / s``, differ by
    an amount that is not proportional to s. Where that is so for s = h and h / 2, a step of h / 10 is tried, and then
    one of h / 100. A kink that is still within is an error.

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
        Length of the step, above 0.

    Returns
    -------
    float
        The largest difference found, divided by the norm of `gradient` (by 1 where that is 0). A right gradient of a
        smooth function in float64 stays below 1e-7 with the default step. Infinite if a loss or gradient is not finite.

    Raises
    ------
    ValueError
        If the shapes differ, `h` is not above 0, or the function has a kink at the array. The message names elements of
        the array that cross it. Such is the bias of a new convolution, which is 0: where the pixels are constant, 0
        after their mean is subtracted, the ReLU behind it gets exactly 0. Move the array off the kink, compute the
        gradient there, and check again: ``array += 1e-2 * rng.standard_normal(array.shape)``. That breaks the ties of
        max pooling, too, and so hides a bug in what a backward pass does at ties.
    TypeError
        If `array` is not float64.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([1.0, 2.0, 3.0])
    >>> gradient_error(lambda: float((x**2).sum()), x, 2 * x, rng=np.random.default_rng(0)) < 1e-7
    True
    """
    if not callable(function):
        raise TypeError(f"gradient_error: expected a function without arguments, got {function!r:.60}")
    as_generator(rng, "gradient_error: rng")
    if not isinstance(array, np.ndarray):  # of which the function would not see that it changes
        raise TypeError(f"gradient_error: expected an array of float64, got a {type(array).__name__}")
    gradient = as_array(gradient, "gradient_error: gradient")
    if array.dtype != np.float64:
        raise TypeError(f"gradient_error: expected an array of float64, got {array.dtype}")
    if array.shape != gradient.shape:
        raise ValueError(f"gradient_error: expected a gradient of shape {array.shape}, got {gradient.shape}")
    count, h = as_count(directions, "directions"), as_number(h, "h", above=0)
    line = _Line(function, array, array.copy(), float(np.linalg.norm(gradient)) or 1.0)
    worst = 0.0
    for _ in range(count):
        direction = rng.standard_normal(array.shape)
        direction /= max(float(np.linalg.norm(direction)), np.finfo(float).tiny)
        slope, kink = line.slope(direction, h)
        if kink:
            raise ValueError(_kink_message(line, direction, h, kink))
        error = abs(slope - float((gradient * direction).sum()))
        if not isfinite(error):
            return inf
        worst = max(worst, error)
    return worst / line.scale


class _Line(NamedTuple):
    """A function along directions through a point."""

    function: Callable[[], float]
    array: FloatArray
    point: FloatArray
    scale: float

    def at(self, step: float, direction: FloatArray) -> float:
        """Return the function's value a step away."""
        try:
            self.array[...] = self.point + step * direction
            return self.function()
        finally:
            self.array[...] = self.point

    def slope(self, direction: FloatArray, h: float) -> tuple[float, float]:
        """Return the central difference, and how much a kink changes the slope, 0 if the shortest step has none."""
        here = self.at(0.0, direction)
        slope = kink = 0.0
        for step in (h * shorter for shorter in SHORTER):
            (near, _), (far, slope) = (self._differences(here, direction, length) for length in (step / 2, step))
            kink = abs(2 * near - far)  # a smooth function's one-sided slopes differ in proportion to the step
            rounding = ROUNDING * np.finfo(float).eps * abs(here) / step
            if not kink > TOLERANCE * self.scale + rounding:  # NaN is reported as a gradient that is not finite
                return slope, 0.0
        return slope, kink

    def _differences(self, here: float, direction: FloatArray, step: float) -> tuple[float, float]:
        """Return by how much the slopes to the two sides differ, and their mean, the central difference."""
        above, below = self.at(step, direction), self.at(-step, direction)
        return (above - here - (here - below)) / step, (above - below) / (2 * step)


def _kink_message(line: _Line, direction: FloatArray, h: float, kink: float) -> str:
    """Say where the function has a kink: at which elements of the array, found by halving the direction."""
    found: list[int] = []
    open_parts = [np.arange(direction.size)]
    while open_parts and len(found) < NAMED:
        part = open_parts.pop()
        within = np.zeros(direction.size)
        within[part] = direction.reshape(-1)[part]
        within /= np.linalg.norm(within) or 1.0
        if not line.slope(within.reshape(direction.shape), h)[1]:
            continue
        if part.size == 1:
            found.append(int(part[0]))
        else:
            middle = part.size // 2
            open_parts += [part[middle:], part[:middle]]
    names = [f"array{[int(i) for i in np.unravel_index(index, direction.shape)]}" for index in found]
    where = f"; elements that cross the kink when each is moved alone: {', '.join(names)}" if names else ""
    return (
        f"gradient_error: expected a function that is smooth at the array, in float64, got one whose slopes to the two "
        f"sides differ by {kink:.2g}: it has a kink there, as a ReLU has at 0, and no gradient to compare with; move "
        "the array off the kink, array += 1e-2 * rng.standard_normal(array.shape), and compute the gradient there"
        f"{where}"
    )
