"""Callbacks for a Solver."""

import sys
import time
from typing import Any, TextIO

from convnet.solver import Callback, Solver

__all__ = ["ProgressBar"]


class ProgressBar(Callback):
    """A progress bar on a terminal, and one line an epoch.

    The bar is tqdm's, drawn only if tqdm is installed and the output goes to a terminal.

    Parameters
    ----------
    file : text file, optional
        Where to write; standard output by default.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file
        self._bar: Any = None
        self._start = 0.0

    def on_train_start(self, solver: Solver) -> None:
        """Draw the bar."""
        self._start = time.perf_counter()
        output = self.file or sys.stdout
        if not output.isatty():
            return
        try:
            from tqdm import tqdm
        except ImportError:
            return
        self._bar = tqdm(
            total=solver.num_iterations, initial=solver.iteration, file=output, unit="it", dynamic_ncols=True
        )

    def on_iteration_end(self, solver: Solver) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {solver.loss_history[-1]:.4f}", refresh=False)
            self._bar.update()

    def on_epoch_end(self, solver: Solver) -> None:
        """Write the epoch's line: its mean loss, the accuracies, the seconds since the start."""
        losses = solver.loss_history[-solver.iterations_per_epoch :]
        line = (
            f"epoch {solver.epoch}/{solver.epochs}: loss {sum(losses) / len(losses):.4f}, "
            f"training accuracy {solver.train_accuracy_history[-1]:.2%}, "
            f"validation accuracy {solver.validation_accuracy_history[-1]:.2%}, "
            f"{time.perf_counter() - self._start:.1f} s"
        )
        if self._bar is not None:
            self._bar.write(line, file=self._bar.fp)
        else:
            print(line, file=self.file or sys.stdout, flush=True)

    def on_train_end(self, solver: Solver) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
