"""Answers to the exercises of chapter 5, and tests that they are right."""

import numpy as np
import pytest

from convnet import BatchNorm2D, functional, gradient_error, naive


def max_pool(x):
    """Exercise 1: the windows begin two pixels apart, as many as fit."""
    height, width = (x.shape[0] - 3) // 2 + 1, (x.shape[1] - 3) // 2 + 1
    y, places = np.zeros((height, width)), {}
    for row, column in np.ndindex(height, width):
        window = x[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        i, j = divmod(int(window.argmax()), 3)
        y[row, column] = window[i, j]
        places[row, column] = 2 * row + i, 2 * column + j
    return y, places


def max_pool_backward(dy, places, shape):
    """Exercise 1: a pixel that is the largest of several windows gets the sum of their gradients."""
    dx = np.zeros(shape)
    for (row, column), place in places.items():
        dx[place] += dy[row, column]
    return dx


def averaging_filter():
    """Exercise 2: four weights of a quarter, and a stride of 2."""
    return np.full((1, 1, 2, 2), 0.25), 2


def learned_slope_forward(x, a):
    """Exercise 3: the slope is 1 to the right of 0 and `a` to the left."""
    return np.where(x > 0, x, a * x)


def learned_slope_backward(dy, x, a):
    """Exercise 3: `a` acts on every element that is not positive, so that its gradient is a sum."""
    dx = dy * np.where(x > 0, 1, a)
    da = np.sum(dy * np.where(x > 0, 0, x))
    return dx, da


def deviation_of_dropout(x, rate):
    """Exercise 4: the mean of the squares is x**2 / (1 - rate), from which the square of the mean, x**2, is taken."""
    return abs(x) * np.sqrt(rate / (1 - rate))


def scale_and_shift(layer):
    """Exercise 5: a = weight / s, and b = bias - a * mean."""
    mean, variance = layer.state["running_mean"], layer.state["running_variance"]
    a = layer.params["weight"] / np.sqrt(variance + layer.epsilon)
    return a, layer.params["bias"] - a * mean


def bias_gradient(x, weight, bias, dy):
    """Exercise 6: the gradient of a convolution's bias just before a batch normalization, which is always 0.

    In the sum of dy - mean(dy) - z * mean(dy * z) over a channel the first two terms cancel, and so does the third,
    because the sum of z is 0. The gradient of the bias is this sum: the bias cannot learn, and does nothing. It is
    subtracted again with the mean.
    """
    convolved = functional.conv2d_forward(x, weight, bias)
    ones, zeros = np.ones(len(bias)), np.zeros(len(bias))
    _, mean, variance = functional.batch_norm2d_forward(convolved, ones, zeros)
    dconvolved, _, _ = functional.batch_norm2d_backward(dy, convolved, ones, mean, variance)
    return dconvolved.sum(axis=(0, 2, 3))


@pytest.mark.parametrize("shape", [(7, 9), (8, 6), (3, 4)])
def test_overlapping_windows(shape):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, shape).astype(float)  # with ties
    y, places = max_pool(x)
    expected, argmax = naive.max_pool2d_forward(x[None, None], 3, stride=2)
    np.testing.assert_array_equal(y, expected[0, 0])
    dy = rng.standard_normal(y.shape)
    expected = naive.max_pool2d_backward(dy[None, None], argmax, (1, 1, *shape))
    np.testing.assert_allclose(max_pool_backward(dy, places, shape), expected[0, 0])


def test_a_pixel_of_several_windows_gets_their_sum():
    x = np.zeros((5, 5))
    x[2, 2] = 1
    y, places = max_pool(x)
    assert max_pool_backward(np.ones(y.shape), places, x.shape)[2, 2] == 4


def test_average_pooling_is_a_convolution():
    x = np.random.default_rng(0).standard_normal((2, 1, 6, 8))
    weight, stride = averaging_filter()
    expected = functional.average_pool2d_forward(x, 2)
    np.testing.assert_allclose(functional.conv2d_forward(x, weight, stride=stride), expected)


def test_the_learned_slope_has_right_gradients():
    rng = np.random.default_rng(0)
    x, a, dy = rng.standard_normal((4, 5)), np.array([0.3]), rng.standard_normal((4, 5))
    dx, da = learned_slope_backward(dy, x, a)

    def loss():
        return float((dy * learned_slope_forward(x, a)).sum())

    assert gradient_error(loss, x, dx, rng=rng) < 1e-7
    assert gradient_error(loss, a, np.array([da]), rng=rng) < 1e-7
    np.testing.assert_allclose(learned_slope_forward(x, 0.3), functional.leaky_relu_forward(x, 0.3))


@pytest.mark.parametrize(("x", "rate"), [(1.0, 0.5), (3.0, 0.2), (-2.0, 0.9)])
def test_the_deviation_of_dropout(x, rate):
    y, _ = functional.dropout_forward(np.full(1_000_000, x), rate, np.random.default_rng(0))
    assert y.std() == pytest.approx(deviation_of_dropout(x, rate), rel=0.01)


def test_batch_normalization_in_prediction_is_a_scale_and_a_shift():
    rng = np.random.default_rng(0)
    layer = BatchNorm2D(3, dtype=np.float64)
    layer.params["weight"][:], layer.params["bias"][:] = rng.standard_normal((2, 3))
    layer.update_state(layer.forward(5 + 2 * rng.standard_normal((8, 3, 4, 4)))[1])
    x = rng.standard_normal((2, 3, 4, 4))
    a, b = scale_and_shift(layer)
    np.testing.assert_allclose(a[:, None, None] * x + b[:, None, None], layer(x))


def test_a_bias_before_batch_normalization_has_no_gradient():
    rng = np.random.default_rng(0)
    x, weight, bias = rng.standard_normal((4, 2, 6, 6)), rng.standard_normal((3, 2, 3, 3)), rng.standard_normal(3)
    dy = rng.standard_normal((4, 3, 4, 4))
    np.testing.assert_allclose(bias_gradient(x, weight, bias, dy), 0, atol=1e-12)

    def normalized():
        return functional.batch_norm2d_forward(functional.conv2d_forward(x, weight, bias), np.ones(3), np.zeros(3))[0]

    before = normalized()
    bias += 7
    np.testing.assert_allclose(normalized(), before, atol=1e-9)
