"""Answers to the exercises of chapter 3, and tests that they are right."""

from itertools import product

import numpy as np
import pytest

from convnet import gradient_error, naive
from convnet.functional import conv2d_forward

# Exercise 1: the one weight that is not 0 says which neighbour a pixel becomes: here itself, and its left one.
SAME = np.array([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]])
TO_THE_RIGHT = np.array([[0.0, 0, 0], [1, 0, 0], [0, 0, 0]])
MEAN = np.full((3, 3), 1 / 9)


def conv1d_forward(x, weight, stride):
    """Exercise 2: the loops of the chapter with one axis."""
    y = np.zeros((len(x) - len(weight)) // stride + 1)
    for o, i in np.ndindex(len(y), len(weight)):
        y[o] += weight[i] * x[o * stride + i]
    return y


def conv1d_backward(dy, x, weight, stride):
    """Exercise 2: the product hands dy on to both factors."""
    dx, dweight = np.zeros(x.shape), np.zeros(weight.shape)
    for o, i in np.ndindex(len(dy), len(weight)):
        dweight[i] += dy[o] * x[o * stride + i]
        dx[o * stride + i] += dy[o] * weight[i]
    return dx, dweight


def windows_of(h, size, kernel, stride, padding):
    """Exercise 3: the window oh holds the pixels from oh * stride - padding on, as many as the kernel has."""
    outputs = (size + 2 * padding - kernel) // stride + 1
    return sum(0 <= h - (oh * stride - padding) < kernel for oh in range(outputs))


def input_gradient(dy, weight):
    """Exercise 4: a filter for each channel of x, whose channels are those of dy, turned by 180 degrees."""
    _, _, kh, kw = weight.shape
    turned = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    return conv2d_forward(dy, turned, padding=(kh - 1, kw - 1))


def multiplications(n, c, h, w, f, kh, kw, stride):
    """Exercise 5: each output takes a product for each weight of its filter.

    ConvNet1: an image of 28x28 with its padding is one of 34x34, so that there are 28x28 outputs.
    """
    outputs = n * f * ((h - kh) // stride + 1) * ((w - kw) // stride + 1)
    return outputs * c * kh * kw


CONVNET1 = multiplications(1, 1, 34, 34, 32, 7, 7, 1)


def filtered(image, weight):
    return naive.conv2d_forward(image[None, None], weight[None, None], padding=1)[0, 0]


def test_the_filters_by_hand_do_what_is_asked(rng):
    image = rng.standard_normal((5, 6))
    np.testing.assert_array_equal(filtered(image, SAME), image)
    moved = filtered(image, TO_THE_RIGHT)
    np.testing.assert_array_equal(moved[:, 1:], image[:, :-1])
    np.testing.assert_array_equal(moved[:, 0], 0)
    inner = filtered(image, MEAN)[1:-1, 1:-1]
    for h, w in np.ndindex(inner.shape):
        assert inner[h, w] == pytest.approx(image[h : h + 3, w : w + 3].mean())


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_convolution_of_one_dimension(rng, stride):
    x, weight = rng.standard_normal(11), rng.standard_normal(4)
    y = conv1d_forward(x, weight, stride)
    np.testing.assert_allclose(y, np.correlate(x, weight, "valid")[::stride])
    dy = rng.standard_normal(len(y))
    gradients = conv1d_backward(dy, x, weight, stride)
    for array, gradient in zip((x, weight), gradients, strict=True):
        assert gradient_error(lambda: (dy * conv1d_forward(x, weight, stride)).sum(), array, gradient, rng=rng) < 1e-7


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"), [(5, 3, 1, 0), (5, 3, 1, 1), (7, 3, 2, 1), (6, 2, 3, 0)]
)
def test_the_windows_of_a_pixel_are_counted(size, kernel, stride, padding):
    ones = np.ones((1, 1, 1, size)), np.ones((1, 1, 1, kernel))
    y = naive.conv2d_forward(*ones, stride=(1, stride), padding=(0, padding))
    counts, _, _ = naive.conv2d_backward(np.ones(y.shape), *ones, stride=(1, stride), padding=(0, padding))
    assert [windows_of(h, size, kernel, stride, padding) for h in range(size)] == counts[0, 0, 0].tolist()


def test_the_gradient_is_a_convolution_again(rng):
    x, weight = rng.standard_normal((2, 3, 6, 7)), rng.standard_normal((4, 3, 2, 3))
    dy = rng.standard_normal(naive.conv2d_forward(x, weight).shape)
    expected, _, _ = naive.conv2d_backward(dy, x, weight)
    np.testing.assert_allclose(input_gradient(dy, weight), expected, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_work_is_counted(stride):
    n, c, h, w, f, kh, kw = 2, 3, 6, 7, 4, 3, 2
    places = product(range(0, h - kh + 1, stride), range(0, w - kw + 1, stride))
    counted = sum(n * f * c * kh * kw for _ in places)
    assert multiplications(n, c, h, w, f, kh, kw, stride) == counted
    assert CONVNET1 == 1229312
