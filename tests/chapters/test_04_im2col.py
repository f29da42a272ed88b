"""Answers to the exercises of chapter 4, and tests that they are right."""

import numpy as np
import pytest

from convnet import naive
from convnet.functional import max_pool2d_forward


def count_windows(shape, kh, kw, stride):
    """Return (OH, OW), as in the chapter."""
    return (shape[-2] - kh) // stride + 1, (shape[-1] - kw) // stride + 1


def im2col(x, kh, kw, stride=1):
    """Return the windows of an image (C, H, W) as columns, as in the chapter."""
    out_h, out_w = count_windows(x.shape, kh, kw, stride)
    cols = np.zeros((len(x), kh, kw, out_h, out_w))
    for i, j in np.ndindex(kh, kw):
        cols[:, i, j] = x[:, i : i + stride * out_h : stride, j : j + stride * out_w : stride]
    return cols.reshape(-1, out_h * out_w)


def col2im(cols, shape, kh, kw, stride=1):
    """Add the columns up, as in the chapter."""
    out_h, out_w = count_windows(shape, kh, kw, stride)
    x, cols = np.zeros(shape), cols.reshape(-1, kh, kw, out_h, out_w)
    for i, j in np.ndindex(kh, kw):
        x[:, i : i + stride * out_h : stride, j : j + stride * out_w : stride] += cols[:, i, j]
    return x


def im2col_view(x, kh, kw, stride=1):
    """Exercise 1: the axes of the window go before those of the output."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(1, 2))[:, ::stride, ::stride]
    return windows.transpose(0, 3, 4, 1, 2).reshape(len(x) * kh * kw, -1)


def max_pool(x, size, stride):
    """Exercise 2: the columns have the channels apart; the maximum goes over a window of one channel."""
    windows = im2col(x, size, size, stride).reshape(len(x), size * size, -1)
    return windows.max(axis=1).reshape(len(x), *count_windows(x.shape, size, size, stride))


def undo(cols, shape, kh, kw, stride=1):
    """Exercise 3: col2im adds up as many copies as there are windows, so divide by their number."""
    return col2im(cols, shape, kh, kw, stride) / col2im(np.ones(cols.shape), shape, kh, kw, stride)


# Exercise 4. Number k is in all sums from k on, so it gets the sum of all gradients from k on. What was turned round is
# turned back. What was put around is cut off.
ADJOINTS = {
    "cumsum": (np.cumsum, lambda dy: np.cumsum(dy[::-1])[::-1]),
    "reversed": (lambda x: x[::-1], lambda dy: dy[::-1]),
    "pad": (lambda x: np.pad(x, 2), lambda dy: dy[2:-2]),
}


def growth(size, kernel, stride, padding):
    """Exercise 5: each window becomes a column of kernel x kernel numbers."""
    outputs = (size + 2 * padding - kernel) // stride + 1
    return (outputs * kernel / size) ** 2


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_columns_without_a_loop(rng, stride):
    x = rng.standard_normal((2, 7, 8))
    cols = im2col_view(x, 3, 2, stride)
    assert np.array_equal(cols, im2col(x, 3, 2, stride))
    # A convolution with these columns is the one by loops.
    weight = rng.standard_normal((4, 2, 3, 2))
    expected = naive.conv2d_forward(x[None], weight, stride=stride)[0]
    np.testing.assert_allclose((weight.reshape(4, -1) @ cols).reshape(expected.shape), expected)


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (3, 1)])
def test_pooling_by_columns(rng, size, stride):
    x = rng.standard_normal((3, 7, 9))
    expected, _ = max_pool2d_forward(x[None], size, stride=stride)
    assert np.array_equal(max_pool(x, size, stride), expected[0])


@pytest.mark.parametrize(("kh", "kw", "stride"), [(2, 2, 1), (3, 4, 1), (3, 2, 2), (3, 3, 3)])
def test_the_columns_are_undone(rng, kh, kw, stride):
    x = rng.standard_normal((2, 9, 6))
    np.testing.assert_allclose(undo(im2col(x, kh, kw, stride), x.shape, kh, kw, stride), x)


@pytest.mark.parametrize(("function", "backward"), ADJOINTS.values(), ids=ADJOINTS.keys())
def test_the_adjoints(rng, function, backward):
    x = rng.standard_normal(6)
    dy = rng.standard_normal(len(function(x)))
    assert np.dot(function(x), dy) == pytest.approx(np.dot(x, backward(dy)))
    # The matrix of the function, column by column, and the product with the transposed one.
    matrix = np.stack([function(unit) for unit in np.eye(6)], axis=1)
    np.testing.assert_allclose(backward(dy), matrix.T @ dy)


def test_the_price_of_columns():
    for size, kernel, stride, padding in ((28, 7, 1, 3), (28, 7, 7, 0), (9, 3, 2, 1)):
        padded = size + 2 * padding
        cols = im2col(np.zeros((1, padded, padded)), kernel, kernel, stride)
        assert growth(size, kernel, stride, padding) == pytest.approx(cols.size / size**2)
    assert growth(28, 7, 1, 3) == 49  # ConvNet1
    assert growth(28, 7, 7, 0) == 1  # windows that lie side by side: nothing is copied twice
