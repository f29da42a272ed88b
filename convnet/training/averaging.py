"""Moving averages of a model's parameters and state."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import NATIVE
from convnet.core.threads import elementwise

__all__ = ["in_place_of", "move_averages", "share_of"]

Arrays = Mapping[str, npt.NDArray[Any]]

# How often an epoch the averages move. The parameters of consecutive steps are nearly the same, and reading and writing
# millions of them takes a good part of a step.
TIMES_AN_EPOCH = 50


def share_of(iteration: int, decay: float, iterations_per_epoch: int) -> float:
    """Return the share that the model's arrays after an iteration get in its averages; 0 where they do not move.

    The averages move every k-th iteration, ``k = max(1, iterations_per_epoch // 50)``, by the share
    ``max(1 - decay ** k, 10 / (m + 9))`` at their m-th move: the first one makes them the model's arrays, so that the
    initial ones have no part in them. Until then they are the model's arrays.

    Parameters
    ----------
    iteration : int
        Number of the iteration, from 1.
    decay : float
        Of an iteration, in (0, 1).
    iterations_per_epoch : int

    Notes
    -----
    The shares at first: O. Shamir, T. Zhang, "Stochastic gradient descent for non-smooth optimization: convergence
    results and optimal averaging schemes", 2013, polynomial-decay averaging of degree 9.
    """
    every = max(1, iterations_per_epoch // TIMES_AN_EPOCH)
    moves, rest = divmod(iteration, every)
    if not moves:
        return 1.0
    return 0.0 if rest else max(1 - decay**every, 10 / (moves + 9))


def move_averages(averages: Arrays, arrays: Arrays, share: float) -> None:
    """Move averages towards the present arrays: ``average = (1 - share) * average + share * array``.

    Arrays of other dtypes than float32 and float64, such as counts, are copied.

    Parameters
    ----------
    averages, arrays : mapping of str to ndarray
        Of the same names, shapes and dtypes; `averages` are contiguous.
    share : float
        In [0, 1].
    """
    for name, average in averages.items():
        if average.dtype in NATIVE:
            elementwise(partial(_kernels.move_average, share), np.ascontiguousarray(arrays[name]), average)
        else:
            average[...] = arrays[name]


@contextmanager
def in_place_of(arrays: Arrays, averages: Arrays) -> Iterator[None]:
    """Give a model's own arrays the values of the averages until the end of the block."""
    kept = {name: arrays[name].copy() for name in averages}
    try:
        for name, average in averages.items():
            arrays[name][...] = average
        yield
    finally:
        for name, array in kept.items():
            arrays[name][...] = array
