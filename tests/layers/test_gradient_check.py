"""The gradient check itself: it has to pass right gradients and to catch wrong ones."""

import numpy as np
import pytest

from convnet import ConvNet1, gradient_error, preprocess


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


@pytest.mark.parametrize("shape", [(1,), (7,), (2, 3)])
def test_a_kink_at_the_array_is_an_error_that_names_its_elements(rng, shape):
    x = rng.uniform(1, 2, shape)
    kinks = rng.permutation(x.size)[:2]
    x.reshape(-1)[kinks] = 0
    before, slopes = x.copy(), rng.uniform(1, 2, shape)

    def function():
        return float((slopes * np.maximum(x, 0)).sum())

    for gradient in (slopes * (x > 0), slopes, np.zeros(shape)):  # there is none to compare with, right or wrong
        with pytest.raises(ValueError, match="expected a function that is smooth at the array") as caught:
            gradient_error(function, x, gradient, rng=rng)
        for index in np.ndindex(shape):
            assert (f"array{list(index)}" in str(caught.value)) == (x[index] == 0)
    np.testing.assert_array_equal(x, before)
    assert "array += 1e-2 * rng.standard_normal(array.shape)" in str(caught.value)
    x += 1e-2 * rng.standard_normal(shape)
    assert gradient_error(function, x, slopes * (x > 0), rng=rng) < 1e-7
    assert gradient_error(function, x, slopes * (x > 0) + 1e-3, rng=rng) > 1e-4


def test_slopes_whose_kinks_cancel_are_found(rng):
    x = np.zeros(2)
    with pytest.raises(ValueError, match="expected a function that is smooth"):
        gradient_error(lambda: float(np.maximum(x[0], 0) - np.maximum(x[1], 0)), x, np.zeros(2), rng=rng)


@pytest.mark.parametrize("distance", [9e-6, 5e-6, 2e-6, 5e-7])
def test_a_kink_nearby_is_passed_by_with_a_shorter_step(rng, distance):
    x = np.array([distance, 1.0, -1.0])
    assert gradient_error(lambda: float(3 * np.maximum(x, 0).sum()), x, 3.0 * (x > 0), rng=rng) < 1e-6
    assert gradient_error(lambda: float(3 * np.maximum(x, 0).sum()), x, np.full(3, 3.0), rng=rng) > 1e-2


def test_strong_curvature_is_no_kink(rng):
    x = rng.uniform(-1, 1, 5)
    assert gradient_error(lambda: float(np.exp(8 * x).sum()), x, 8 * np.exp(8 * x), rng=rng) < 1e-7
    assert gradient_error(lambda: float(np.square(1e3 * x).sum()), x, 2e6 * x, rng=rng) < 1e-7


def test_a_network_on_real_digits_says_where_its_kink_is(rng, mnist):
    data, _ = preprocess(*(array[:1100] for array in mnist), num_validation=100)
    x, labels = data["x_train"][:5].astype(np.float64), data["y_train"][:5]
    model = ConvNet1(num_filters=4, hidden_size=10, dtype=np.float64)

    def error(name):
        _, grads = model.loss(x, labels)
        return gradient_error(lambda: model.loss(x, labels)[0], model.params[name], grads[name], rng=rng, directions=5)

    assert (x[:, 0, :3, :3] == 0).all()  # the corners of all digits, behind which the bias alone decides
    with pytest.raises(ValueError, match=r"elements that cross the kink when each is moved alone: array\[\d\]"):
        error("conv1.bias")
    for param in model.params.values():
        param += 1e-2 * rng.standard_normal(param.shape)
    for name in model.params:
        assert error(name) < 1e-6


@pytest.mark.parametrize("h", [0.0, -1e-5, np.nan])
def test_a_step_that_is_none_is_refused(rng, h):
    with pytest.raises(ValueError, match="h: expected a finite number above 0"):
        gradient_error(float, np.ones(3), np.ones(3), rng=rng, h=h)
