"""Batch normalization, beyond what every layer is tested for by its row in layer_cases.py."""

import numpy as np
import pytest
from cases import needs_fusion

from convnet import (
    SGD,
    Affine,
    AveragePool2D,
    BatchNorm2D,
    Conv2D,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Sequential,
    Workspace,
    _kernels,
    functional,
    get_num_threads,
    load_model,
    save_model,
    set_num_threads,
)
from convnet.layers.fused_convolution import FoldedConvolutionStage
from convnet.layers.normalization import BatchNormStage
from convnet.models.plan import Plan

X = np.ones((2, 3, 4, 4), np.float32)
ONES = np.ones(3, np.float32)


@pytest.fixture
def threads():
    before = get_num_threads()
    yield set_num_threads
    set_num_threads(before)


def trained(layer, rng, shape, steps=3):
    """Return the layer after some updates of its state, and with parameters of its own."""
    for name in layer.params:
        layer.params[name][...] = rng.uniform(0.5, 2, layer.params[name].shape)
    for _ in range(steps):
        layer.update_state(layer.forward(3 + 2 * rng.standard_normal(shape))[1])
    return layer


@pytest.mark.parametrize("shape", [(70, 5, 3, 4), (400, 5)])
def test_running_statistics_are_averages_over_the_steps(rng, dtype, shape):
    layer = BatchNorm2D(5, decay=0.75, dtype=dtype)
    mean, variance = np.zeros(5), np.ones(5)
    for _ in range(4):
        x = (rng.standard_normal(shape) * 3 + 7).astype(dtype)
        layer.update_state(layer.forward(x)[1])
        of_channels = np.moveaxis(x, 1, 0).reshape(5, -1).astype(np.float64)
        mean = 0.75 * mean + 0.25 * of_channels.mean(axis=1)
        variance = 0.75 * variance + 0.25 * of_channels.var(axis=1, ddof=1)
    assert layer.state.keys() == {"running_mean", "running_variance"}
    np.testing.assert_allclose(layer.state["running_mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(layer.state["running_variance"], variance, rtol=1e-5)


def test_one_vector_has_no_variance_and_changes_no_statistics():
    layer = BatchNorm2D(4)
    layer.params["bias"][...] = range(4)
    y, cache = layer.forward(np.full((1, 4), 9, np.float32))
    np.testing.assert_array_equal(y, [[0, 1, 2, 3]])
    layer.update_state(cache)
    np.testing.assert_array_equal(layer.state["running_mean"], 0)
    np.testing.assert_array_equal(layer.state["running_variance"], 1)


def test_l2_does_not_apply_to_scales_and_shifts():
    assert BatchNorm2D(3).regularised == frozenset()


@pytest.mark.parametrize("shape", [(64, 6, 20, 21), (70, 9, 5, 5), (3000, 7), (2, 3, 150, 150)])
def test_a_large_mean_costs_no_precision(rng, shape):
    x = (rng.standard_normal(shape) + 3000).astype(np.float32)
    channels = shape[1]
    weight, bias = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    y, mean, variance = functional.batch_norm2d_forward(x, weight, bias)
    axes = (0, 2, 3) if len(shape) == 4 else (0,)
    true = x.astype(np.float64)
    np.testing.assert_allclose(mean, true.mean(axis=axes), rtol=1e-6)
    np.testing.assert_allclose(variance, true.var(axis=axes), rtol=1e-3)
    keep = (1, -1, 1, 1)[: len(shape)]
    expected = (true - true.mean(axis=axes).reshape(keep)) / np.sqrt(true.var(axis=axes).reshape(keep) + 1e-5)
    assert np.linalg.norm(y - expected) <= 1e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_channel(rng, dtype, value):
    x = rng.standard_normal((4, 3, 5, 5)).astype(dtype)
    x[2, 1, 3, 3] = value
    weight, bias = np.ones(3, dtype), np.zeros(3, dtype)
    y, *_ = functional.batch_norm2d_forward(x, weight, bias)
    assert np.isnan(y[:, 1]).all()
    np.testing.assert_array_equal(y[:, ::2], functional.batch_norm2d_forward(x[:, ::2], weight[::2], bias[::2])[0])


@pytest.mark.parametrize("shape", [(64, 6, 20, 21), (3, 33, 61, 7), (5000, 17)])
def test_threads_change_no_bit(rng, dtype, shape, threads):
    x, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    weight, bias = (rng.standard_normal(shape[1]).astype(dtype) for _ in range(2))
    results = []
    for count in (1, 2, 3):
        threads(count)
        y, *moments = functional.batch_norm2d_forward(x, weight, bias)
        results.append([y, *moments, *functional.batch_norm2d_backward(dy, x, weight, *moments)])
    for other in results[1:]:
        for one, several in zip(results[0], other, strict=True):
            assert one.tobytes() == several.tobytes()


@pytest.mark.parametrize("activation", [ReLU, lambda: LeakyReLU(0.2), lambda: LeakyReLU(-1.5)])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_an_activation_in_the_same_pass(rng, activation, layout, dtype):
    shape = (3, 9, 11)
    rng_of = np.random.default_rng
    layers = {
        "conv1": Conv2D(3, 9, 3, rng=rng_of(1), dtype=dtype),
        "norm1": trained(BatchNorm2D(9, dtype=dtype), rng, (5, 9, 7, 9)),
        "relu1": activation(),
        "conv2": Conv2D(9, 8, 3, rng=rng_of(2), dtype=dtype),
    }
    plan, reference = (Plan(layers, shape, np.dtype(dtype), reference=r) for r in (False, True))
    stage = plan.stages[1]
    assert isinstance(stage, BatchNormStage)
    assert stage.names == ("norm1", "relu1")
    if layout == "NCHW":
        for one in plan.stages:
            one.set_layouts("NCHW", "NCHW")
    can_be_last = dtype == np.float32 and _kernels.instruction_set() != "none"
    assert stage.input_layout == (layout if can_be_last else "NCHW")
    x = rng.standard_normal((5, *shape)).astype(dtype)
    results = []
    for one in (plan, reference):
        step = one.forward(x, Workspace(), rng_of(0))
        grads = {}
        dy = rng_of(3).standard_normal(step.y.shape).astype(dtype)
        for found, _ in one.backward(dy, step):
            grads |= {name: grad.copy() for name, grad in found.items()}
        results.append({"y": step.y.copy()} | grads)
    assert results[0].keys() == results[1].keys()
    for name, found in results[0].items():
        expected = results[1][name]
        # The gradient of the bias in front of a normalization is 0 but for rounding.
        scale = np.linalg.norm(results[1]["conv1.weight" if name == "conv1.bias" else name])
        assert np.linalg.norm(found - expected) <= 1e-4 * scale, name


FOLLOWED = [(), (ReLU(),), (LeakyReLU(0.1), MaxPool2D(2)), (ReLU(), AveragePool2D(2)), (MaxPool2D(2),)]


@needs_fusion
@pytest.mark.parametrize("rest", FOLLOWED)
def test_prediction_folds_it_into_the_convolution(rng, rest):
    conv = Conv2D(4, 9, 3, padding=1, rng=rng)
    conv.params["bias"][...] = rng.standard_normal(9)
    norm = trained(BatchNorm2D(9, epsilon=0.01), rng, (5, 9, 4, 4))
    layers, shape = [conv, norm, *rest], (4, 10, 8)
    for layer in layers:
        shape = layer.output_shape(shape)
    model = Sequential([*layers, Affine(int(np.prod(shape)), 5, rng=rng)], (4, 10, 8), rng=rng)
    plan = model.plan()
    stage, _ = plan.prediction_stages
    assert isinstance(stage, FoldedConvolutionStage)
    assert "In prediction these are one convolution each: conv1 + norm1" in str(plan)
    x = rng.standard_normal((7, 4, 10, 8)).astype(np.float32)

    def expected():
        y = x
        for layer in model.layers.values():
            y = layer(y)
        return y

    np.testing.assert_allclose(model.scores(x), expected(), rtol=1e-4, atol=1e-4)
    alone = np.concatenate([model.scores(x[i : i + 1]) for i in range(7)])
    np.testing.assert_allclose(alone, expected(), rtol=1e-4, atol=1e-4)
    for arrays, name in ((norm.state, "running_mean"), (norm.params, "weight"), (conv.params, "weight")):
        arrays[name] *= 1.5
        np.testing.assert_allclose(model.scores(x), expected(), rtol=1e-4, atol=1e-4)


def test_a_model_learns_and_its_files_hold_the_statistics(rng, tmp_path, dtype):
    new = {"rng": rng, "dtype": dtype}
    layers = [Conv2D(1, 6, 3, **new), BatchNorm2D(6, dtype=dtype), ReLU(), MaxPool2D(2), Affine(54, 8, **new)]
    layers += [BatchNorm2D(8, dtype=dtype), ReLU(), Affine(8, 2, **new)]
    model = Sequential(layers, (1, 8, 8), rng=rng)
    x = rng.standard_normal((60, 1, 8, 8)).astype(dtype)
    labels = (x[:, 0, :4].sum(axis=(1, 2)) > x[:, 0, 4:].sum(axis=(1, 2))).astype(int)
    for _ in range(60):
        model.train_step(x, labels, SGD(0.2))
    assert (model.predict(x) == labels).mean() > 0.9
    assert (model.state["norm1.running_mean"] != 0).all()
    save_model(model, tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    assert loaded.scores(x).tobytes() == model.scores(x).tobytes()


def with_state(name, array):
    """Return the scores of a model in whose normalization an array was replaced."""
    norm = BatchNorm2D(3)
    norm.state[name] = array
    rng = np.random.default_rng(0)
    return Sequential([Conv2D(3, 3, 1, rng=rng), norm, Affine(48, 2, rng=rng)], (3, 4, 4)).scores(X)


def with_bias(array):
    norm = BatchNorm2D(3)
    norm.params["bias"] = array
    rng = np.random.default_rng(0)
    return Sequential([norm, Affine(48, 2, rng=rng)], (3, 4, 4)).scores(X)


@pytest.mark.parametrize("channels", [7, 8])
def test_few_channels_stay_nchw(channels):
    rng = np.random.default_rng(0)
    layers = [Conv2D(1, channels, 3, rng=rng), BatchNorm2D(channels), MaxPool2D(2), Affine(9 * channels, 2, rng=rng)]
    stages = Sequential(layers, (1, 8, 8)).plan().stages
    is_last = channels == 8 and _kernels.instruction_set() != "none"
    assert [stage.input_layout for stage in stages[1:3]] == ["NHWC" if is_last else "NCHW"] * 2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: with_state("running_mean", ONES[:1]), ValueError, "BatchNorm2D: running_mean: expected shape"),
        (lambda: with_bias(ONES[:1]), ValueError, "norm1: bias: expected shape"),
        (lambda: BatchNorm2D(0), ValueError, "BatchNorm2D: channels: expected at least 1, got 0"),
        (lambda: BatchNorm2D(3, epsilon=0), ValueError, "BatchNorm2D: epsilon"),
        (lambda: BatchNorm2D(3, decay=1.5), ValueError, "BatchNorm2D: decay"),
        (lambda: BatchNorm2D(3).output_shape((4, 5, 5)), ValueError, "expected images or vectors of 3 channels"),
        (lambda: BatchNorm2D(3).output_shape((3, 5)), ValueError, "expected images or vectors of 3 channels"),
        (lambda: functional.batch_norm2d_forward(X, ONES, ONES[:2]), ValueError, "BatchNorm2D: bias: expected shape"),
        (lambda: functional.batch_norm2d_forward(X[:, :2], ONES, ONES), ValueError, "of 3 channels"),
        (lambda: functional.batch_norm2d_forward(X, ONES, ONES, mean=ONES), ValueError, "got one of them"),
        (lambda: functional.batch_norm2d_backward(X[:1], X, ONES, ONES, ONES), ValueError, "BatchNorm2D: dy"),
        (lambda: functional.batch_norm2d_forward(["a"], ONES, ONES), TypeError, "BatchNorm2D: x"),
        (lambda: BatchNorm2D.from_params({"weight": ONES}), ValueError, "expected the parameters"),
        (lambda: BatchNorm2D.from_params({"weight": ONES, "bias": ONES[:2]}), ValueError, "BatchNorm2D: bias"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
