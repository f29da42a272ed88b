"""Leaves of a minibatch, and sums up a binary tree."""

import numpy as np
import pytest

from convnet.distributed.leaves import LeafSum, leaves_of, owned


def summed(arrays):
    """Return the sum up a binary tree, by its definition."""
    half = len(arrays) // 2
    return arrays[0] if not half else summed(arrays[:half]) + summed(arrays[half:])


@pytest.mark.parametrize("count", [1, 2, 4, 8, 16])
def test_a_sum_has_the_bits_of_the_tree(rng, count):
    total = LeafSum()
    for _ in range(3):  # its memory is used again
        arrays = [rng.standard_normal((5, 7)).astype(np.float32) for _ in range(count)]
        before = [array.copy() for array in arrays]
        total.clear()
        for array in arrays:
            found = total.add(array)
        np.testing.assert_array_equal(found, summed(before))
        for array, kept in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(array, kept)


def test_a_sum_of_two_halves_has_the_bits_of_the_whole(rng):
    arrays = [rng.standard_normal(9).astype(np.float32) for _ in range(8)]
    whole, halves = LeafSum(), (LeafSum(), LeafSum())
    for position, array in enumerate(arrays):
        found = whole.add(array)
        halves[position // 4].add(array)
    # The last addition of each half completed it: adding them again in their order gives the same.
    first, second = (summed(arrays[:4]), summed(arrays[4:]))
    np.testing.assert_array_equal(found, first + second)


@pytest.mark.parametrize(
    ("n", "leaf_size", "sizes"),
    [
        (1, 32, [1]),
        (31, 32, [31]),
        (63, 32, [63]),
        (64, 32, [32, 32]),
        (100, 32, [50, 50]),
        (127, 32, [63, 64]),
        (128, 32, [32] * 4),
        (10, 1, [1, 1, 1, 2, 1, 1, 1, 2]),
    ],
)
def test_leaves_are_a_power_of_two_of_equal_parts(n, leaf_size, sizes):
    leaves = leaves_of(n, leaf_size)
    assert [leaf.stop - leaf.start for leaf in leaves] == sizes
    assert [leaf.start for leaf in leaves] == np.cumsum([0, *sizes[:-1]]).tolist()


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_every_leaf_has_one_owner(count, size):
    leaves = leaves_of(count, 1)
    assert [leaf for rank in range(size) for leaf in owned(leaves, rank, size)] == list(range(count))
    counts = [len(owned(leaves, rank, size)) for rank in range(size)]
    assert counts == sorted(counts, reverse=True)
    assert max(counts) == max(1, count // size)
