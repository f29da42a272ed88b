"""Sequential."""

import pickle
import threading

import numpy as np
import pytest
from cases import small_batch, small_convnet1

from convnet import (
    Affine,
    AveragePool2D,
    Conv2D,
    ConvNet1,
    Dropout,
    MaxPool2D,
    ReLU,
    Sequential,
    Sigmoid,
    gradient_error,
    svm_loss,
)


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


def test_predictions_agree_with_each_other(rng):
    model = small_convnet1(np.float32)
    x, _ = small_batch(rng, 7, np.float32)
    scores = model.scores(x)
    np.testing.assert_array_equal(model.predict(x), scores.argmax(axis=1))
    probabilities = model.probabilities(x)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), scores.argmax(axis=1))
    assert model.scores(x[:0]).shape == (0, 4)
    assert model.predict(x[:0]).shape == (0,)


def test_many_images_are_scored_in_pieces(rng):
    model = small_convnet1(np.float64)
    x, _ = small_batch(rng, 231)
    np.testing.assert_allclose(model.scores(x), np.concatenate([model.scores(row[None]) for row in x]), rtol=1e-12)


def test_predict_of_a_class_whose_own_scores_are_nan_names_no_layer(rng):
    class Own(Sequential):
        def scores(self, x, workspace=None):
            return np.full((len(x), self.num_classes), np.nan)

    with pytest.raises(ValueError, match=r"^predict: expected scores, got NaN for x\[0\]$"):
        Own([Affine(3, 2, rng=rng)], (3,)).predict(np.zeros((2, 3)))


def test_predict_images_prepares_them():
    class Halved:
        def apply(self, images):
            return (images[:, None] / 2).astype(np.float32)

    model = ConvNet1((1, 8, 8), num_filters=2, kernel_size=3, padding=1, hidden_size=5, num_classes=3)
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    with pytest.raises(ValueError, match="to those that preprocess returned"):
        model.predict_images(images)
    model.statistics = Halved()
    np.testing.assert_array_equal(model.predict_images(images), model.predict(images[:, None] / 2))


def test_threads_may_predict_with_one_model(rng):
    model = small_convnet1(np.float32)
    x, _ = small_batch(rng, 150, np.float32)
    expected, results = model.scores(x).tobytes(), []
    threads = [threading.Thread(target=lambda: results.append(model.scores(x).tobytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4


def test_pickle(rng):
    model = small_convnet1(l2=0.5)
    x, labels = small_batch(rng)
    copy = pickle.loads(pickle.dumps(model))
    assert copy.scores(x).tobytes() == model.scores(x).tobytes()
    assert copy.loss(x, labels)[0] == model.loss(x, labels)[0]
    assert repr(copy) == repr(model)


def test_params_are_the_layers_own_and_cannot_be_replaced_by_mistake(rng):
    model = small_convnet1()
    assert model.params["conv1.weight"] is model.layers["conv1"].params["weight"]
    with pytest.raises(TypeError, match="does not support item assignment"):
        model.params["conv1.weight"] = np.zeros(3)
    other = small_convnet1(seed=9)
    model.load_params(other.params)
    x, _ = small_batch(rng)
    assert model.scores(x).tobytes() == other.scores(x).tobytes()


def test_load_params_refuses_what_does_not_fit_and_changes_nothing():
    model = small_convnet1()
    before = {name: param.copy() for name, param in model.params.items()}
    wrong = {name: np.zeros(param.shape) for name, param in model.params.items()}
    with pytest.raises(ValueError, match=r"affine2.bias: expected shape \(4,\), got \(5,\)"):
        model.load_params(wrong | {"affine2.bias": np.zeros(5)})
    with pytest.raises(ValueError, match="expected the parameters"):
        model.load_params({"conv1.weight": np.zeros(3)})
    for name, param in model.params.items():
        np.testing.assert_array_equal(param, before[name])


@pytest.mark.parametrize(
    ("name", "where"),
    [("conv1.weight", "the parameter conv1.weight"), ("affine2.bias", "the parameter affine2.bias")],
)
def test_first_non_finite_names_the_parameter(rng, name, where):
    model = small_convnet1()
    x, _ = small_batch(rng)
    assert model.first_non_finite(x) is None
    model.params[name].flat[0] = np.nan
    assert model.first_non_finite(x) == where


def test_first_non_finite_names_the_output(rng):
    model = small_convnet1(np.float32)
    x, _ = small_batch(rng, dtype=np.float32)
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
        (lambda: Sequential([Affine(2, 3, rng=R)], 2), ValueError, "input_shape: expected a shape, got 2"),
        (lambda: Sequential(5, (2,)), TypeError, "expected a sequence of layers, got 5"),
        (
            lambda: Sequential([ReLU()], (2,), rng=3),
            TypeError,
            "Sequential: rng: expected a numpy.random.Generator such as .*, got 3",
        ),
        (
            lambda: small_convnet1().loss(np.zeros((3, 2, 8, 8)), [0, 1, 2]),
            ValueError,
            r"of shape \(N, 2, 8, 7\), got \(3, 2, 8, 8\)",
        ),
        (lambda: small_convnet1().loss(np.zeros((0, 2, 8, 7)), []), ValueError, "N and K at least 1"),
        (lambda: small_convnet1().loss(np.zeros((2, 2, 8, 7)), [0, 4]), ValueError, r"labels in \[0, 4\), got 4"),
        (lambda: small_convnet1().scores(np.zeros((2, 8, 7))), ValueError, r"expected x of shape \(N, 2, 8, 7\)"),
        (lambda: small_convnet1().scores(np.zeros((1, 2, 8, 7), bool)), TypeError, "real numbers, got dtype bool"),
    ],
)
def test_wrong_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


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
