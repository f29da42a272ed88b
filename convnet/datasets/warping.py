"""Warping: images whose pixels are moved by affine maps."""

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import LARGEST, FloatArray, as_real, check_out, check_shape
from convnet.core.threads import in_parts

__all__ = ["warp"]


def warp(x: npt.ArrayLike, maps: npt.ArrayLike, *, out: FloatArray | None = None) -> FloatArray:
    """Move the pixels of images: each output pixel is read where an affine map sends it.

    ``y[n, c, h, w]`` is ``x[n, c]`` at row a, column b, where ``(a, b) = maps[n] @ (h, w, 1)``. Between pixels it is
    interpolated bilinearly. Outside the image, the nearest pixel is used.

    Parameters
    ----------
    x : array_like, shape (N, C, H, W)
        Images of at least one pixel.
    maps : array_like, shape (N, 2, 3)
        One map per image, from the output's to the input's rows and columns.
    out : ndarray, of the shape and dtype of x, optional
        Where the result is written, in C order; not x itself. By default a new array.

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Raises
    ------
    ValueError
        If a shape is wrong, or a number in a map is above 2**31 - 1 in absolute value or not finite, or `out` does not
        fit.
    TypeError
        If an array does not hold real numbers.

    Notes
    -----
    G. Wolberg, "Digital image warping", 1990: inverse mapping with bilinear interpolation.
    """
    x, maps = as_real(x, "warp: x"), as_real(maps, "warp: maps", np.float64).astype(np.float64, copy=False)
    check_shape(x.shape, ("N", "C", "H", "W"), "warp: x")
    check_shape(maps.shape, (len(x), 2, 3), "warp: maps")
    if 0 in x.shape[2:]:
        raise ValueError(f"warp: expected images of at least one pixel, got shape {x.shape}")
    if not (np.abs(maps) <= LARGEST).all():
        raise ValueError(f"warp: maps: expected numbers from -{LARGEST} to {LARGEST}")
    y = np.empty_like(x) if out is None else out
    check_out(y, x, "warp")
    if np.may_share_memory(y, maps):
        raise ValueError("warp: expected out to share no memory with maps")
    if not y.size:  # nothing to do, even if H * W is huge
        return y
    in_parts(lambda part, _: _kernels.warp(x[part], maps[part], y[part]), len(x), 16 * x.size)
    return y
