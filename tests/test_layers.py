"""The layers: one contract for all of them, and what is each one's own."""

import pickle

import numpy as np
import pytest
from cases import tolerance

from convnet import (
    Affine,
    AveragePool2D,
    Conv2D,
    Dropout,
    MaxPool2D,
    ReLU,
    Sigmoid,
    gradient_error,
    he_normal,
    naive,
)


def conv(dtype):
    return Conv2D(3, 4, (3, 2), stride=(2, 1), padding=(1, 0), rng=np.random.default_rng(1), dtype=dtype)


def affine(dtype):
    return Affine(3 * 7 * 5, 4, rng=np.random.default_rng(1), dtype=dtype)


# Each takes examples of shape (3, 7, 5).
LAYERS = {
    "conv": conv,
    "affine": affine,
    "max pool": lambda dtype: MaxPool2D((2, 3), stride=2, padding=(1, 0)),
    "average pool": lambda dtype: AveragePool2D((2, 3), stride=2, padding=(1, 0)),
    "average pool, padding not counted": lambda dtype: AveragePool2D(3, stride=1, padding=1, count_padding=False),
    "relu": lambda dtype: ReLU(),
    "sigmoid": lambda dtype: Sigmoid(),
    "dropout": lambda dtype: Dropout(0.4),
}


@pytest.fixture(params=LAYERS.values(), ids=LAYERS.keys())
def layer(request, dtype):
    return request.param(dtype)


def tie_free(rng, shape, dtype=np.float64):
    """Return distinct numbers, none near 0: a small step changes no maximum and opens no ReLU."""
    count = int(np.prod(shape))
    return ((rng.permutation(count) - count // 2 + 0.5) / 10).reshape(shape).astype(dtype)


def forward(layer, x):
    """Return the layer's forward pass with the same random numbers each time."""
    return layer.forward(x, np.random.default_rng(5))


def test_contract(rng, dtype, layer):
    x = tie_free(rng, (2, 3, 7, 5), dtype)
    before = x.copy()
    y, cache = forward(layer, x)
    assert y.dtype == dtype
    assert y.shape == (2, *layer.output_shape((3, 7, 5)))
    assert forward(layer, x)[0].tobytes() == y.tobytes()
    assert layer(x).tobytes() == (x if isinstance(layer, Dropout) else y).tobytes()

    dy = rng.standard_normal(y.shape).astype(dtype)
    dy_before = dy.copy()
    dx, grads = layer.backward(dy, cache)
    assert dx.dtype == dtype
    assert dx.shape == x.shape
    assert grads.keys() == layer.params.keys()
    for name, param in layer.params.items():
        assert param.dtype == dtype
        assert grads[name].dtype == dtype
        assert grads[name].shape == param.shape
    again, _ = layer.backward(dy, forward(layer, x)[1])
    np.testing.assert_array_equal(again, dx)
    _, without = layer.backward(dy, cache, need_dx=False)
    for name in grads:
        np.testing.assert_array_equal(without[name], grads[name])
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(dy, dy_before)


def test_no_images(dtype, layer):
    y, cache = forward(layer, np.zeros((0, 3, 7, 5), dtype))
    assert y.shape == (0, *layer.output_shape((3, 7, 5)))
    dx, grads = layer.backward(y, cache)
    assert dx.shape == (0, 3, 7, 5)
    assert all((grad == 0).all() for grad in grads.values())


def test_pickle_gives_the_same_layer(rng, dtype, layer):
    x = rng.standard_normal((2, 3, 7, 5)).astype(dtype)
    copy = pickle.loads(pickle.dumps(layer))
    assert copy(x).tobytes() == layer(x).tobytes()
    assert repr(copy) == repr(layer)


def test_from_params_gives_the_same_layer(rng, dtype, layer):
    x = rng.standard_normal((2, 3, 7, 5)).astype(dtype)
    copy = type(layer).from_params(layer.params, **layer.hyperparameters())
    assert copy(x).tobytes() == layer(x).tobytes()
    for name, param in copy.params.items():
        assert not np.shares_memory(param, layer.params[name])


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
def test_gradients_are_derivatives(rng, make):
    layer = make(np.float64)
    x = tie_free(rng, (3, 3, 7, 5))
    y, cache = forward(layer, x)
    dy = rng.standard_normal(y.shape)
    dx, grads = layer.backward(dy, cache)

    def loss():
        return float((dy * forward(layer, x)[0]).sum())

    assert gradient_error(loss, x, dx, rng=rng) <= 1e-7
    for name, param in layer.params.items():
        assert gradient_error(loss, param, grads[name], rng=rng) <= 1e-7


def test_nothing_is_kept_between_forward_and_backward(rng, layer, dtype):
    first, second = (tie_free(rng, (2, 3, 7, 5), dtype) for _ in range(2))
    y, cache = forward(layer, first)
    dy = rng.standard_normal(y.shape).astype(dtype)
    expected, _ = layer.backward(dy, cache)
    forward(layer, second)
    layer(second[:1])
    np.testing.assert_array_equal(layer.backward(dy, cache)[0], expected)


def test_layers_compute_what_the_loops_do(rng, dtype):
    x = rng.standard_normal((2, 3, 7, 5)).astype(dtype)
    layer = conv(dtype)
    layer.params["bias"][...] = rng.standard_normal(4)
    np.testing.assert_allclose(
        layer(x), naive.conv2d_forward(x, **layer.params, stride=(2, 1), padding=(1, 0)), **tolerance(dtype)
    )
    layer = affine(dtype)
    layer.params["bias"][...] = rng.standard_normal(4)
    np.testing.assert_allclose(layer(x), naive.affine_forward(x, **layer.params), **tolerance(dtype))
    pooled = MaxPool2D((2, 3), stride=2, padding=(1, 0))(x)
    np.testing.assert_array_equal(pooled, naive.max_pool2d_forward(x, (2, 3), stride=2, padding=(1, 0))[0])
    for counted in (True, False):
        options = {"stride": 2, "padding": (1, 0), "count_padding": counted}
        pooled = AveragePool2D((2, 3), **options)(x)
        np.testing.assert_allclose(pooled, naive.average_pool2d_forward(x, (2, 3), **options), **tolerance(dtype))
    np.testing.assert_allclose(Sigmoid()(x), naive.sigmoid_forward(x), **tolerance(dtype))


def test_dropout_keeps_the_mean_and_repeats_for_an_equal_generator():
    x = np.ones((200, 500))
    y, _ = Dropout(0.3).forward(x, np.random.default_rng(1))
    dropped = (y == 0).mean()
    # Five standard errors of 100,000 throws.
    assert dropped == pytest.approx(0.3, abs=5 * np.sqrt(0.3 * 0.7 / x.size))
    np.testing.assert_allclose(y[y != 0], 1 / 0.7)
    assert y.tobytes() == Dropout(0.3).forward(x, np.random.default_rng(1))[0].tobytes()
    assert y.tobytes() != Dropout(0.3).forward(x, np.random.default_rng(2))[0].tobytes()
    np.testing.assert_array_equal(Dropout(0).forward(x, np.random.default_rng(1))[0], x)


def test_dropout_needs_a_generator_to_train():
    with pytest.raises(TypeError, match=r"Dropout: expected forward\(x, rng\)"):
        Dropout(0.5).forward(np.ones(3))


def test_multiply_adds_are_those_of_the_loops():
    counts = {
        Conv2D(3, 4, (3, 2), stride=(2, 1), padding=(1, 0), rng=np.random.default_rng(0)): 4 * 4 * 4 * 3 * 3 * 2,
        Affine(105, 4, rng=np.random.default_rng(0)): 420,
        ReLU(): 0,
        AveragePool2D(2): 0,
    }
    for layer, count in counts.items():
        assert layer.multiply_adds((3, 7, 5)) == count


def test_he_normal_has_mean_0_and_variance_2_over_fan_in(dtype):
    weight = he_normal((300, 500), 50, np.random.default_rng(0), dtype)
    assert weight.dtype == dtype
    # Five standard errors of the mean and of the variance of 150,000 normal numbers.
    assert abs(weight.mean()) < 5 * np.sqrt(2 / 50 / weight.size)
    assert weight.var() == pytest.approx(2 / 50, rel=5 * np.sqrt(2 / weight.size))
    assert (
        he_normal((2,), 1, np.random.default_rng(0)).tobytes() == he_normal((2,), 1, np.random.default_rng(0)).tobytes()
    )


def test_initial_parameters():
    layer = Conv2D(3, 64, 5, rng=np.random.default_rng(0))
    assert layer.params["weight"].shape == (64, 3, 5, 5)
    assert layer.params["weight"].var() == pytest.approx(2 / 75, rel=0.1)
    assert (layer.params["bias"] == 0).all()
    layer = Affine(200, 50, rng=np.random.default_rng(0))
    assert layer.params["weight"].shape == (200, 50)
    assert layer.params["weight"].var() == pytest.approx(2 / 200, rel=0.1)


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Conv2D(0, 4, 3, rng=RNG), ValueError, "in_channels: expected at least 1, got 0"),
        (lambda: Conv2D(1, 4.0, 3, rng=RNG), TypeError, "out_channels: expected an integer, got 4.0"),
        (lambda: Conv2D(1, 4, (3, 0), rng=RNG), ValueError, r"kernel_size: .* got \(3, 0\)"),
        (lambda: Conv2D(1, 4, 3, stride=None, rng=RNG), TypeError, "stride: .* got None"),
        (lambda: Conv2D(1, 4, 3, rng=0), TypeError, "rng: expected a numpy.random.Generator"),
        (lambda: Conv2D(1, 4, 3, rng=RNG, dtype=np.float16), TypeError, "expected float32 or float64, got float16"),
        (lambda: Affine(5, -1, rng=RNG), ValueError, "out_features: expected at least 1, got -1"),
        (lambda: MaxPool2D(2, padding=2), ValueError, "at most half the kernel"),
        (lambda: MaxPool2D(True), TypeError, "pair of ints, got True"),
        (lambda: AveragePool2D(0), ValueError, "AveragePool2D: kernel_size: .* got 0"),
        (lambda: AveragePool2D(3, padding=2), ValueError, "AveragePool2D: expected padding of at most half the kernel"),
        (lambda: AveragePool2D(3, count_padding="no"), TypeError, "count_padding: expected True or False, got 'no'"),
        (lambda: Dropout(1), ValueError, "Dropout: rate: expected a finite number of at least 0 and below 1, got 1"),
        (lambda: Dropout(-0.1), ValueError, "Dropout: rate: .* got -0.1"),
        (lambda: Dropout("half"), TypeError, "Dropout: rate: expected a real number, got 'half'"),
        (lambda: ReLU.from_params({"weight": np.ones(2)}), ValueError, "ReLU: expected the parameters"),
        (lambda: Affine.from_params({"weight": np.ones((2, 3))}), ValueError, "expected the parameters"),
        (
            lambda: Affine.from_params({"weight": np.ones((2, 3)), "bias": np.ones(2)}),
            ValueError,
            "bias for each column",
        ),
        (lambda: Conv2D.from_params({"weight": np.ones((2, 3)), "bias": np.ones(2)}), ValueError, "expected 4 axes"),
    ],
)
def test_wrong_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
