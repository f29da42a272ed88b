"""Augmentation: training images moved a little, at random, every time they are used."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from typing import Protocol

import numpy as np
import numpy.typing as npt

from convnet.core.checks import FloatArray, as_count, as_number, as_real
from convnet.datasets.preprocessing import Statistics
from convnet.datasets.warping import warp

__all__ = ["Augment", "Augmentation"]


class Augment(Protocol):
    """What a Solver's `augmentation` has to be able to do."""

    def __call__(self, x: FloatArray, rng: np.random.Generator, /) -> FloatArray:
        """Return inputs of the shape of x, which may be changed: it is the minibatch's own copy."""


class Augmentation:
    """Shift each image by whole pixels and turn it about its middle, by amounts drawn anew for each image.

    The image is turned counterclockwise and then shifted: with (h, w) counted from the middle, for the shift (i, j) and
    the angle a, ``y[h, w] = x[cos(a) * (h - i) + sin(a) * (w - j), cos(a) * (w - j) - sin(a) * (h - i)]``. Pixels are
    interpolated bilinearly, and what comes in from outside is the image's nearest pixel, so that it does not matter
    whether the ground is dark or light. Given to a `Solver`, it is applied to every minibatch; `__call__` of a subclass
    has to take `out`, as this class's does.

    Parameters
    ----------
    shift : int
        Pixels: the shifts along the height and the width are drawn from ``-shift, ..., shift``.
    rotation : float
        Degrees, at most 180: the angle is drawn uniformly from ``-rotation`` to ``rotation``.
    statistics : Statistics, optional
        Statistics of the preprocessing. It is undone before the move and redone after. Otherwise the subtracted mean
        image would move along and show in the result. By default the images are moved as they are.

    Raises
    ------
    ValueError, TypeError
        If a number is out of range, or `statistics` is not that of `preprocess`.

    Notes
    -----
    P. Y. Simard, D. Steinkraus, J. C. Platt, "Best practices for convolutional neural networks applied to visual
    document analysis", 2003, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> Augmentation(shift=1, rotation=0)(np.zeros((2, 1, 28, 28)), np.random.default_rng(0)).shape
    (2, 1, 28, 28)
    """

    def __init__(self, *, shift: int = 2, rotation: float = 10.0, statistics: Statistics | None = None) -> None:
        self.shift = as_count(shift, "Augmentation: shift", 0)
        self.rotation = as_number(rotation, "Augmentation: rotation", at_least=0, at_most=180)
        if statistics is not None and not isinstance(statistics, Statistics):
            raise TypeError(f"Augmentation: expected the statistics of preprocess, got {statistics!r:.60}")
        self.statistics = statistics

    def __call__(self, x: npt.ArrayLike, rng: np.random.Generator, *, out: FloatArray | None = None) -> FloatArray:
        """Return moved copies of the images.

        Parameters
        ----------
        x : array_like, shape (N, C, H, W)
        rng : numpy.random.Generator
            Draws the amounts.
        out : ndarray, of the shape and dtype of x, optional
            Where the result is written; by default a new array. With both `out` and `statistics`, x is overwritten: it
            is used as scratch memory.

        Returns
        -------
        ndarray, shape (N, C, H, W)

        Raises
        ------
        ValueError
            If x is not of four axes, or not of the statistics' shape, or `out` does not fit.
        """
        x = as_real(x, "Augmentation: x")
        if x.ndim != 4 or (self.statistics is not None and x.shape[1:] != self.statistics.image_shape):
            expected = "C, H, W" if self.statistics is None else ", ".join(map(str, self.statistics.image_shape))
            raise ValueError(f"Augmentation: expected x of shape (N, {expected}), got {x.shape}")
        maps = self._draw_maps(len(x), np.array(x.shape[2:]), rng)
        if self.statistics is None:
            return warp(x, maps, out=out)
        mean = 0 if self.statistics.mean is None else self.statistics.mean
        std = 1 if self.statistics.std is None else self.statistics.std
        plain = np.multiply(x, std, out=None if out is None else x)
        plain += mean
        moved = warp(plain, maps, out=out)
        moved -= mean
        moved /= std
        return moved

    def _draw_maps(
        self, count: int, size: npt.NDArray[np.integer], rng: np.random.Generator
    ) -> npt.NDArray[np.float64]:
        """Return (count, 2, 3): from the rows and columns of the moved images to those of the given ones."""
        shift = rng.integers(-self.shift, self.shift, (count, 2), endpoint=True)
        angle = np.deg2rad(rng.uniform(-self.rotation, self.rotation, count))
        middle = (size - 1) / 2
        maps = np.empty((count, 2, 3))
        maps[:, 0, 0] = maps[:, 1, 1] = np.cos(angle)
        maps[:, 0, 1] = np.sin(angle)
        maps[:, 1, 0] = -maps[:, 0, 1]
        maps[:, :, 2] = middle - (maps[:, :, :2] @ (middle + shift)[:, :, None])[:, :, 0]
        return maps

    def __repr__(self) -> str:
        with_statistics = "" if self.statistics is None else f", statistics={self.statistics!r}"
        return f"Augmentation(shift={self.shift!r}, rotation={self.rotation!r}{with_statistics})"
