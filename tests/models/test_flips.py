"""Predictions averaged over an image and its mirror image."""

import numpy as np
import pytest

from convnet import Affine, Conv2D, ConvNet1, MaxPool2D, ReLU, Sequential, Workspace, binary_loss, preprocess


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


def test_images(rng):
    images, labels = rng.integers(0, 256, (40, 8, 9), dtype=np.uint8), np.arange(40) % 3
    data, statistics = preprocess(images, labels, images, labels, num_validation=5, num_test=None, keep_uint8=True)
    model = ConvNet1((1, 8, 9), num_filters=4, hidden_size=9, num_classes=3)
    model.statistics = statistics
    # The prepared image is flipped, and the mean image with it.
    expected = model.predict(statistics.apply(images), flips=True)
    np.testing.assert_array_equal(model.predict_images(images, flips=True), expected)
    np.testing.assert_array_equal(model.predict(data["x_test"], flips=True), expected)


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
