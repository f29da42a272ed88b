"""The leaves of a minibatch: parts whose gradients are summed up a fixed binary tree, whoever computes them."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["LeafSum", "leaves_of", "owned"]


def leaves_of(n: int, leaf_size: int) -> list[slice]:
    """Return the parts of n examples: a power of two of them, of at least `leaf_size` examples each, or one.

    The parts depend on the two numbers alone. Their sizes differ by at most 1.
    """
    count = 1 << (max(1, n // leaf_size).bit_length() - 1)
    bounds = [n * leaf // count for leaf in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def owned(leaves: list[slice], rank: int, size: int) -> range:
    """Return which leaves a process computes: as many as each other process, or one of the first processes each.

    Parameters
    ----------
    leaves : list of slice
        A power of two of them.
    rank, size : int
        Number of the process, and how many there are, a power of two.
    """
    count = max(1, len(leaves) // size)
    return range(min(rank * count, len(leaves)), min((rank + 1) * count, len(leaves)))


class LeafSum:
    """The sum of one array of each leaf of a process, up a binary tree.

    Neighbours are added first, then the sums of two neighbours, and so on. So the sum of 8 leaves has the same bits as
    that of two sums of 4 leaves each, which is what two processes compute.
    """

    def __init__(self) -> None:
        self._levels: list[npt.NDArray[np.floating]] = []  # entry i is a sum of 2^i leaves
        self._count = 0

    def clear(self) -> None:
        """Forget the leaves that were added, and keep the memory."""
        self._count = 0

    def add(self, array: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Add the array of the next leaf, and return the sum of the subtree that it completes.

        It lies in memory of this object, where it is valid until the next call.
        """
        level = 0
        if not self._levels:
            self._levels.append(np.empty_like(array))
        if not self._count & 1:
            self._levels[0][...] = array
        else:
            self._levels[0] += array
        while self._count >> level & 1:  # the sum on this level is of one level higher now
            below, level = level, level + 1
            if level == len(self._levels):
                self._levels.append(np.empty_like(array))
            if self._count >> level & 1:
                self._levels[level] += self._levels[below]
            else:
                self._levels[level], self._levels[below] = self._levels[below], self._levels[level]
        self._count += 1
        return self._levels[level]
