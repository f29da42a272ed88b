"""Convolution."""

import time

import numpy as np
import pytest
from cases import CONVOLUTIONS, normal, tolerance

from convnet import Conv2D, functional, naive
from convnet.layers.stage import Options


@pytest.mark.parametrize(("x_shape", "weight_shape", "stride", "padding"), CONVOLUTIONS)
def test_convolution_equals_the_loops(rng, dtype, x_shape, weight_shape, stride, padding):
    x, weight = normal(rng, x_shape, dtype), normal(rng, weight_shape, dtype)
    bias = normal(rng, weight_shape[0], dtype)
    y = functional.conv2d_forward(x, weight, bias, stride=stride, padding=padding)
    expected = naive.conv2d_forward(x, weight, bias, stride=stride, padding=padding)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, expected, **tolerance(dtype))
    assert y.shape == expected.shape

    dy = normal(rng, y.shape, dtype)
    gradients = functional.conv2d_backward(dy, x, weight, stride=stride, padding=padding)
    oracle = naive.conv2d_backward(dy, x, weight, stride=stride, padding=padding)
    for gradient, true, like in zip(gradients, oracle, (x, weight, bias), strict=True):
        assert gradient.dtype == dtype
        assert gradient.shape == like.shape
        np.testing.assert_allclose(gradient, true, **tolerance(dtype))
    without = functional.conv2d_backward(dy, x, weight, stride=stride, padding=padding, need_dx=False)
    assert without[0] is None
    np.testing.assert_array_equal(without[1], gradients[1])


@pytest.mark.parametrize(
    ("channels", "filters", "kernel", "size"),
    [(16, 16, 3, 32), (16, 2, 3, 60), (16, 2, 3, 200), (3, 1, 11, 300), (1, 1, 2, 2000)],
)
def test_convolution_needs_little_memory_besides_its_results(channels, filters, kernel, size):
    layer = Conv2D(channels, filters, kernel, rng=np.random.default_rng(0))
    arrays = layer.stage("conv1", (channels, size, size), np.dtype(np.float32), Options()).arrays(1, 1, False)
    results = {"y": ((1, *layer.output_shape((channels, size, size))), np.float32)}
    assert results.items() <= arrays.items()
    scratch = sum(np.prod(shape) * np.dtype(dtype).itemsize for name, (shape, dtype) in arrays.items() if name != "y")
    assert scratch < 3 << 19


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 17])
def test_convolution_gradient_is_the_same_summed_over_any_number_of_images(rng, dtype, n):
    x, weight = normal(rng, (n, 2, 6, 7), dtype), normal(rng, (3, 2, 3, 2), dtype)
    dy = normal(rng, (n, 3, 6, 8), dtype)
    for got, true in zip(
        functional.conv2d_backward(dy, x, weight, padding=1),
        naive.conv2d_backward(dy, x, weight, padding=1),
        strict=True,
    ):
        np.testing.assert_allclose(got, true, **tolerance(dtype))


# (x, weight, stride, padding) of images that are too large for im2col's columns of a whole image at a time.
LARGE = [
    pytest.param((2, 16, 40, 37), (5, 16, 5, 5), 1, 2, id="many channels"),
    pytest.param((1, 3, 150, 141), (4, 3, 7, 7), 2, 3, id="large image, stride 2"),
    pytest.param((2, 24, 60, 31), (9, 24, 3, 3), (1, 2), (1, 0), id="pairs"),
    pytest.param((1, 1, 200, 120), (2, 1, 9, 11), 1, (0, 5), id="one channel"),
    pytest.param((1, 130, 20, 20), (33, 130, 3, 3), 1, 1, id="many filters"),
    pytest.param((1, 2, 700, 5), (3, 2, 2, 5), (3, 1), 0, id="tall and narrow"),
]


@pytest.mark.parametrize(("x_shape", "weight_shape", "stride", "padding"), LARGE)
def test_large_convolutions_equal_sums_over_windows(rng, dtype, x_shape, weight_shape, stride, padding):
    x, weight, bias = normal(rng, x_shape, dtype), normal(rng, weight_shape, dtype), normal(rng, weight_shape[0], dtype)
    (sh, sw), (ph, pw) = (pair if isinstance(pair, tuple) else (pair, pair) for pair in (stride, padding))
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight_shape[2:], (2, 3))[:, :, ::sh, ::sw]
    expected = np.einsum("nchwij,fcij->nfhw", windows, weight, optimize=True) + bias[:, None, None]
    y = functional.conv2d_forward(x, weight, bias, stride=stride, padding=padding)
    close = {"rtol": 1e-4, "atol": 1e-3} if dtype == np.float32 else tolerance(dtype)
    np.testing.assert_allclose(y, expected, **close)

    dy = normal(rng, y.shape, dtype)
    dx, dweight, dbias = functional.conv2d_backward(dy, x, weight, stride=stride, padding=padding)
    scale = 100 if dtype == np.float32 else 1  # sums of thousands
    close["atol"] *= scale
    np.testing.assert_allclose(dweight, np.einsum("nchwij,nfhw->fcij", windows, dy, optimize=True), **close)
    np.testing.assert_allclose(dbias, dy.sum(axis=(0, 2, 3), dtype=np.float64), **close)
    # The gradient is the adjoint of the convolution without its bias: <conv(direction), dy> == <direction, dx>.
    for _ in range(3):
        direction = normal(rng, x_shape, dtype)
        moved = functional.conv2d_forward(direction, weight, 0 * bias, stride=stride, padding=padding)
        left, right = (moved.astype(np.float64) * dy).sum(), (direction.astype(np.float64) * dx).sum()
        size = np.linalg.norm(moved.astype(np.float64)) * np.linalg.norm(dy.astype(np.float64))
        assert abs(left - right) <= (1e-6 if dtype == np.float32 else 1e-13) * size


@pytest.mark.parametrize("padding", [(1, 2**27), ((1, 1), (2, 2**28))])
def test_a_stride_far_larger_than_the_image_costs_no_more_than_it(rng, dtype, padding):
    x, weight, options = normal(rng, (2, 3, 4, 4), dtype), normal(rng, (9, 3, 3, 3), dtype), {"stride": (1, 2**27)}
    started = time.process_time()
    y = functional.conv2d_forward(x, weight, padding=padding, **options)
    gradients = functional.conv2d_backward(y, x, weight, padding=padding, **options)
    assert time.process_time() - started < 1  # when all columns between are copied, much memory and seconds
    np.testing.assert_allclose(y, naive.conv2d_forward(x, weight, padding=padding, **options), **tolerance(dtype))
    for gradient, true in zip(gradients, naive.conv2d_backward(y, x, weight, padding=padding, **options), strict=True):
        np.testing.assert_allclose(gradient, true, **tolerance(dtype, true))


X, W = np.ones((8, 1, 28, 28), np.float32), np.ones((4, 3, 5, 5), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: functional.conv2d_forward(X, W, np.zeros(4)),
            ValueError,
            r"^Conv2D: weight expects 3 input channels, got x of shape \(N, 1, 28, 28\)$",
        ),
        (lambda: functional.conv2d_forward(X, W[0], np.zeros(4)), ValueError, r"expected shape \(F, C, KH, KW\), got"),
        (
            lambda: functional.conv2d_forward(X, W[:, :1], np.zeros(3)),
            ValueError,
            r"bias: expected shape \(4,\), got \(3,\)",
        ),
        (lambda: functional.conv2d_forward(X, W[:0], np.zeros(0)), ValueError, "expected no empty axis"),
        (
            lambda: functional.conv2d_forward(X[..., :3], W[:, :1], np.zeros(4)),
            ValueError,
            r"output width = floor\(\(3 \+ 2\*0 - 5\) / 1\) \+ 1 = -1, expected at least 1",
        ),
        (
            lambda: functional.conv2d_forward(X, W[:, :1], np.zeros(4), stride=0),
            ValueError,
            "stride: expected .* from 1 to 2147483647, got 0",
        ),
        (
            lambda: functional.conv2d_forward(X, W[:, :1], np.zeros(4), padding=-1),
            ValueError,
            "padding: expected .* from 0 to",
        ),
        (lambda: functional.conv2d_forward(X, W[:, :1], np.zeros(4), stride=1.5), TypeError, "pair of ints, got 1.5"),
        (lambda: functional.conv2d_forward(X, W[:, :1], np.zeros(4), stride=True), TypeError, "pair of ints, got True"),
        (lambda: functional.conv2d_forward(X, W[:, :1], np.zeros(4), stride=(1, 2, 3)), ValueError, "pair of ints"),
        (lambda: functional.conv2d_forward(X, W[:, :1], np.zeros(4), padding="same"), TypeError, "got 'same'"),
        (
            lambda: functional.conv2d_forward(X, W[:, :1], padding=((0, -1), (0, 0))),
            ValueError,
            r"^Conv2D: padding: expected .* from 0 to 2147483647, got \(0, -1\); sides that differ are \(\(top",
        ),
        (
            lambda: functional.conv2d_forward(X, W[:, :1], padding=(1, 2, 1, 2)),
            ValueError,
            r"got \(1, 2, 1, 2\); sides that differ are \(\(top, bottom\), \(left, right\)\)",
        ),
        (
            lambda: functional.conv2d_forward(X, W[:, :1], padding=((0, 1.5), (0, 0))),
            TypeError,
            r"padding: expected .* got \(0, 1\.5\)",
        ),
        (
            lambda: functional.conv2d_forward(X[..., :3], W[:, :1], padding=((0, 0), (1, 0))),
            ValueError,
            r"output width = floor\(\(3 \+ 1 \+ 0 - 5\) / 1\) \+ 1 = 0, expected at least 1",
        ),
        (
            lambda: functional.conv2d_forward(X, W[:, :1], padding=((0, 0), (0, 2**31 - 1))),
            ValueError,
            r"fewer than 2\*\*31 pixels in an image, padding included",
        ),
        (lambda: functional.conv2d_backward(X, X, W[:, :1]), ValueError, r"dy: expected shape \(8, 4, 24, 24\), got"),
        (
            lambda: functional.conv2d_forward(X, W, groups=2),
            ValueError,
            r"weight expects 6 input channels \(2 groups of 3\), got x of shape \(N, 1, 28, 28\)",
        ),
        (
            lambda: functional.conv2d_forward(np.ones((1, 9, 28, 28)), W, groups=3),
            ValueError,
            "a number of filters that 3 groups can share evenly, got 4",
        ),
        (
            lambda: functional.conv2d_forward(X, W[:, :1], dilation=14),
            ValueError,
            r"output height = floor\(\(28 \+ 2\*0 - .*expected at least 1",
        ),
        (
            lambda: functional.conv2d_forward(X, W[:, :1], np.zeros(4), padding=2**70),
            ValueError,
            "from 0 to 2147483647",
        ),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


RNG = np.random.default_rng(0)


def test_padding_is_kept_in_its_shortest_form():
    assert Conv2D(1, 2, 3, padding=[[1, 1], [2, 2]], rng=RNG).padding == (1, 2)
    layer = Conv2D(1, 2, 3, padding=[[0, 1], [2, 2]], rng=RNG)
    assert layer.padding == ((0, 1), (2, 2))
    assert "padding=((0, 1), (2, 2))" in repr(layer)
    assert layer.output_shape((1, 8, 8)) == (2, 7, 10)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Conv2D(0, 4, 3, rng=RNG), ValueError, "in_channels: expected at least 1, got 0"),
        (lambda: Conv2D(1, 4.0, 3, rng=RNG), TypeError, "out_channels: expected an integer, got 4.0"),
        (lambda: Conv2D(1, 4, (3, 0), rng=RNG), ValueError, r"kernel_size: .* got \(3, 0\)"),
        (lambda: Conv2D(1, 4, 3, stride=None, rng=RNG), TypeError, "stride: .* got None"),
        (lambda: Conv2D(1, 4, 3, rng=0), TypeError, "rng: expected a numpy.random.Generator"),
        (lambda: Conv2D(1, 4, 3, rng=RNG, dtype=np.float16), TypeError, "expected float32 or float64, got float16"),
        (
            lambda: Conv2D(6, 4, 3, groups=3, rng=RNG),
            ValueError,
            "expected out_channels to be a multiple of groups, 3, got 4",
        ),
        (lambda: Conv2D(5, 6, 3, groups=3, rng=RNG), ValueError, "expected in_channels to be a multiple of groups"),
        (lambda: Conv2D(4, 4, 3, dilation=0, rng=RNG), ValueError, "Conv2D: dilation: .* got 0"),
        (lambda: Conv2D(4, 4, 3, groups=2.0, rng=RNG), TypeError, "Conv2D: groups: expected an integer, got 2.0"),
        (lambda: Conv2D.from_params({"weight": np.ones((2, 3)), "bias": np.ones(2)}), ValueError, "expected 4 axes"),
    ],
)
def test_wrong_arguments_of_the_layer_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
