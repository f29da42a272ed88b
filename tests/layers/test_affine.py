"""Affine layers."""

import numpy as np
import pytest
from cases import normal, tolerance

from convnet import Affine, functional, naive


@pytest.mark.parametrize(("n", "d", "m"), [(4, 6, 3), (1, 1, 1), (0, 5, 2), (3, 7, 1)])
def test_affine_equals_the_loops(rng, dtype, n, d, m):
    x, weight, bias = normal(rng, (n, d), dtype), normal(rng, (d, m), dtype), normal(rng, m, dtype)
    y = functional.affine_forward(x, weight, bias)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, naive.affine_forward(x, weight, bias), **tolerance(dtype))
    dy = normal(rng, (n, m), dtype)
    gradients = functional.affine_backward(dy, x, weight)
    oracle = naive.affine_backward(dy, x, weight)
    for gradient, true, like in zip(gradients, oracle, (x, weight, bias), strict=True):
        assert gradient.dtype == dtype
        assert gradient.shape == like.shape
        np.testing.assert_allclose(gradient, true, **tolerance(dtype))
    assert functional.affine_backward(dy, x, weight, need_dx=False)[0] is None


def test_affine_flattens_all_axes_after_the_first(rng):
    x, weight = normal(rng, (3, 2, 4, 5), np.float64), normal(rng, (40, 3), np.float64)
    y = functional.affine_forward(x, weight, np.zeros(3))
    np.testing.assert_allclose(y, naive.affine_forward(x, weight, np.zeros(3)), **tolerance(np.float64))
    dx, _, _ = functional.affine_backward(y, x, weight)
    assert dx.shape == x.shape


X, W = np.ones((8, 1, 28, 28), np.float32), np.ones((4, 3, 5, 5), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: functional.affine_update(np.ones((2, 2)), np.ones((2, 5)), np.ones((2, 5)).T, rate=1, l2=0),
            ValueError,
            "expected a weight that can_update accepts",
        ),
        (
            lambda: functional.affine_forward(X, np.ones((5, 2)), np.zeros(2)),
            ValueError,
            "expects 5 input features, got x",
        ),
        (lambda: functional.affine_forward(np.ones(5), np.ones((5, 2)), np.zeros(2)), ValueError, "input features"),
        (
            lambda: functional.affine_backward(np.ones((2, 3)), np.ones((2, 5)), np.ones((5, 2))),
            ValueError,
            "dy: expected shape",
        ),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_unaligned_weight_is_not_updated_in_place():
    memory = np.zeros(4 * 6 * 5 + 1, np.uint8)
    weight = memory[1:].view(np.float32).reshape(6, 5)
    assert not functional.can_update(weight)
    with pytest.raises(ValueError, match=r"affine_update|Affine"):
        functional.affine_update(np.ones((2, 5)), np.ones((2, 6)), weight, rate=0.1, l2=0.1)


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Affine(5, -1, rng=RNG), ValueError, "out_features: expected at least 1, got -1"),
        (lambda: Affine.from_params({"weight": np.ones((2, 3))}), ValueError, "expected the parameters"),
        (
            lambda: Affine.from_params({"weight": np.ones((2, 3)), "bias": np.ones(2)}),
            ValueError,
            "bias for each column",
        ),
    ],
)
def test_wrong_arguments_of_the_layer_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("name", ["x", "dy"])
def test_an_update_refuses_a_weight_that_shares_memory_with_what_it_reads(name):
    weight = np.eye(4, dtype=np.float32)
    arguments = {"x": np.ones((4, 4), np.float32), "dy": np.ones((4, 4), np.float32)} | {name: weight}
    with pytest.raises(ValueError, match="expected a weight that shares no memory with x and dy"):
        functional.affine_update(**arguments, weight=weight, rate=0.1, l2=0.0)


def test_the_penalty_of_huge_weights_does_not_overflow():
    weight = np.full((70, 5), 1e20, np.float32)
    _, _, penalty = functional.affine_update(np.zeros((2, 5)), np.zeros((2, 70)), weight, rate=0.0, l2=2.0)
    assert penalty == pytest.approx(350 * 1e40, rel=1e-6)
