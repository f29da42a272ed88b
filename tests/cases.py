"""Shapes, layouts, tolerances and data that several test files use."""

import io
import struct

import numpy as np
import pytest

from convnet import (
    SGD,
    Affine,
    Conv2D,
    ConvNet1,
    RealLabels,
    ReLU,
    Sequential,
    Solver,
    _kernels,
    softmax_loss,
    takes_labels,
)

needs_fusion = pytest.mark.skipif(
    _kernels.instruction_set() == "none", reason="the loops in Cython alone have no fused convolution"
)

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
    pytest.param((2, 3, 7, 8), (4, 3, 3, 3), 2, ((0, 1), (0, 1)), id="other sides, stride 2"),
    pytest.param((2, 3, 6, 5), (4, 3, 2, 4), 1, ((0, 1), (1, 2)), id="other sides, the same size"),
    pytest.param((2, 9, 6, 7), (13, 9, 3, 3), 1, ((0, 3), (4, 0)), id="other sides, windows in the padding alone"),
    pytest.param((1, 16, 9, 10), (17, 16, 3, 3), 1, ((2, 0), (0, 1)), id="other sides, many channels"),
    pytest.param((2, 8, 0, 8), (8, 8, 3, 3), 1, ((0, 4), (0, 1)), id="other sides, images without rows"),
    pytest.param((1, 2, 5, 1), (3, 2, 1, 2), 1, ((0, 0), (0, 1)), id="padding on the right alone"),
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
    pytest.param((2, 3, 8, 7), (9, 3, 3, 4), ((0, 2), (3, 0)), id="other sides"),
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
    pytest.param((2, 2, 6, 7), (4, 3), 1, (3, 2), id="padding of all but a pixel"),
    pytest.param((1, 2, 1, 2), 5, 3, 4, id="stride above the image"),
    pytest.param((1, 2, 4, 3), (3, 9), (1, 4), (1, 7), id="stride above the image, windows that begin and end inside"),
    pytest.param((1, 2, 4, 3), (3, 8), (5, 5), ((0, 2), (6, 2)), id="stride above the image, one window"),
    pytest.param((2, 3, 7, 8), 3, 2, ((0, 1), (0, 1)), id="other sides"),
    pytest.param((2, 2, 5, 6), (2, 4), (1, 3), ((1, 0), (3, 2)), id="other sides, nothing square"),
    pytest.param((2, 2, 5, 5), 2, None, ((0, 1), (0, 1)), id="2x2 beyond the image"),
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


def tolerance(dtype, expected=0.0):
    """Return assert_allclose's tolerances; the absolute one grows with the largest element expected."""
    largest = max(10.0, np.max(np.abs(expected), initial=0.0))
    return {"rtol": 1e-4, "atol": 1e-5 * largest} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-12 * largest}


def idx_bytes(code, letter, shape, values):
    """Return an IDX file: the type's byte, struct's letter for it, and the values in order."""
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape) + struct.pack(
        f">{len(values)}{letter}", *values
    )


def idx_of(array):
    """Return the IDX file of a small uint8 array, made from its list of numbers."""
    return idx_bytes(0x08, "B", array.shape, array.ravel().tolist())


def small_data(channels=0, seed=0):
    """Return random images, not square, in which some pixels hardly vary, and labels; all of it read-only.

    Any four images in a row are one of each class.
    """
    rng = np.random.default_rng(seed)
    tail = (channels,) if channels else ()
    x_train = rng.integers(0, 256, (16, 5, 7, *tail), dtype=np.uint8)
    x_train[:, 0, 0] = 200  # never varies
    x_train[:, 1, 2] = 30
    x_train[3, 1, 2] = 33  # deviates by less than a grey level
    x_train[:, 4, 6] = rng.integers(100, 104, (16, *tail))  # deviates by about one
    arrays = (
        x_train,
        np.arange(16) % 4,
        rng.integers(0, 256, (9, 5, 7, *tail), dtype=np.uint8),
        (np.arange(9) % 4).astype(np.int32),
    )
    for array in arrays:
        array.flags.writeable = False
    return arrays


# Of the data that preprocess returns, in order.
KEYS = ["x_train", "y_train", "x_validation", "y_validation", "x_test", "y_test"]
# Each digit as lines between points (x, y) of a box of height and width 1.
STROKES = {
    0: [[(0.5, 0.05), (0.2, 0.25), (0.2, 0.75), (0.5, 0.95), (0.8, 0.75), (0.8, 0.25), (0.5, 0.05)]],
    1: [[(0.35, 0.2), (0.55, 0.05), (0.5, 0.95)]],
    2: [[(0.2, 0.25), (0.45, 0.05), (0.75, 0.2), (0.7, 0.45), (0.2, 0.93), (0.85, 0.92)]],
    3: [[(0.2, 0.1), (0.6, 0.05), (0.75, 0.25), (0.45, 0.47), (0.8, 0.7), (0.6, 0.93), (0.2, 0.9)]],
    4: [[(0.6, 0.05), (0.2, 0.6), (0.85, 0.6)], [(0.65, 0.35), (0.6, 0.95)]],
    5: [[(0.75, 0.06), (0.3, 0.07), (0.25, 0.45), (0.6, 0.42), (0.8, 0.65), (0.6, 0.93), (0.2, 0.9)]],
    6: [[(0.65, 0.05), (0.35, 0.35), (0.25, 0.75), (0.5, 0.95), (0.75, 0.75), (0.5, 0.55), (0.27, 0.7)]],
    7: [[(0.2, 0.08), (0.8, 0.08), (0.45, 0.95)]],
    8: [[(0.7, 0.15), (0.45, 0.05), (0.3, 0.22), (0.7, 0.7), (0.5, 0.95), (0.27, 0.75), (0.7, 0.2)]],
    9: [[(0.72, 0.3), (0.45, 0.45), (0.28, 0.25), (0.5, 0.05), (0.72, 0.25), (0.68, 0.95)]],
}


def normal(rng, shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


# Numbers that formulas have to take too.
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30]


def numbers(rng, size, dtype):
    """Return random numbers, and among them those that are special."""
    x = (3 * rng.standard_normal(size)).astype(dtype)
    x[: len(SPECIAL)] = SPECIAL[:size]
    return x


@takes_labels(RealLabels())
def squared_loss(scores, labels):
    """Return the mean squared difference and its gradient: a user's loss for a regression."""
    difference = scores - labels
    return float(np.square(difference).mean()), 2 * difference / difference.size


def as_data(x, labels, n):
    """Return the data of a Solver that trains with the first n examples and validates with the rest."""
    return {"x_train": x[:n], "y_train": labels[:n], "x_validation": x[n:], "y_validation": labels[n:]}


def small_mlp(rng, sizes, loss=softmax_loss, dtype=np.float32, l2=0.0):
    """Return a model of two Affine layers with a ReLU between them, for vectors."""
    features, hidden, outputs = sizes
    layers = [Affine(features, hidden, rng=rng, dtype=dtype), ReLU(), Affine(hidden, outputs, rng=rng, dtype=dtype)]
    return Sequential(layers, (features,), loss=loss, l2=l2)


def small_convnet1(dtype=np.float64, l2=0.0, seed=3):
    """Return a ConvNet1 of a few hundred parameters, with nothing square."""
    return ConvNet1(
        (2, 8, 7),
        num_filters=3,
        kernel_size=(3, 2),
        padding=1,
        hidden_size=6,
        num_classes=4,
        l2=l2,
        seed=seed,
        dtype=dtype,
    )


def small_batch(rng, n=5, dtype=np.float64):
    """Return inputs and labels for `small_convnet1`."""
    return rng.standard_normal((n, 2, 8, 7)).astype(dtype), rng.integers(0, 4, n)


def image_solver(rng, epochs=3, callbacks=(), rate=0.1, channels=1, filters=5):
    """Return a Solver of a small convolution on images that are told apart by their brighter half."""
    x = rng.standard_normal((63, channels, 6, 5)).astype(np.float32)
    y = (x[:, :, :3].sum(axis=(1, 2, 3)) > x[:, :, 3:].sum(axis=(1, 2, 3))).astype(int)
    layers = [Conv2D(channels, filters, 3, rng=rng), ReLU(), Affine(filters * 4 * 3, 2, rng=rng)]
    model = Sequential(layers, (channels, 6, 5))
    return Solver(model, as_data(x, y, 23), SGD(rate), batch_size=10, epochs=epochs, callbacks=callbacks)


def drawn(figure):
    """Return the pixels of a figure saved as PNG."""
    from PIL import Image

    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80)
    with Image.open(file) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def trained(rng, iterations=4):
    """Return a Solver of a single layer that has trained for two epochs, or not at all without iterations."""
    data = {"x_train": rng.standard_normal((20, 3)), "y_train": rng.integers(0, 2, 20)}
    data |= {"x_validation": data["x_train"], "y_validation": data["y_train"]}
    solver = Solver(Sequential([Affine(3, 2, rng=rng)], (3,)), data, SGD(0.1), batch_size=5, epochs=2)
    if iterations:
        solver.train()
    return solver
