"""Answers to the exercises of chapter 7, and tests that they are right."""

import numpy as np
import pytest

from convnet import functional, gradient_error

EPSILON = {np.float32: 2.0**-24, np.float64: 2.0**-53}  # how far a number near 1 is from its rounded one, at most


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu_backward(dy, x):
    """Exercise 1: the product rule gives two terms, of which one was missing a factor x and the other was left out."""
    s = sigmoid(x)
    return dy * (s + x * s * (1 - s))


def three_matrices(rng):
    """Exercise 2: an error of NumPy, one that passes, one that fails.

    ``dy @ weight`` needs as many rows as columns. It is right if weight equals its own transpose.
    """
    square = rng.standard_normal((4, 4))
    return rng.standard_normal((3, 5)), square + square.T, square


def max_pool(x):
    return x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2).max(axis=(1, 3))


def spread(y):
    return y.repeat(2, axis=0).repeat(2, axis=1)


def fair_max_pool_backward(dy, x):
    """Exercise 3: the gradient of a window is divided by the number of pixels that share it."""
    is_largest = x == spread(max_pool(x))
    counts = is_largest.reshape(dy.shape[0], 2, dy.shape[1], 2).sum(axis=(1, 3))
    return is_largest * spread(dy / counts)


def dropout_error(x, rate, rng):
    """Exercise 4: every call begins with a new generator of the same random seed, and so draws the same."""

    def dropped():
        return functional.dropout_forward(x, rate, np.random.default_rng(0))

    y, kept = dropped()
    dy = rng.standard_normal(y.shape)
    dx = functional.dropout_backward(dy, kept, rate)
    return gradient_error(lambda: float((dy * dropped()[0]).sum()), x, dx, rng=rng)


def adjoint_error(forward, backward, x, rng):
    """Exercise 5: both sides are the sum of weight * x * dy over all products of the convolution."""
    y = forward(x)
    dy = rng.standard_normal(y.shape)
    left, right = (dy * y).sum(), (backward(dy, x) * x).sum()
    return abs(left - right) / abs(left)


def best_step(epsilon):
    """Exercise 6: the derivative 2 h - epsilon / h**2 is 0 at h = (epsilon / 2) ** (1 / 3)."""
    return (epsilon / 2) ** (1 / 3)


def test_silu():
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))

    def loss():
        return float((dy * x * sigmoid(x)).sum())

    assert gradient_error(loss, x, silu_backward(dy, x), rng=rng) < 1e-7
    np.testing.assert_allclose(silu_backward(dy, x), functional.silu_backward(dy, x))
    assert gradient_error(loss, x, dy * sigmoid(x) * (1 - sigmoid(x)), rng=rng) > 1e-2


def test_the_missing_transpose():
    rng = np.random.default_rng(0)
    refused, passing, failing = three_matrices(rng)
    errors = []
    for weight in (passing, failing):
        x, dy = rng.standard_normal((6, 4)), rng.standard_normal((6, 4))
        loss = lambda x=x, dy=dy, weight=weight: float((dy * (x @ weight)).sum())  # noqa: E731
        errors.append(gradient_error(loss, x, dy @ weight, rng=rng))
    assert errors[0] < 1e-7
    assert errors[1] > 1e-2
    dy = np.ones((6, refused.shape[1]))
    with pytest.raises(ValueError, match="matmul"):
        dy @ refused


def test_a_fair_share():
    rng = np.random.default_rng(0)
    stroke = np.array([[0, 0, 0, 0, 0, 0], [0, 0, 0, 3.0, 5, 0], [0, 0, 1, 6, 4, 0], [0, 0, 2, 2, 0, 0]])
    for x in (rng.standard_normal((4, 6)), stroke):
        dy, shift = rng.standard_normal((2, 3)), np.zeros(1)
        dx = fair_max_pool_backward(dy, x)

        def loss(x=x, dy=dy, shift=shift):
            return float((dy * max_pool(x + shift)).sum())

        assert gradient_error(loss, shift, dx.sum(keepdims=True).reshape(1), rng=rng) < 1e-7
        assert (dx != 0).sum() == (x == spread(max_pool(x))).sum()
    x, dy = rng.standard_normal((4, 6)), rng.standard_normal((2, 3))
    dx = fair_max_pool_backward(dy, x)
    assert gradient_error(lambda: float((dy * max_pool(x)).sum()), x, dx, rng=rng) < 1e-7


def test_dropout_is_checked_with_a_fixed_draw():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 6))
    assert dropout_error(x, 0.4, rng) < 1e-7
    shared = np.random.default_rng(0)  # goes on drawing, from call to call
    _, kept = functional.dropout_forward(x, 0.4, shared)
    dx = functional.dropout_backward(np.ones(x.shape), kept, 0.4)
    try:
        error = gradient_error(lambda: float(functional.dropout_forward(x, 0.4, shared)[0].sum()), x, dx, rng=rng)
    except ValueError:  # a jump looks like a kink
        error = np.inf
    assert error > 1


def convolve(x, weight, padding):
    return functional.conv2d_forward(x[None, None], weight[None, None], padding=padding)[0, 0]


def convolve_backward(dy, x, weight, padding):
    dx, _, _ = functional.conv2d_backward(dy[None, None], x[None, None], weight[None, None], padding=padding)
    return dx[0, 0]


def moved(dy, x, weight, padding):
    """Bug 1: the crop begins at pixel 1, whatever the padding is."""
    whole = np.pad(x, padding)
    dpadded = convolve_backward(dy, whole, weight, 0)
    return dpadded[1 : 1 + x.shape[0], 1 : 1 + x.shape[1]]


def transposed(dy, x, weight, padding):
    """Bug 6: rows and columns of the filter are exchanged."""
    return convolve_backward(dy, x, weight.T, padding)


def test_bugs_without_differences():
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((7, 8)), rng.standard_normal((5, 5))
    found = {
        backward: adjoint_error(
            lambda x: convolve(x, weight, 2), lambda dy, x, backward=backward: backward(dy, x, weight, 2), x, rng
        )
        for backward in (convolve_backward, moved, transposed)
    }
    assert found[convolve_backward] < 1e-12
    assert found[moved] > 1e-2
    assert found[transposed] > 1e-2
    small = rng.standard_normal((3, 3))
    assert adjoint_error(lambda x: convolve(x, small, 1), lambda dy, x: moved(dy, x, small, 1), x, rng) < 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_best_step(dtype):
    epsilon = EPSILON[dtype]
    h = 10.0 ** np.arange(-10, 0, 0.01)
    sums = h**2 + epsilon / h
    assert best_step(epsilon) == pytest.approx(h[sums.argmin()], rel=0.03)

    points, steps = np.linspace(0.5, 1, 20).astype(dtype), h[:, None].astype(dtype)
    differences = (np.exp(np.sin(points + steps)) - np.exp(np.sin(points - steps))) / (2 * steps)
    exact = np.cos(points.astype(float)) * np.exp(np.sin(points.astype(float)))
    measured = h[np.square(differences - exact).mean(axis=1).argmin()]
    assert measured / 4 < best_step(epsilon) < 4 * measured
