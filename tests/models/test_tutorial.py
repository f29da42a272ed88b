"""Pickles of the original tutorial."""

import pickle

import numpy as np
import pytest

from convnet import ConvNet1, load_tutorial_model


def tutorial_params(rng, dtype=np.float64, hidden=7, filters=3):
    shapes = {"w1": (filters, 1, 7, 7), "b1": (filters,), "w2": (filters * 196, hidden), "b2": (hidden,)}
    shapes |= {"w3": (hidden, 10), "b3": (10,)}
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def numpy1(content):
    """Return a pickle as NumPy 1 writes it, whose module had another name."""
    for new, old in (
        (b"numpy._core.multiarray", b"numpy.core.multiarray"),
        (b"numpy._core.numeric", b"numpy.core.numeric"),
    ):
        content = content.replace(bytes([len(new)]) + new, bytes([len(old)]) + old).replace(new, old)
    return content


@pytest.mark.parametrize("release", [1, 2])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f8"])
def test_the_tutorials_parameters_and_statistics_are_read(tmp_path, rng, dtype, protocol, release):
    arrays = tutorial_params(rng, dtype)
    moments = {"mean_image": rng.random((28, 28, 1)), "std": rng.random((28, 28, 1)) + 0.1}
    moments["std"][0, :3] = 0
    for name, content in (("params", arrays), ("moments", moments)):
        pickled = pickle.dumps(content, protocol)
        (tmp_path / name).write_bytes(numpy1(pickled) if release == 1 else pickled)
    model = load_tutorial_model(tmp_path / "params", tmp_path / "moments")
    assert type(model) is ConvNet1
    for name, array in zip(arrays, model.params.values(), strict=True):
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == np.dtype(dtype).newbyteorder("=")
    images = rng.integers(0, 256, (4, 28, 28)).astype(np.uint8)
    std = np.where(moments["std"] == 0, 1, moments["std"])
    prepared = ((images[..., None] / 255 - moments["mean_image"]) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(model.statistics.apply(images), prepared, rtol=1e-4, atol=1e-5)
    hidden = np.maximum(model.layers["conv1"](prepared), 0).reshape(4, 3, 14, 2, 14, 2).max((3, 5)).reshape(4, -1)
    hidden = np.maximum(hidden @ arrays["w2"] + arrays["b2"], 0)
    np.testing.assert_allclose(model.scores(prepared), hidden @ arrays["w3"] + arrays["b3"], rtol=1e-3, atol=1e-2)
    assert model.predict_images(images).shape == (4,)
    assert load_tutorial_model(tmp_path / "params").statistics is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b1": np.zeros(4)}, r"expected b1 of shape \(3,\), got \(4,\)"),
        ({"w1": np.zeros((3, 1, 6, 7))}, "expected filters of odd height and width"),
        (
            {"w2": np.zeros((588, 0)), "b2": np.zeros(0), "w3": np.zeros((0, 10))},
            r"expected sizes of at least 1, got w1 \(3, 1, 7, 7\), w2 \(588, 0\), w3 \(0, 10\)",
        ),
        ({"w2": np.zeros((587, 7))}, r"expected w2 of shape \(588, 7\), got \(587, 7\)"),
        ({"w2": np.zeros(588)}, r"expected w2 to be of 2 axes in float32 or float64, got float64 of shape \(588,\)"),
        ({"w3": np.zeros((7, 10), np.int64)}, "expected w3 to be of 2 axes in float32 or float64"),
        ({"b3": "text"}, "expected b3 to be of 1 axes in float32 or float64, got 'text'"),
        (
            {"b4": np.zeros(3)},
            "expected a pickle of a dictionary of the arrays w1, b1, w2, b2, w3, b3, got one of w1, .*, b3, b4",
        ),
    ],
)
def test_other_parameters_are_named(tmp_path, rng, change, message):
    (tmp_path / "params").write_bytes(pickle.dumps(tutorial_params(rng) | change))
    with pytest.raises(ValueError, match=rf"params: {message}"):
        load_tutorial_model(tmp_path / "params")


@pytest.mark.parametrize(
    ("moments", "message"),
    [
        ({"mean_image": np.zeros((28, 28, 1))}, "expected a pickle of a dictionary of the arrays mean_image, std"),
        ({"mean_image": np.zeros((28, 28, 1)), "std": np.ones((28, 27, 1))}, "expected the statistic std"),
        ({"mean_image": np.zeros((28, 28, 1)), "std": -np.ones((28, 28, 1))}, "expected a standard deviation above 0"),
        ({"mean_image": np.zeros((28, 28, 3)), "std": np.ones((28, 28, 3))}, "expected images of 1 channels"),
    ],
)
def test_other_statistics_are_named(tmp_path, rng, moments, message):
    (tmp_path / "params").write_bytes(pickle.dumps(tutorial_params(rng)))
    (tmp_path / "moments").write_bytes(pickle.dumps(moments))
    with pytest.raises(ValueError, match=rf"moments: {message}"):
        load_tutorial_model(tmp_path / "params", tmp_path / "moments")
