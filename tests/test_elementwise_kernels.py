"""The kernels of smooth activations, global average pooling and moving averages, on arrays with no memory behind."""

from functools import partial
from math import erfc

import numpy as np
import pytest
from cases import normal, numbers, tolerance
from guarded import at_the_end_of_memory, using

import convnet
from convnet import _kernels, naive

Smooth = _kernels.SmoothActivation
GATES = {
    "normal": (Smooth(Smooth.GATED), naive.gelu_forward, naive.gelu_backward),
    "nearly normal": (
        Smooth(Smooth.GATED, 2 * np.sqrt(2 / np.pi), 2 * np.sqrt(2 / np.pi) * 0.044715),
        partial(naive.gelu_forward, approximate=True),
        partial(naive.gelu_backward, approximate=True),
    ),
    "sigmoid": (Smooth(Smooth.GATED, 1), naive.silu_forward, naive.silu_backward),
}
SMOOTH = GATES | {
    "logistic": (Smooth(Smooth.SIGMOID), naive.sigmoid_forward, naive.sigmoid_backward),
    "tanh": (Smooth(Smooth.TANH), naive.tanh_forward, naive.tanh_backward),
}


@pytest.fixture(params=_kernels.INSTRUCTION_SETS)
def instruction_set(request):
    with using(request.param):
        yield request.param


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("size", [0, 1, 7, 16, 1001])
def test_smooth_activations_equal_the_formulas(rng, instruction_set, dtype, size, name):
    gate, forward, backward = SMOOTH[name]
    x, dy = (at_the_end_of_memory(a) for a in (numbers(rng, size, dtype), rng.standard_normal(size).astype(dtype)))
    y, dx = (at_the_end_of_memory(np.full_like(x, 7)) for _ in range(2))
    _kernels.smooth_forward(gate, x, y)
    _kernels.smooth_backward(gate, dy, x, dx)
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-13, "atol": 1e-14}
    np.testing.assert_allclose(y, forward(x), **close)
    np.testing.assert_allclose(dx, backward(dy, x), **close)


@pytest.mark.parametrize("name", GATES)
def test_gated_activations_keep_their_precision_in_the_tail(instruction_set, name):
    gate, *_ = GATES[name]
    x = np.linspace(-9, 9, 4001, dtype=np.float32)
    y, dx, wide = np.empty_like(x), np.empty_like(x), x.astype(np.float64)
    _kernels.smooth_forward(gate, x, y)
    _kernels.smooth_backward(gate, np.ones_like(x), x, dx)
    if name == "normal":
        step, slope = np.array([0.5 * erfc(-v / np.sqrt(2)) for v in wide]), np.exp(-(wide**2) / 2) / np.sqrt(2 * np.pi)
    else:
        linear, cubic = (1, 0) if name == "sigmoid" else np.sqrt(8 / np.pi) * np.array([1, 0.044715])
        step, other = (1 / (1 + np.exp(-sign * (linear * wide + cubic * wide**3))) for sign in (1, -1))
        slope = step * other * (linear + 3 * cubic * wide**2)
    # The exponent is at most 66, and rounded to float32.
    np.testing.assert_allclose(y, wide * step, rtol=1e-5)
    np.testing.assert_allclose(dx, step + wide * slope, rtol=1e-4, atol=5e-7)


@pytest.mark.parametrize("name", ["logistic", "tanh"])
def test_steps_keep_their_precision_close_to_0_and_far_from_it(instruction_set, name):
    step, *_ = SMOOTH[name]
    x = np.concatenate([np.linspace(-20, 20, 4001), np.geomspace(1e-30, 1, 301)]).astype(np.float32)
    y, dx, wide = np.empty_like(x), np.empty_like(x), x.astype(np.float64)
    _kernels.smooth_forward(step, x, y)
    _kernels.smooth_backward(step, np.ones_like(x), x, dx)
    if name == "tanh":
        value, slope = np.tanh(wide), np.cosh(wide) ** -2.0
    else:
        value = 1 / (1 + np.exp(-wide))
        slope = value / (1 + np.exp(wide))
    # Farther out an exponent is rounded to float32, which is up to 40.
    near = np.abs(wide) <= 3
    np.testing.assert_allclose(y[near], value[near], rtol=4e-7)
    np.testing.assert_allclose(y, value, rtol=2e-6)
    np.testing.assert_allclose(dx[near], slope[near], rtol=1e-6)
    np.testing.assert_allclose(dx, slope, rtol=5e-6)


@pytest.mark.parametrize("size", [20_000, 100_003])
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activations_are_the_same_bits_on_any_number_of_threads(rng, instruction_set, dtype, size, name):
    function, *_ = SMOOTH[name]
    x, dy = rng.standard_normal((2, size)).astype(dtype) * 4
    before, found = convnet.get_num_threads(), set()
    try:
        for threads in (1, 2, 5):
            convnet.set_num_threads(threads)
            y, dx = (at_the_end_of_memory(np.full_like(x, 7)) for _ in range(2))
            _kernels.smooth_forward(function, x, y)
            _kernels.smooth_backward(function, dy, x, dx)
            found.add((y.tobytes(), dx.tobytes()))
    finally:
        convnet.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activations_are_the_same_bits_wherever_an_element_lies(rng, instruction_set, name):
    gate, *_ = SMOOTH[name]
    x, dy = rng.standard_normal((2, 67)).astype(np.float32) * 4
    whole = np.empty((2, 67), np.float32)
    _kernels.smooth_forward(gate, x, whole[0])
    _kernels.smooth_backward(gate, dy, x, whole[1])
    for first in range(1, 40, 3):
        part = np.empty((2, 67 - first), np.float32)
        _kernels.smooth_forward(gate, x[first:], part[0])
        _kernels.smooth_backward(gate, dy[first:], x[first:], part[1])
        assert part.tobytes() == whole[:, first:].tobytes()


@pytest.mark.parametrize(("p", "q", "c"), [(0, 3, 2), (2, 1, 1), (3, 35, 1), (1, 1, 5), (2, 6, 16), (3, 4, 33)])
def test_global_average_pooling_is_the_mean_of_the_pixels(rng, dtype, p, q, c):
    x, y = at_the_end_of_memory(normal(rng, (p, q, c), dtype)), at_the_end_of_memory(np.full((p, c), 7, dtype))
    _kernels.global_average_pool_forward(x, y)
    np.testing.assert_allclose(y, x.astype(np.float64).mean(axis=1), **tolerance(dtype))


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_average_moves_by_a_share(rng, dtype, size):
    x, average = (rng.standard_normal(size).astype(dtype) for _ in range(2))
    found = at_the_end_of_memory(average)
    _kernels.move_average(0.125, at_the_end_of_memory(x), found)
    np.testing.assert_allclose(found, 0.875 * average + 0.125 * x, rtol=1e-6, atol=1e-7)
    _kernels.move_average(1.0, x, found)
    assert found.tobytes() == x.tobytes()
    _kernels.move_average(0.0, np.zeros_like(x), found)
    assert found.tobytes() == x.tobytes()
