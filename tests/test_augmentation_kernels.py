"""The kernels of preparation and augmentation against plain loops, with arrays at the end of the process's memory."""

import math

import numpy as np
import pytest
from guarded import at_the_end_of_memory

from convnet import _kernels

# (N, C, H, W)
SHAPES = [(3, 3, 5, 7), (2, 1, 8, 3), (2, 2, 1, 6), (1, 1, 4, 1), (1, 2, 1, 1), (1, 3, 4, 33), (0, 1, 4, 5)]
# reflect, has_ground, ground
OUTSIDE = {"nearest": (False, False, 0.0), "reflected": (True, False, 0.0), "ground": (False, True, 7.0)}
PIXELS = {"uint8": (np.uint8, np.float32), "float32": (np.float32, np.float32), "float64": (np.float64, np.float64)}


def index_in(index, size, reflect):
    """Return the index that one outside an axis stands for, found step by step."""
    if not reflect or size == 1:
        return max(0, min(index, size - 1))
    while not 0 <= index < size:
        index = -index if index < 0 else 2 * (size - 1) - index
    return index


def pixel(channel, row, column, outside):
    """Return a pixel of a channel (H, W) in float64, which may lie outside."""
    reflect, has_ground, ground = outside
    height, width = channel.shape
    if has_ground and not (0 <= row < height and 0 <= column < width):
        return ground
    return float(channel[index_in(row, height, reflect), index_in(column, width, reflect)])


def interpolated(channel, row, column, outside):
    """Return what lies between four pixels."""
    top, left = math.floor(row), math.floor(column)
    down, across = row - top, column - left
    return sum(
        weight * pixel(channel, r, c, outside)
        for r, c, weight in (
            (top, left, (1 - down) * (1 - across)),
            (top, left + 1, (1 - down) * across),
            (top + 1, left, down * (1 - across)),
            (top + 1, left + 1, down * across),
        )
    )


def moved(image, move, outside):
    """Return a flipped and shifted image (C, H, W) in float64."""
    flipped = image[:, :: -1 if move[2] else 1, :: -1 if move[3] else 1]
    y = np.empty(image.shape)
    for c, h, w in np.ndindex(image.shape):
        y[c, h, w] = pixel(flipped[c], h - move[0], w - move[1], outside)
    return y


def warped(image, affine, outside):
    y = np.empty(image.shape)
    for c, h, w in np.ndindex(image.shape):
        y[c, h, w] = interpolated(image[c], *(affine @ [h, w, 1]), outside)
    return y


def pixels(rng, shape, dtype):
    return rng.integers(0, 256, shape).astype(dtype)


def neutral(count):
    """Return moves, tones and cuts that leave images as they are."""
    return np.zeros((count, 4), np.intp), np.tile([1.0, 0.0], (count, 1)), np.zeros((count, 4), np.intp)


def augment(
    x, dtype, *, moves=None, maps=None, outside=OUTSIDE["nearest"], tones=None, cuts=None, unit=1.0, factors=()
):
    """Return what the kernel makes of x; what is not given is left as it is."""
    x = at_the_end_of_memory(x)
    given = [array if own is None else own for array, own in zip(neutral(len(x)), (moves, tones, cuts), strict=True)]
    moves, tones, cuts = (at_the_end_of_memory(np.asarray(array)) for array in given)
    mean, std = factors or (np.zeros(1), np.ones(1))
    mean, std = (at_the_end_of_memory(np.asarray(array).astype(dtype).reshape(-1)) for array in (mean, std))
    y = at_the_end_of_memory(np.full(x.shape, np.nan, dtype))
    maps = None if maps is None else at_the_end_of_memory(maps)
    _kernels.augment(x, moves, maps, *outside, tones, cuts, unit, mean, std, y)
    return y


@pytest.mark.parametrize("outside", OUTSIDE.values(), ids=OUTSIDE)
@pytest.mark.parametrize(("pixel_type", "dtype"), PIXELS.values(), ids=PIXELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_moves(rng, shape, pixel_type, dtype, outside):
    x = pixels(rng, shape, pixel_type)
    for largest in (0, 1, 3, 40):
        moves = np.concatenate(
            [rng.integers(-largest, largest, (shape[0], 2), endpoint=True), rng.integers(0, 2, (shape[0], 2))], axis=1
        )
        y = augment(x, dtype, moves=moves, outside=outside)
        for n in range(len(x)):
            np.testing.assert_array_equal(y[n], moved(x[n], moves[n], outside))


@pytest.mark.parametrize("outside", OUTSIDE.values(), ids=OUTSIDE)
@pytest.mark.parametrize(("pixel_type", "dtype"), PIXELS.values(), ids=PIXELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_maps(rng, shape, pixel_type, dtype, outside):
    x = pixels(rng, shape, pixel_type)
    for scale in (0.3, 3.0):
        maps = rng.standard_normal((shape[0], 2, 3)) * scale + np.eye(2, 3)
        y = augment(x, dtype, maps=maps, outside=outside)
        for n in range(len(x)):
            np.testing.assert_allclose(y[n], warped(x[n], maps[n], outside), rtol=0, atol=1e-3)


@pytest.mark.parametrize("outside", OUTSIDE.values(), ids=OUTSIDE)
def test_maps_far_outside_cost_no_more_and_stay_inside_memory(rng, outside):
    x = pixels(rng, (2, 2, 3, 4), np.float32)
    for far in (-(2.0**31), 2.0**31):
        maps = np.zeros((2, 2, 3))
        maps[0, :, 2], maps[1, 0, 2] = far, far
        y = augment(x, np.float32, maps=maps, outside=outside)
        assert np.isin(y, np.append(x, outside[2])).all()
    moves = np.array([[2**31, -(2**31), 0, 1], [-(2**40), 1, 1, 0]])
    y = augment(x, np.float32, moves=moves, outside=outside)
    assert np.isin(y, np.append(x, outside[2])).all()


@pytest.mark.parametrize("unit", [1.0, 255.0])
@pytest.mark.parametrize(("pixel_type", "dtype"), PIXELS.values(), ids=PIXELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_tones_statistics_and_cuts(rng, shape, pixel_type, dtype, unit):
    x = pixels(rng, shape, pixel_type)
    count, *image = shape
    tones = np.stack([rng.uniform(0.5, 1.5, count), rng.uniform(-0.3, 0.3, count)], axis=1)
    tones[:1, 0] = 1  # brightness alone
    tones[1:2, 1] = 0  # contrast alone
    cuts = np.stack([np.sort(rng.integers(0, size + 1, (count, 2))) for size in image[1:]], axis=1).reshape(count, 4)
    means = [[0.4], rng.uniform(0, 1, image)]
    stds = [[0.3], rng.uniform(0.1, 1, image)]
    for mean, std in [(mean, std) for mean in means for std in stds]:
        y = augment(x, dtype, tones=tones, cuts=cuts, unit=unit, factors=(mean, std))
        for n in range(count):
            expected = x[n] / (unit if pixel_type == np.uint8 else 1)
            expected = tones[n, 0] * (expected - expected.mean()) + expected.mean() + tones[n, 1]
            expected = (expected - mean) / std
            expected[:, cuts[n, 0] : cuts[n, 1], cuts[n, 2] : cuts[n, 3]] = 0
            np.testing.assert_allclose(y[n], expected, rtol=1e-4, atol=1e-4 * 255)


@pytest.mark.parametrize("unit", [1.0, 255.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_prepare_has_the_bits_of_plain_arithmetic_and_augment_has_them_too(rng, shape, unit):
    x, image = pixels(rng, shape, np.uint8), shape[1:]
    means = [np.zeros(1), np.array([0.4]), rng.uniform(0, 1, image)]
    stds = [np.ones(1), np.array([0.3]), rng.uniform(0.1, 1, image)]
    for mean, std in [(mean.astype(np.float32), std.astype(np.float32)) for mean in means for std in stds]:
        expected = (x.astype(np.float32) / np.float32(unit) - mean) / std
        y = at_the_end_of_memory(np.full((len(x), math.prod(image)), np.nan, np.float32))
        flat = at_the_end_of_memory(x.reshape(y.shape))
        _kernels.prepare(flat, unit, *(at_the_end_of_memory(array.reshape(-1)) for array in (mean, std)), y)
        assert y.tobytes() == expected.tobytes()
        assert augment(x, np.float32, unit=unit, factors=(mean, std)).tobytes() == expected.tobytes()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8])
def test_mix_pairs(rng, dtype, count):
    for factor in (0.0, 0.3, 1.0):
        x = rng.standard_normal((count, 5)).astype(dtype)
        mixed = at_the_end_of_memory(x)
        for part in range(count // 2):
            _kernels.mix_pairs(mixed, part, part + 1, factor)
        for n in range(count):
            expected = factor * x[n].astype(float) + (1 - factor) * x[count - 1 - n].astype(float)
            np.testing.assert_allclose(mixed[n], x[n] if 2 * n + 1 == count else expected, rtol=1e-5, atol=1e-6)
