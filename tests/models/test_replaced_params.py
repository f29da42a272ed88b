"""Parameters whose arrays a user replaces: the plan is made anew, and what does not fit is named."""

import numpy as np
import pytest

from convnet import Affine, Conv2D, MaxPool2D, ReLU, Sequential


@pytest.mark.parametrize("name", ["conv1", "affine1", "conv2"])
@pytest.mark.parametrize("size", [1, 100])
def test_a_bias_that_was_replaced_by_one_of_another_size_is_named(name, size):
    rng = np.random.default_rng(0)
    layers = [Conv2D(1, 4, 3, padding=1, rng=rng), ReLU(), MaxPool2D(2), Conv2D(4, 3, 3, rng=rng)]
    model = Sequential([*layers, Affine(12, 3, rng=rng)], (1, 8, 8))
    x = np.zeros((2, 1, 8, 8), np.float32)
    model.scores(x)
    model.layers[name].params["bias"] = np.zeros(size, np.float32)
    with pytest.raises(ValueError, match=rf"bias: expected shape \(\d,\), got \({size},\)"):
        model.scores(x)


def test_parameters_that_were_replaced_by_ones_of_another_dtype_are_computed_in_the_models():
    model = Sequential([Affine(5, 4, rng=np.random.default_rng(0)), ReLU()], (5,))
    x = np.random.default_rng(1).standard_normal((3, 5)).astype(np.float32)
    expected = model.scores(x)
    model.layers["affine1"].params["bias"] = np.zeros(4)
    np.testing.assert_allclose(model.scores(x), expected, rtol=1e-6)


def test_a_weight_that_was_replaced_by_one_that_does_not_fit_is_named():
    model = Sequential([Affine(5, 4, rng=np.random.default_rng(0)), ReLU()], (5,))
    for shape, message in (
        ((3, 4), "weight expects 3 input features, got 5"),
        ((5,), r"weight: expected shape \(D, M\)"),
    ):
        model.layers["affine1"].params["weight"] = np.zeros(shape, np.float32)
        with pytest.raises(ValueError, match=message):
            model.scores(np.zeros((2, 5), np.float32))
