"""Warping images, against the plain loops."""

import numpy as np
import pytest
from cases import normal, tolerance

from convnet import functional, naive


def shift_map(rows, columns):
    """Return the map that moves an image down and to the right by so many pixels."""
    return [[1, 0, -rows], [0, 1, -columns]]


@pytest.mark.parametrize("shape", [(2, 1, 5, 7), (3, 3, 4, 4), (1, 2, 1, 6), (2, 1, 1, 1), (0, 1, 3, 3)])
def test_warp_equals_the_loops(rng, dtype, shape):
    x, maps = normal(rng, shape, dtype), np.eye(2, 3) + 0.3 * rng.standard_normal((shape[0], 2, 3))
    maps[:, :, 2] += rng.integers(-2, 3, (shape[0], 2))
    y = functional.warp(x, maps)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, naive.warp(x, maps), **tolerance(dtype))


def test_warp_shifts_with_the_edge_repeated(rng, dtype):
    x = normal(rng, (2, 3, 5, 4), dtype)
    y = functional.warp(x, [shift_map(2, -1), shift_map(0, 0)])
    down_and_left = np.pad(x[0], ((0, 0), (2, 0), (0, 1)), mode="edge")[:, :5, 1:]
    np.testing.assert_array_equal(y[0], down_and_left)
    np.testing.assert_array_equal(y[1], x[1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_warp_reads_whole_pixels_alone(dtype, bad):
    x = np.ones((1, 1, 3, 3), dtype)
    x[0, 0, 1, 1] = bad
    np.testing.assert_array_equal(functional.warp(x, [shift_map(0, 0)]), x)
    np.testing.assert_array_equal(functional.warp(x, [shift_map(1, 1)])[0, 0], [[1, 1, 1], [1, 1, 1], [1, 1, bad]])


def test_warp_turns_by_a_right_angle(rng):
    x = normal(rng, (1, 2, 5, 5), np.float64)
    turned = functional.warp(x, [[[0, 1, 0], [-1, 0, 4]]])
    np.testing.assert_allclose(turned, np.rot90(x, axes=(2, 3)), rtol=1e-12)


X, W = np.ones((8, 1, 28, 28), np.float32), np.ones((4, 3, 5, 5), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: functional.warp(X, np.ones((2, 2, 3))), ValueError, r"warp: maps: expected shape \(8, 2, 3\)"),
        (lambda: functional.warp(X, np.full((8, 2, 3), np.nan)), ValueError, "warp: maps: expected numbers from"),
        (lambda: functional.warp(X, np.full((8, 2, 3), 1e308)), ValueError, "warp: maps: expected numbers from"),
        (lambda: functional.warp(X[:, :, :0], np.ones((8, 2, 3))), ValueError, "at least one pixel"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_result_may_not_overwrite_the_maps():
    memory = np.zeros(12)
    maps = memory.reshape(2, 2, 3)
    maps[:, 0, 0] = maps[:, 1, 1] = 1
    with pytest.raises(ValueError, match="warp: expected out to share no memory with maps"):
        functional.warp(np.ones((2, 1, 2, 3)), maps, out=memory.reshape(2, 1, 2, 3))
