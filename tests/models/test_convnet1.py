"""ConvNet1."""

from functools import partial

import numpy as np
import pytest
from cases import small_batch, small_convnet1, tolerance

from convnet import (
    Affine,
    AveragePool2D,
    Conv2D,
    ConvNet1,
    Dropout,
    MaxPool2D,
    ReLU,
    Sigmoid,
    gradient_error,
    naive,
    softmax_loss,
    svm_loss,
)


def loss_by_loops(params, x, labels, l2):
    y = naive.conv2d_forward(x, params["conv1.weight"], params["conv1.bias"], padding=1)
    y, _ = naive.max_pool2d_forward(naive.relu_forward(y), 2)
    y = naive.relu_forward(naive.affine_forward(y, params["affine1.weight"], params["affine1.bias"]))
    scores = naive.affine_forward(y, params["affine2.weight"], params["affine2.bias"])
    penalty = sum(0.5 * l2 * (w.astype(np.float64) ** 2).sum() for name, w in params.items() if "weight" in name)
    return naive.softmax_loss(scores, labels)[0] + penalty, scores


def test_convnet1_has_the_missions_sizes():
    model = ConvNet1()
    assert {name: param.shape for name, param in model.params.items()} == {
        "conv1.weight": (32, 1, 7, 7),
        "conv1.bias": (32,),
        "affine1.weight": (6272, 500),
        "affine1.bias": (500,),
        "affine2.weight": (500, 10),
        "affine2.bias": (10,),
    }
    assert [type(layer) for layer in model.layers.values()] == [Conv2D, ReLU, MaxPool2D, Affine, ReLU, Affine]
    assert all(param.dtype == np.float32 for param in model.params.values())


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_loss_and_scores_equal_the_loops(rng, dtype, l2):
    model = small_convnet1(dtype, l2)
    x, labels = small_batch(rng, dtype=dtype)
    loss, grads = model.loss(x, labels)
    expected, scores = loss_by_loops(model.params, x, labels, l2)
    assert isinstance(loss, float)
    assert loss == pytest.approx(expected, rel=1e-5 if dtype == np.float32 else 1e-12)
    np.testing.assert_allclose(model.scores(x), scores, **tolerance(dtype))
    assert list(grads) == list(model.params)
    for name, param in model.params.items():
        assert grads[name].shape == param.shape
        assert grads[name].dtype == dtype


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_gradients_are_derivatives(rng, l2):
    model = small_convnet1(l2=l2)
    x, labels = small_batch(rng)
    _, grads = model.loss(x, labels)
    for name, param in model.params.items():
        assert gradient_error(lambda: model.loss(x, labels)[0], param, grads[name], rng=rng) <= 1e-7, name


def test_convnet1_takes_every_option_of_the_table():
    model = ConvNet1((2, 8, 7), activation=Sigmoid, pooling=AveragePool2D, dropout=Dropout(0.2), loss=svm_loss)
    classes = [Conv2D, Sigmoid, AveragePool2D, Affine, Sigmoid, Dropout, Affine]
    assert [type(layer) for layer in model.layers.values()] == classes
    assert model.layers["pool1"].hyperparameters()["kernel_size"] == (2, 2)
    assert model.layers["dropout1"].rate == 0.2
    assert model.loss_function is svm_loss


def test_convnet1_takes_objects_and_leaves_them_alone():
    activation, pooling, dropout = Sigmoid(), AveragePool2D(3, stride=2, padding=1, count_padding=False), Dropout(0.2)
    models = [ConvNet1(activation=activation, pooling=pooling, dropout=dropout) for _ in range(2)]
    for model in models:
        assert repr(model.layers["pool1"]) == repr(pooling)
        layers = list(model.layers.values())
        assert not any(layer is given for layer in layers for given in (activation, pooling, dropout))
        assert len({id(layer) for layer in layers}) == len(layers)


def test_pool_size_and_stride_go_to_either_pooling():
    for pooling in (MaxPool2D, AveragePool2D):
        layer = ConvNet1(pooling=pooling, pool_size=(3, 2), pool_stride=2).layers["pool1"]
        assert (type(layer), layer.kernel_size, layer.stride) == (pooling, (3, 2), (2, 2))


def test_dropout_is_off_when_predicting_and_follows_the_seed_when_training(rng):
    x, labels = rng.standard_normal((5, 2, 8, 7)), rng.integers(0, 10, 5)

    def make(seed, dropout):
        return ConvNet1((2, 8, 7), hidden_size=40, dropout=dropout, seed=seed, dtype=np.float64)

    assert make(1, Dropout(0.5)).scores(x).tobytes() == make(1, None).scores(x).tobytes()
    model, again = make(1, Dropout(0.5)), make(1, Dropout(0.5))
    losses = [model.loss(x, labels)[0] for _ in range(3)]
    assert losses == [again.loss(x, labels)[0] for _ in range(3)]
    assert len(set(losses)) == 3


def test_same_seed_same_bytes(dtype):
    for a, b in zip(small_convnet1(dtype).params.values(), small_convnet1(dtype).params.values(), strict=True):
        assert a.tobytes() == b.tobytes()
    one, other = (small_convnet1(dtype, seed=seed).params["conv1.weight"] for seed in (3, 4))
    assert one.tobytes() != other.tobytes()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: ConvNet1((28, 28)),
            ValueError,
            r"\(C, H, W\): expected a shape of 3 axes, got \(28, 28\)",
        ),
        (lambda: ConvNet1(28), ValueError, "expected a shape of 3 axes, got 28"),
        (lambda: ConvNet1(seed=-1), ValueError, "seed: expected at least 0, got -1"),
        (lambda: ConvNet1((1, 3, 3), padding=0), ValueError, "layer conv1.*output height"),
        (lambda: ConvNet1((1, 8, 8), pool_size=9), ValueError, "layer pool1.*output height"),
        (
            lambda: ConvNet1(activation="relu"),
            TypeError,
            "activation to be ReLU or LeakyReLU or Sigmoid or Tanh or GELU or SiLU,.* got 'relu'",
        ),
        (
            lambda: ConvNet1(activation=MaxPool2D),
            TypeError,
            "activation to be ReLU or LeakyReLU or Sigmoid or Tanh or GELU or SiLU",
        ),
        (
            lambda: ConvNet1(activation=Dropout(0.5)),
            TypeError,
            "activation to be ReLU or LeakyReLU or Sigmoid or Tanh or GELU or SiLU",
        ),
        (lambda: ConvNet1(pooling="max"), TypeError, "expected pooling to be MaxPool2D or AveragePool2D"),
        (lambda: ConvNet1(pooling=ReLU), TypeError, "expected pooling to be MaxPool2D or AveragePool2D"),
        (lambda: ConvNet1(pooling=MaxPool2D(2), pool_size=2), ValueError, "no pool_size and pool_stride beside"),
        (lambda: ConvNet1(dropout=0.5), TypeError, r"dropout to be None or such as Dropout\(0.5\), got 0.5"),
        (lambda: ConvNet1(dropout=Dropout), TypeError, "dropout to be None or such as"),
        (lambda: ConvNet1(loss="svm"), TypeError, "loss: expected a function such as softmax_loss, got 'svm'"),
        (lambda: ConvNet1(loss=ReLU), TypeError, "loss: expected a function such as softmax_loss"),
        (
            lambda: ConvNet1(loss=lambda scores, labels: (0.0, labels)),
            TypeError,
            r"like softmax_loss, \(scores, labels\)",
        ),
        (lambda: ConvNet1(loss=lambda scores, labels: softmax_loss), TypeError, "loss: expected a function"),
        (lambda: ConvNet1(loss=lambda scores, labels: (None, scores)), TypeError, "loss: expected a function like"),
        (lambda: ConvNet1(loss=lambda scores, labels: ("x", scores)), TypeError, "loss: expected a function like"),
        (
            lambda: ConvNet1(loss=lambda scores, labels: (0.0, scores.astype(str))),
            TypeError,
            "expected a function like",
        ),
        (lambda: ConvNet1(loss=partial(svm_loss, margin=-1)), ValueError, "loss: svm_loss: margin: .* got -1"),
        (lambda: ConvNet1(dropout=type("Mine", (Dropout,), {})(0.5)), TypeError, "dropout to be None or such as"),
        (lambda: ConvNet1(fuse="yes"), TypeError, "fuse: expected True or False, got 'yes'"),
        (lambda: ConvNet1(hidden_size=0), ValueError, "out_features: expected at least 1"),
    ],
)
def test_wrong_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
