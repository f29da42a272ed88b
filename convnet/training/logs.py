"""Callbacks that write what a training comes to for other programs: a table, and TensorBoard's files."""

import csv
import io
import math
import time
import warnings
from typing import Any

import numpy as np

from convnet.core.checks import as_count
from convnet.core.version import to_install
from convnet.formats.archives import Arrays
from convnet.formats.files import PathLike, as_path, replace_file
from convnet.training.history import epoch_records
from convnet.training.solver import Callback, Solver

__all__ = ["CSVLog", "TensorBoard"]


class _Log(Callback):
    """A callback that knows the learning rate of the last minibatch; NaN if there was none in this training."""

    _rate = math.nan

    def on_train_start(self, solver: Solver) -> None:
        self._rate = math.nan

    def on_iteration_end(self, solver: Solver) -> None:
        self._rate = solver.optimizer.learning_rate * solver.optimizer.rate_factor


class CSVLog(_Log):
    """Write a table with a line for each epoch, which pandas and spreadsheets read.

    The file is written when training begins, so that a path that cannot be written is known then, and again after every
    epoch: whole or not at all. A training that resumes from a checkpoint so has each epoch once, whatever the file held
    when it was killed. An error after the beginning, such as a full disk, becomes a warning, and training goes on.

    The columns are ``epoch``, ``iteration``, ``loss`` (the mean of the epoch's minibatches), ``train_accuracy``,
    ``validation_accuracy`` and ``validation_loss`` where there is a validation part, ``best_by`` where that is a
    function, ``learning_rate`` (of the epoch's last minibatch), and ``seconds`` (of training, since its beginning).
    Numbers are written with all of their digits. A field is empty where the number is not known: the last two columns,
    if the checkpoint was written without the callback.

    Parameters
    ----------
    path : path
        Usually ``*.csv``; an existing file is replaced.

    Raises
    ------
    TypeError, ValueError
        If the path is none.
    OSError
        When training begins, if the file cannot be written.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = as_path(path, "the path of a file", "CSVLog: ")
        self._own: dict[int, tuple[float, float]] = {}  # by iteration: the learning rate, and the seconds
        self._before = 0.0  # seconds of training, before it went on
        self._begun: float | None = None  # None while nothing is trained

    @property
    def seconds(self) -> float:
        """How long the epochs took that are in the file: those before a training went on, too."""
        return max((seconds for _, seconds in self._own.values()), default=0.0)

    def on_train_start(self, solver: Solver) -> None:
        """Write the epochs so far: none, or those of a training that goes on."""
        super().on_train_start(solver)
        self._own = {iteration: own for iteration, own in self._own.items() if iteration <= solver.iteration}
        if not solver.iteration:
            self._before = 0.0
        self._begun = time.monotonic()
        self._write(solver)

    def on_epoch_end(self, solver: Solver) -> None:
        """Write the file with one line more."""
        self._own[solver.iteration] = self._rate, self._elapsed()
        try:
            self._write(solver)
        except OSError as error:
            warnings.warn(f"{self.path} was not written, and training goes on: {error}", stacklevel=2)

    def on_train_end(self, solver: Solver) -> None:
        """Stop the clock."""
        self._before, self._begun = self._elapsed(), None

    def state(self) -> Arrays:
        """Return what the Solver does not know of the epochs, and the seconds so far, in the middle of one too."""
        elapsed = self._elapsed()
        if not elapsed:
            return {}
        own = np.array(list(self._own.values())).reshape(-1, 2)
        return {"iterations": np.array(list(self._own), np.int64), "own": own, "seconds": np.array(elapsed)}

    def load_state(self, state: Arrays) -> None:
        """Take over what the Solver does not know of the epochs."""
        self._own = {
            int(iteration): (float(rate), float(seconds))
            for iteration, (rate, seconds) in zip(state["iterations"], state["own"], strict=True)
        }
        self._before = float(state["seconds"])

    def _elapsed(self) -> float:
        """Return the seconds of training so far."""
        return self._before + (0.0 if self._begun is None else time.monotonic() - self._begun)

    def _write(self, solver: Solver) -> None:
        records = epoch_records(solver)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*records[-1], "learning_rate", "seconds"])
        for index, record in enumerate(records):
            own = self._own.get(int(record["iteration"]))
            rate, seconds = own or (math.nan, math.nan)
            if index or own:  # the first check is that of the beginning, unless an epoch had just ended
                row = [*record.values(), rate, round(seconds, 3)]
                writer.writerow(["" if math.isnan(value) else value for value in row])
        with replace_file(self.path) as file:
            file.write(text.getvalue().encode())


class TensorBoard(_Log):
    """Write TensorBoard's files: losses, accuracies and the learning rate, with the iteration as the step.

    ``tensorboard --logdir FOLDER`` shows them while training runs. A training that resumes from a checkpoint marks
    where it goes on, and TensorBoard leaves out what an earlier process wrote beyond that. A new training in a folder
    takes the place of an earlier one in the same way; two folders in a common one are shown together. An error after
    the beginning, such as a full disk, becomes a warning, and training goes on without the callback.

    Parameters
    ----------
    folder : path
        Made if it is missing.
    iterations : int, optional
        Also write the loss of the minibatch and the learning rate after every so many iterations; by default after
        every epoch alone.

    Raises
    ------
    ImportError
        If the package tensorboard is not installed.
    TypeError, ValueError
        If the folder is no path, or the number is out of range.
    OSError
        When training begins, if the folder cannot be made or written to.
    """

    def __init__(self, folder: PathLike, *, iterations: int | None = None) -> None:
        try:
            import tensorboard  # noqa: F401
        except ImportError:
            raise ImportError(f"TensorBoard needs the package tensorboard: {to_install('tensorboard')}") from None
        self.folder = as_path(folder, "the path of a folder", "TensorBoard: ")
        self.iterations = None if iterations is None else as_count(iterations, "TensorBoard: iterations")
        self._writer: Any = None

    def on_train_start(self, solver: Solver) -> None:
        """Begin a file, and mark the step from which it holds."""
        super().on_train_start(solver)
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise FileExistsError(f"TensorBoard: expected a folder, but {self.folder} is a file") from None
        self._writer = EventFileWriter(str(self.folder))
        first = solver.iteration + 1 if solver.iteration else 0
        self._add(first, session_log=SessionLog(status=SessionLog.START))
        if not solver.iteration:
            self._write(solver, "epoch", epoch_records(solver)[-1])

    def on_iteration_end(self, solver: Solver) -> None:
        """Write the minibatch's loss and the learning rate, if it is time."""
        super().on_iteration_end(solver)
        if self.iterations is not None and solver.iteration % self.iterations == 0:
            self._write(solver, "iteration", {"loss": solver.loss_history[-1], "learning_rate": self._rate})

    def on_epoch_end(self, solver: Solver) -> None:
        """Write what the epoch came to."""
        self._write(solver, "epoch", epoch_records(solver)[-1] | {"learning_rate": self._rate})

    def on_train_end(self, solver: Solver) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, solver: Solver, group: str, numbers: dict[str, float]) -> None:
        """Write numbers by name, those that are known, with the iteration as their step."""
        if self._writer is None:
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=f"{group}/{name}", simple_value=number)
            for name, number in numbers.items()
            if name not in ("epoch", "iteration") and not math.isnan(number)
        ]
        try:
            self._add(solver.iteration, summary=Summary(value=values))
        except OSError as error:
            self._writer = None
            warnings.warn(
                f"{self.folder} was not written to, and training goes on without TensorBoard: {error}", stacklevel=3
            )

    def _add(self, step: int, **content: Any) -> None:
        """Write an event, at once: a checkpoint of this iteration then has nothing that the file lacks."""
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time(), step=step, **content))
        self._writer.flush()
