"""Activation functions."""

import numpy as np
import pytest
from cases import normal

from convnet import LeakyReLU, ReLU, functional, naive


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5), (2, 3, 4, 5)])
def test_relu_equals_the_loops(rng, dtype, shape):
    x = rng.integers(-2, 3, shape).astype(dtype)
    x[rng.random(shape) < 0.2] = np.nan
    y = functional.relu_forward(x)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, naive.relu_forward(x))
    dy = normal(rng, shape, dtype)
    dx = functional.relu_backward(dy, y)
    assert dx.dtype == dtype
    np.testing.assert_array_equal(dx, naive.relu_backward(dy, y))
    np.testing.assert_array_equal(dx, functional.relu_backward(dy, x))


@pytest.mark.parametrize("slope", [0.01, 0, 1, 0.3, 2, -0.5])
@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5), (2, 3, 4, 5)])
def test_leaky_relu_equals_the_loops(rng, dtype, shape, slope):
    x = rng.integers(-2, 3, shape).astype(dtype)
    x[rng.random(shape) < 0.2] = np.nan
    y = functional.leaky_relu_forward(x, slope)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, naive.leaky_relu_forward(x, slope), rtol=1e-6)
    dy = normal(rng, shape, dtype)
    dx = functional.leaky_relu_backward(dy, x, slope)
    assert dx.dtype == dtype
    np.testing.assert_allclose(dx, naive.leaky_relu_backward(dy, x, slope), rtol=1e-6)


def test_leaky_relu_without_a_slope_is_relu_and_has_0_01_by_default(rng, dtype):
    x, dy = normal(rng, (4, 5), dtype), normal(rng, (4, 5), dtype)
    np.testing.assert_array_equal(functional.leaky_relu_forward(x, 0), functional.relu_forward(x))
    np.testing.assert_array_equal(functional.leaky_relu_backward(dy, x, 0), functional.relu_backward(dy, x))
    np.testing.assert_array_equal(functional.leaky_relu_forward(x), functional.leaky_relu_forward(x, 0.01))
    assert repr(LeakyReLU()) == "LeakyReLU(slope=0.01)"
    ends = np.array([-np.inf, np.inf, np.nan], dtype)
    np.testing.assert_array_equal(functional.leaky_relu_forward(ends, 0.5), ends)


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5), (2, 3, 4, 5)])
def test_tanh_equals_the_loops(rng, dtype, shape):
    x = (3 * rng.standard_normal(shape)).astype(dtype)
    y = functional.tanh_forward(x)
    assert y.dtype == dtype
    assert y.shape == shape
    np.testing.assert_allclose(y, naive.tanh_forward(x), rtol=1e-6 if dtype == np.float32 else 1e-14)
    dy = normal(rng, shape, dtype)
    dx = functional.tanh_backward(dy, x)
    assert dx.dtype == dtype
    np.testing.assert_allclose(dx, naive.tanh_backward(dy, x), rtol=1e-5 if dtype == np.float32 else 1e-13)


def test_tanh_is_stable_at_both_ends_and_exact_near_0(dtype):
    far = 40.0 if dtype == np.float32 else 350.0
    x = np.array([-np.inf, -1e30, -far, 0, far, 1e30, np.inf, np.nan], dtype)
    y = functional.tanh_forward(x)
    np.testing.assert_array_equal(y, [-1, -1, -1, 0, 1, 1, 1, np.nan])
    dx = functional.tanh_backward(np.ones_like(x), x)
    np.testing.assert_array_equal(dx[[0, 1, 3, 5, 6, 7]], [0, 0, 1, 0, 0, np.nan])
    # Where y rounds to 1, its derivative is still the small number that it is.
    np.testing.assert_allclose(dx[[2, 4]], 4 * np.exp(-2 * far), rtol=1e-4)
    tiny = np.array([1e-20, -1e-30], dtype)
    np.testing.assert_array_equal(functional.tanh_forward(tiny), tiny)


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5), (2, 3, 4, 5)])
def test_sigmoid_equals_the_loops(rng, dtype, shape):
    x = (5 * rng.standard_normal(shape)).astype(dtype)
    y = functional.sigmoid_forward(x)
    assert y.dtype == dtype
    assert y.shape == shape
    np.testing.assert_allclose(y, naive.sigmoid_forward(x), rtol=1e-6 if dtype == np.float32 else 1e-14)
    dy = normal(rng, shape, dtype)
    dx = functional.sigmoid_backward(dy, x)
    assert dx.dtype == dtype
    np.testing.assert_allclose(dx, naive.sigmoid_backward(dy, x), rtol=1e-5 if dtype == np.float32 else 1e-13)


def test_sigmoid_is_stable_at_both_ends(dtype):
    far = 80.0 if dtype == np.float32 else 700.0
    x = np.array([-np.inf, -1e30, -far, 0, far, 1e30, np.inf, np.nan], dtype)
    y = functional.sigmoid_forward(x)
    np.testing.assert_array_equal(y[[0, 1, 3, 4, 5, 6, 7]], [0, 0, 0.5, 1, 1, 1, np.nan])
    assert y[2] == pytest.approx(np.exp(-far), rel=1e-5)
    dx = functional.sigmoid_backward(np.ones_like(x), x)
    np.testing.assert_array_equal(dx[[0, 1, 3, 5, 6, 7]], [0, 0, 0.25, 0, 0, np.nan])
    # Where y rounds to 1, its derivative is still the small number that it is.
    np.testing.assert_allclose(dx[[2, 4]], np.exp(-far), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: functional.relu_forward([[1.0], [1.0, 2.0]]), ValueError, "lists of different lengths"),
        (
            lambda: functional.relu_backward(np.ones((1, 3)), np.ones((2, 3))),
            ValueError,
            r"expected shape \(2, 3\), got \(1, 3\)",
        ),
        (
            lambda: functional.sigmoid_backward(np.ones(2), np.ones(3)),
            ValueError,
            r"Sigmoid: dy: expected shape \(3,\)",
        ),
        (lambda: functional.tanh_backward(np.ones(2), np.ones(3)), ValueError, r"Tanh: dy: expected shape \(3,\)"),
        (
            lambda: functional.leaky_relu_backward(np.ones(2), np.ones(3)),
            ValueError,
            r"LeakyReLU: dy: expected shape \(3,\)",
        ),
        (lambda: functional.leaky_relu_forward([1.0], np.inf), ValueError, "LeakyReLU: slope: .* got inf"),
        (lambda: functional.leaky_relu_backward([1.0], [1.0], "a"), TypeError, "LeakyReLU: slope: .* got 'a'"),
        (
            lambda: functional.tanh_forward(np.ones(3, bool)),
            TypeError,
            "Tanh: x: expected real numbers, got dtype bool",
        ),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ReLU.from_params({"weight": np.ones(2)}), ValueError, "ReLU: expected the parameters"),
        (lambda: LeakyReLU(np.nan), ValueError, "LeakyReLU: slope: .* got nan"),
        (lambda: LeakyReLU("x"), TypeError, "LeakyReLU: slope: expected a real number, got 'x'"),
        (lambda: LeakyReLU.from_params({}, slope=None), TypeError, "LeakyReLU: slope: expected a real number"),
    ],
)
def test_wrong_arguments_of_the_layer_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
