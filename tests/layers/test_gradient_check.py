"""The gradient check itself: it has to pass right gradients and to catch wrong ones."""

import numpy as np
import pytest

from convnet import gradient_error


def test_right_and_wrong_gradients(rng):
    x = rng.standard_normal((3, 4))
    before = x.copy()

    def function():
        return float(np.sin(x).sum())

    assert gradient_error(function, x, np.cos(x), rng=rng) < 1e-9
    wrong = np.cos(x)
    wrong[1, 2] += 1e-3
    assert gradient_error(function, x, wrong, rng=rng) > 1e-5
    assert gradient_error(function, x, np.zeros_like(x), rng=rng) > 1e-2
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_never_passes(rng, value):
    x = np.ones(3)
    assert gradient_error(lambda: value, x, np.zeros(3), rng=rng) == np.inf
    assert gradient_error(lambda: 0.0, x, np.full(3, value), rng=rng) == np.inf


def test_array_is_restored_when_the_function_raises(rng):
    x = np.ones(3)
    with pytest.raises(ZeroDivisionError):
        gradient_error(lambda: 1 / 0, x, x, rng=rng)
    np.testing.assert_array_equal(x, np.ones(3))


def test_wrong_arguments_are_named(rng):
    with pytest.raises(TypeError, match="expected an array of float64, got float32"):
        gradient_error(float, np.ones(3, np.float32), np.ones(3), rng=rng)
    with pytest.raises(ValueError, match=r"expected a gradient of shape \(3,\), got \(2,\)"):
        gradient_error(float, np.ones(3), np.ones(2), rng=rng)
