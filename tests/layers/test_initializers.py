"""Initial parameters."""

import numpy as np
import pytest

from convnet import Affine, Conv2D, ConvNet1, ReLU, glorot_normal, glorot_uniform, he_normal, he_uniform

# By fan_in and fan_out, the variance that a textbook gives.
VARIANCES = {
    he_normal: lambda fan_in, fan_out: 2 / fan_in,
    he_uniform: lambda fan_in, fan_out: 2 / fan_in,
    glorot_normal: lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    glorot_uniform: lambda fan_in, fan_out: 2 / (fan_in + fan_out),
}
UNIFORM = (he_uniform, glorot_uniform)


@pytest.fixture(params=VARIANCES, ids=lambda initializer: initializer.__name__)
def initializer(request):
    return request.param


def test_he_normal_has_mean_0_and_variance_2_over_fan_in(dtype):
    weight = he_normal((300, 500), 50, np.random.default_rng(0), dtype)
    assert weight.dtype == dtype
    # Five standard errors of the mean and of the variance of 150,000 normal numbers.
    assert abs(weight.mean()) < 5 * np.sqrt(2 / 50 / weight.size)
    assert weight.var() == pytest.approx(2 / 50, rel=5 * np.sqrt(2 / weight.size))
    assert (
        he_normal((2,), 1, np.random.default_rng(0)).tobytes() == he_normal((2,), 1, np.random.default_rng(0)).tobytes()
    )


def test_he_normal_draws_what_it_always_drew(dtype):
    expected = np.random.default_rng(3).standard_normal((4, 5), dtype) * dtype(np.sqrt(2 / 7))
    assert he_normal((4, 5), 7, np.random.default_rng(3), dtype).tobytes() == expected.tobytes()
    expected = np.random.default_rng(3).standard_normal((6, 2, 3, 1), dtype) * dtype(np.sqrt(2 / 6))
    layer = Conv2D(2, 6, (3, 1), rng=np.random.default_rng(3), dtype=dtype)
    assert layer.params["weight"].tobytes() == expected.tobytes()


@pytest.mark.parametrize(("fan_in", "fan_out"), [(50, 200), (1, 1), (300, 4)])
def test_mean_variance_and_shape_of_each_distribution(dtype, initializer, fan_in, fan_out):
    weight = initializer((300, 500), fan_in, np.random.default_rng(0), dtype, fan_out=fan_out)
    variance = VARIANCES[initializer](fan_in, fan_out)
    assert weight.dtype == dtype
    assert weight.shape == (300, 500)
    assert weight.flags.c_contiguous
    assert weight.flags.writeable
    assert abs(weight.mean()) < 5 * np.sqrt(variance / weight.size)
    assert weight.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / weight.size))
    share = (np.abs(weight) < np.sqrt(variance)).mean()  # within one deviation
    if initializer in UNIFORM:
        bound = np.sqrt(3 * variance)
        assert 0.999 * bound < np.abs(weight).max() <= dtype(bound)
        assert share == pytest.approx(1 / np.sqrt(3), abs=0.01)
    else:
        assert np.abs(weight).max() > 3 * np.sqrt(variance)
        assert share == pytest.approx(0.6827, abs=0.01)


def test_what_is_drawn_depends_on_the_rng_alone(dtype, initializer):
    first, second, other = (
        initializer((3, 4), 3, np.random.default_rng(seed), dtype, fan_out=4).tobytes() for seed in (1, 1, 2)
    )
    assert first == second != other


def test_initial_parameters():
    layer = Conv2D(3, 64, 5, rng=np.random.default_rng(0))
    assert layer.params["weight"].shape == (64, 3, 5, 5)
    assert layer.params["weight"].var() == pytest.approx(2 / 75, rel=0.1)
    assert (layer.params["bias"] == 0).all()
    layer = Affine(200, 50, rng=np.random.default_rng(0))
    assert layer.params["weight"].shape == (200, 50)
    assert layer.params["weight"].var() == pytest.approx(2 / 200, rel=0.1)


def test_layers_give_their_sizes_to_the_initializer(dtype, initializer):
    layer = Conv2D(3, 8, (5, 2), rng=np.random.default_rng(0), dtype=dtype, initializer=initializer)
    expected = initializer((8, 3, 5, 2), 3 * 5 * 2, np.random.default_rng(0), dtype, fan_out=8 * 5 * 2)
    assert layer.params["weight"].tobytes() == expected.tobytes()
    assert layer.params["bias"].tobytes() == np.zeros(8, dtype).tobytes()
    layer = Affine(13, 7, rng=np.random.default_rng(0), dtype=dtype, initializer=initializer)
    expected = initializer((13, 7), 13, np.random.default_rng(0), dtype, fan_out=7)
    assert layer.params["weight"].tobytes() == expected.tobytes()


def test_convnet1_hands_it_to_its_layers(initializer):
    sizes = {"num_filters": 3, "kernel_size": 5, "padding": 2, "hidden_size": 6}
    model, rng = ConvNet1((2, 8, 7), seed=4, initializer=initializer, **sizes), np.random.default_rng(4)
    shapes = {"conv1": ((3, 2, 5, 5), 50, 75), "affine1": ((3 * 4 * 3, 6), 36, 6), "affine2": ((6, 10), 6, 10)}
    for name, (shape, fan_in, fan_out) in shapes.items():
        expected = initializer(shape, fan_in, rng, fan_out=fan_out)
        assert model.params[f"{name}.weight"].tobytes() == expected.tobytes()
    default = ConvNet1((2, 8, 7), seed=4, **sizes).params["affine2.weight"]
    assert (default.tobytes() == model.params["affine2.weight"].tobytes()) == (initializer is he_normal)


def test_a_function_of_a_users_own():
    kept = np.full((4, 3), 2.0)
    kept.flags.writeable = False
    calls = []

    def constant(shape, fan_in, rng, dtype, *, fan_out):
        calls.append((shape, fan_in, dtype, fan_out))
        return kept

    layers = [Affine(4, 3, rng=np.random.default_rng(0), dtype=np.float64, initializer=constant) for _ in range(2)]
    assert calls == [((4, 3), 4, np.float64, 3)] * 2
    layers[0].params["weight"] += 1
    np.testing.assert_array_equal(layers[1].params["weight"], kept)
    layer = Affine(4, 3, rng=np.random.default_rng(0), initializer=lambda *a, fan_out: np.ones((4, 3), int).tolist())
    assert layer.params["weight"].dtype == np.float32


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: he_normal((2, 3), 0, RNG), ValueError, "fan_in: expected at least 1, got 0"),
        (lambda: he_uniform((2, 3), 1.5, RNG), TypeError, "fan_in: expected an integer, got 1.5"),
        (lambda: glorot_normal((2, 3), 2, RNG, fan_out=0), ValueError, "fan_out: expected at least 1, got 0"),
        (lambda: glorot_uniform((2, 3), 2, RNG, np.float16, fan_out=3), TypeError, "dtype: expected float32 or"),
        (lambda: he_uniform((2, 3), 2, 7), TypeError, "rng: expected a numpy.random.Generator .* got 7"),
        (lambda: glorot_normal((2, 3), 2, None, fan_out=3), TypeError, "rng: expected a numpy.random.Generator"),
        (
            lambda: Conv2D(1, 2, 3, rng=RNG, initializer="he_normal"),
            TypeError,
            "Conv2D: initializer: expected a function such as he_normal, got 'he_normal'",
        ),
        (lambda: Affine(2, 3, rng=RNG, initializer=ReLU), TypeError, "Affine: initializer: expected a function"),
        (lambda: ConvNet1(initializer=None), TypeError, "Conv2D: initializer: expected a function .* got None"),
        (
            lambda: Affine(2, 3, rng=RNG, initializer=lambda *_, fan_out: np.ones((3, 2))),
            ValueError,
            r"Affine: initializer: expected shape \(2, 3\), got \(3, 2\)",
        ),
        (
            lambda: Affine(2, 3, rng=RNG, initializer=lambda *_, fan_out: "abc"),
            TypeError,
            "Affine: initializer: expected real numbers",
        ),
        (
            lambda: Affine(2, 3, rng=RNG, initializer=lambda shape, fan_in, rng, dtype: np.ones(shape)),
            TypeError,
            r"Affine: initializer: expected a function that is called as initializer\(.*fan_out=...\), got .*'fan_out'",
        ),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
