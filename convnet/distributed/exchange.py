"""Sums over the processes of MPI, up a fixed binary tree, while the processes compute."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

from convnet.distributed.peers import Peers

__all__ = ["Exchange"]


class Exchange:
    """Sums of arrays over processes, which are on their way at the same time.

    The sums go up the binary tree of `LeafSum` by recursive doubling: first the processes 2 i and 2 i + 1 swap their
    arrays and add them, then pairs of such pairs, and so on. All of them so get the same sum, whose bits do not depend
    on the order in which messages arrive. (``Allreduce`` of MPI promises no order.)

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm
        Used for nothing else. Its size is a power of two.
    peers : Peers
        The same processes.

    Notes
    -----
    R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of collective communication operations in MPICH", 2005,
    section 4.1: recursive doubling.
    """

    def __init__(self, communicator: Any, peers: Peers) -> None:
        self._communicator, self._peers = communicator, peers
        self._received: dict[int, npt.NDArray[np.floating]] = {}
        # By tag, the messages that are still to come, and the requests of those on their way.
        self._running: dict[int, tuple[Iterator[list[Any]], list[Any]]] = {}

    def start(self, tag: int, array: npt.NDArray[np.floating], owners: int) -> None:
        """Begin to sum an array in place.

        Parameters
        ----------
        tag : int
            Number of the array: the same in all processes, and another one for every array.
        array : ndarray
            Contiguous. It must not be touched before `finish`. In a process that owns nothing its
            content does not matter.
        owners : int
            How many processes, the first ones, have something to add; a power of two. The others get the sum.
        """
        messages = self._messages(tag, array, owners)
        requests = next(messages, None)
        if requests is not None:
            self._running[tag] = messages, requests

    def advance(self) -> None:
        """Let what has arrived be added, and go on with the next level of the tree; this never waits."""
        for tag, (messages, requests) in list(self._running.items()):
            waiting: list[Any] | None = requests
            while waiting is not None and MPI.Request.Testall(waiting):
                waiting = next(messages, None)
            if waiting is None:
                del self._running[tag]
            else:
                self._running[tag] = messages, waiting

    def finish(self, tag: int) -> None:
        """Wait until a sum is complete."""
        messages, waiting = self._running.pop(tag, (iter(()), None))
        while waiting is not None:
            self._peers.wait(waiting)
            waiting = next(messages, None)

    def _messages(self, tag: int, array: npt.NDArray[np.floating], owners: int) -> Iterator[list[Any]]:
        """Yield the messages of each level of the tree that this process has a part in; they have to arrive before."""
        communicator = self._communicator
        rank, size = communicator.Get_rank(), communicator.Get_size()
        distance = 1
        while distance < size:
            if distance < owners:
                if rank < owners:
                    received = self._memory(tag, array)
                    other = rank ^ distance
                    yield [communicator.Irecv(received, other, tag), communicator.Isend(array, other, tag)]
                    array += received
            elif rank < distance:
                yield [communicator.Isend(array, rank + distance, tag)]
            elif rank < 2 * distance:
                yield [communicator.Irecv(array, rank - distance, tag)]
            distance *= 2

    def _memory(self, tag: int, array: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Return memory for what is received of an array, which later sums of it use again."""
        kept = self._received.get(tag)
        if kept is None or kept.shape != array.shape or kept.dtype != array.dtype:
            kept = self._received[tag] = np.empty_like(array)
        return kept
