"""Augmentation by small shifts and rotations."""

import numpy as np
import pytest

from convnet import Augmentation, preprocess


def test_shifts_are_of_whole_pixels_and_of_every_size(rng):
    x = rng.standard_normal((400, 2, 9, 9)).astype(np.float32)
    moved = Augmentation(shift=2, rotation=0)(x, rng)
    assert moved.dtype == np.float32
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    seen = np.zeros((5, 5), int)
    for n in range(len(x)):
        fits = [(i, j) for i, j in np.ndindex(5, 5) if np.array_equal(padded[n, :, i : i + 9, j : j + 9], moved[n])]
        assert len(fits) == 1
        seen[fits[0]] += 1
    assert seen.min() > 0  # each of the 25 is expected 16 times


def test_rotations_are_about_the_middle_and_within_the_angle(rng):
    x = np.zeros((300, 1, 41, 41))
    x[:, :, 20, 20] = 1  # the middle stays
    x[:, :, 20, 35:38] = 1  # a mark 16 pixels to the right of it
    moved = Augmentation(shift=0, rotation=30)(x, rng)
    np.testing.assert_allclose(moved[:, 0, 20, 20], 1, atol=1e-12)
    rows, columns = np.mgrid[-20:21, -20:21]
    marks = moved[:, 0] * (np.hypot(rows, columns) > 5)
    total = marks.sum(axis=(1, 2))
    angles = np.rad2deg(
        np.arctan2(-(marks * rows).sum(axis=(1, 2)) / total, (marks * columns).sum(axis=(1, 2)) / total)
    )
    assert np.abs(angles).max() < 31
    assert angles.min() < -25
    assert angles.max() > 25
    assert abs(angles.mean()) < 5 * 30 / np.sqrt(3 * 300)


def test_nothing_moves_without_shift_and_rotation(rng, dtype):
    x = rng.standard_normal((3, 2, 6, 5)).astype(dtype)
    np.testing.assert_array_equal(Augmentation(shift=0, rotation=0)(x, rng), x)


def test_the_same_generator_moves_the_same_way(rng):
    x = rng.standard_normal((5, 1, 8, 7))
    before = x.copy()
    first, again, other = (Augmentation()(x, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("per_pixel_std", [False, True])
@pytest.mark.parametrize("subtract_mean", [False, True])
def test_with_statistics_it_is_as_if_the_images_had_moved_before(rng, subtract_mean, per_pixel_std):
    images = rng.integers(0, 256, (40, 8, 7), dtype=np.uint8)
    labels = np.arange(40) % 3
    data, statistics = preprocess(
        images, labels, images, labels, num_validation=5, num_test=None, subtract_mean=subtract_mean,
        per_pixel_std=per_pixel_std,
    )  # fmt: skip
    moved = Augmentation(shift=2, rotation=0, statistics=statistics)(data["x_train"], np.random.default_rng(3))
    padded = np.pad(images[:35], ((0, 0), (2, 2), (2, 2)), mode="edge")
    candidates = [statistics.apply(padded[:, i : i + 8, j : j + 7]) for i, j in np.ndindex(5, 5)]
    errors = np.array([np.abs(moved - candidate).max(axis=(1, 2, 3)) for candidate in candidates])
    assert errors.min(axis=0).max() < 1e-5
    assert len(set(errors.argmin(axis=0))) > 10


def test_repr_shows_the_amounts():
    assert repr(Augmentation(shift=1, rotation=5)) == "Augmentation(shift=1, rotation=5.0)"


IMAGES = np.zeros((3, 5, 5), np.uint8)

STATISTICS = preprocess(IMAGES, [0, 0, 0], IMAGES, [0, 0, 0], num_validation=1, num_test=None)[1]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Augmentation(shift=-1), ValueError, "Augmentation: shift: expected at least 0, got -1"),
        (lambda: Augmentation(shift=0.5), TypeError, "Augmentation: shift: expected an integer, got 0.5"),
        (lambda: Augmentation(rotation=181), ValueError, "Augmentation: rotation: .* at most 180, got 181"),
        (lambda: Augmentation(statistics=1), TypeError, "expected the statistics of preprocess, got 1"),
        (
            lambda: Augmentation()(np.zeros((3, 5)), np.random.default_rng(0)),
            ValueError,
            r"expected x of shape \(N, C, H, W\), got \(3, 5\)",
        ),
        (
            lambda: Augmentation(statistics=STATISTICS)(np.zeros((3, 1, 5, 4)), np.random.default_rng(0)),
            ValueError,
            r"expected x of shape \(N, 1, 5, 5\), got \(3, 1, 5, 4\)",
        ),
        (
            lambda: Augmentation(shift=5)(np.zeros((3, 1, 5, 8)), np.random.default_rng(0)),
            ValueError,
            "expected a shift smaller than the images, 5x8 pixels, got 5",
        ),
        (
            lambda: Augmentation(shift=0, cutout=9)(np.zeros((3, 1, 9, 8)), np.random.default_rng(0)),
            ValueError,
            "expected a cutout smaller than the images, 9x8 pixels, got 9",
        ),
    ],
)
def test_wrong_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_channels_that_come_last_are_refused():
    x = np.zeros((2, 8, 9, 3), np.float32)
    with pytest.raises(ValueError, match=r"looks like channels last: x.transpose\(0, 3, 1, 2\) puts them first"):
        Augmentation()(x, np.random.default_rng(0))
