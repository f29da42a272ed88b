"""GELU and SiLU; sigmoid and tanh are in test_activations.py."""

import numpy as np
import pytest
from cases import normal
from guarded import on

from convnet import GELU, SiLU, functional, naive

SHAPES = [(0,), (1,), (3, 5), (2, 3, 4, 5)]
# The function, its gradient, and its loops.
FUNCTIONS = {
    "gelu": (functional.gelu_forward, functional.gelu_backward, naive.gelu_forward, naive.gelu_backward, {}),
    "approximate gelu": (
        functional.gelu_forward,
        functional.gelu_backward,
        naive.gelu_forward,
        naive.gelu_backward,
        {"approximate": True},
    ),
    "silu": (functional.silu_forward, functional.silu_backward, naive.silu_forward, naive.silu_backward, {}),
}


@pytest.fixture(params=FUNCTIONS)
def functions(request):
    return FUNCTIONS[request.param]


@pytest.mark.parametrize("shape", SHAPES)
def test_they_equal_the_loops(rng, dtype, functions, shape):
    forward, backward, naive_forward, naive_backward, options = functions
    tolerance = {"rtol": 2e-5, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-14}
    x = (3 * rng.standard_normal(shape)).astype(dtype)
    y = forward(x, **options)
    assert y.dtype == dtype
    assert y.shape == shape
    np.testing.assert_allclose(y, naive_forward(x, **options), **tolerance)
    dy = normal(rng, shape, dtype)
    dx = backward(dy, x, **options)
    assert dx.dtype == dtype
    np.testing.assert_allclose(dx, naive_backward(dy, x, **options), **tolerance)


def test_they_go_to_their_limits_without_a_warning(dtype, functions):
    forward, backward, *_, options = functions
    largest = np.finfo(dtype).max
    x = np.array([-np.inf, -largest, -1e30, -1000, 0, 1000, 1e30, largest, np.inf, np.nan], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y, dx = forward(x, **options), backward(np.ones_like(x), x, **options)
    np.testing.assert_array_equal(y, [0, 0, 0, 0, 0, *x[5:]])
    np.testing.assert_array_equal(dx, [0, 0, 0, 0, 0.5, 1, 1, 1, 1, np.nan])


def test_they_are_precise_where_the_gate_is_close_to_0(dtype):
    rtol = 1e-4 if dtype == np.float32 else 1e-12
    x = np.array([-5, -8, -10, -12], dtype)
    # Phi(-5), Phi(-8), ... of tables of the normal distribution, and its densities there.
    distribution = [2.866515718791939e-07, 6.220960574271785e-16, 7.619853024160527e-24, 1.7764821120776775e-33]
    density = np.exp(-np.square(x.astype(np.float64)) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(functional.gelu_forward(x), x * np.array(distribution), rtol=rtol)
    slopes = functional.gelu_backward(np.ones_like(x), x)
    # A difference of two numbers that are nearly equal: the more so, the farther out.
    np.testing.assert_allclose(slopes, distribution + x * density, rtol=rtol, atol=0)
    s = np.exp(x.astype(np.float64))
    np.testing.assert_allclose(functional.silu_forward(x), x * s / (1 + s), rtol=rtol)


def test_gelu_and_its_approximation_differ_by_less_than_is_said(rng):
    x = np.linspace(-10, 10, 20001)
    difference = np.abs(functional.gelu_forward(x) - functional.gelu_forward(x, approximate=True))
    assert 0.0003 < difference.max() < 0.0005
    assert GELU().approximate is False
    assert repr(GELU(approximate=True)) == "GELU(approximate=True)"
    assert repr(SiLU()) == "SiLU()"


def test_results_do_not_depend_on_the_number_of_threads(rng, dtype, functions):
    forward, backward, *_, options = functions
    x, dy = (normal(rng, (4, 125_001), dtype) for _ in range(2))
    results = []
    for threads in (1, 3):
        with on(threads):
            results.append((forward(x, **options).tobytes(), backward(dy, x, **options).tobytes()))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: functional.gelu_backward(np.ones(2), np.ones(3)), ValueError, r"GELU: dy: expected shape \(3,\)"),
        (lambda: functional.silu_backward(np.ones(2), np.ones(3)), ValueError, r"SiLU: dy: expected shape \(3,\)"),
        (lambda: functional.gelu_forward([1.0], "tanh"), TypeError, "GELU: approximate: .* got 'tanh'"),
        (lambda: functional.gelu_backward([1.0], [1.0], 1), TypeError, "GELU: approximate: .* got 1"),
        (lambda: GELU(None), TypeError, "GELU: approximate: expected True or False, got None"),
        (
            lambda: functional.silu_forward(np.ones(3, bool)),
            TypeError,
            "SiLU: x: expected real numbers, got dtype bool",
        ),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
