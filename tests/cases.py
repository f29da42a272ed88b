"""Shapes, layouts and tolerances that several test files use."""

import numpy as np
import pytest

from convnet.threads import LEVEL

needs_fusion = pytest.mark.skipif(LEVEL < 0, reason="the loops in Cython alone have no fused convolution")

# (x, weight, stride, padding)
CONVOLUTIONS = [
    pytest.param((2, 1, 6, 6), (3, 1, 3, 3), 1, 1, id="same size"),
    pytest.param((2, 3, 7, 5), (4, 3, 2, 3), 1, 0, id="nothing square"),
    pytest.param((1, 3, 5, 8), (2, 3, 3, 2), (2, 3), (1, 2), id="pairs"),
    pytest.param((2, 1, 7, 7), (2, 1, 3, 3), 2, 0, id="stride 2"),
    pytest.param((2, 2, 8, 9), (3, 2, 3, 4), 3, 1, id="stride that does not divide"),
    pytest.param((2, 2, 6, 7), (3, 2, 2, 2), 4, 0, id="stride above the kernel"),
    pytest.param((2, 3, 4, 5), (3, 3, 4, 5), 1, 0, id="kernel of the image's size"),
    pytest.param((1, 1, 2, 3), (2, 1, 5, 4), 1, 2, id="kernel above the image"),
    pytest.param((1, 2, 3, 3), (2, 2, 1, 1), 1, 0, id="kernel 1x1"),
    pytest.param((1, 2, 3, 3), (2, 2, 1, 1), 2, 3, id="windows in the padding alone"),
    pytest.param((1, 1, 1, 1), (1, 1, 1, 1), 1, 0, id="one of everything"),
    pytest.param((0, 3, 5, 4), (2, 3, 3, 2), 1, 1, id="no images"),
    pytest.param((1, 16, 5, 16), (8, 16, 3, 3), 1, 1, id="filters of a vector"),
    pytest.param((1, 31, 3, 9), (34, 31, 2, 3), 1, (1, 1), id="filters of several vectors"),
    pytest.param((2, 9, 8, 7), (13, 9, 3, 2), (2, 1), (2, 1), id="filters that do not fill vectors"),
    pytest.param((2, 24, 7, 7), (16, 24, 5, 5), 1, 2, id="padding above and below many cells"),
    pytest.param((1, 2, 4, 64), (3, 2, 3, 3), 2, 1, id="stride 2, rows of two vectors"),
    pytest.param((1, 8, 14, 14), (8, 8, 2, 2), 1, 2, id="padding above the kernel"),
    pytest.param((2, 8, 0, 8), (8, 8, 3, 3), 1, (3, 1), id="images without rows"),
    pytest.param((2, 8, 16, 0), (8, 8, 1, 5), 1, (0, 10), id="images without columns"),
    pytest.param((2, 8, 4, 4), (8, 8, 2, 2), 1, (0, 1), id="few outputs, hardly more inputs"),
]
# (x, weight, padding) of a convolution of stride 1 before a 2x2 max pooling
FUSED = [
    pytest.param((2, 1, 28, 28), (32, 1, 7, 7), 3, id="ConvNet1"),
    pytest.param((3, 1, 9, 12), (5, 1, 3, 5), 0, id="nothing square"),
    pytest.param((2, 3, 8, 7), (3, 3, 2, 4), (1, 2), id="pairs, odd outputs"),
    pytest.param((1, 2, 5, 40), (7, 2, 5, 8), 2, id="several tiles in a row"),
    pytest.param((2, 1, 4, 66), (4, 1, 4, 1), (2, 0), id="whole tiles in a row"),
    pytest.param((1, 4, 11, 6), (9, 4, 11, 3), (1, 1), id="tall filters"),
    pytest.param((1, 1, 2, 2), (1, 1, 1, 1), 0, id="one cell"),
    pytest.param((1, 1, 1, 1), (2, 1, 3, 3), 2, id="kernel above the image"),
    pytest.param((0, 1, 6, 6), (2, 1, 3, 3), 0, id="no images"),
]
# (x, kernel_size, stride, padding)
POOLINGS = [
    pytest.param((2, 3, 6, 6), 2, None, 0, id="2x2"),
    pytest.param((2, 1, 7, 5), (2, 3), None, 0, id="nothing square"),
    pytest.param((2, 3, 7, 9), 3, 2, 1, id="overlapping, padded"),
    pytest.param((2, 1, 9, 8), (3, 2), (4, 3), (1, 1), id="pairs"),
    pytest.param((2, 2, 8, 7), 3, 1, 0, id="stride 1"),
    pytest.param((1, 2, 9, 9), 2, 5, 0, id="stride above the kernel"),
    pytest.param((1, 2, 4, 5), (4, 5), None, 0, id="kernel of the image's size"),
    pytest.param((1, 1, 1, 2), 4, 1, 2, id="kernel above the image"),
    pytest.param((1, 1, 1, 1), 1, None, 0, id="one of everything"),
    pytest.param((0, 2, 5, 4), 2, None, 0, id="no images"),
    pytest.param((2, 1, 30, 34), 2, None, 0, id="rows of several vectors"),
]


def as_read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def as_every_second(array):
    spread = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    spread[..., ::2] = array
    return spread[..., ::2]


def as_unaligned(array):
    """Return a view whose elements do not begin at multiples of their size, as those of packed records do not."""
    memory = np.zeros(array.nbytes + 1, np.uint8)
    unaligned = memory[1:].view(array.dtype).reshape(array.shape)
    unaligned[...] = array
    return unaligned


# The same values in every layout that a user may hand in.
LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "read-only": as_read_only,
    "Fortran order": np.asfortranarray,
    "every second": as_every_second,
    "backwards": lambda array: np.ascontiguousarray(array[..., ::-1])[..., ::-1],
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "unaligned": as_unaligned,
    "list": lambda array: array.tolist() if array.size else array,
}


def tolerance(dtype):
    return {"rtol": 1e-4, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-11}
