"""Callbacks for a Solver: the progress bar, and the end of a training that gains nothing more."""

import sys
import time
from importlib.util import find_spec
from typing import Any, TextIO

import numpy as np

from convnet.core.checks import as_count
from convnet.training.best_by import called
from convnet.training.solver import Callback, Solver

__all__ = ["EarlyStopping", "ProgressBar"]


class EarlyStopping(Callback):
    """End the training when no epoch was better than the best one for some epochs.

    Better is a higher validation accuracy, or what the Solver's `best_by` says. By default a Solver restores the best
    parameters, so that it then has those from before these epochs. A schedule such as `OneCycle` lowers the learning
    rate at the end, which raises the accuracy. With it, training may stop too early.

    Parameters
    ----------
    patience : int
        How many epochs in a row without a new best end the training.

    Raises
    ------
    ValueError, TypeError
        If `patience` is not an integer of at least 1; when training begins, if there is no validation part.

    Notes
    -----
    L. Prechelt, "Early stopping, but when?", 1998, compares criteria of this kind.
    """

    def __init__(self, patience: int) -> None:
        self.patience = as_count(patience, "patience")

    def on_train_start(self, solver: Solver) -> None:
        """Refuse a Solver without a validation part."""
        if not solver.has_validation:
            raise ValueError("EarlyStopping: expected data with a validation part, got none")

    def on_epoch_end(self, solver: Solver) -> None:
        """Stop the Solver if it is time."""
        merits = solver.state.merits
        if len(merits) - 1 - int(np.argmax(merits)) >= self.patience:
            solver.stop()


class ProgressBar(Callback):
    """A progress bar on a terminal or in a notebook, and one line per epoch.

    The bar is tqdm's, drawn only if tqdm is installed. In a notebook of Jupyter or VS Code it is a widget if ipywidgets
    is installed, and text otherwise. Where the output is a file or a pipe there is no bar.

    Parameters
    ----------
    file : text file, optional
        Where to write; standard output by default. In a notebook there is no bar with it, unless it is a terminal.

    Raises
    ------
    TypeError
        If `file` is no open text file.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        if not (file is None or (hasattr(file, "write") and hasattr(file, "isatty"))):
            raise TypeError(f"ProgressBar: file: expected an open file, such as sys.stderr, got {file!r:.60}")
        self.file = file
        self._bar: Any = None
        self._start = 0.0

    def on_train_start(self, solver: Solver) -> None:
        """Draw the bar."""
        self._start = time.perf_counter()
        output = self.file or sys.stdout
        in_notebook = self.file is None and _is_in_notebook()
        if not (in_notebook or output.isatty()):
            return
        try:
            if in_notebook and find_spec("ipywidgets"):  # without it tqdm.auto warns
                from tqdm.auto import tqdm
            else:
                from tqdm import tqdm
        except ImportError:
            return
        self._bar = tqdm(
            total=solver.num_iterations, initial=solver.iteration, file=output, unit="it", dynamic_ncols=not in_notebook
        )

    def on_iteration_end(self, solver: Solver) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {solver.loss_history[-1]:.4f}", refresh=False)
            self._bar.update()

    def on_epoch_end(self, solver: Solver) -> None:
        """Write the epoch's line: its mean loss, the accuracies, the seconds since the start."""
        losses = solver.loss_history[-solver.iterations_per_epoch :]
        words = [
            f"loss {sum(losses) / len(losses):.4f}",
            f"training accuracy {solver.train_accuracy_history[-1]:.2%}",
        ]
        if solver.has_validation:
            words.append(f"validation accuracy {solver.validation_accuracy_history[-1]:.2%}")
        if solver.best_by != "accuracy":
            words.append(f"{called(solver.best_by)} {solver.best_by_history[-1]:.4f}")
        seconds = time.perf_counter() - self._start
        line = f"epoch {solver.epoch}/{solver.epochs}: {', '.join(words)}, {seconds:.1f} s"
        if self._bar is not None:
            self._bar.write(line, file=self.file or sys.stdout)
        else:
            print(line, file=self.file or sys.stdout, flush=True)

    def on_train_end(self, solver: Solver) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _is_in_notebook() -> bool:
    """Return whether this is a kernel of Jupyter, whose output a frontend shows; IPython on a terminal is none."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config
