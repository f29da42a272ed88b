"""The layers of a network that suits the size of its inputs."""

import numpy as np
import pytest

from convnet import Affine, Conv2D, MaxPool2D, Sequential
from convnet.models.default_layers import default_layers, small_layers


@pytest.mark.parametrize(
    ("shape", "filters", "last"),
    [
        ((1, 1, 1), [64], (1, 1)),
        ((3, 3, 9), [64], (3, 9)),
        ((1, 4, 50), [64], (2, 25)),
        ((1, 8, 8), [64, 64], (2, 2)),
        ((2, 9, 13), [64, 64], (2, 3)),
        ((1, 28, 28), [64, 64, 64], (3, 3)),
        ((3, 64, 32), [64, 64, 64], (8, 4)),
        ((3, 64, 72), [64, 64, 64], (8, 9)),
        ((1, 75, 90), [64, 64, 64, 64], (4, 5)),
        ((3, 224, 300), [64, 64, 64, 64, 64], (7, 9)),
    ],
)
def test_the_number_of_stages_suits_the_size_of_the_images(shape, filters, last, rng):
    model = Sequential(default_layers(shape, 7, rng), shape)
    layers = list(model.layers.values())
    assert [layer.params["weight"].shape[0] for layer in layers if isinstance(layer, Conv2D)] == filters
    assert sum(isinstance(layer, MaxPool2D) for layer in layers) == (len(filters) if min(shape[1:]) >= 4 else 0)
    images = [found for found in model.output_shapes.values() if len(found) == 3]
    assert images[-1] == (filters[-1], *last)
    assert model.scores(np.zeros((2, *shape))).shape == (2, 7)


def test_features_go_through_affine_layers_alone(rng):
    model = Sequential(default_layers((1,), 2, rng), (1,))
    assert [type(layer) for layer in model.layers.values() if layer.params] == [Affine, Affine]
    assert model.scores(np.zeros((3, 1))).shape == (3, 2)


def test_a_generator_draws_the_weights():
    first, again = (default_layers((1, 8, 8), 3, np.random.default_rng(4)) for _ in range(2))
    for layer, other in zip(first, again, strict=True):
        for name, param in layer.params.items():
            np.testing.assert_array_equal(param, other.params[name])


def test_what_is_no_input_is_refused(rng):
    with pytest.raises(ValueError, match=r"expected input_shape \(C, H, W\) or \(D,\), got \(8, 8\)"):
        default_layers((8, 8), 3, rng)


@pytest.mark.parametrize(("shape", "features"), [((1, 28, 28), 32 * 7 * 7), ((3, 9, 14), 32 * 2 * 3), ((1, 4, 5), 32)])
def test_the_small_network_has_two_convolutions(shape, features, rng):
    model = Sequential(small_layers(shape, 7, rng), shape)
    weights = [layer.params["weight"].shape for layer in model.layers.values() if layer.params]
    assert weights == [(16, shape[0], 5, 5), (32, 16, 3, 3), (features, 128), (128, 7)]
    assert model.scores(np.zeros((2, *shape))).shape == (2, 7)


@pytest.mark.parametrize("shape", [(1, 3, 9), (28, 28), (784,)])
def test_what_the_small_network_does_not_take_is_refused(shape, rng):
    with pytest.raises(ValueError, match=r"small_layers: expected input_shape \(C, H, W\), H and W at least 4, got"):
        small_layers(shape, 3, rng)
