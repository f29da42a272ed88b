"""Layers that a user changes after a plan was made of them: the model computes with what they are now."""

import copy

import numpy as np
import pytest

import convnet
from convnet import Affine, AveragePool2D, Conv2D, Dropout, LeakyReLU, MaxPool2D, ReLU, Sequential


def model_of(*layers, **options):
    rng = np.random.default_rng(0)
    chain = [Conv2D(1, 8, 3, padding=1, rng=rng), *layers]
    shape = (1, 8, 8)
    for layer in chain:
        shape = layer.output_shape(shape)
    return Sequential([*chain, Affine(int(np.prod(shape)), 3, rng=rng)], (1, 8, 8), **options)


@pytest.fixture
def x(rng):
    return rng.standard_normal((5, 1, 8, 8)).astype(np.float32)


CHANGES = {
    "slope": ([LeakyReLU(0.1)], {"slope": 0.7}),
    "count_padding": ([AveragePool2D(3, padding=1)], {"count_padding": False}),
    "kernel_size": ([MaxPool2D(2)], {"kernel_size": (1, 2)}),
    "padding": ([AveragePool2D(2, padding=((0, 1), (0, 1)))], {"padding": ((1, 0), (0, 1))}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_hyperparameter_that_was_changed_counts(x, name):
    layers, changes = CHANGES[name]
    model = model_of(*copy.deepcopy(layers))
    before = model.scores(x)
    layer = next(layer for layer in model.layers.values() if type(layer) is type(layers[0]))
    for attribute, value in changes.items():
        setattr(layer, attribute, value)
    after = model.scores(x)
    assert after.tobytes() == copy.deepcopy(model).scores(x).tobytes() != before.tobytes()


def test_windows_that_were_set_in_another_form_are_taken(x, tmp_path):
    model = model_of(AveragePool2D(3, stride=1, padding=2))
    conv, pool = model.layers["conv1"], model.layers["pool1"]
    expected = model.scores(x)
    conv.padding, conv.dilation, pool.kernel_size, pool.padding = [[1, 1], [1, 1]], [1, 1], 3, [[2, 2], [2, 2]]
    assert model.scores(x).tobytes() == expected.tobytes()
    convnet.save_model(model, tmp_path / "model.npz")
    assert convnet.load_model(tmp_path / "model.npz").scores(x).tobytes() == expected.tobytes()
    pool.padding = "same"
    with pytest.raises(TypeError, match="AveragePool2D: padding: expected an int or a pair of ints, got 'same'"):
        model.scores(x)


def test_the_rate_of_a_dropout_can_be_changed_while_training(x):
    model, labels = model_of(Dropout(0.5)), np.arange(5) % 3
    assert model.loss(x, labels)[0] != model.loss(x, labels)[0]
    model.layers["dropout1"].rate = 0.0
    assert model.loss(x, labels)[0] == model.loss(x, labels)[0]


@pytest.mark.parametrize("fuse", [True, False])
def test_a_method_that_was_replaced_is_called(x, fuse):
    model = model_of(ReLU(), MaxPool2D(2), fuse=fuse)
    model.scores(x)
    model.layers["relu1"].forward = lambda x, rng=None: (np.zeros_like(x), x)
    bias = model.layers["affine1"].params["bias"]
    bias[...] = [1, 2, 3]
    np.testing.assert_array_equal(model.scores(x), np.tile(bias, (5, 1)))


def test_fuse_and_winograd_can_be_changed():
    rng = np.random.default_rng(0)
    layers = [Conv2D(8, 8, 3, padding=1, rng=rng), ReLU(), MaxPool2D(2), Conv2D(8, 9, 3, padding=1, rng=rng)]
    model = Sequential([*layers, Affine(9 * 64, 3, rng=rng)], (8, 16, 16))
    if convnet._kernels.instruction_set() == "none":
        pytest.skip("the instruction set none has neither")
    assert [stage.names[0] for stage in model.plan().stages] == ["conv1", "conv2", "affine1"]
    assert "winograd" in model.plan().stages[1].algorithm
    model.winograd = False
    assert model.plan().stages[1].algorithm == "direct"
    model.fuse = False
    assert len(model.plan().stages) == 5


def test_without_winograd_the_results_are_those_of_the_direct_algorithm(rng):
    conv = Conv2D(16, 16, 3, padding=1, rng=np.random.default_rng(0))
    layers = [conv, ReLU(), Affine(16 * 64, 4, rng=np.random.default_rng(1))]
    x = rng.standard_normal((3, 16, 8, 8)).astype(np.float32)
    exact = Sequential(layers, (16, 8, 8), winograd=False, fuse=False)
    weight, bias = conv.params["weight"], conv.params["bias"]
    direct = convnet.functional.conv2d_forward(x, weight, bias, padding=1, winograd=False)
    expected = np.maximum(direct, 0).reshape(3, -1) @ layers[2].params["weight"] + layers[2].params["bias"]
    np.testing.assert_allclose(exact.scores(x), expected, rtol=1e-5, atol=1e-5)
    fast = convnet.functional.conv2d_forward(x, weight, bias, padding=1)
    np.testing.assert_allclose(fast, direct, rtol=1e-4, atol=1e-4)
    with pytest.raises(TypeError, match="winograd: expected True or False, got 'no'"):
        Sequential(layers, (16, 8, 8), winograd="no")


@pytest.mark.parametrize("view", [lambda w: w, lambda w: w[:], lambda w: w.reshape(4, 4)])
def test_a_weight_that_layers_share_is_updated_once_its_gradients_are_there(view, rng):
    layers = [Affine(4, 4, rng=np.random.default_rng(i)) for i in range(3)]
    layers[1].params["weight"] = view(layers[2].params["weight"])
    model = Sequential(layers, (4,))
    x, labels = rng.standard_normal((6, 4)).astype(np.float32), np.arange(6) % 4
    _, grads = model.loss(x, labels)
    before = layers[0].params["weight"].copy()
    model.train_step(x, labels, convnet.SGD(0.5))
    np.testing.assert_allclose(before - layers[0].params["weight"], 0.5 * grads["affine1.weight"], atol=1e-6)


@pytest.mark.parametrize("name", ["affine1.weight", "affine1.bias", "conv1.weight"])
def test_a_step_that_cannot_update_a_parameter_changes_none(x, name):
    model = model_of(ReLU())
    layer, key = name.split(".")
    model.layers[layer].params[key].flags.writeable = False
    before = {key: param.copy() for key, param in model.params.items()}
    with pytest.raises(ValueError, match=f"SGD: expected {name} to be contiguous and writeable"):
        model.train_step(x, np.zeros(5, int), convnet.SGD(0.1))
    for key, param in model.params.items():
        np.testing.assert_array_equal(param, before[key])


def test_a_loss_cannot_change_the_scores(x):
    def loss(scores, labels):
        if len(scores) > 1:
            scores -= scores.max(axis=1, keepdims=True)
        return convnet.softmax_loss(scores, labels)

    with pytest.raises(ValueError, match="read-only"):
        model_of(ReLU(), loss=loss).loss(x, np.zeros(5, int))


def test_a_loss_that_is_no_number_is_named(x):
    def loss(scores, labels):
        value, dscores = convnet.softmax_loss(scores, labels)
        return (np.array([value, value]) if len(scores) > 1 else value), dscores

    with pytest.raises(TypeError, match=r"expected the loss to be a number, got ndarray of shape \(2,\)"):
        model_of(ReLU(), loss=loss).loss(x, np.zeros(5, int))


class Named(convnet.Layer):
    def forward(self, x, rng=None):
        return x, None

    def backward(self, dy, cache, need_dx=True):
        return dy, {}


@pytest.mark.parametrize("kind", ["b1", "a.b"])
def test_kinds_whose_numbered_names_could_be_another_layers_are_refused(kind):
    layer = Named()
    layer.kind = kind
    with pytest.raises(ValueError, match="expected a kind without a dot and without a digit at its end"):
        Sequential([layer], (3,))


@pytest.mark.parametrize("param", [[1.0], np.ones(3, int)])
def test_parameters_have_to_be_arrays_of_floats(param):
    layer = Named()
    layer.params["a"] = param
    with pytest.raises(TypeError, match=r"expected the parameter a to be an array of floats, got (list|int64)"):
        Sequential([layer], (3,))


def test_a_single_example_is_told_how_to_become_a_minibatch():
    with pytest.raises(ValueError, match=r"got \(1, 8, 8\); one example x is given as x\[None\]"):
        model_of().scores(np.zeros((1, 8, 8)))


def test_what_is_not_finite_in_prediction_is_found_as_in_prediction():
    class Running(Named):
        def __call__(self, x):
            return x * np.nan

    with pytest.raises(ValueError, match="the output of layer1 is the first that is not finite"):
        Sequential([Running()], (3,)).predict(np.ones((1, 3)))
