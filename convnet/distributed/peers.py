"""What the processes of a training tell each other beside numbers: where they are, and that one of them has left."""

from __future__ import annotations  # annotations are not evaluated

import atexit
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from types import TracebackType
from typing import Any, TypeVar

from mpi4py import MPI

__all__ = ["LeftError", "Peers"]

T = TypeVar("T")

# Lets another process have the processor, if there are more of them than processors.
give_way = getattr(os, "sched_yield", lambda: time.sleep(0))

ENDED = "has ended its program; every process has to make the same Solvers and to call load_once and train"
# Tags of the two kinds of messages.
TALK, LEFT = 0, 1
# Seconds between two looks for a message that may take long.
PAUSE = 0.002
# Seconds that a process leaves another one to report an error: the first one an error that all of them have found, and
# the one that left a training the error by which it did.
GRACE = 2.0


class LeftError(RuntimeError):
    """Another process, for which this one waits, has left the training or the program."""


class Peers:
    """The other processes, for which this one never waits in vain.

    All processes come to the same places, at which they wait for each other: sums, scores, and what is agreed on. A
    process that leaves a training by an error, or ends its program, tells all others how many places it has passed.
    One that waits for it at a later place gets an error instead of a message that never comes.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm
        Duplicated, so that no other message is taken for one of these.
    """

    def __init__(self, communicator: Any) -> None:
        self._communicator = communicator.Dup()
        self.rank, self.size = communicator.Get_rank(), communicator.Get_size()
        self._others = [rank for rank in range(self.size) if rank != self.rank]
        self._training, self._passed, self._is_broken = 0, 0, False  # an odd number within a training
        # By process, the training that it left last, infinite for the program; how many places it passed; and how.
        self._left: dict[int, tuple[float, int, str]] = {}
        self._how = ENDED  # the others are told, when the program ends
        self._sent: list[Any] = []
        if self._others:
            sys.excepthook = self._report_later
            atexit.register(self._end)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Begin a training, for which this waits for all, and tell the others if this process leaves it by an error."""
        self._training, self._how = self._training + 1, ENDED
        try:
            if self._is_broken:
                raise RuntimeError(
                    "DataParallel: expected a program that is started anew after another process left a training; "
                    "resume from the last checkpoint"
                )
            self._passed = max(self.exchange("Solver.train", self._passed))
            yield
        except BaseException as error:
            reason = type(error).__name__ + (f": {error!s:.300}" if str(error) else "")
            self._how = f"left the training by {reason}"
            self._tell(self._training)
            raise
        finally:
            self._training += 1

    def exchange(self, what: str, value: T | None = None) -> list[T]:
        """Return the values that all processes give, in their order, when all have come here.

        Parameters
        ----------
        what : str
            What the program calls there. If another process calls something else, that is an error.
        value : object
            Something small that can be pickled.
        """
        requests = [self._communicator.isend((what, value), rank, TALK) for rank in self._others]
        values: list[Any] = [value] * self.size
        for rank in self._others:
            while not self._communicator.iprobe(rank, TALK):
                self._look()
                time.sleep(PAUSE)
            its, values[rank] = self._communicator.recv(source=rank, tag=TALK)
            if its != what:
                raise RuntimeError(
                    f"DataParallel: expected the same calls in all processes, got {what} in process {self.rank} and "
                    f"{its} in process {rank}"
                )
        MPI.Request.waitall(requests)
        self.passed()
        return values

    def passed(self) -> None:
        """Note that this process has passed a place to which all come."""
        self._passed += 1

    def wait(self, requests: list[Any]) -> None:
        """Wait for messages."""
        while not MPI.Request.Testall(requests):
            self._look()
            give_way()

    def _look(self) -> None:
        """Raise an error if another process has left before the place at which this one waits."""
        self._hear()
        for rank, (training, passed, how) in self._left.items():
            if training >= self._training and passed <= self._passed:
                self._is_broken = True
                raise LeftError(
                    f"DataParallel: expected process {rank} where process {self.rank} waits for it, but it {how}"
                )

    def _hear(self) -> None:
        """Take in which processes have left, and where."""
        status = MPI.Status()
        while self._communicator.iprobe(tag=LEFT, status=status):
            rank = status.Get_source()
            self._left[rank] = self._communicator.recv(source=rank, tag=LEFT)

    def _tell(self, training: float) -> None:
        message = training, self._passed, self._how
        self._sent += [self._communicator.isend(message, rank, LEFT) for rank in self._others]

    def _end(self) -> None:
        """Tell the others that the program ends, and wait until all of them do: one may need this one's messages."""
        if hasattr(sys, "last_value") or MPI.Is_finalized():  # after an error mpi4py ends all processes
            return
        self._tell(inf)
        while any(self._left.get(rank, (0,))[0] < inf for rank in self._others):
            self._hear()
            time.sleep(PAUSE)
        MPI.Request.waitall(self._sent)

    def _report_later(self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        """Report an error that ends this process, unless another one, which knows more, ends all of them before."""
        time.sleep(GRACE * (2 * isinstance(error, LeftError) + bool(self.rank)))
        sys.__excepthook__(kind, error, traceback)
