"""The kernels of GELU, SiLU, global average pooling and moving averages, on arrays with no memory behind them."""

import numpy as np
import pytest
from cases import normal, numbers, tolerance
from guarded import at_the_end_of_memory

from convnet import _kernels, naive


@pytest.mark.parametrize("size", [1, 7, 1001])
@pytest.mark.parametrize("is_in_place", [False, True])
def test_gates_from_exponentials_of_elementwise_functions(rng, dtype, size, is_in_place):
    x, dy = (at_the_end_of_memory(a) for a in (numbers(rng, size, dtype), rng.standard_normal(size).astype(dtype)))
    close = {"rtol": 1e-5 if dtype == np.float32 else 1e-13}
    for linear, cubic in ((1, 0), (1.5, 0.25)):
        u, slope = linear * x, np.full_like(x, linear)
        if cubic:
            with np.errstate(over="ignore"):
                u, slope = u + cubic * x**3, slope + 3 * cubic * x**2
            found = at_the_end_of_memory(np.zeros_like(x))
            _kernels.minus_abs_of_cubic(linear, cubic, x, found)
            np.testing.assert_allclose(found, -np.abs(u), **close)
        e = np.exp(-np.abs(u))
        gate = np.where(x >= 0, dtype(1), e) / (1 + e)
        y = at_the_end_of_memory(e if is_in_place else np.full_like(x, 7))
        _kernels.gated_from_exp(x, y if is_in_place else e, y)
        with np.errstate(invalid="ignore", over="ignore"):
            np.testing.assert_allclose(y, np.where(gate == 0, 0, x * gate), **close)
            expected = dy * (gate + np.where(e == 0, 0, x * slope * e / np.square(1 + e)))
        dx = at_the_end_of_memory(e if is_in_place else np.full_like(x, 7))
        _kernels.gated_gradient_from_exp(linear, cubic, dy, x, dx if is_in_place else e, dx)
        np.testing.assert_allclose(dx, expected, atol=1e-6 if dtype == np.float32 else 1e-14, **close)


@pytest.mark.parametrize("size", [1, 7, 1001])
def test_gelu_equals_its_formula(rng, dtype, size):
    x, dy = (at_the_end_of_memory(a) for a in (numbers(rng, size, dtype), rng.standard_normal(size).astype(dtype)))
    y, dx, e = (at_the_end_of_memory(np.full_like(x, 7)) for _ in range(3))
    _kernels.minus_half_of_square(x, e)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(e, -0.5 * np.square(x))
    np.exp(e, out=e)
    _kernels.gelu_forward(x, e, y)
    dx[...] = e
    _kernels.gelu_backward(dy, x, dx, dx)
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-13, "atol": 1e-15}
    np.testing.assert_allclose(y, naive.gelu_forward(x), **close)
    np.testing.assert_allclose(dx, naive.gelu_backward(dy, x), **close)


@pytest.mark.parametrize(("p", "q", "c"), [(0, 3, 2), (2, 1, 1), (3, 35, 1), (1, 1, 5), (2, 6, 16), (3, 4, 33)])
def test_global_average_pooling_is_the_mean_of_the_pixels(rng, dtype, p, q, c):
    x, y = at_the_end_of_memory(normal(rng, (p, q, c), dtype)), at_the_end_of_memory(np.full((p, c), 7, dtype))
    _kernels.global_average_pool_forward(x, y)
    np.testing.assert_allclose(y, x.astype(np.float64).mean(axis=1), **tolerance(dtype))


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_average_moves_by_a_share(rng, dtype, size):
    x, average = (rng.standard_normal(size).astype(dtype) for _ in range(2))
    found = at_the_end_of_memory(average)
    _kernels.move_average(0.125, at_the_end_of_memory(x), found)
    np.testing.assert_allclose(found, 0.875 * average + 0.125 * x, rtol=1e-6, atol=1e-7)
    _kernels.move_average(1.0, x, found)
    assert found.tobytes() == x.tobytes()
    _kernels.move_average(0.0, np.zeros_like(x), found)
    assert found.tobytes() == x.tobytes()
