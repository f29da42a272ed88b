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

# Tags of the two kinds of messages.
TALK, LEFT = 0, 1
# Seconds between two looks for a message that may take long.
PAUSE = 0.002
# Seconds by which a process reports an error, or ends, later, so that one that knows more is first.
GRACE = 2.0
ENDED = "has ended its program; every process has to make the same Solvers and to call load_once and train"
ANEW = (
    "DataParallel: expected a program that is started anew after another process left a training, or a wait was "
    "interrupted; resume from the last checkpoint"
)


class LeftError(RuntimeError):
    """Another process, for which this one waits, has left the training or the program."""


class Peers:
    """The other processes, and word of those that have left.

    All processes come to the same places, at which they wait for each other: sums, scores, and what is agreed on. They
    count them, in each training and between trainings anew. A process that leaves a training by an error, or ends its
    program, tells all others how many places it has passed. One that waits for it at a later place gets an error
    instead of a message that never comes.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm
        Duplicated, so that no other message is taken for one of these.
    """

    def __init__(self, communicator: Any) -> None:
        self._communicator = communicator.Dup()
        self.rank, self.size = communicator.Get_rank(), communicator.Get_size()
        self._others = [rank for rank in range(self.size) if rank != self.rank]
        # Trainings that began or ended, an odd number within one; and places passed since.
        self._training, self._passed = 0, 0
        # Whether a wait failed, so that messages of it may still come.
        self._is_broken = False
        # By process and training: how many places it had passed when it left the training, and how it left.
        self._left: dict[tuple[int, int], tuple[int, str]] = {}
        # By process: the training and the place at which its program ended, and how.
        self._ended: dict[int, tuple[tuple[int, int], str]] = {}
        self._kept: list[Any] = []
        self._process = os.getpid()
        if self._others:
            if sys.excepthook is sys.__excepthook__:  # and no hook of the program's own
                sys.excepthook = self._report_later
            atexit.register(self._end)

    @contextmanager
    def training(self, pending: list[int]) -> Iterator[None]:
        """Begin a training, for which this waits for all, and tell the others if this process leaves it by an error.

        Parameters
        ----------
        pending : list of int
            Sums of a step that failed, whose messages may still come: the same in all processes.
        """
        self._training, self._passed = self._training + 1, 0
        try:
            if any(other != pending for other in self.exchange("Solver.train", pending)):
                raise RuntimeError(ANEW)
            yield
        except BaseException as error:
            reason = type(error).__name__ + (f": {error!s:.300}" if str(error) else "")
            self._tell(False, f"left the training by {reason}")
            raise
        finally:
            self._training, self._passed = self._training + 1, 0

    def exchange(self, what: str, value: T | None = None) -> list[T]:
        """Return the values that all processes give, in their order, when all have come here.

        Parameters
        ----------
        what : str
            What the program calls there. If another process calls something else, that is an error.
        value : object
            Something small that can be pickled.
        """
        if self._is_broken:
            raise RuntimeError(ANEW)
        requests = [self._communicator.isend((what, value), rank, TALK) for rank in self._others]
        values: list[Any] = [value] * self.size
        with self._waiting(requests):
            for rank in self._others:
                while not self._communicator.iprobe(rank, TALK):
                    self._look()
                    time.sleep(PAUSE)
                its, values[rank] = self._communicator.recv(source=rank, tag=TALK)
                if its != what:
                    raise RuntimeError(
                        f"DataParallel: expected the same calls in all processes, got {what} in process {self.rank} "
                        f"and {its} in process {rank}"
                    )
        self.wait(requests)
        self.passed()
        return values

    def passed(self) -> None:
        """Note that this process has passed a place to which all come."""
        self._passed += 1

    def wait(self, requests: list[Any]) -> None:
        """Wait for messages."""
        with self._waiting(requests):
            while not MPI.Request.Testall(requests):
                self._look()
                give_way()

    def keep(self, thing: object) -> None:
        """Keep something as long as the program runs: MPI may still read its memory, or write to it."""
        self._kept.append(thing)

    @contextmanager
    def _waiting(self, requests: list[Any]) -> Iterator[None]:
        """Wait in a block; if that fails, keep the messages, and begin no other wait."""
        try:
            yield
        except BaseException:
            self._is_broken = True
            self.keep(requests)
            raise

    def _look(self) -> None:
        """Raise an error if another process has left before the place at which this one waits."""
        self._hear()
        if not self._left and not self._ended:
            return
        for rank in self._others:
            ended, how = self._ended.get(rank, (None, ""))
            if ended is None or ended > (self._training, self._passed):
                passed, how = self._left.get((rank, self._training), (inf, ""))
                if passed > self._passed:
                    continue
            raise LeftError(
                f"DataParallel: expected process {rank} where process {self.rank} waits for it, but it {how}"
            )

    def _hear(self) -> None:
        """Take in which processes have left, and where."""
        status = MPI.Status()
        while self._communicator.iprobe(tag=LEFT, status=status):
            rank = status.Get_source()
            has_ended, training, passed, how = self._communicator.recv(source=rank, tag=LEFT)
            if has_ended:
                self._ended[rank] = (training, passed), how
            else:
                self._left[rank, training] = passed, how

    def _tell(self, has_ended: bool, how: str) -> None:
        message = has_ended, self._training, self._passed, how
        self.keep([self._communicator.isend(message, rank, LEFT) for rank in self._others])

    def _end(self) -> None:
        """Tell the others that the program ends."""
        if MPI.Is_finalized() or os.getpid() != self._process:
            return
        self._tell(True, ENDED)
        if hasattr(sys, "last_value"):  # after an error mpi4py ends all processes
            return
        # MPI waits for the others, too, but takes a whole processor for it. After sys.exit(1) mpi4py ends all of them.
        deadline = time.monotonic() + GRACE
        while len(self._ended) < len(self._others) and time.monotonic() < deadline:
            self._hear()
            time.sleep(PAUSE)

    def _report_later(self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        """Report an error that ends this process, unless another one, which knows more, ends all of them before."""
        time.sleep(GRACE * (2 * isinstance(error, LeftError) + bool(self.rank)))
        sys.__excepthook__(kind, error, traceback)
