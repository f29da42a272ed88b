"""Sequential and ConvNet1."""

import copy
import pickle
import threading
from functools import partial

import numpy as np
import pytest
from cases import needs_fusion, tolerance

from convnet import (
    SGD,
    Adam,
    Affine,
    AveragePool2D,
    Conv2D,
    ConvNet1,
    Dropout,
    Layer,
    MaxPool2D,
    Momentum,
    ReLU,
    Sequential,
    Sigmoid,
    Workspace,
    gradient_error,
    naive,
    softmax_loss,
    svm_loss,
)


def small(dtype=np.float64, l2=0.0, seed=3):
    return ConvNet1(
        (2, 8, 7),
        num_filters=3,
        kernel_size=(3, 2),
        padding=1,
        hidden_size=6,
        num_classes=4,
        l2=l2,
        seed=seed,
        dtype=dtype,
    )


def batch(rng, n=5, dtype=np.float64):
    return rng.standard_normal((n, 2, 8, 7)).astype(dtype), rng.integers(0, 4, n)


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
    model = small(dtype, l2)
    x, labels = batch(rng, dtype=dtype)
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
    model = small(l2=l2)
    x, labels = batch(rng)
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


def other_stack(dtype=np.float64):
    """Return a network of three-channel images with every layer of the library, and seven classes."""
    rng = np.random.default_rng(4)
    layers = [
        Conv2D(3, 4, (3, 2), stride=(2, 1), padding=(1, 0), rng=rng, dtype=dtype),
        Sigmoid(),
        AveragePool2D((2, 3), stride=1, padding=(1, 0), count_padding=False),
        Conv2D(4, 5, 3, padding=2, rng=rng, dtype=dtype),
        ReLU(),
        MaxPool2D(3, stride=2, padding=1),
        Dropout(0.25),
        Affine(5 * 4 * 4, 9, rng=rng, dtype=dtype),
        Sigmoid(),
        Affine(9, 7, rng=rng, dtype=dtype),
    ]
    return Sequential(layers, (3, 9, 8), loss=svm_loss, l2=0.01, rng=np.random.default_rng(9))


def test_gradients_of_another_stack_are_derivatives(rng):
    model = other_stack()
    x, labels = rng.standard_normal((4, 3, 9, 8)), np.array([0, 6, 3, 3])

    def loss():
        model.rng = np.random.default_rng(9)  # the same units are dropped each time
        return model.loss(x, labels)

    _, grads = loss()
    for name, param in model.params.items():
        assert gradient_error(lambda: loss()[0], param, grads[name], rng=rng) <= 1e-7, name


def test_summary_shows_shapes_parameters_and_multiply_adds():
    lines = [line.split() for line in ConvNet1(hidden_size=100).summary().splitlines()]
    assert lines[0] == ["layer", "class", "output", "shape", "parameters", "multiply-adds"]
    assert lines[1] == ["input", "(1,", "28,", "28)", "0", "0"]
    assert lines[2] == ["conv1", "Conv2D", "(32,", "28,", "28)", "1,600", "1,229,312"]
    assert lines[3] == ["relu1", "ReLU", "(32,", "28,", "28)", "0", "0"]
    assert lines[5] == ["affine1", "Affine", "(100,)", "627,300", "627,200"]
    assert lines[-1] == ["total", "629,910", "1,857,512"]
    assert sum(param.size for param in ConvNet1(hidden_size=100).params.values()) == 629_910
    assert len({len(line) for line in other_stack().summary().splitlines()}) == 1


@needs_fusion
def test_fused_and_unfused_models_agree(rng):
    shape, labels = (2, 8, 7), rng.integers(0, 4, 5)
    x = rng.standard_normal((5, *shape)).astype(np.float32)

    def model(fuse):
        make = np.random.default_rng(1)
        layers = [Conv2D(2, 6, 3, padding=1, rng=make), ReLU(), MaxPool2D(2), Conv2D(6, 4, 2, rng=make), ReLU()]
        layers += [MaxPool2D(2), Affine(4, 4, rng=make)]
        return Sequential(layers, shape, l2=0.1, fuse=fuse)

    fused, plain = model(True), model(False)
    assert len(fused._stages()) == 3
    assert len(plain._stages()) == 7
    np.testing.assert_allclose(fused.scores(x), plain.scores(x), rtol=1e-4, atol=1e-5)
    loss, grads = fused.loss(x, labels)
    expected, true = plain.loss(x, labels)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert list(grads) == list(true)
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, true[name], rtol=1e-3, atol=1e-5, err_msg=name)


@needs_fusion
@pytest.mark.parametrize(
    ("conv", "pool", "stages"),
    [
        ({"kernel_size": 3}, {"kernel_size": 2}, 2),
        ({"kernel_size": 3, "dtype": np.float64}, {"kernel_size": 2}, 4),
        ({"kernel_size": 3, "stride": 2, "padding": 2}, {"kernel_size": 2}, 4),
        ({"kernel_size": 3}, {"kernel_size": 3, "stride": 1}, 4),
        ({"kernel_size": 11, "padding": 4}, {"kernel_size": 2}, 4),
    ],
)
def test_only_runs_of_the_right_sizes_are_fused(rng, conv, pool, stages):
    layers = [Conv2D(1, 1, rng=rng, **conv), ReLU(), MaxPool2D(**pool)]
    features = int(np.prod(layers[2].output_shape(layers[0].output_shape((1, 6, 6)))))
    layers.append(Affine(features, 2, rng=rng, dtype=conv.get("dtype", np.float32)))
    assert len(Sequential(layers, (1, 6, 6))._stages()) == stages


def test_gradients_are_fresh_arrays(rng):
    model = small()
    x, labels = batch(rng)
    _, first = model.loss(x, labels)
    kept = {name: grad.copy() for name, grad in first.items()}
    model.loss(*batch(rng))
    for name, grad in first.items():
        np.testing.assert_array_equal(grad, kept[name])
        assert not any(np.shares_memory(grad, param) for param in model.params.values())


def test_layers_before_the_first_parameters_are_not_asked_for_gradients(rng):
    class NoBackward(ReLU):
        def backward(self, dy, cache, *, need_dx=True):
            raise AssertionError("asked")

    model = Sequential([NoBackward(), Affine(6, 3, rng=rng, dtype=np.float64), ReLU()], (6,))
    x = rng.standard_normal((4, 6))
    _, grads = model.loss(x, [0, 1, 2, 0])
    weight = model.params["affine1.weight"]
    assert gradient_error(lambda: model.loss(x, [0, 1, 2, 0])[0], weight, grads["affine1.weight"], rng=rng) < 1e-7


def test_predictions_agree_with_each_other(rng):
    model = small(np.float32)
    x, _ = batch(rng, 7, np.float32)
    scores = model.scores(x)
    np.testing.assert_array_equal(model.predict(x), scores.argmax(axis=1))
    probabilities = model.probabilities(x)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), scores.argmax(axis=1))
    assert model.scores(x[:0]).shape == (0, 4)
    assert model.predict(x[:0]).shape == (0,)


def test_many_images_are_scored_in_pieces(rng):
    model = small(np.float64)
    x, _ = batch(rng, 231)
    np.testing.assert_allclose(model.scores(x), np.concatenate([model.scores(row[None]) for row in x]), rtol=1e-12)


def test_predict_images_prepares_them():
    class Halved:
        def apply(self, images):
            return (images[:, None] / 2).astype(np.float32)

    model = ConvNet1((1, 8, 8), num_filters=2, kernel_size=3, padding=1, hidden_size=5, num_classes=3)
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    with pytest.raises(ValueError, match="the model has no statistics"):
        model.predict_images(images)
    model.statistics = Halved()
    np.testing.assert_array_equal(model.predict_images(images), model.predict(images[:, None] / 2))


def test_threads_may_predict_with_one_model(rng):
    model = small(np.float32)
    x, _ = batch(rng, 150, np.float32)
    expected, results = model.scores(x).tobytes(), []
    threads = [threading.Thread(target=lambda: results.append(model.scores(x).tobytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4


def test_same_seed_same_bytes(dtype):
    for a, b in zip(small(dtype).params.values(), small(dtype).params.values(), strict=True):
        assert a.tobytes() == b.tobytes()
    assert small(dtype).params["conv1.weight"].tobytes() != small(dtype, seed=4).params["conv1.weight"].tobytes()


def test_pickle(rng):
    model = small(l2=0.5)
    x, labels = batch(rng)
    copy = pickle.loads(pickle.dumps(model))
    assert copy.scores(x).tobytes() == model.scores(x).tobytes()
    assert copy.loss(x, labels)[0] == model.loss(x, labels)[0]
    assert repr(copy) == repr(model)


def test_params_are_the_layers_own_and_cannot_be_replaced_by_mistake(rng):
    model = small()
    assert model.params["conv1.weight"] is model.layers["conv1"].params["weight"]
    with pytest.raises(TypeError, match="does not support item assignment"):
        model.params["conv1.weight"] = np.zeros(3)
    other = small(seed=9)
    model.load_params(other.params)
    x, _ = batch(rng)
    assert model.scores(x).tobytes() == other.scores(x).tobytes()


def test_load_params_refuses_what_does_not_fit_and_changes_nothing():
    model = small()
    before = {name: param.copy() for name, param in model.params.items()}
    wrong = {name: np.zeros(param.shape) for name, param in model.params.items()}
    with pytest.raises(ValueError, match=r"affine2.bias: expected shape \(4,\), got \(5,\)"):
        model.load_params(wrong | {"affine2.bias": np.zeros(5)})
    with pytest.raises(ValueError, match="expected the parameters"):
        model.load_params({"conv1.weight": np.zeros(3)})
    for name, param in model.params.items():
        np.testing.assert_array_equal(param, before[name])


class Wrong(Affine):
    """An Affine layer whose gradients are changed before they are returned."""

    def __init__(self, change, **options):
        super().__init__(3, 3, rng=np.random.default_rng(0), dtype=np.float64)
        self.change = change

    def backward(self, dy, cache, *, need_dx=True):
        return self.change(*super().backward(dy, cache, need_dx=need_dx))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda dx, grads: (dx, grads | {"weight": np.ones(1)}),
            r"affine2.weight: expected .*\(3, 3\), got shape \(1,\)",
        ),
        (lambda dx, grads: (dx, {"weight": grads["weight"]}), r"affine2.bias: expected .*\(3,\), got none"),
        (lambda dx, grads: (None, grads), "affine2: expected backward to return dx, got None"),
    ],
)
def test_a_users_layer_with_wrong_gradients_is_named(rng, change, message):
    model = Sequential([Affine(3, 3, rng=rng, dtype=np.float64), Wrong(change)], (3,), l2=0.1)
    with pytest.raises(ValueError, match=message):
        model.loss(np.ones((2, 3)), [0, 1])


def test_a_users_gradient_is_not_written_to(rng):
    stored = np.zeros((3, 3))
    model = Sequential([Wrong(lambda dx, grads: (dx, grads | {"weight": stored[:]}))], (3,), l2=1.0)
    model.loss(np.ones((2, 3)), [0, 1])
    assert not stored.any()


@pytest.mark.parametrize(
    ("name", "where"),
    [("conv1.weight", "the parameter conv1.weight"), ("affine2.bias", "the parameter affine2.bias")],
)
def test_first_non_finite_names_the_parameter(rng, name, where):
    model = small()
    x, _ = batch(rng)
    assert model.first_non_finite(x) is None
    model.params[name].flat[0] = np.nan
    assert model.first_non_finite(x) == where


def test_first_non_finite_names_the_output(rng):
    model = small(np.float32)
    x, _ = batch(rng, dtype=np.float32)
    model.params["affine1.weight"][...] = 3e38
    with np.errstate(all="ignore"):
        assert model.first_non_finite(x) == "the output of affine1"
    x[0, 0, 0, 0] = np.inf
    assert model.first_non_finite(x) == "the input"


R = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Sequential([], (3,)), ValueError, "at least one layer"),
        (lambda: Sequential(["conv"], (3,)), TypeError, "expected layer 1 to be a convnet.Layer, got 'conv'"),
        (lambda: Sequential([layer := ReLU(), layer], (3,)), ValueError, r"layer 2, ReLU\(\), is in the model already"),
        (
            lambda: Sequential([Conv2D(1, 2, 7, rng=R), MaxPool2D(2)], (1, 5, 9)),
            ValueError,
            r"^layer conv1, given one example of shape \(1, 5, 9\): Conv2D: output height = "
            r"floor\(\(5 \+ 2\*0 - 7\) / 1\) \+ 1 = -1, expected at least 1$",
        ),
        (lambda: Sequential([Conv2D(3, 2, 3, rng=R)], (1, 9, 9)), ValueError, "layer conv1.*expects 3 input channels"),
        (
            lambda: Sequential([ReLU(), Affine(5, 3, rng=R)], (1, 2, 2)),
            ValueError,
            r"layer affine1.*expects 5 input features, got 1 \* 2 \* 2 = 4",
        ),
        (lambda: Sequential([MaxPool2D(3)], (4,)), ValueError, r"layer pool1.*expected x of shape \(N, C, H, W\)"),
        (lambda: Sequential([MaxPool2D(2)], (1, 4, 4)), ValueError, r"a score for each class, got shape \(1, 2, 2\)"),
        (
            lambda: Sequential([Affine(2, 3, rng=R)], (2,), l2=-1),
            ValueError,
            "l2: expected a finite number of at least 0",
        ),
        (lambda: Sequential([Affine(2, 3, rng=R)], (2,), l2="no"), TypeError, "l2: expected a real number, got 'no'"),
        (
            lambda: Sequential([Affine(2, 3, rng=R), Affine(3, 3, rng=R, dtype=np.float64)], (2,)),
            ValueError,
            r"parameters of one dtype, got \['float32', 'float64'\]",
        ),
        (
            lambda: ConvNet1((28, 28)),
            ValueError,
            r"\(C, H, W\): expected a shape of 3 axes, got \(28, 28\)",
        ),
        (lambda: ConvNet1(28), ValueError, "expected a shape of 3 axes, got 28"),
        (lambda: ConvNet1(seed=-1), ValueError, "seed: expected at least 0, got -1"),
        (lambda: Sequential([Affine(2, 3, rng=R)], 2), ValueError, "input_shape: expected a shape, got 2"),
        (lambda: Sequential(5, (2,)), TypeError, "expected a sequence of layers, got 5"),
        (lambda: ConvNet1((1, 3, 3), padding=0), ValueError, "layer conv1.*output height"),
        (lambda: ConvNet1((1, 8, 8), pool_size=9), ValueError, "layer pool1.*output height"),
        (lambda: ConvNet1(activation="relu"), TypeError, "expected activation to be ReLU or Sigmoid, .* got 'relu'"),
        (lambda: ConvNet1(activation=MaxPool2D), TypeError, "expected activation to be ReLU or Sigmoid"),
        (lambda: ConvNet1(activation=Dropout(0.5)), TypeError, "expected activation to be ReLU or Sigmoid"),
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
        (lambda: Sequential([ReLU()], (2,), rng=3), TypeError, "rng to be a numpy.random.Generator, got 3"),
        (lambda: ConvNet1(hidden_size=0), ValueError, "out_features: expected at least 1"),
        (
            lambda: small().loss(np.zeros((3, 2, 8, 8)), [0, 1, 2]),
            ValueError,
            r"of shape \(N, 2, 8, 7\), got \(3, 2, 8, 8\)",
        ),
        (lambda: small().loss(np.zeros((0, 2, 8, 7)), []), ValueError, "N and K at least 1"),
        (lambda: small().loss(np.zeros((2, 2, 8, 7)), [0, 4]), ValueError, r"labels in \[0, 4\), got 4"),
        (lambda: small().scores(np.zeros((2, 8, 7))), ValueError, r"expected x of shape \(N, 2, 8, 7\)"),
        (lambda: small().scores(np.zeros((1, 2, 8, 7), bool)), TypeError, "real numbers, got dtype bool"),
    ],
)
def test_wrong_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


class Forgetful(Layer):
    """A layer whose methods return one thing instead of two, as asked."""

    def __init__(self, method):
        super().__init__()
        self.params = {"weight": np.ones(2)}
        self.method = method

    def forward(self, x, rng=None):
        return x if self.method == "forward" else (x, None)

    def backward(self, dy, cache, *, need_dx=True):
        return dy


@pytest.mark.parametrize(("method", "pair"), [("forward", r"\(y, cache\)"), ("backward", r"\(dx, grads\)")])
def test_users_layers_that_return_too_little_are_named(method, pair):
    model = Sequential([Forgetful(method)], (2,))
    with pytest.raises(TypeError, match=f"layer1: expected {method} to return {pair}, got ndarray"):
        model.loss(np.ones((2, 2)), [0, 1])  # two examples: an array of them could be unpacked into two


def test_a_users_layer_without_its_base_is_named():
    class Bare(Layer):
        def __init__(self):
            pass

    with pytest.raises(TypeError, match=r"layer 1, Bare\(\), has no params; its __init__ has to call super"):
        Sequential([Bare()], (2,))


def test_users_layers_work(rng):
    class Scale(Layer):
        kind = "scale"

        def __init__(self, size):
            self.params = {"weight": np.full(size, 2.0)}

        def forward(self, x, rng=None):
            return x * self.params["weight"], x

        def backward(self, dy, cache, *, need_dx=True):
            return dy * self.params["weight"], {"weight": np.asfortranarray((dy * cache).sum(axis=0))}

    model = Sequential([Scale(6), Affine(6, 4, rng=rng, dtype=np.float64), Scale(4)], (6,), l2=0.3)
    assert list(model.params) == ["scale1.weight", "affine1.weight", "affine1.bias", "scale2.weight"]
    x, labels = rng.standard_normal((3, 6)), [0, 1, 3]
    _, grads = model.loss(x, labels)
    for name, param in model.params.items():
        assert gradient_error(lambda: model.loss(x, labels)[0], param, grads[name], rng=rng) < 1e-7, name


@pytest.mark.parametrize("optimizer", [SGD(0.05), Momentum(0.01), Adam(1e-3)], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("l2", [0, 0.1])
def test_a_training_step_is_loss_and_then_update(rng, optimizer, dtype, l2):
    x, labels = rng.standard_normal((20, 1, 12, 10)), rng.integers(0, 4, 20)
    one, other = (ConvNet1((1, 12, 10), hidden_size=30, num_classes=4, l2=l2, dtype=dtype) for _ in range(2))
    optimizers = [type(optimizer)(optimizer.learning_rate) for _ in range(2)]
    workspace = Workspace()
    for _ in range(4):
        loss = one.train_step(x, labels, optimizers[0], workspace)
        expected, grads = other.loss(x, labels)
        optimizers[1].update(other.params, grads)
        assert loss == pytest.approx(expected, rel=1e-4 if dtype == np.float32 else 1e-11)
    for name, param in one.params.items():
        np.testing.assert_allclose(param, other.params[name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_a_training_step_needs_no_workspace(rng):
    x, labels = rng.standard_normal((5, 1, 8, 8)), rng.integers(0, 10, 5)
    with_one, without = (ConvNet1((1, 8, 8), hidden_size=7) for _ in range(2))
    assert with_one.train_step(x, labels, SGD(0.1), Workspace()) == without.train_step(x, labels, SGD(0.1))
    for name, param in with_one.params.items():
        np.testing.assert_array_equal(param, without.params[name])


def test_a_training_step_uses_a_subclasses_own_loss(rng):
    class Doubled(ConvNet1):
        def loss(self, x, labels):
            loss, grads = super().loss(x, labels)
            return 2 * loss, {name: 2 * grad for name, grad in grads.items()}

    x, labels = rng.standard_normal((5, 1, 8, 8)), rng.integers(0, 10, 5)
    plain, doubled = ConvNet1((1, 8, 8), hidden_size=7), Doubled((1, 8, 8), hidden_size=7)
    assert doubled.train_step(x, labels, SGD(0.1)) == pytest.approx(2 * plain.train_step(x, labels, SGD(0.2)))
    for name, param in plain.params.items():
        np.testing.assert_allclose(doubled.params[name], param, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_training_step_with_a_loss_that_is_not_finite_changes_nothing(rng):
    model = ConvNet1((1, 8, 8), hidden_size=7)
    before = {name: param.copy() for name, param in model.params.items()}
    x = np.full((3, 1, 8, 8), np.nan)
    assert not np.isfinite(model.train_step(x, [0, 1, 2], SGD(0.1)))
    for name, param in model.params.items():
        np.testing.assert_array_equal(param, before[name])


def test_layers_of_the_users_may_leave_out_the_argument_empty(rng):
    class Scale(Layer):
        kind = "scale"

        def __init__(self):
            super().__init__()
            self.params = {"weight": np.full(3, 2, np.float32)}

        def forward(self, x, rng=None):
            return x * self.params["weight"], x

        def backward(self, dy, cache, *, need_dx=True):
            return dy * self.params["weight"], {"weight": (dy * cache).sum(axis=0)}

    def model():
        generator = np.random.default_rng(0)
        return Sequential([Affine(4, 3, rng=generator), Scale(), Affine(3, 2, rng=generator)], (4,), l2=0.1)

    x, labels = rng.standard_normal((6, 4)), rng.integers(0, 2, 6)
    one, other = model(), model()
    one.train_step(x, labels, SGD(0.1), Workspace())
    SGD(0.1).update(other.params, other.loss(x, labels)[1])
    for name, param in one.params.items():
        np.testing.assert_allclose(param, other.params[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_gradients_of_loss_are_the_callers_own(rng):
    model = ConvNet1((1, 8, 8), hidden_size=7)
    x, labels = rng.standard_normal((5, 1, 8, 8)), rng.integers(0, 10, 5)
    _, grads = model.loss(x, labels)
    kept = {name: grad.copy() for name, grad in grads.items()}
    workspace = Workspace()
    for _ in range(2):
        model.train_step(rng.standard_normal(x.shape), labels, SGD(0.1), workspace)
        model.loss(2 * x, labels)
    for name, grad in grads.items():
        np.testing.assert_array_equal(grad, kept[name])


def test_a_layer_may_keep_the_gradient_that_it_returns(rng):
    class Kept(Affine):
        def backward(self, dy, cache, *, need_dx=True, empty=np.empty):
            return None, self.kept

    layer = Kept(6, 3, rng=rng)
    layer.kept = {"weight": np.ones((6, 3), np.float32), "bias": np.zeros(3, np.float32)}
    model = Sequential([layer], (6,), l2=0.5)
    x, labels = rng.standard_normal((4, 6)), [0, 1, 2, 0]
    for _ in range(2):
        np.testing.assert_allclose(model.loss(x, labels)[1]["affine1.weight"], 1 + 0.5 * layer.params["weight"])
        model.train_step(x, labels, SGD(0.1))
    np.testing.assert_array_equal(layer.kept["weight"], 1)


def test_layers_may_share_a_weight(rng):
    layers = [Affine(6, 5, rng=rng), *(Affine(5, 5, rng=rng) for _ in range(2))]
    layers[2].params["weight"] = layers[1].params["weight"]
    x, labels = rng.standard_normal((4, 6), np.float32), rng.integers(0, 5, 4)
    models = [Sequential(copy.deepcopy(layers), (6,)) for _ in range(2)]
    loss, grads = models[0].loss(x, labels)
    SGD(0.5).update(models[0].params, grads)
    assert models[1].train_step(x, labels, SGD(0.5)) == pytest.approx(loss, rel=1e-6)
    for name, param in models[0].params.items():
        np.testing.assert_allclose(models[1].params[name], param, rtol=1e-5, atol=1e-6)


def test_a_label_is_not_made_up_where_a_score_is_nan(rng):
    model = Sequential([Affine(3, 4, rng=rng), Affine(4, 2, rng=rng)], (3,))
    x = rng.standard_normal((5, 3))
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"expected scores, got NaN for x\[3\]: the input is the first that is not"):
        model.predict(x)
    model.params["affine2.weight"][1, 1] = np.nan
    with pytest.raises(ValueError, match=r"got NaN for x\[0\]: the parameter affine2.weight is the first"):
        model.predict(x[:2])
    assert np.isnan(model.scores(x[:2])[:, 1]).all()
