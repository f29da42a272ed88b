"""Answers to the exercises of chapter 9, each with a test."""

import numpy as np
import pytest

from convnet import Affine, Conv2D, ConvNet1, MaxPool2D, ReLU, Sequential, gradient_error


def most_changed(before, after):
    """Exercise 1: the index of the filter that changed most, compared with how large it was."""
    change = np.sqrt(((after - before) ** 2).sum(axis=(1, 2, 3)))
    return int((change / np.sqrt((before**2).sum(axis=(1, 2, 3)))).argmax())


def test_1_the_filter_with_the_largest_ratio_is_found(rng):
    before = rng.standard_normal((6, 2, 3, 3))
    before[4] *= 0.01  # small at first, so that a small change is much
    after = before + 0.1 * rng.standard_normal(before.shape)
    after[2] += 0.3  # the largest change, but of a large filter
    sizes = [float(np.linalg.norm((after - before)[f])) / float(np.linalg.norm(before[f])) for f in range(6)]
    assert most_changed(before, after) == sizes.index(max(sizes)) == 4


def occlusion(model, x, label, size):
    """Exercise 2: the probability of a class for every place of a square of zeros."""
    _, height, width = x.shape
    places = height - size + 1, width - size + 1
    covered = np.repeat(x[None], places[0] * places[1], axis=0)
    for index, (row, column) in enumerate(np.ndindex(places)):
        covered[index, :, row : row + size, column : column + size] = 0
    return model.probabilities(covered)[:, label].reshape(places)


def test_2_an_answer_that_rests_on_one_pixel_falls_where_that_is_covered(rng):
    affine = Affine(6 * 5, 2, rng=rng)
    affine.params["weight"][...] = 0
    affine.params["weight"][2 * 5 + 3, 1] = 4  # the pixel at row 2, column 3, for class 1
    model = Sequential([affine], (1, 6, 5))
    found = occlusion(model, np.ones((1, 6, 5), np.float32), 1, 2)
    assert found.shape == (5, 4)
    for row, column in np.ndindex(found.shape):
        is_covered = row <= 2 < row + 2 and column <= 3 < column + 2
        assert found[row, column] == pytest.approx(0.5 if is_covered else 1 / (1 + np.exp(-4)), abs=1e-6)


def receptive_field(layers):
    """Exercise 3: the width of the part of an image that one number sees, behind layers (kernel_size, stride)."""
    width = 1
    for kernel_size, stride in reversed(layers):
        width = (width - 1) * stride + kernel_size
    return width


@pytest.mark.parametrize("layers", [[(7, 1), (2, 2)], [(3, 1), (3, 1), (3, 1)], [(3, 2), (2, 2), (3, 1)], [(1, 1)]])
def test_3_as_many_pixels_change_the_output(layers, rng):
    width = receptive_field(layers)
    stack = [Conv2D(1, 1, (1, k), stride=(1, s), rng=rng, dtype=np.float64) for k, s in layers]
    x = rng.standard_normal((1, 1, 1, width + 3))

    def first_output(x):
        for layer in stack:
            x = layer(x)
        return x[0, 0, 0, 0]

    def changes(pixel):
        other = x.copy()
        other[0, 0, 0, pixel] += 1
        return first_output(other) != first_output(x)

    assert [changes(pixel) for pixel in range(width + 3)] == [True] * width + [False] * 3


def test_3_of_convnet1():
    assert receptive_field([(7, 1), (2, 2)]) == 8


def input_gradient(model, x, label):
    """Exercise 4: the gradient of the score of a class with respect to images (N, C, H, W)."""
    caches = []
    for layer in model.layers.values():
        x, cache = layer.forward(x)
        caches.append(cache)
    gradient = np.zeros_like(x)
    gradient[:, label] = 1
    for layer, cache in zip(reversed(model.layers.values()), reversed(caches), strict=True):
        gradient, _ = layer.backward(gradient, cache)
    return gradient


@pytest.mark.parametrize("label", [0, 2])
def test_4_the_gradient_is_that_of_finite_differences(label, rng):
    model = ConvNet1((1, 8, 6), num_filters=3, kernel_size=3, padding=1, hidden_size=5, num_classes=3, dtype=np.float64)
    assert [type(layer) for layer in model.layers.values()] == [Conv2D, ReLU, MaxPool2D, Affine, ReLU, Affine]
    x = rng.standard_normal((2, 1, 8, 6))
    gradient = input_gradient(model, x, label)
    assert gradient_error(lambda: float(model.scores(x)[:, label].sum()), x, gradient, rng=rng) < 1e-7
