"""Answers to the exercises of chapter 8, each with a test."""

from itertools import product

import numpy as np
import pytest

from convnet import naive


def tiled_product(a, b, rows, columns):
    """Exercise 1: a @ b, one tile of results at a time."""
    m, depth = a.shape
    n = b.shape[1]
    c = np.empty((m, n))
    for top in range(0, m, rows):
        for left in range(0, n, columns):
            tile = np.zeros((min(rows, m - top), min(columns, n - left)))
            for p in range(depth):
                tile += np.outer(a[top : top + rows, p], b[p, left : left + columns])
            c[top : top + rows, left : left + columns] = tile
    return c


@pytest.mark.parametrize(("m", "depth", "n"), [(4, 5, 6), (7, 3, 10), (1, 1, 1), (2, 8, 3)])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 4), (12, 32)])
def test_1_a_tiled_product_is_the_product(rng, m, depth, n, rows, columns):
    a, b = rng.standard_normal((m, depth)), rng.standard_normal((depth, n))
    expected = np.array([[sum(a[i, p] * b[p, j] for p in range(depth)) for j in range(n)] for i in range(m)])
    np.testing.assert_allclose(tiled_product(a, b, rows, columns), expected, atol=1e-12)


def best_tile(registers, most_vectors):
    """Exercise 2: the tile (rows, vectors) with the fewest loads for each multiply-add that fits."""
    tiles = []
    for vectors in range(1, most_vectors + 1):
        rows = (registers - 1 - vectors) // vectors  # what is left beside B and the number of A
        if rows > 0:
            tiles.append(((rows + vectors) / (rows * vectors), rows, vectors))
    return min(tiles)[1:]


@pytest.mark.parametrize("registers", [3, 4, 8, 16, 32])
@pytest.mark.parametrize("most_vectors", [1, 2, 3, 4])
def test_2_no_tile_that_fits_needs_fewer_loads(registers, most_vectors):
    rows, vectors = best_tile(registers, most_vectors)
    assert rows * vectors + vectors + 1 <= registers
    for r, v in product(range(1, registers), range(1, most_vectors + 1)):
        if r * v + v + 1 <= registers:
            assert (rows + vectors) * r * v <= (r + v) * rows * vectors


def test_2_of_16_and_of_32_registers():
    assert best_tile(16, 2) == (6, 2)  # what the library takes for AVX2
    assert best_tile(32, 2) == (14, 2)


def operations_per_byte(n, c, f, size, k, columns=False):
    """Exercise 3: operations of a convolution for each byte that moves at least once."""
    outputs = n * f * size**2
    numbers = n * c * size**2 + f * c * k**2 + outputs
    if columns:
        numbers += 2 * n * c * k**2 * size**2  # written, and read
    return 2 * outputs * c * k**2 / (4 * numbers)


def test_3_operations_and_bytes_are_those_that_are_counted():
    n, c, f, size, k = 2, 3, 4, 5, 3
    operations, inputs, columns = 0, set(), 0
    for image, _, oh, ow in product(range(n), range(f), range(size), range(size)):
        operations += 2 * c * k * k
        for channel, i, j in product(range(c), range(k), range(k)):
            h, w = oh + i - 1, ow + j - 1
            if 0 <= h < size and 0 <= w < size:
                inputs.add((image, channel, h, w))
    columns = sum(1 for _ in product(range(n), range(c), range(k), range(k), range(size), range(size)))
    numbers = len(inputs) + f * c * k * k + n * f * size * size
    assert operations_per_byte(n, c, f, size, k) == operations / (4 * numbers)
    assert operations_per_byte(n, c, f, size, k, columns=True) == operations / (4 * (numbers + 2 * columns))


def test_3_columns_cost_the_chapters_convolution_a_factor_of_about_ten():
    direct, columns = (operations_per_byte(16, 64, 64, 28, 3, columns=columns) for columns in (False, True))
    assert 9 < direct / columns < 10


def winograd_pair(d, g):
    """Return two outputs of a row, as in the chapter."""
    m0, m3 = (d[0] - d[2]) * g[0], (d[1] - d[3]) * g[2]
    m1 = (d[1] + d[2]) * ((g[0] + g[1] + g[2]) / 2)
    m2 = (d[2] - d[1]) * ((g[0] - g[1] + g[2]) / 2)
    return np.array([m0 + m1 + m2, m1 - m2 - m3])


def winograd_row(row, g):
    """Exercise 4: all outputs of a row, an even number of them."""
    return np.concatenate([winograd_pair(row[start : start + 4], g) for start in range(0, len(row) - 2, 2)])


@pytest.mark.parametrize("outputs", [2, 4, 10])
def test_4_a_row_by_pairs_is_the_sliding_sum(rng, outputs):
    row, g = rng.standard_normal(outputs + 2), rng.standard_normal(3)
    np.testing.assert_allclose(winograd_row(row, g), np.correlate(row, g), atol=1e-12)


# Exercise 5. y0 and y1 are rows of A^T, the sums of pixels rows of B^T, the sums of weights rows of G.
AT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
BT = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


def winograd_tile(d, g):
    """Exercise 5: the 2x2 outputs of a tile of 4x4 pixels and a filter of 3x3."""
    return AT @ ((G @ g @ G.T) * (BT @ d @ BT.T)) @ AT.T


def test_5_a_tile_is_the_convolution(rng):
    d, g = rng.standard_normal((4, 4)), rng.standard_normal((3, 3))
    expected = naive.conv2d_forward(d[None, None], g[None, None])[0, 0]
    np.testing.assert_allclose(winograd_tile(d, g), expected, atol=1e-12)
