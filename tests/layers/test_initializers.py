"""Initial parameters."""

import numpy as np
import pytest

from convnet import Affine, Conv2D, he_normal


def test_he_normal_has_mean_0_and_variance_2_over_fan_in(dtype):
    weight = he_normal((300, 500), 50, np.random.default_rng(0), dtype)
    assert weight.dtype == dtype
    # Five standard errors of the mean and of the variance of 150,000 normal numbers.
    assert abs(weight.mean()) < 5 * np.sqrt(2 / 50 / weight.size)
    assert weight.var() == pytest.approx(2 / 50, rel=5 * np.sqrt(2 / weight.size))
    assert (
        he_normal((2,), 1, np.random.default_rng(0)).tobytes() == he_normal((2,), 1, np.random.default_rng(0)).tobytes()
    )


def test_initial_parameters():
    layer = Conv2D(3, 64, 5, rng=np.random.default_rng(0))
    assert layer.params["weight"].shape == (64, 3, 5, 5)
    assert layer.params["weight"].var() == pytest.approx(2 / 75, rel=0.1)
    assert (layer.params["bias"] == 0).all()
    layer = Affine(200, 50, rng=np.random.default_rng(0))
    assert layer.params["weight"].shape == (200, 50)
    assert layer.params["weight"].var() == pytest.approx(2 / 200, rel=0.1)
