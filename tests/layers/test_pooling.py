"""Max and average pooling."""

import time

import numpy as np
import pytest
from cases import POOLINGS, normal, tolerance

from convnet import AveragePool2D, MaxPool2D, functional, naive


@pytest.mark.parametrize(("shape", "kernel_size", "stride", "padding"), POOLINGS)
def test_max_pooling_equals_the_loops(rng, dtype, shape, kernel_size, stride, padding):
    x = rng.integers(-3, 4, shape).astype(dtype)  # few values, so that there are ties
    y, argmax = functional.max_pool2d_forward(x, kernel_size, stride=stride, padding=padding)
    expected, indices = naive.max_pool2d_forward(x, kernel_size, stride=stride, padding=padding)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(argmax, indices)
    assert y.shape == expected.shape

    dy = normal(rng, y.shape, dtype)
    dx = functional.max_pool2d_backward(dy, argmax, shape)
    assert dx.dtype == dtype
    assert dx.shape == shape
    np.testing.assert_allclose(dx, naive.max_pool2d_backward(dy, indices, shape), **tolerance(dtype))


@pytest.mark.parametrize("count_padding", [True, False])
@pytest.mark.parametrize(("shape", "kernel_size", "stride", "padding"), POOLINGS)
def test_average_pooling_equals_the_loops(rng, dtype, shape, kernel_size, stride, padding, count_padding):
    x = normal(rng, shape, dtype)
    options = {"stride": stride, "padding": padding, "count_padding": count_padding}
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
        (lambda: functional.max_pool2d_forward(X, 2, padding=2), ValueError, "at most half the kernel"),
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
        (lambda: functional.average_pool2d_forward(X, 2, padding=2), ValueError, "at most half the kernel"),
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


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MaxPool2D(2, padding=2), ValueError, "at most half the kernel"),
        (lambda: MaxPool2D(True), TypeError, "pair of ints, got True"),
        (lambda: AveragePool2D(0), ValueError, "AveragePool2D: kernel_size: .* got 0"),
        (lambda: AveragePool2D(3, padding=2), ValueError, "AveragePool2D: expected padding of at most half the kernel"),
        (lambda: AveragePool2D(3, count_padding="no"), TypeError, "count_padding: expected True or False, got 'no'"),
    ],
)
def test_wrong_arguments_of_the_layer_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
