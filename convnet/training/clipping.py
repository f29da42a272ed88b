"""The norm of a model's gradients, by which an optimizer clips them."""

from collections.abc import Iterable
from functools import partial
from math import fsum, inf, isfinite, sqrt

import numpy as np

from convnet import _kernels
from convnet.core.checks import FloatArray
from convnet.core.threads import in_parts

__all__ = ["total_norm"]


def total_norm(grads: Iterable[FloatArray]) -> float:
    """Return the norm of all gradients together, ``sqrt(sum over all elements of grad ** 2)``, in float64.

    The bits are the same for any number of threads and any order of the arrays.

    Parameters
    ----------
    grads : iterable of ndarray
        Of float32 or float64, and of any shapes.
    """
    flat = [np.ascontiguousarray(grad).reshape(-1) for grad in grads]
    norm = sqrt(_sum_of_squares(flat))
    if norm == inf:  # one element is infinite, or the squares of finite ones are too large for float64
        largest = max(float(np.abs(grad).max(initial=0)) for grad in flat)
        if isfinite(largest):
            norm = largest * sqrt(_sum_of_squares([grad / largest for grad in flat]))
    return norm


def _sum_of_squares(flat: Iterable[FloatArray]) -> float:
    sums: list[float] = []

    def add(grad: FloatArray, part: slice, _: int) -> None:
        sums.append(_kernels.sum_of_squares(grad[part]))

    for grad in flat:
        in_parts(partial(add, grad), grad.size, grad.size)
    try:
        return fsum(sums)  # rounded once, so that the order of the parts does not matter
    except OverflowError:
        return inf
