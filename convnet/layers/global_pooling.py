"""Global average pooling: the functions, the layer and its stage."""

from __future__ import annotations  # annotations are not evaluated: numpy.random is not imported with the package

from typing import Any

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import FloatArray, as_real, as_shape, check_pixels, check_shape, join_sizes
from convnet.core.threads import in_parts
from convnet.core.workspace import Memory
from convnet.layers.base import Layer
from convnet.layers.stage import Options, ParameterlessStage, Shape, Stage

__all__ = ["GlobalAveragePool", "global_average_pool_backward", "global_average_pool_forward"]


def _check_images(shape: Shape) -> None:
    """Raise a ValueError unless a shape is that of images (N, C, H, W) with pixels."""
    check_shape(shape, ("N", "C", "H", "W"), "GlobalAveragePool: x")
    if 0 in shape[2:]:
        raise ValueError(f"GlobalAveragePool: expected images of at least one pixel, got {shape}")


def global_average_pool_forward(x: npt.ArrayLike) -> FloatArray:
    """Mean of each channel: ``y[n, c] = (1 / (H * W)) * sum over h, w of x[n, c, h, w]``.

    The sums are formed in float64, for images of float32 too.

    Parameters
    ----------
    x : array_like, shape (N, C, H, W)
        Images.

    Returns
    -------
    ndarray, shape (N, C)

    Raises
    ------
    ValueError
        If x is not of four axes, or its images have no pixel.
    TypeError
        If x does not hold real numbers.

    Notes
    -----
    M. Lin, Q. Chen, S. Yan, "Network in network", 2013, section 3.2.
    """
    x = as_real(x, "GlobalAveragePool: x")
    _check_images(x.shape)
    n, c, h, w = x.shape
    y = np.empty((n, c), x.dtype)
    _write_means(x.reshape(n * c, h * w, 1), y.reshape(n * c, 1))
    return y


def global_average_pool_backward(dy: npt.ArrayLike, input_shape: tuple[int, ...]) -> FloatArray:
    """Gradient of `global_average_pool_forward`: each pixel gets an equal share, ``dx[n, c, h, w] = dy[n, c] / (H*W)``.

    Parameters
    ----------
    dy : array_like, shape (N, C)
        Gradient of the loss with respect to the output.
    input_shape : tuple
        (N, C, H, W) of the forward pass's x.

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Raises
    ------
    ValueError
        If shapes do not fit together, or the images have no pixel.
    TypeError
        If `dy` does not hold real numbers, or a size is not an integer.
    """
    dy = as_real(dy, "GlobalAveragePool: dy")
    n, c, h, w = as_shape(input_shape, "GlobalAveragePool: input_shape (N, C, H, W)", axes=4, minimum=0)
    check_pixels(h, w, "GlobalAveragePool")
    _check_images((n, c, h, w))
    check_shape(dy.shape, (n, c), "GlobalAveragePool: dy")
    dx = np.empty((n, c, h, w), dy.dtype)
    _write_shares(dy.reshape(n * c, 1), dx.reshape(n * c, h * w, 1))
    return dx


# Images are (P, Q, C) here, with Q pixels: in NCHW they are (N * C, H * W, 1), channels last (N, H * W, C).


def _write_means(images: FloatArray, means: FloatArray) -> None:
    """Write the mean of the pixels of images (P, Q, C) to `means` (P, C), on all threads."""

    def task(part: slice, _: int) -> None:
        _kernels.global_average_pool_forward(images[part], means[part])

    in_parts(task, len(images), images.size)


def _write_shares(gradients: FloatArray, images: FloatArray) -> None:
    """Write to each pixel of images (P, Q, C) its share of the gradients (P, C), on all threads."""

    def task(part: slice, _: int) -> None:
        images[part] = (gradients[part] / images.shape[1])[:, np.newaxis]

    in_parts(task, len(images), images.size)


class GlobalAveragePool(Layer):
    """Mean of each channel of images (N, C, H, W), as vectors (N, C); see `functional.global_average_pool_forward`.

    ``y[n, c] = (1 / (H * W)) * sum over h, w of x[n, c, h, w]``.

    Notes
    -----
    M. Lin, Q. Chen, S. Yan, "Network in network", 2013, section 3.2.
    """

    kind = "pool"

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3:
            shape = f"(N, {join_sizes(input_shape)})"
            raise ValueError(f"GlobalAveragePool: expected x of shape (N, C, H, W), got {shape}")
        _check_images((1, *input_shape))
        return input_shape[:1]

    def forward(self, x: npt.ArrayLike, rng: np.random.Generator | None = None) -> tuple[FloatArray, Shape]:
        return global_average_pool_forward(x), np.shape(x)

    def backward(
        self, dy: npt.ArrayLike, cache: Shape, need_dx: bool = True
    ) -> tuple[FloatArray | None, dict[str, FloatArray]]:
        return global_average_pool_backward(dy, cache), {}

    def stage(self, name: str, input_shape: Shape, dtype: np.dtype, options: Options) -> Stage:
        return GlobalAveragePoolStage((name,), input_shape, self.output_shape(input_shape), dtype)


class GlobalAveragePoolStage(ParameterlessStage):
    """A global average pooling."""

    layouts = "any"

    def _parts(self, images: FloatArray, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return images in the stage's layout as (P, Q, C), and their vectors as (P, C)."""
        n, (c, h, w) = len(images), self.input_shape
        p, channels = (n, c) if self.input_layout == "NHWC" else (n * c, 1)
        return images.reshape(p, h * w, channels), vectors.reshape(p, channels)

    def predict(self, x: FloatArray, memory: Memory) -> FloatArray:
        _write_means(*self._parts(x, memory["y"]))
        return memory["y"]

    def write_dx(self, dy: FloatArray, cache: Any, memory: Memory) -> None:
        images, gradients = self._parts(memory["dx"], dy)
        _write_shares(gradients, images)
