"""Sums over all leaves of a minibatch, those of this process and those of the others."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.distributed.exchange import Exchange
from convnet.distributed.leaves import LeafSum, owned
from convnet.distributed.peers import Peers

__all__ = ["LeafSums"]


class LeafSums:
    """Sums of arrays up the tree of leaves, several of which are on their way at the same time.

    All processes have to ask for the same sums, in any order: `add` the array of each of their leaves, first to last,
    or `receive` without leaves; then `wait` for the sum.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm
    peers : Peers
        The same processes.
    """

    def __init__(self, communicator: Any, peers: Peers) -> None:
        self._communicator, self._peers = communicator, peers
        self._rank, self._size = communicator.Get_rank(), communicator.Get_size()
        self._exchange = Exchange(communicator, peers)
        self._sums: dict[Hashable, LeafSum] = {}
        self._totals: dict[int, npt.NDArray[np.floating]] = {}
        self._owners = 1

    def begin(self, leaves: list[slice]) -> range:
        """Begin the sums of a minibatch, and return which leaves this process owns."""
        for tag in list(self._totals):  # of a step that failed in all processes, whose messages are on their way
            self._exchange.finish(tag)
        self._totals.clear()
        self._owners = min(self._size, len(leaves))
        return owned(leaves, self._rank, self._size)

    def pending(self) -> list[int]:
        """Return the numbers of sums that were begun and not waited for, as in a step that failed."""
        return sorted(self._totals)

    def add(self, tag: int, array: npt.NDArray[np.floating], position: int, count: int) -> None:
        """Add the array of one of this process' leaves, number `position` of `count`.

        Parameters
        ----------
        tag : int
            Number of the sum, the same in all processes.
        array : ndarray
        position, count : int
        """
        # By dtype, too: a model may be trained in another one later.
        own = self._sums.setdefault((tag, array.shape, array.dtype), LeafSum())
        if not position:
            own.clear()
        total = own.add(array)
        if position == count - 1:
            self._start(tag, total)

    def receive(self, tag: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Ask for a sum to which this process has nothing to add."""
        self._start(tag, np.empty(shape, dtype))

    def _start(self, tag: int, total: npt.NDArray[np.floating]) -> None:
        self._totals[tag] = total
        self._exchange.start(tag, total, self._owners)

    def advance(self) -> None:
        """Let what has arrived be added; this never waits."""
        self._exchange.advance()

    def wait(self, tag: int) -> npt.NDArray[np.floating]:
        """Wait for a sum, and return it: memory that the next sum of this number uses again."""
        self._exchange.finish(tag)
        self._peers.passed()
        return self._totals.pop(tag)

    def of_first(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the array of the first process."""
        found = np.ascontiguousarray(array)
        self._peers.wait([self._communicator.Ibcast(found.view(np.uint8).reshape(-1))])
        self._peers.passed()
        return found
