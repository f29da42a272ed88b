"""The callback that writes checkpoints: when, under which names, and how many stay."""

import os
import re
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path

from convnet.core.checks import as_count, as_number
from convnet.formats.files import PathLike
from convnet.training.checkpoints import checkpoints_in
from convnet.training.solver import Callback, Solver

__all__ = ["Checkpoint"]


class Checkpoint(Callback):
    """Write checkpoints while a Solver trains, from which `Solver.resume` goes on bit for bit.

    The first is written when training begins, so that a folder that cannot be written to is known then, and the last
    one when it ends, by an interrupt too. An error in between, such as a full disk, becomes a warning, and training
    goes on. After a step that failed none is written until the Solver is reset or resumes. On disk, a checkpoint takes
    two or three times the size of the parameters, plus the size of the optimizer's state.

    `Solver.resume` refuses the checkpoint of another run. It tells functions apart by their names alone, and a user's
    layers by their ``hyperparameters()``.

    Parameters
    ----------
    folder : path
        Made if it is missing. The files in it are named by the time when training began and the iteration.
    iterations : int, optional
        Write after every so many iterations.
    seconds : float, optional
        Write when so many seconds have passed; 60 by default if there are no `iterations`.
    keep : int
        How many checkpoints of this training to keep, and also how many of earlier trainings in the folder. Older files
        are deleted after a new one is complete.

    Raises
    ------
    ValueError, TypeError
        If a number is out of range.
    OSError
        When training begins, if the folder cannot be made or written to.
    """

    runs_last = True

    def __init__(
        self, folder: PathLike, *, iterations: int | None = None, seconds: float | None = None, keep: int = 2
    ) -> None:
        self.folder = Path(folder)
        self.iterations = None if iterations is None else as_count(iterations, "iterations")
        if seconds is None and iterations is None:
            seconds = 60.0
        self.seconds = None if seconds is None else as_number(seconds, "seconds", above=0)
        self.keep = as_count(keep, "keep")
        self._started, self._written, self._next = "", -1, 0.0

    def on_train_start(self, solver: Solver) -> None:
        """Write the first checkpoint, or nothing if a step failed before."""
        if not solver.is_between_iterations:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise FileExistsError(f"Checkpoint: expected a folder, but {self.folder} is a file") from None
        _remove_leftovers(self.folder)
        self._started = self._stamp(solver.iteration)
        self._write(solver)

    def _stamp(self, iteration: int) -> str:
        """Return the time in the files' names: that of the resumed checkpoint, or one later than all others."""
        names = [path.stem.split("-") for path in checkpoints_in(self.folder)]
        for _, stamp, *reached in reversed(names):
            if iteration and reached == [f"{iteration:010d}"]:
                return stamp
        now = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        return max(now, names[-1][1] + "_") if names else now  # a clock may have been set back

    def on_iteration_end(self, solver: Solver) -> None:
        """Write a checkpoint if it is time, and no step failed before."""
        if not solver.is_between_iterations:
            return
        is_due = self.iterations is not None and solver.iteration % self.iterations == 0
        if is_due or (self.seconds is not None and time.monotonic() >= self._next):
            self._try_to_write(solver)

    def on_train_end(self, solver: Solver) -> None:
        """Write the last checkpoint, or nothing if a step failed."""
        if self._started and solver.is_between_iterations and solver.iteration != self._written:
            self._try_to_write(solver)

    def _write(self, solver: Solver) -> None:
        solver.save(self.folder / f"checkpoint-{self._started}-{solver.iteration:010d}.npz")
        self._written = solver.iteration
        paths = checkpoints_in(self.folder)
        own = [path for path in paths if path.stem.split("-")[1] == self._started]
        for group in (own, [path for path in paths if path not in own]):
            for path in group[: -self.keep]:
                path.unlink(missing_ok=True)
        self._next = time.monotonic() + (self.seconds or 0.0)

    def _try_to_write(self, solver: Solver) -> None:
        try:
            self._write(solver)
        except OSError as error:
            self._next = time.monotonic() + (self.seconds or 0.0)
            warnings.warn(
                f"no checkpoint was written after iteration {solver.iteration}, and training goes on: {error}",
                stacklevel=2,
            )


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of processes that were killed while they wrote a checkpoint."""
    for path in folder.glob(".checkpoint-*.tmp"):
        found = re.search(r"\.(\d+)-\d+\.tmp$", path.name)
        if found and not _is_running(int(found[1])):
            path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if os.name != "posix":
        return True  # not known, and a signal would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
