"""Answers to the exercises of chapter 2, and tests that they are right."""

from math import exp, log

import numpy as np
import pytest

from convnet import gradient_error
from convnet.functional import affine_forward
from convnet.layers import softmax_loss


def sigmoid_forward(y):
    """Exercise 1: s = u^-1 with u = 1 + e^-y, so ds/dy = -u^-2 * -e^-y = s * (e^-y / u) = s * (1 - s)."""
    return 1 / (1 + np.exp(-y))


def sigmoid_backward(ds, s):
    """Exercise 1: the gradient that comes in, times the derivative."""
    return ds * s * (1 - s)


def squared_loss(scores, targets):
    """Exercise 2: each square hands on twice the difference; the mean divides by N."""
    difference = scores - targets
    return float((difference**2).sum() / len(scores)), 2 * difference / len(scores)


def log_softmax(scores):
    """Exercise 3: log(e^s_k / sum) = s_k - log(sum), after the largest score is subtracted from all."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def merge(weight1, bias1, weight2, bias2):
    """Exercise 4: (x W1 + b1) W2 + b2 = x (W1 W2) + (b1 W2 + b2).

    So layers of this kind alone are no more than one of them: something that is not a sum of products has to lie
    between.
    """
    return weight1 @ weight2, bias1 @ weight2 + bias2


def loss_of_equal_scores(classes):
    """Exercise 5: each class has the probability 1 / K."""
    return log(classes)


def loss_of_three_more(classes):
    """Exercise 5: p = e^3 / (e^3 + K - 1), as the other K - 1 scores may be 0."""
    return log(1 + (classes - 1) * exp(-3))


def test_the_sigmoid_hands_its_gradient_on(rng):
    y, ds = rng.standard_normal((4, 5)), rng.standard_normal((4, 5))
    s = sigmoid_forward(y)
    assert ((s > 0) & (s < 1)).all()
    assert sigmoid_forward(np.zeros(1)) == 0.5
    error = gradient_error(lambda: (ds * sigmoid_forward(y)).sum(), y, sigmoid_backward(ds, s), rng=rng)
    assert error < 1e-7


def test_the_squared_loss_has_the_right_gradient(rng):
    scores, targets = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    assert squared_loss(np.array([[1.0, 2], [0, 0]]), np.array([[0.0, 0], [0, 3]]))[0] == (1 + 4 + 9) / 2
    gradient = squared_loss(scores, targets)[1]
    assert gradient_error(lambda: squared_loss(scores, targets)[0], scores, gradient, rng=rng) < 1e-7


def test_the_logarithms_are_safe(rng):
    scores = rng.standard_normal((4, 3))
    expected = [[log(exp(s) / sum(exp(other) for other in row)) for s in row] for row in scores.tolist()]
    np.testing.assert_allclose(log_softmax(scores), expected)
    np.testing.assert_allclose(log_softmax(scores + 1000), expected, atol=1e-10)
    np.testing.assert_allclose(log_softmax(scores - 1000), expected, atol=1e-10)
    np.testing.assert_allclose(log_softmax(np.array([[0.0, -1000]])), [[0, -1000]])


def test_two_layers_are_one(rng):
    x = rng.standard_normal((6, 4))
    first, second = (rng.standard_normal((4, 5)), rng.standard_normal(5)), (rng.standard_normal((5, 2)), np.ones(2))
    expected = affine_forward(affine_forward(x, *first), *second)
    np.testing.assert_allclose(affine_forward(x, *merge(*first, *second)), expected)


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_what_knows_nothing_has_this_loss(classes):
    scores, labels = np.full((7, classes), 4.2), np.arange(7) % classes
    assert loss_of_equal_scores(classes) == pytest.approx(softmax_loss(scores, labels)[0])
    scores[np.arange(7), labels] += 3
    assert loss_of_three_more(classes) == pytest.approx(softmax_loss(scores, labels)[0])
