"""Pooling and batch normalization of images channels last, at every instruction set, against the plain loops."""

from itertools import product

import numpy as np
import pytest
from cases import tolerance
from guarded import at_the_end_of_memory, on, scratch, using

from convnet import _kernels, naive

# N, C, H, W: channels that fill vectors and that do not, odd sizes, and images without windows.
SHAPES = [(2, 5, 6, 8), (3, 16, 7, 5), (1, 33, 2, 9), (4, 1, 2, 2), (9, 70, 4, 4), (2, 3, 1, 6), (0, 4, 4, 4)]


def last(array):
    return np.ascontiguousarray(np.asarray(array, np.float32).transpose(0, 2, 3, 1))


@pytest.fixture(params=_kernels.INSTRUCTION_SETS)
def instruction_set(request):
    with using(request.param):
        yield request.param


@pytest.mark.parametrize(("shape", "pool", "gives_last"), list(product(SHAPES, ["max", "average"], [True, False])))
def test_pooling(rng, instruction_set, shape, pool, gives_last):
    if instruction_set == "none":
        pytest.skip("the loops in Cython pool images in NCHW")
    n, c, h, w = shape
    x = rng.permutation(n * c * h * w).reshape(shape).astype(np.float32)
    dy = rng.standard_normal((n, c, h // 2, w // 2)).astype(np.float32)
    if pool == "max":
        expected, argmax = naive.max_pool2d_forward(x, 2)
        true = naive.max_pool2d_backward(dy, argmax, shape)
    else:
        expected = naive.average_pool2d_forward(x, 2)
        true = naive.average_pool2d_backward(dy, shape, 2)
    laid_out = last if gives_last else (lambda array: array)
    for threads in (1, 3):
        s = _kernels.ChannelsLastPooling(pool, c, h, w, gives_last)
        memory = at_the_end_of_memory(np.full(s.scratch(threads), np.nan, np.float32))
        y = at_the_end_of_memory(np.full(laid_out(expected).shape, np.nan, np.float32))
        codes = at_the_end_of_memory(np.full((n, h // 2, w // 2, c), 99, np.uint8))
        given = at_the_end_of_memory(last(x))
        _kernels.pool_channels_last_forward(s, given, y, codes, memory, threads)
        np.testing.assert_allclose(y, laid_out(expected), rtol=1e-6)
        without = np.full_like(y, np.nan)
        _kernels.pool_channels_last_forward(s, given, without, None, memory, threads)
        np.testing.assert_array_equal(without, y)
        dx = at_the_end_of_memory(np.full((n, h, w, c), np.nan, np.float32))
        given_dy = at_the_end_of_memory(np.ascontiguousarray(laid_out(dy)))
        _kernels.pool_channels_last_backward(s, given_dy, codes, dx, memory, threads)
        np.testing.assert_allclose(dx, last(true), rtol=1e-6)


@pytest.mark.parametrize("shape", [*SHAPES, (300, 40, 4, 4)])
def test_max_pooling_of_whole_images(rng, instruction_set, shape):
    if instruction_set == "none":
        pytest.skip("the loops in Cython pool images in NCHW")
    n, c, h, w = shape
    x = rng.integers(-3, 3, shape).astype(np.float32)  # with ties
    x[rng.random(shape) < 0.02] = np.nan
    dy = rng.standard_normal((n, c)).astype(np.float32)
    expected, argmax = naive.max_pool2d_forward(x, (h, w))
    true = naive.max_pool2d_backward(dy.reshape(n, c, 1, 1), argmax, shape)
    given = at_the_end_of_memory(last(x).reshape(n, h * w, c))
    for threads in (1, 3):
        y = at_the_end_of_memory(np.full((n, c), 99, np.float32))
        pixel = at_the_end_of_memory(np.full((n, c), 99, np.int32))
        _kernels.max_pool_images_forward(given, y, pixel, threads)
        np.testing.assert_array_equal(y, expected.reshape(n, c))
        np.testing.assert_array_equal(pixel, argmax.reshape(n, c))
        without = np.full_like(y, 99)
        _kernels.max_pool_images_forward(given, without, None, threads)
        np.testing.assert_array_equal(without, y)
        dx = at_the_end_of_memory(np.full((n, h * w, c), 99, np.float32))
        _kernels.max_pool_images_backward(dy, pixel, dx, threads)
        np.testing.assert_array_equal(dx, last(true).reshape(dx.shape))


@pytest.mark.parametrize(("shape", "slope"), list(product([*SHAPES, (40, 6, 30, 30)], [1, 0, 0.2, -1.5])))
def test_batch_norm(rng, instruction_set, dtype, shape, slope):
    n, c, h, w = shape
    x, dy = (rng.standard_normal(shape).astype(dtype) + 2 for _ in range(2))
    weight, bias = (rng.standard_normal(c).astype(dtype) for _ in range(2))
    channels = (0, 2, 3)
    mean, variance = (f(x.astype(float), channels) if x.size else np.zeros(c) for f in (np.mean, np.var))
    keep = (1, c, 1, 1)
    root = np.sqrt(variance + 0.01)
    z = (x - mean.reshape(keep)) / root.reshape(keep)
    active = z * weight.reshape(keep) + bias.reshape(keep)
    expected = np.where(active <= 0, slope * active, active)
    g = np.where(active <= 0, slope * dy, dy).astype(float)
    dbias, dweight = g.sum(channels), (g * z).sum(channels)
    count = max(1, n * h * w)
    dx = (weight / root).reshape(keep) * (g - dbias.reshape(keep) / count - z * dweight.reshape(keep) / count)

    for is_last, threads in product([False, True], [1, 3]):
        given, given_dy = (a.transpose(0, 2, 3, 1) if is_last else a for a in (x, dy))
        planes = (n * h * w, c, 1) if is_last else (n, c, h * w)
        given, given_dy = (
            at_the_end_of_memory(np.ascontiguousarray(a, dtype)).reshape(planes) for a in (given, given_dy)
        )
        memory = scratch(_kernels.batch_norm2d_scratch(*planes))
        found = [at_the_end_of_memory(np.full(c, np.nan, dtype)) for _ in range(2)]
        with on(threads):
            _kernels.batch_norm2d_moments(given, *found, memory)
        np.testing.assert_allclose(found[0], mean, **tolerance(dtype, mean))
        np.testing.assert_allclose(found[1], variance, **tolerance(dtype, variance))
        y, found_dx = (at_the_end_of_memory(np.full(given.shape, np.nan, dtype)) for _ in range(2))
        with on(threads):
            _kernels.batch_norm2d_forward(given, weight, bias, *found, 0.01, slope, y, memory)
        found_dweight, found_dbias = (np.full(c, np.nan, dtype) for _ in range(2))
        grads = found_dweight, found_dbias
        with on(threads):
            factors = given_dy, given, weight, bias, *found, 0.01, slope
            _kernels.batch_norm2d_sums(*factors, *grads, memory)
            _kernels.batch_norm2d_dx(*factors, *grads, count, found_dx, memory)
        for array, true in ((y, expected), (found_dx, dx)):
            laid_out = true.transpose(0, 2, 3, 1) if is_last else true
            difference = np.linalg.norm(array - laid_out.reshape(planes))
            assert difference <= (1e-4 if dtype == np.float32 else 1e-10) * np.linalg.norm(true) + 1e-30
        for array, true in ((found_dweight, dweight), (found_dbias, dbias)):
            limit = np.abs(g).sum(channels).max(initial=0) * (1e-5 if dtype == np.float32 else 1e-13)
            np.testing.assert_allclose(array, true, rtol=0, atol=limit)
