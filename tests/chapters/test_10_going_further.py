"""Answers to the exercises of chapter 10, each with a test."""

import numpy as np
import pytest

import convnet
from convnet import Affine, BatchNorm2D, Conv2D, Layer, LeakyReLU, ReLU, Residual, Sequential, Tanh


class PReLU(Layer):
    """Exercise 1: y = x above 0, slope * x elsewhere, with a trained slope for each channel."""

    kind = "prelu"

    def __init__(self, channels, dtype=np.float32):
        super().__init__()
        self.params = {"slope": np.full(channels, 0.25, dtype)}

    def forward(self, x, rng=None):
        return np.where(x > 0, x, self.params["slope"][:, None, None] * x), x

    def backward(self, dy, cache, need_dx=True):
        x = cache
        dx = np.where(x > 0, dy, self.params["slope"][:, None, None] * dy)
        return dx, {"slope": np.where(x > 0, 0, dy * x).sum(axis=(0, 2, 3))}


def test_1_with_one_slope_it_is_leaky_relu(rng):
    x, dy = rng.standard_normal((2, 2, 3, 4, 5))
    layer, other = PReLU(3, np.float64), LeakyReLU(0.25)
    y, cache = layer.forward(x)
    np.testing.assert_array_equal(y, other.forward(x)[0])
    np.testing.assert_allclose(layer.backward(dy, cache)[0], other.backward(dy, other.forward(x)[1])[0])


def test_1_gradients_are_those_of_finite_differences(rng):
    # Random numbers are not exactly 0, and the step of the check is so short that it crosses the kink for none of them.
    layer = PReLU(3, np.float64)
    layer.params["slope"][...] = rng.uniform(0, 1, 3)
    x, dy = rng.standard_normal((2, 2, 3, 4, 5))
    dx, grads = layer.backward(dy, layer.forward(x)[1])
    for array, gradient in ((x, dx), (layer.params["slope"], grads["slope"])):
        assert convnet.gradient_error(lambda: float((dy * layer(x)).sum()), array, gradient, rng=rng) < 1e-7


def test_1_it_learns_in_a_model(rng):
    layers = [Conv2D(1, 4, 3, padding=1, rng=rng), PReLU(4), Affine(4 * 36, 2, rng=rng)]
    model = Sequential(layers, (1, 6, 6))
    x = rng.standard_normal((64, 1, 6, 6)).astype(np.float32)
    labels = (x.mean(axis=(1, 2, 3)) > 0).astype(int)
    optimizer = convnet.Adam(1e-2)
    losses = [model.train_step(x, labels, optimizer) for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]
    assert not np.allclose(model.params["prelu1.slope"], 0.25)


class Noise(Layer):
    """Exercise 2: random numbers are added in training, and nothing in prediction."""

    kind = "noise"

    def __init__(self, deviation):
        super().__init__()
        self.deviation = deviation

    def __call__(self, x):
        return np.asarray(x)

    def forward(self, x, rng=None):
        return x + (self.deviation * rng.standard_normal(x.shape)).astype(x.dtype), None

    def backward(self, dy, cache, need_dx=True):
        return dy, {}  # y is x and a number that does not depend on x


def test_2_noise_is_for_training_alone(rng):
    x, dy = rng.standard_normal((2, 50, 2, 20, 20))
    layer = Noise(0.5)
    np.testing.assert_array_equal(layer(x), x)
    y, cache = layer.forward(x, np.random.default_rng(3))
    assert abs((y - x).mean()) < 0.02
    assert (y - x).std() == pytest.approx(0.5, rel=0.02)

    def loss():
        return float((dy * layer.forward(x, np.random.default_rng(3))[0]).sum())

    assert convnet.gradient_error(loss, x, layer.backward(dy, cache)[0], rng=rng) < 1e-7
    model = Sequential([Noise(0.5), Affine(4, 3, rng=rng)], (4,))
    examples = rng.standard_normal((5, 4)).astype(np.float32)
    np.testing.assert_array_equal(model.scores(examples), model.layers["affine1"](examples))
    assert np.isfinite(model.train_step(examples, np.zeros(5, int), convnet.SGD(0.1)))


def residual_backward(dy, backward_of_f):
    """Exercise 3: the gradient of the input of y = x + f(x)."""
    return dy + backward_of_f(dy)


def test_3_the_gradient_of_a_residual_is_the_librarys_and_that_of_finite_differences(rng):
    f = Conv2D(3, 3, 3, padding=1, rng=rng, dtype=np.float64)
    x, dy = rng.standard_normal((2, 2, 3, 5, 4))
    dx = residual_backward(dy, lambda dy: f.backward(dy, x)[0])
    block = Residual([f])
    np.testing.assert_allclose(dx, block.backward(dy, block.forward(x)[1])[0], atol=1e-12)
    assert convnet.gradient_error(lambda: float((dy * (x + f(x))).sum()), x, dx, rng=rng) < 1e-7


def test_3_two_layers_one_behind_the_other(rng):
    f, g = Conv2D(2, 2, 3, padding=1, rng=rng, dtype=np.float64), Tanh()
    x, dy = rng.standard_normal((2, 2, 2, 5, 4))
    middle, cache = f.forward(x)
    tanh_cache = g.forward(middle)[1]
    dx = residual_backward(dy, lambda dy: f.backward(g.backward(dy, tanh_cache)[0], cache)[0])
    assert convnet.gradient_error(lambda: float((dy * (x + g(f(x)))).sum()), x, dx, rng=rng) < 1e-7


def block_parameters(channels, filters, stride):
    """Exercise 4: the number of parameters of the chapter's residual block."""
    count = 9 * channels * filters + 9 * filters * filters + 2 * 2 * filters
    if channels != filters or stride != 1:
        count += channels * filters + 2 * filters
    return count


@pytest.mark.parametrize(("channels", "filters", "stride"), [(8, 8, 1), (8, 16, 2), (8, 8, 2), (3, 5, 1)])
def test_4_as_many_parameters_as_the_block_has(channels, filters, stride, rng):
    options = {"bias": False, "rng": rng}
    layers = [Conv2D(channels, filters, 3, stride=stride, padding=1, **options), BatchNorm2D(filters), ReLU()]
    layers += [Conv2D(filters, filters, 3, padding=1, **options), BatchNorm2D(filters)]
    is_plain = channels == filters and stride == 1
    shortcut = None if is_plain else [Conv2D(channels, filters, 1, stride=stride, **options), BatchNorm2D(filters)]
    block = Residual(layers, shortcut)
    assert sum(param.size for param in block.params.values()) == block_parameters(channels, filters, stride)


class Swish(Layer):
    """The chapter's Swish."""

    def __init__(self, b):
        super().__init__()
        self.params = {"b": np.array(b)}

    def forward(self, x, rng=None):
        s = 1 / (1 + np.exp(-self.params["b"][:, None, None] * x))
        return x * s, (x, s)

    def backward(self, dy, cache, need_dx=True):
        x, s = cache
        slope = s * (1 - s)
        dx = dy * (s + x * self.params["b"][:, None, None] * slope)
        return dx, {"b": (dy * x * x * slope).sum(axis=(0, 2, 3))}


class ForgetfulSwish(Swish):
    """Exercise 5: the factor b is missing in dx. It passes the check where every b is 1."""

    def backward(self, dy, cache, need_dx=True):
        x, s = cache
        return dy * (s + x * s * (1 - s)), super().backward(dy, cache)[1]


@pytest.mark.parametrize(
    ("kind", "b", "passes"),
    [
        (Swish, [0.5, 2.0, -1.0], True),
        (ForgetfulSwish, [1.0, 1.0, 1.0], True),
        (ForgetfulSwish, [1.0, 1.0, 1.1], False),
        (ForgetfulSwish, [0.0, 0.0, 0.0], False),
    ],
)
def test_5_a_forgotten_factor_hides_where_it_is_1(kind, b, passes, rng):
    layer = kind(b)
    x, dy = rng.standard_normal((2, 2, 3, 5, 4))
    dx, grads = layer.backward(dy, layer.forward(x)[1])

    def error(array, gradient):
        return convnet.gradient_error(lambda: float((dy * layer(x)).sum()), array, gradient, rng=rng)

    assert (error(x, dx) < 1e-7) == passes
    assert error(layer.params["b"], grads["b"]) < 1e-7
