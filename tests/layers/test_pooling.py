"""Max and average pooling."""

import pickle
import time

import numpy as np
import pytest
from cases import POOLINGS, normal, tolerance
from guarded import at_the_end_of_memory

from convnet import AveragePool2D, MaxPool2D, _kernels, functional, naive
from convnet.layers.pool_windows import PoolWindows, pool_outputs


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("shape", "kernel_size", "stride", "padding"), POOLINGS)
def test_max_pooling_equals_the_loops(rng, dtype, shape, kernel_size, stride, padding, ceil_mode):
    x = rng.integers(-3, 4, shape).astype(dtype)  # few values, so that there are ties
    options = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    y, argmax = functional.max_pool2d_forward(x, kernel_size, **options)
    expected, indices = naive.max_pool2d_forward(x, kernel_size, **options)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(argmax, indices)
    assert y.shape == expected.shape

    dy = normal(rng, y.shape, dtype)
    dx = functional.max_pool2d_backward(dy, argmax, shape)
    assert dx.dtype == dtype
    assert dx.shape == shape
    np.testing.assert_allclose(dx, naive.max_pool2d_backward(dy, indices, shape), **tolerance(dtype))


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("count_padding", [True, False])
@pytest.mark.parametrize(("shape", "kernel_size", "stride", "padding"), POOLINGS)
def test_average_pooling_equals_the_loops(rng, dtype, shape, kernel_size, stride, padding, count_padding, ceil_mode):
    x = normal(rng, shape, dtype)
    options = {"stride": stride, "padding": padding, "count_padding": count_padding, "ceil_mode": ceil_mode}
    y = functional.average_pool2d_forward(x, kernel_size, **options)
    expected = naive.average_pool2d_forward(x, kernel_size, **options)
    assert y.dtype == dtype
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, **tolerance(dtype))

    dy = normal(rng, y.shape, dtype)
    dx = functional.average_pool2d_backward(dy, shape, kernel_size, **options)
    assert dx.dtype == dtype
    assert dx.shape == shape
    np.testing.assert_allclose(dx, naive.average_pool2d_backward(dy, shape, kernel_size, **options), **tolerance(dtype))
    # The pooling is linear, so that its gradient is its adjoint: <pool(x), dy> == <x, dx>.
    left, right = (y.astype(np.float64) * dy).sum(), (x.astype(np.float64) * dx).sum()
    assert left == pytest.approx(right, **({"abs": 1e-4} if dtype == np.float32 else {"rel": 1e-11, "abs": 1e-12}))


def test_average_pooling_lets_nan_and_infinity_through(dtype):
    x = np.ones((1, 1, 4, 6), dtype)
    x[0, 0, 1, 1], x[0, 0, 3, 2] = np.nan, np.inf
    np.testing.assert_array_equal(functional.average_pool2d_forward(x, 2)[0, 0], [[np.nan, 1, 1], [1, np.inf, 1]])


@pytest.mark.parametrize("fill", [np.nan, -np.inf, np.inf], ids=str)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_max_pooling_of_special_values(rng, dtype, fill, stride):
    x = normal(rng, (3, 2, 7, 6), dtype)
    x[rng.random(x.shape) < 0.4] = fill
    x[0, 0] = fill
    y, argmax = functional.max_pool2d_forward(x, 3, stride=stride, padding=1)
    expected, indices = naive.max_pool2d_forward(x, 3, stride=stride, padding=1)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(argmax, indices)


X, W = np.ones((8, 1, 28, 28), np.float32), np.ones((4, 3, 5, 5), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: functional.max_pool2d_forward(X, 2, stride=2**63 - 1), ValueError, "from 1 to 2147483647"),
        (lambda: functional.max_pool2d_forward(X[:, :, :0], 2, padding=1), ValueError, "at least one pixel"),
        (
            lambda: functional.max_pool2d_backward(
                np.ones((1, 1, 1, 1)), np.full((1, 1, 1, 1), 2**31 + 5), (1, 1, 65536, 32769)
            ),
            ValueError,
            r"fewer than 2\*\*31 pixels",
        ),
        (lambda: functional.max_pool2d_backward(X, X.astype(int), 5), ValueError, "a shape of 4 axes, got 5"),
        (
            lambda: functional.max_pool2d_backward(X, X.astype(int), np.array([8, 2, 28, 28])),
            ValueError,
            r"dy: expected shape \(8, 2, OH, OW\)",
        ),
        (
            lambda: functional.max_pool2d_forward(X[0], 2),
            ValueError,
            r"x: expected shape \(N, C, H, W\), got \(1, 28, 28\)",
        ),
        (
            lambda: functional.max_pool2d_forward(X, 2, padding=2),
            ValueError,
            r"^MaxPool2D: expected padding below the kernel \(2, 2\) on each side, so that every window holds a pixel, "
            r"got \(2, 2\)$",
        ),
        (
            lambda: functional.max_pool2d_forward(X, 30, stride=1, padding=((0, 1), (0, 0))),
            ValueError,
            r"output height = floor\(\(28 \+ 0 \+ 1 - 30\) / 1\) \+ 1 = 0",
        ),
        (
            lambda: functional.max_pool2d_forward(X, 40, stride=3, ceil_mode=True),
            ValueError,
            r"output height = ceil\(\(28 \+ 2\*0 - 40\) / 3\) \+ 1 = -3",
        ),
        (
            lambda: functional.max_pool2d_forward(X, 2, ceil_mode=1),
            TypeError,
            "ceil_mode: expected True or False, got 1",
        ),
        (
            lambda: functional.max_pool2d_forward(X, (1, 2**30), padding=(0, 2**30 - 1)),
            ValueError,
            r"fewer than 2\*\*31 pixels in an image, padding included",
        ),
        (lambda: functional.max_pool2d_forward(X, 29), ValueError, r"floor\(\(28 \+ 2\*0 - 29\) / 29\) \+ 1 = 0"),
        (lambda: functional.max_pool2d_backward(X, X, X.shape), TypeError, "argmax: expected integers"),
        (
            lambda: functional.max_pool2d_backward(X, np.full(X.shape, 784), X.shape),
            ValueError,
            r"indices in \[0, 784\)",
        ),
        (
            lambda: functional.max_pool2d_backward(X, np.full(X.shape, -1), X.shape),
            ValueError,
            r"indices in \[0, 784\)",
        ),
        (
            lambda: functional.max_pool2d_backward(X, np.zeros((8, 1, 2, 2), int), X.shape),
            ValueError,
            "argmax: expected shape",
        ),
        (lambda: functional.average_pool2d_forward(X[0], 2), ValueError, r"AveragePool2D: x: expected shape"),
        (lambda: functional.average_pool2d_forward(X, 29), ValueError, "AveragePool2D: output height = floor"),
        (
            lambda: functional.average_pool2d_forward(X, (3, 2), padding=((2, 3), (1, 0))),
            ValueError,
            r"AveragePool2D: expected padding below the kernel \(3, 2\) .* got \(\(2, 3\), \(1, 0\)\)",
        ),
        (lambda: functional.average_pool2d_forward(X, 2, count_padding=1), TypeError, "expected True or False, got 1"),
        (
            lambda: functional.average_pool2d_backward(X, X.shape, 2),
            ValueError,
            r"AveragePool2D: dy: expected shape \(8, 1, 14, 14\), got \(8, 1, 28, 28\)",
        ),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_largest_of_whole_images_is_the_first_one_and_any_nan(rng, dtype):
    x = rng.integers(-3, 4, (40, 3, 4, 5)).astype(dtype)
    x[rng.random(x.shape) < 0.02] = np.nan
    y, argmax = functional.max_pool2d_forward(x, (4, 5))
    expected, indices = naive.max_pool2d_forward(x, (4, 5))
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(argmax, indices)
    assert np.isnan(y).any()


@pytest.mark.parametrize("pool", ["max", "average"])
def test_a_kernel_far_larger_than_the_image_costs_no_more_than_it(rng, pool):
    x = rng.standard_normal((1, 1, 2, 5)).astype(np.float32)
    kernel, padding = (2, 10**9 + 5), (0, 5 * 10**8)  # the window holds the whole image
    started = time.process_time()
    if pool == "max":
        y, argmax = functional.max_pool2d_forward(x, kernel, stride=1, padding=padding)
        assert y.tolist() == [[[[x.max()]]]]
        assert argmax.tolist() == [[[[x.argmax()]]]]
    else:
        sizes = {"stride": 1, "padding": padding, "count_padding": False}
        y = functional.average_pool2d_forward(x, kernel, **sizes)
        np.testing.assert_allclose(y, x.mean(keepdims=True), rtol=1e-5)
        dx = functional.average_pool2d_backward(np.ones((1, 1, 1, 1)), x.shape, kernel, **sizes)
        np.testing.assert_allclose(dx, 0.1)
    assert time.process_time() - started < 1  # some seconds when the whole kernel is walked through


@pytest.mark.parametrize("pool", ["max", "average"])
def test_a_stride_far_larger_than_the_image_costs_no_more_than_it(rng, pool):
    x = rng.standard_normal((1, 1, 1, 5)).astype(np.float32)
    # Windows begin at -8e8, -4e8 and 0: all of them hold the whole image.
    sizes, kernel = {"stride": (1, 4 * 10**8), "padding": (0, 8 * 10**8)}, (1, 8 * 10**8 + 5)
    started = time.process_time()
    if pool == "max":
        y, argmax = functional.max_pool2d_forward(x, kernel, **sizes)
        assert y.tolist() == [[[[x.max()] * 3]]]
        assert argmax.tolist() == [[[[x.argmax()] * 3]]]
    else:
        y = functional.average_pool2d_forward(x, kernel, count_padding=False, **sizes)
        np.testing.assert_allclose(y, np.full((1, 1, 1, 3), x.mean()), rtol=1e-5)
        dx = functional.average_pool2d_backward(np.ones((1, 1, 1, 3)), x.shape, kernel, count_padding=False, **sizes)
        np.testing.assert_allclose(dx, 0.6, rtol=1e-6)
    assert time.process_time() - started < 1  # seconds when each column of the window is looked at


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("shape", "kernel_size", "stride", "padding"), POOLINGS)
def test_kernels_stay_within_their_arrays(rng, dtype, shape, kernel_size, stride, padding, ceil_mode):
    windows = PoolWindows.of("pool", kernel_size, stride, padding, ceil_mode)
    geometry, outputs = windows.geometry(shape[1:], "pool"), pool_outputs(shape[1:], windows, "pool")
    counts = at_the_end_of_memory(windows.counts(shape[1:], True, dtype, "pool"))
    n, c, h, w = shape
    x = at_the_end_of_memory(normal(rng, (n * c, h, w), dtype))
    dy = at_the_end_of_memory(normal(rng, (n * c, *outputs[1:]), dtype))
    y, shares, dx = (at_the_end_of_memory(np.full_like(like, np.nan)) for like in (dy, dy, x))
    argmax = at_the_end_of_memory(np.full(dy.shape, -1, np.int32))
    options = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    images, gradients = x.reshape(shape), dy.reshape(n, *outputs)
    _kernels.max_pool2d_forward(geometry, x, y, argmax)
    expected, indices = naive.max_pool2d_forward(images, kernel_size, **options)
    np.testing.assert_array_equal(y, expected.reshape(y.shape))
    _kernels.max_pool2d_backward(dy, argmax, dx)
    true = naive.max_pool2d_backward(gradients, indices, shape)
    np.testing.assert_allclose(dx, true.reshape(dx.shape), **tolerance(dtype))
    _kernels.average_pool2d_forward(geometry, x, counts, y)
    expected = naive.average_pool2d_forward(images, kernel_size, **options)
    np.testing.assert_allclose(y, expected.reshape(y.shape), **tolerance(dtype))
    _kernels.average_pool2d_backward(geometry, dy, counts, shares, dx)
    true = naive.average_pool2d_backward(gradients, shape, kernel_size, **options)
    np.testing.assert_allclose(dx, true.reshape(dx.shape), **tolerance(dtype))


def test_padding_is_kept_in_its_shortest_form():
    assert MaxPool2D(4, padding=[[1, 1], [3, 3]]).padding == AveragePool2D(4, padding=(1, 3)).padding == (1, 3)
    layer = AveragePool2D(2, padding=[[0, 1], [1, 1]], ceil_mode=True)
    assert layer.padding == ((0, 1), (1, 1))
    options = "kernel_size=(2, 2), stride=(2, 2), padding=((0, 1), (1, 1)), ceil_mode=True, count_padding=True"
    assert repr(layer) == f"AveragePool2D({options})"
    assert repr(eval(repr(layer))) == repr(layer)
    assert "ceil_mode" not in repr(MaxPool2D(2))


def test_pickles_of_0_1_round_down(rng):
    x, layer = rng.standard_normal((2, 1, 5, 5)), MaxPool2D(2)
    del layer.__dict__["ceil_mode"]  # as 0.1 wrote it
    assert pickle.loads(pickle.dumps(layer))(x).shape == (2, 1, 2, 2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MaxPool2D(2, padding=2), ValueError, "MaxPool2D: expected padding below the kernel"),
        (
            lambda: MaxPool2D(3, padding=((1, 2), 1)),
            TypeError,
            r"^MaxPool2D: padding: expected an int or a pair of ints, got \(\(1, 2\), 1\); sides that differ are "
            r"\(\(top, bottom\), \(left, right\)\)$",
        ),
        (lambda: MaxPool2D(3, ceil_mode="up"), TypeError, "MaxPool2D: ceil_mode: expected True or False, got 'up'"),
        (lambda: MaxPool2D(True), TypeError, "pair of ints, got True"),
        (lambda: AveragePool2D(0), ValueError, "AveragePool2D: kernel_size: .* got 0"),
        (lambda: AveragePool2D(3, padding=3), ValueError, "AveragePool2D: expected padding below the kernel"),
        (
            lambda: AveragePool2D(3, padding=((1, 0), (0, 3))),
            ValueError,
            "AveragePool2D: expected padding below the ker",
        ),
        (lambda: AveragePool2D(3, count_padding="no"), TypeError, "count_padding: expected True or False, got 'no'"),
    ],
)
def test_wrong_arguments_of_the_layer_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
