"""Callbacks for a Solver."""

import io
import os
import re
import sys
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from convnet.archives import Arrays
from convnet.checkpoints import checkpoints_in
from convnet.checks import FloatArray, as_count, as_number
from convnet.files import PathLike, replace_file
from convnet.plotting import filter_sheet
from convnet.solver import Callback, Solver

__all__ = ["Checkpoint", "EarlyStopping", "FilterAnimation", "ProgressBar"]


class Checkpoint(Callback):
    """Write checkpoints while a Solver trains, from which `Solver.resume` goes on bit for bit.

    The first is written when training begins, so that a folder that cannot be written to is known then, and the last
    one when it ends, by an interrupt too. What goes wrong in between, such as a full disk, is a warning, and training
    goes on. A checkpoint takes two or three times the memory of the parameters, and that
    of the optimizer's state.

    Parameters
    ----------
    folder : path
        Made if it is missing. The files in it are named by the time when training began and the iteration.
    iterations : int, optional
        Write after every so many iterations.
    seconds : float, optional
        Write when so many seconds have passed; 60 by default if there are no `iterations`.
    keep : int
        How many checkpoints of this training stay, and how many of earlier ones in the same folder: the newest ones;
        older ones are removed when a new one is complete.

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
        """Write the first checkpoint."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise FileExistsError(f"Checkpoint: expected a folder, but {self.folder} is a file") from None
        _remove_leftovers(self.folder)
        self._started = self._stamp(solver.iteration)
        self._write(solver)

    def _stamp(self, iteration: int) -> str:
        """Return the time in the files' names: of the checkpoint that is gone on from, or else a newer one than all."""
        names = [path.stem.split("-") for path in checkpoints_in(self.folder)]
        for _, stamp, *reached in reversed(names):
            if iteration and reached == [f"{iteration:010d}"]:
                return stamp
        now = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        return max(now, names[-1][1] + "_") if names else now  # a clock may have been set back

    def on_iteration_end(self, solver: Solver) -> None:
        """Write a checkpoint if it is time."""
        is_due = self.iterations is not None and solver.iteration % self.iterations == 0
        if is_due or (self.seconds is not None and time.monotonic() >= self._next):
            self._try_to_write(solver)

    def on_train_end(self, solver: Solver) -> None:
        """Write the last checkpoint, unless an error has left the Solver between two iterations."""
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


class EarlyStopping(Callback):
    """End the training when the validation accuracy has not risen above its best for some epochs.

    A Solver that restores the best parameters, as it does by default, then has those of before these epochs. With a
    schedule that lowers the learning rate at the end, such as `OneCycle`, it may end before that pays.

    Parameters
    ----------
    patience : int
        How many epochs in a row without a new best end the training.

    Raises
    ------
    ValueError, TypeError
        If `patience` is not an integer of at least 1.

    Notes
    -----
    L. Prechelt, "Early stopping, but when?", 1998, compares criteria of this kind.
    """

    def __init__(self, patience: int) -> None:
        self.patience = as_count(patience, "patience")

    def on_epoch_end(self, solver: Solver) -> None:
        """Stop the Solver if it is time."""
        history = solver.validation_accuracy_history
        if len(history) - 1 - int(np.argmax(history)) >= self.patience:
            solver.stop()


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


class FilterAnimation(Callback):
    """An animated GIF of a convolution's filters while they train.

    A frame is taken before the first iteration and then at even distances; each filter is scaled to its own range.
    The file is written when training begins, so that a path that cannot be written is known then, after every epoch,
    and at the end; what goes wrong after the beginning, such as a full disk, is a warning, and training goes on.

    Parameters
    ----------
    path : path
        The file; an existing one is replaced when the new one is complete.
    layer : str
        The convolution's name in the model.
    frames : int
        How many frames the whole training gives, unless it has fewer iterations.
    max_bytes : int
        If the file would be larger, every second frame is left out, until it fits or two are left.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    ValueError, TypeError
        If a number is out of range; when training starts, if the model has no such convolution.
    """

    def __init__(self, path: PathLike, *, layer: str = "conv1", frames: int = 100, max_bytes: int = 3_000_000) -> None:
        try:
            import PIL  # noqa: F401
        except ImportError:
            raise ImportError(
                'an animation needs Pillow: pip install "convnet[examples]", or pip install ".[examples]" in a clone'
            ) from None
        self.path = path
        self.layer = layer
        self.frames = as_count(frames, "frames", 2)
        self.max_bytes = as_count(max_bytes, "max_bytes")
        self._weights: list[FloatArray] = []
        self._iterations: list[int] = []
        self._started = False

    def on_train_start(self, solver: Solver) -> None:
        """Take the first frame."""
        if solver.iteration == 0:
            self._weights, self._iterations = [], []
        weight = solver.model.params.get(f"{self.layer}.weight")
        if weight is None or weight.ndim != 4:
            raise ValueError(
                f"FilterAnimation: expected a model with a convolution {self.layer!r}, got {list(solver.model.layers)}"
            )
        if not self._iterations:
            self._take(solver)
        self._write()
        self._started = True

    def on_iteration_end(self, solver: Solver) -> None:
        """Take a frame if it is time."""
        last = self._iterations[-1] if self._iterations else -1
        frame, last = ((i * (self.frames - 1)) // solver.num_iterations for i in (solver.iteration, last))
        if frame > last:
            self._take(solver)

    def on_epoch_end(self, solver: Solver) -> None:
        """Write the file."""
        self._try_to_write()

    def on_train_end(self, solver: Solver) -> None:
        """Write the file, with the filters of the last iteration."""
        kept = self._weights.copy(), self._iterations.copy()
        if self._started:
            self._take(solver)
            self._try_to_write()
            self._started = False
        self._weights, self._iterations = kept  # the frame of this end does not belong to a training that goes on

    def state(self) -> Arrays:
        """Return the filters of all frames."""
        if not self._weights:
            return {}
        return {"weights": np.array(self._weights), "iterations": np.array(self._iterations, np.int64)}

    def load_state(self, state: Arrays) -> None:
        """Take over the filters of all frames."""
        weights, iterations = state["weights"], state["iterations"]
        if weights.ndim != 5 or iterations.shape != weights.shape[:1]:
            raise ValueError(f"FilterAnimation: expected filters of {iterations.shape} frames, got {weights.shape}")
        self._weights, self._iterations = list(weights), iterations.tolist()

    def _take(self, solver: Solver) -> None:
        weight = solver.model.params[f"{self.layer}.weight"]
        is_new = not self._iterations or solver.iteration > self._iterations[-1]
        if is_new and np.isfinite(weight).all():  # of what is not the Solver will tell
            self._weights.append(weight.copy())
            self._iterations.append(solver.iteration)

    def _write(self) -> None:
        images = [_frame(*frame) for frame in zip(self._weights, self._iterations, strict=True)]
        while len(content := _animated_gif(images)) > self.max_bytes and len(images) > 2:
            images = images[:-1:2] + images[-1:]
        with replace_file(self.path) as file:
            file.write(content)

    def _try_to_write(self) -> None:
        try:
            self._write()
        except OSError as error:
            warnings.warn(f"{self.path} was not written, and training goes on: {error}", stacklevel=2)


def _frame(weight: FloatArray, iteration: int) -> Any:
    """Return a picture of the filters below a line with the iteration."""
    from PIL import Image, ImageDraw, ImageFont

    sheet = filter_sheet(weight)
    zoom = max(1, 376 // max(sheet.shape[:2]))
    pixels = (255 * sheet.repeat(zoom, axis=0).repeat(zoom, axis=1)).astype(np.uint8)
    filters, caption = Image.fromarray(pixels), 24
    image = Image.new(filters.mode, (max(filters.width, 160), filters.height + caption), "white")
    image.paste(filters, (0, caption))
    text = f"iteration {iteration:,}"
    ImageDraw.Draw(image).text((2, 2), text, fill="black", font=ImageFont.load_default(16))
    return image


def _animated_gif(images: list[Any]) -> bytes:
    """Return the images, in turn for a tenth of a second each and the last one for two seconds, as an endless GIF."""
    file = io.BytesIO()
    durations = [100] * (len(images) - 1) + [2000]
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True)
    return file.getvalue()


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
