"""Dropout."""

import numpy as np
import pytest
from cases import normal, tolerance

from convnet import Dropout, functional, naive


@pytest.mark.parametrize("rate", [0, 0.25, 0.9])
@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5), (2, 3, 4, 5)])
def test_dropout_equals_the_loops(rng, dtype, shape, rate):
    x, dy = normal(rng, shape, dtype), normal(rng, shape, dtype)
    y, kept = functional.dropout_forward(x, rate, np.random.default_rng(3))
    expected, throws = naive.dropout_forward(x, rate, np.random.default_rng(3))
    assert y.dtype == dtype
    np.testing.assert_array_equal(kept, throws)
    np.testing.assert_allclose(y, expected, **tolerance(dtype))
    dx = functional.dropout_backward(dy, kept, rate)
    assert dx.dtype == dtype
    np.testing.assert_allclose(dx, naive.dropout_backward(dy, throws, rate), **tolerance(dtype))


def test_dropout_drops_what_is_not_finite_too():
    y, kept = functional.dropout_forward(np.full(100, np.inf), 0.5, np.random.default_rng(0))
    np.testing.assert_array_equal(y, np.where(kept, np.inf, 0))


X, W = np.ones((8, 1, 28, 28), np.float32), np.ones((4, 3, 5, 5), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: functional.dropout_forward(X, 1, np.random.default_rng(0)),
            ValueError,
            "at least 0 and below 1, got 1",
        ),
        (
            lambda: functional.dropout_forward(X, 0.5, 0),
            TypeError,
            "Dropout: rng: expected a numpy.random.Generator such as .*, got 0",
        ),
        (lambda: functional.dropout_backward(X, np.ones(X.shape), 0.5), TypeError, "kept: expected bool, got dtype"),
        (lambda: functional.dropout_backward(X, np.ones(3, bool), 0.5), ValueError, "Dropout: dy: expected shape"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_dropout_keeps_the_mean_and_repeats_for_an_equal_generator():
    x = np.ones((200, 500))
    y, _ = Dropout(0.3).forward(x, np.random.default_rng(1))
    dropped = (y == 0).mean()
    # Five standard errors of 100,000 throws.
    assert dropped == pytest.approx(0.3, abs=5 * np.sqrt(0.3 * 0.7 / x.size))
    np.testing.assert_allclose(y[y != 0], 1 / 0.7)
    assert y.tobytes() == Dropout(0.3).forward(x, np.random.default_rng(1))[0].tobytes()
    assert y.tobytes() != Dropout(0.3).forward(x, np.random.default_rng(2))[0].tobytes()
    np.testing.assert_array_equal(Dropout(0).forward(x, np.random.default_rng(1))[0], x)


def test_dropout_needs_a_generator_to_train():
    with pytest.raises(TypeError, match=r"Dropout: expected forward\(x, rng\)"):
        Dropout(0.5).forward(np.ones(3))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Dropout(1), ValueError, "Dropout: rate: expected a finite number of at least 0 and below 1, got 1"),
        (lambda: Dropout(-0.1), ValueError, "Dropout: rate: .* got -0.1"),
        (lambda: Dropout("half"), TypeError, "Dropout: rate: expected a real number, got 'half'"),
    ],
)
def test_wrong_arguments_of_the_layer_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
