"""Global average pooling."""

from math import fsum

import numpy as np
import pytest
from cases import normal, tolerance
from guarded import on

from convnet import Affine, Conv2D, GlobalAveragePool, ReLU, Sequential, functional, naive

SHAPES = [(0, 3, 4, 5), (1, 1, 1, 1), (2, 0, 3, 3), (3, 5, 7, 1), (2, 3, 1, 9), (4, 17, 6, 5)]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_equals_the_loops(rng, dtype, shape):
    x = normal(rng, shape, dtype)
    y = functional.global_average_pool_forward(x)
    assert y.dtype == dtype
    assert y.shape == shape[:2]
    np.testing.assert_allclose(y, naive.global_average_pool_forward(x), **tolerance(dtype))
    dy = normal(rng, y.shape, dtype)
    dx = functional.global_average_pool_backward(dy, shape)
    assert dx.dtype == dtype
    assert dx.shape == shape
    np.testing.assert_allclose(dx, naive.global_average_pool_backward(dy, shape), **tolerance(dtype))


def test_means_of_large_images_are_exact_but_for_the_last_rounding(rng):
    x = (10_000 + rng.standard_normal((1, 2, 700, 301))).astype(np.float32)
    expected = [fsum(x[0, c].ravel().tolist()) / x[0, c].size for c in range(2)]
    np.testing.assert_array_equal(functional.global_average_pool_forward(x)[0], np.float32(expected))


def test_it_lets_nan_and_infinity_through_without_a_warning(dtype):
    x = np.ones((1, 4, 2, 3), dtype)
    x[0, 0, 1, 1], x[0, 1, 0, 2], x[0, 2, 0, :2] = np.nan, -np.inf, [np.inf, -np.inf]
    np.testing.assert_array_equal(functional.global_average_pool_forward(x), [[np.nan, -np.inf, np.nan, 1]])


def test_results_do_not_depend_on_the_number_of_threads(rng, dtype):
    x, dy = normal(rng, (40, 16, 70, 70), dtype), normal(rng, (40, 16), dtype)
    results = []
    for threads in (1, 3):
        with on(threads):
            y, dx = functional.global_average_pool_forward(x), functional.global_average_pool_backward(dy, x.shape)
            results.append((y.tobytes(), dx.tobytes()))
    assert results[0] == results[1]


@pytest.mark.parametrize("channels", [1, 5, 16, 35])
@pytest.mark.parametrize("n", [0, 1, 4])
def test_the_stage_takes_channels_last(rng, dtype, channels, n):
    layer, shape = GlobalAveragePool(), (channels, 4, 7)
    model = Sequential([layer, Affine(channels, 2, rng=rng, dtype=dtype)], shape)
    stage = model.plan().stages[0]
    stage.set_layouts("NHWC", "NCHW")
    x, dy = normal(rng, (n, *shape), dtype), normal(rng, (n, channels), dtype)
    memory = {"y": np.full((n, channels), np.nan, dtype), "dx": np.full((n, 4, 7, channels), np.nan, dtype)}
    assert {name: spec[0] for name, spec in stage.arrays(n, 1, False).items()} == {"y": memory["y"].shape}
    stage.need_dx = True
    assert {name: spec[0] for name, spec in stage.arrays(n, 1, True).items()} == {
        name: array.shape for name, array in memory.items()
    }
    y, cache = stage.forward(np.ascontiguousarray(x.transpose(0, 2, 3, 1)), memory, rng)
    np.testing.assert_allclose(y, naive.global_average_pool_forward(x), **tolerance(dtype))
    dx, grads = stage.backward(dy, cache, memory)
    expected = naive.global_average_pool_backward(dy, x.shape)
    np.testing.assert_allclose(dx.transpose(0, 3, 1, 2), expected, **tolerance(dtype))
    assert grads == {}


def test_a_network_that_ends_in_it_learns(rng):
    layers = [
        Conv2D(1, 8, 3, padding=1, rng=rng),
        ReLU(),
        Conv2D(8, 3, 3, padding=1, rng=rng),
        GlobalAveragePool(),
    ]
    model = Sequential(layers, (1, 6, 5))
    assert model.output_shapes["pool1"] == (3,)
    x, labels = normal(rng, (30, 1, 6, 5), np.float32), rng.integers(0, 3, 30)
    x += labels[:, np.newaxis, np.newaxis, np.newaxis]
    before, grads = model.loss(x, labels)
    for name, param in model.params.items():
        param -= np.float32(0.05) * grads[name]
    assert model.loss(x, labels)[0] < before


X = np.ones((2, 3, 4, 5))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: functional.global_average_pool_forward(X[0]),
            ValueError,
            r"GlobalAveragePool: x: expected shape \(N, C, H, W\), got \(3, 4, 5\)",
        ),
        (
            lambda: functional.global_average_pool_forward(X[:, :, :0]),
            ValueError,
            r"GlobalAveragePool: expected images of at least one pixel, got \(2, 3, 0, 5\)",
        ),
        (lambda: functional.global_average_pool_forward(X > 0), TypeError, "x: expected real numbers, got dtype bool"),
        (
            lambda: functional.global_average_pool_backward(X[:, :, 0, 0], (2, 4, 4, 5)),
            ValueError,
            r"GlobalAveragePool: dy: expected shape \(2, 4\), got \(2, 3\)",
        ),
        (
            lambda: functional.global_average_pool_backward(X[:, :, 0, 0], (2, 3, 4)),
            ValueError,
            r"input_shape \(N, C, H, W\): expected a shape of 4 axes, got \(2, 3, 4\)",
        ),
        (
            lambda: functional.global_average_pool_backward(X[:, :, 0, 0], (2, 3, 0, 5)),
            ValueError,
            "at least one pixel",
        ),
        (
            lambda: functional.global_average_pool_backward(X[:, :, 0, 0], (2, 3, 4.0, 5)),
            TypeError,
            "expected an integer, got 4.0",
        ),
        (
            lambda: Sequential([GlobalAveragePool()], (13,)),
            ValueError,
            r"GlobalAveragePool: expected x of shape \(N, C, H, W\), got \(N, 13\)",
        ),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
