"""Predictions averaged over an image and its mirror image."""

import numpy as np
import pytest

from convnet import (
    Affine,
    Conv2D,
    ConvNet1,
    MaxPool2D,
    ReLU,
    Sequential,
    Statistics,
    Workspace,
    binary_loss,
    preprocess,
)


def make_model(dtype=np.float32):
    rng = np.random.default_rng(0)
    layers = [Conv2D(3, 4, 3, rng=rng, dtype=dtype), ReLU(), MaxPool2D(2), Affine(4 * 3 * 2, 5, rng=rng, dtype=dtype)]
    return Sequential(layers, (3, 8, 7))


@pytest.mark.parametrize("count", [0, 1, 3, 201, 450])
def test_scores_are_the_mean_of_both(rng, dtype, count):
    model, x = make_model(dtype), rng.standard_normal((count, 3, 8, 7)).astype(dtype)
    plain, mirrored = model.scores(x), model.scores(x[..., ::-1])
    expected = (plain + mirrored) / 2
    for found in (model.scores(x, flips=True), model.scores(x, Workspace(), flips=True)):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(model.predict(x, flips=True), expected.argmax(axis=1) if count else [])
    shares = np.exp(expected.astype(float))
    probabilities = model.probabilities(x, flips=True)
    np.testing.assert_allclose(probabilities, shares / shares.sum(axis=1, keepdims=True), rtol=1e-5)
    assert model.scores(x, flips=False).tobytes() == plain.tobytes()


def test_a_mirrored_image_gets_the_same_answer(rng):
    model, x = make_model(), rng.standard_normal((30, 3, 8, 7)).astype(np.float32)
    np.testing.assert_array_equal(model.scores(x, flips=True), model.scores(x[..., ::-1], flips=True))


WAYS = {
    "as they are": {"divide_by_255": False, "subtract_mean": False, "divide_by_std": False},
    "a mean image": {"divide_by_std": False},
    "a deviation": {"subtract_mean": False},
    "both": {},
    "a deviation of each pixel": {"divide_by_255": False, "per_pixel_std": True},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_mirror_image_is_prepared_like_any_image(rng, way):
    # Images whose left half is darker: their mean image is not that of their mirror images.
    images, labels = rng.integers(0, 256, (450, 8, 9), dtype=np.uint8), np.arange(450) % 3
    images[:, :, :4] //= 4
    parts = images, labels, images[:440], labels[:440]
    data, statistics = preprocess(*parts, num_validation=5, num_test=None, keep_uint8=True, **WAYS[way])
    model = ConvNet1((1, 8, 9), num_filters=4, hidden_size=9, num_classes=3)
    model.statistics = statistics
    raw = data["x_test"]
    prepared = statistics.prepare(raw)
    expected = (model.scores(prepared) + model.scores(statistics.prepare(raw[..., ::-1].copy()))) / 2
    found = model.scores(prepared, flips=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(model.scores(raw, flips=True), found)
    np.testing.assert_array_equal(model.predict(raw, flips=True), found.argmax(axis=1))
    np.testing.assert_array_equal(model.predict_images(images[:440], flips=True), found.argmax(axis=1))


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 6, 1)])
@pytest.mark.parametrize("std", ["none", "one", "channels", "pixels"])
def test_statistics_of_any_shape_prepare_mirror_images(rng, dtype, shape, std, count):
    sizes = {"one": (), "channels": (shape[0], 1, 1), "pixels": shape}
    deviation = None if std == "none" else np.asarray(rng.uniform(0.5, 2, sizes[std]), np.float32)
    mean = rng.uniform(0, 1, shape).astype(np.float32)
    layers = [Affine(int(np.prod(shape)), 3, rng=rng, dtype=dtype)]
    model = Sequential(layers, shape)
    model.statistics = Statistics(shape, True, mean, deviation)
    raw = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    x, mirrored = ((images / 255 - mean) / (1 if deviation is None else deviation) for images in (raw, raw[..., ::-1]))
    x = x.astype(dtype)
    x.flags.writeable = False
    found, before = model.scores(x, flips=True), x.copy()
    np.testing.assert_allclose(
        found, (model.scores(x) + model.scores(mirrored.astype(dtype))) / 2, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(x, before)


def test_without_statistics_of_the_library_the_prepared_image_is_mirrored(rng):
    class Halves:
        def apply(self, images):
            return images / 2

    model, x = make_model(), rng.standard_normal((3, 3, 8, 7)).astype(np.float32)
    expected = model.scores(x, flips=True)
    model.statistics = Halves()
    np.testing.assert_array_equal(model.scores(x, flips=True), expected)


def test_what_cannot_be_flipped_is_refused(rng):
    vectors = Sequential([Affine(6, 3, rng=rng)], (6,))
    with pytest.raises(
        ValueError, match=r"flips: expected a model of images \(C, H, W\), got examples of shape \(6,\)"
    ):
        vectors.scores(np.zeros((2, 6)), flips=True)
    with pytest.raises(TypeError, match="flips: expected True or False, got 2"):
        make_model().scores(np.zeros((2, 3, 8, 7)), flips=2)
    binary = Sequential([Affine(6, 3, rng=rng)], (2, 1, 3), loss=binary_loss)
    assert binary.scores(np.zeros((2, 2, 1, 3)), flips=True).shape == (2, 3)
