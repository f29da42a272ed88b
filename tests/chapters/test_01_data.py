"""Answers to the exercises of chapter 1, and tests that they are right."""

import gzip
from pathlib import Path

import numpy as np
import pytest

import convnet.datasets.mnist
from convnet import preprocess


def read_images(path):
    """Exercise 1: the header has four numbers of four bytes, the rest is pixels."""
    with gzip.open(path) as file:
        content = file.read()
    magic, *shape = np.frombuffer(content, ">u4", count=4)
    assert magic == 2051
    return np.frombuffer(content, np.uint8, offset=16).reshape(shape)


def to_pixels(x, statistics):
    """Exercise 2: the steps of the preparation, backwards and in the opposite order; one channel is dropped."""
    pixels = (x * statistics.std + statistics.mean) * 255
    return np.rint(pixels).astype(np.uint8)[:, 0]


def moments(batches):
    """Exercise 3: the variance is the mean of the squares minus the square of the mean."""
    count, total, squares = 0, 0.0, 0.0
    for batch in batches:
        batch = batch.astype(np.float64)
        count += len(batch)
        total = total + batch.sum(axis=0)
        squares = squares + (batch**2).sum(axis=0)
    mean_image = total / count
    variance = squares.mean() / count - mean_image.mean() ** 2
    return mean_image, np.sqrt(variance)


def channels_last(x):
    """Exercise 4: move the axis. With one channel `reshape` gives the same: there is no order to lose."""
    return x.transpose(0, 2, 3, 1)


def even_light(image):
    """Exercise 5: subtract the image's own mean, divide by its own deviation.

    None of the three steps makes up for the light: they take the same numbers for every image.
    """
    image = image.astype(np.float64)
    return (image - image.mean()) / image.std()


def test_the_file_is_read(mnist):
    folder = Path(convnet.datasets.mnist.__file__).parent
    assert np.array_equal(read_images(folder / "t10k-images-idx3-ubyte.gz"), mnist[2])


def test_prepared_images_become_pixels_again(mnist):
    images, labels, *test = mnist
    data, statistics = preprocess(images[:1500], labels[:1500], *test)
    pixels = to_pixels(data["x_train"], statistics)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, images[:500])


@pytest.mark.parametrize("size", [1, 7, 100])
def test_moments_of_batches_are_those_of_all(mnist, size):
    images = mnist[0][:100]
    mean_image, deviation = moments(images[start : start + size] for start in range(0, 100, size))
    np.testing.assert_allclose(mean_image, images.mean(axis=0))
    np.testing.assert_allclose(deviation, images.std())


def test_channels_go_last(rng):
    x = rng.standard_normal((2, 3, 4, 5))
    y = channels_last(x)
    assert y.shape == (2, 4, 5, 3)
    for n, c, h, w in np.ndindex(x.shape):
        assert y[n, h, w, c] == x[n, c, h, w]
    assert not np.array_equal(y, x.reshape(y.shape))
    one = x[:, :1]
    assert np.array_equal(channels_last(one), one.reshape(2, 4, 5, 1))


def test_light_does_not_matter(mnist):
    images, labels, *test = mnist
    image = images[0] // 2 * 2
    expected = even_light(image)
    np.testing.assert_allclose(even_light(image // 2), expected)
    np.testing.assert_allclose(even_light(image / 2 + 40), expected)
    assert expected.mean() == pytest.approx(0)
    assert expected.std() == pytest.approx(1)
    _, statistics = preprocess(images[:1500], labels[:1500], *test)
    assert not np.allclose(statistics.apply(image[None]), statistics.apply(image[None] // 2), atol=0.1)
