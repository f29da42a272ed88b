"""An animation of a convolution's filters while they train."""

import io
import warnings
from typing import Any

import numpy as np

from convnet.core.checks import FloatArray, as_count
from convnet.core.version import to_install
from convnet.formats.archives import Arrays
from convnet.formats.files import PathLike, replace_file
from convnet.plotting.filters import filter_sheet
from convnet.training.solver import Callback, Solver

__all__ = ["FilterAnimation"]

# Pixels around a frame, and of the line above the filters.
MARGIN, CAPTION = 12, 26


class FilterAnimation(Callback):
    """An animated GIF of a convolution's filters while they train.

    A frame is taken before the first iteration and then at even distances; each filter is scaled to its own range.
    The file is written when training begins, so that a path that cannot be written is known then, after every epoch,
    and at the end. An error after the beginning, such as a full disk, becomes a warning, and training goes on.

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
            raise ImportError(f"an animation needs Pillow: {to_install('examples')}") from None
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
        self._weights, self._iterations = kept  # a training that continues does not keep this last frame

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
        if is_new and np.isfinite(weight).all():  # the Solver reports weights that are not finite
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
    filters = Image.fromarray(pixels)
    size = max(filters.width, 160) + 2 * MARGIN, filters.height + CAPTION + 2 * MARGIN
    image = Image.new(filters.mode, size, "white")
    image.paste(filters, (MARGIN, MARGIN + CAPTION))
    text = f"iteration {iteration:,}"
    ImageDraw.Draw(image).text((MARGIN, MARGIN), text, fill="black", font=ImageFont.load_default(16))
    return image


def _animated_gif(images: list[Any]) -> bytes:
    """Return the images, in turn for a tenth of a second each and the last one for two seconds, as an endless GIF."""
    file = io.BytesIO()
    durations = [100] * (len(images) - 1) + [2000]
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True)
    return file.getvalue()
