"""From the rows of numbers that scikit-learn hands on to the inputs of a network: images or vectors, scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet.core.checks import FloatArray, as_array, as_shape
from convnet.datasets.image_data import with_channels_last
from convnet.datasets.preprocessing import Statistics

__all__ = ["Inputs", "Scales", "axes_of", "flattened"]

# An axis of at most so many may be that of the channels: grey, grey and alpha, colours, colours and alpha.
MOST_CHANNELS = 4
# Numbers that are converted at a time, in float64.
PIECE = 1 << 20


def flattened(X: Any, what: str) -> tuple[Any, tuple[int, ...] | None]:  # noqa: N803
    """Return images as rows, and the shape of one; other X as it is, and None; `what` begins an error."""
    if isinstance(X, np.ma.MaskedArray) or hasattr(X, "_fields"):  # scikit-learn would take what is masked, too
        as_array(X, f"{what}: X")
    try:
        if (X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim) < 3:
            return X, None
    except ValueError:  # lists of different lengths, of which scikit-learn tells
        return X, None
    array = np.asarray(X)
    return array.reshape(len(array), -1) if array.size else array.reshape(len(array), 0), array.shape[1:]


def axes_of(image_shape: Sequence[int], axes: str | None, what: str) -> str:
    """Return what the axes of images are, a letter for each, with N first.

    Parameters
    ----------
    image_shape : sequence of ints
        Of one image.
    axes : str, optional
        As `make_parts` takes it. Without it, two sizes are height and width. Of three, the first or the last is that
        of the channels: the one that is at most 4.
    what : str
        Begins an error.

    Raises
    ------
    ValueError
        If the shape does not tell.
    """
    shape = as_shape(image_shape, f"{what}: image_shape")
    if axes is not None:
        return axes
    if len(shape) == 2:
        return "NHW"
    if len(shape) != 3:
        raise ValueError(f"{what}: expected images of two or three axes, such as (28, 28) or (32, 32, 3), got {shape}")
    first, last = (shape[place] <= MOST_CHANNELS for place in (0, -1))
    if first == last:
        raise ValueError(
            f"{what}: expected images of which one axis, the first or the last, is that of at most {MOST_CHANNELS} "
            f'channels, got {shape}; axes="NHWC" says that they come last, axes="NCHW" that they come first'
        )
    return "NCHW" if first else "NHWC"


@dataclass(frozen=True)
class Scales:
    """What is subtracted from each feature or channel, and what it is divided by: ``(x - mean) / scale``.

    Attributes
    ----------
    mean, scale : ndarray of float64, shape (C,)
        The weighted mean and standard deviation, of an image's channel over its pixels too; 1 where all are equal.
    """

    mean: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]

    @classmethod
    def of(cls, x: npt.NDArray[Any], weights: npt.NDArray[np.float64], what: str) -> Scales:
        """Return the scales of training examples.

        Parameters
        ----------
        x : ndarray, shape (N, C, ...)
            N at least 1.
        weights : ndarray of float64, shape (N,)
            Above 0.
        what : str
            Begins an error.

        Raises
        ------
        ValueError
            If numbers are so large that their variance overflows.
        """
        pixels = tuple(range(2, x.ndim))
        shares = weights / weights.sum()
        sums, squares = np.zeros(x.shape[1]), np.zeros(x.shape[1])
        with np.errstate(over="ignore", invalid="ignore"):
            for part in _pieces(x):  # copied, so that the order of the sums does not depend on that of the axes
                sums += shares[part] @ np.array(x[part], np.float64, order="C").mean(axis=pixels)
            mean = _along_channels(sums, x.ndim)
            for part in _pieces(x):
                squares += shares[part] @ np.square(np.array(x[part], np.float64, order="C") - mean).mean(axis=pixels)
        if not (np.isfinite(sums) & np.isfinite(squares)).all():
            raise ValueError(f"{what}: expected numbers whose variance float64 can hold, got {np.abs(x).max():.3g}")
        others = (0, *pixels)
        is_constant = x.max(axis=others) == x.min(axis=others)  # whose computed deviation may be a little above 0
        return cls(sums, np.where(is_constant | (squares == 0), 1.0, np.sqrt(squares)))

    def apply(self, x: npt.NDArray[Any], dtype: np.dtype) -> FloatArray:
        """Return the scaled examples (N, C, ...) in a dtype, in C order; what it cannot hold becomes infinite."""
        scaled: FloatArray = np.empty(x.shape, dtype)
        mean, scale = _along_channels(self.mean, x.ndim), _along_channels(self.scale, x.ndim)
        with np.errstate(over="ignore", invalid="ignore"):
            for part in _pieces(x):
                scaled[part] = (x[part] - mean) / scale
        return scaled

    def statistics(self, input_shape: tuple[int, int, int]) -> Statistics:
        """Return the same for a model's `statistics`, which prepare images in the unit of the training images."""
        mean, scale = (
            np.broadcast_to(_along_channels(array, 4)[0], input_shape).astype(np.float32)
            for array in (self.mean, self.scale)
        )
        return Statistics(input_shape, divide_by_255=False, mean=mean, std=scale)


@dataclass(frozen=True)
class Inputs:
    """How a row of numbers becomes one input of a network.

    Attributes
    ----------
    image_shape : tuple of ints or None
        Of the image that a row is; None for a vector of features.
    axes : str or None
        What the axes of images are, N among them.
    """

    image_shape: tuple[int, ...] | None
    axes: str | None

    def arranged(self, rows: npt.NDArray[Any], what: str) -> npt.NDArray[Any]:
        """Return rows (N, D) as vectors (N, D), or as images (N, C, H, W), a view."""
        if self.image_shape is None:
            return rows
        images = with_channels_last(rows, what, self.axes, self.image_shape)
        return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)


def _along_channels(array: npt.NDArray[np.float64], ndim: int) -> npt.NDArray[np.float64]:
    """Return an array (C,) as one of `ndim` axes, of which the second is that of the channels."""
    return array.reshape(1, -1, *(1,) * (ndim - 2))


def _pieces(x: npt.NDArray[Any]) -> list[slice]:
    """Divide the examples into pieces, so that the float64 numbers between take little memory."""
    count = max(1, PIECE // max(1, x[:1].size))
    return [slice(start, start + count) for start in range(0, len(x), count)]
