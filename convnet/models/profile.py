"""Profile: how long each stage of a plan takes, and what share of the processor's peak it reaches."""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

from convnet import _kernels
from convnet.core.tables import Table

__all__ = ["Profile", "StageTime", "measured_peak", "median_times"]


class StageTime(NamedTuple):
    """How long a stage takes.

    Attributes
    ----------
    name : str
        Of its layers, joined.
    algorithm : str
        What computes it.
    forward, backward : float
        Seconds; backward is 0 for a prediction, and before the first parameters.
    forward_flop, backward_flop : int
        Floating-point operations of the products with the weights, two for each multiply-add. An algorithm may need
        fewer, and where zeros are left out fewer are done: the share of the peak may so exceed 100 %.
    """

    name: str
    algorithm: str
    forward: float
    backward: float
    forward_flop: int
    backward_flop: int


class Profile:
    """How long the stages of a plan take.

    Parameters
    ----------
    stages : sequence of StageTime
        In order.
    batch_size : int
        Examples that were computed at a time.
    threads : int
        Threads that were used at most.
    peak : float
        The most floating-point operations that so many threads do in a second; 0 if it is not known.
    title : str
        What was measured.
    """

    def __init__(self, stages: Sequence[StageTime], batch_size: int, threads: int, peak: float, title: str) -> None:
        self.stages, self.batch_size, self.threads, self.peak, self.title = stages, batch_size, threads, peak, title

    @property
    def total(self) -> StageTime:
        """The sum of all stages."""
        columns = list(zip(*(stage[2:] for stage in self.stages), strict=True))
        return StageTime("total", "", *map(sum, columns))

    def share_of_peak(self, seconds: float, flop: int) -> float | None:
        """Return which part of the peak so many operations in a time are; None if that says nothing."""
        return flop / seconds / self.peak if seconds and flop and self.peak else None

    def __str__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()

    def _table(self) -> Table:
        """Return a row for each stage, and one for all of them."""
        rows: list[tuple[str, ...]] = [("stage", "algorithm", "forward", "of peak", "backward", "of peak", "of all")]
        total = self.total
        for stage in (*self.stages, total):
            passes = ((stage.forward, stage.forward_flop), (stage.backward, stage.backward_flop))
            cells = [cell for seconds, flop in passes for cell in (_readable(seconds), self._share(seconds, flop))]
            part = (stage.forward + stage.backward) / (total.forward + total.backward)
            rows.append((stage.name, stage.algorithm, *cells, f"{part:.0%}"))
        peak = f"peak {self.peak / 1e9:,.0f} GFLOP/s" if self.peak else "peak not known"
        title = f"{self.title}; {self.threads} thread{'s' * (self.threads > 1)}, {peak}"
        return Table(rows, "<<>>>>>", title)

    def _share(self, seconds: float, flop: int) -> str:
        share = self.share_of_peak(seconds, flop)
        return "-" if share is None else f"{share:.0%}"


def _readable(seconds: float) -> str:
    """Return a time in microseconds or milliseconds."""
    if not seconds:
        return "-"
    return f"{seconds * 1e6:,.1f} us" if seconds < 1e-4 else f"{seconds * 1e3:,.3f} ms"


def measured_peak(threads: int) -> float:
    """Return the most floating-point operations a second that so many threads do at the instruction set in use."""
    repeats = 200_000  # some milliseconds
    best = 0.0
    for _ in range(7):
        start = time.perf_counter()
        done = _kernels.multiply_adds(repeats, threads)
        best = max(best, done / (time.perf_counter() - start))
    return best


def median_times(run: Callable[[], list[float]], seconds: float) -> list[float]:
    """Return the medians of the times that a function returns, called for so many seconds and at least five times."""
    run()  # caches, and the memory's pages
    times, end = list[list[float]](), time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        times.append(run())
    return [median(column) for column in zip(*times, strict=True)]
