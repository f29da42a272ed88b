"""How graphs end: what are scores, and what makes probabilities of them."""

import numpy as np
import pytest
from onnx_graphs import Maker, close, run

from convnet import (
    SGD,
    Affine,
    BinaryLabels,
    RealLabels,
    Sequential,
    Sigmoid,
    binary_loss,
    softmax_loss,
    svm_loss,
    takes_labels,
)
from convnet.layers.labels import labels_of
from convnet.onnx import export_onnx, import_onnx

X = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)


@takes_labels(RealLabels())
def squared_loss(scores, labels):
    difference = scores - labels
    return float((difference**2).mean()), 2 * difference / difference.size


def network(*operators, features=4, **options):
    """Return a graph of a Gemm and of nodes behind it, each an operator and its attributes."""
    maker = Maker((6,), **options)
    maker.add("Gemm", maker.random(6, features))
    for operator, attributes in operators:
        maker.add(operator, **attributes)
    return maker


def imported(maker, tmp_path, outputs=None, **options):
    return import_onnx(maker.save(tmp_path / "model.onnx", outputs), **options)


@pytest.mark.parametrize("operators", [["Softmax", "Softmax"], ["Softmax", "LogSoftmax"], ["Softmax", "Sigmoid"]])
def test_a_softmax_that_is_not_the_end_is_refused(operators, tmp_path):
    maker = network(*((operator, {"axis": 1} if operator != "Sigmoid" else {}) for operator in operators))
    with pytest.raises(ValueError, match="of type Softmax: expected one of"):
        imported(maker, tmp_path)


def test_a_sigmoid_before_a_softmax_is_a_layer(tmp_path):
    maker = network(("Sigmoid", {}), ("Softmax", {"axis": 1}))
    model = imported(maker, tmp_path)
    np.testing.assert_allclose(model.probabilities(X), run(tmp_path / "model.onnx", X)[maker.last], atol=1e-6)
    assert [type(layer) for layer in model.layers.values()] == [Affine, Sigmoid]


@pytest.mark.parametrize("loss", [softmax_loss, binary_loss, svm_loss])
def test_an_exported_model_that_ends_with_a_sigmoid_comes_back(loss, tmp_path):
    model = Sequential([Affine(6, 4, rng=np.random.default_rng(0)), Sigmoid()], (6,), loss=loss)
    export_onnx(model, tmp_path / "model.onnx")
    close(import_onnx(tmp_path / "model.onnx").scores(X), model.scores(X))


@pytest.mark.parametrize(("opset", "axis"), [(13, 0), (13, -2), (11, 0), (13, None), (11, None), (13, 1), (11, -1)])
def test_a_softmax_over_the_examples_is_refused(opset, axis, tmp_path):
    maker = network(("Softmax", {} if axis is None else {"axis": axis}), opset=opset)
    if axis in (0, -2):
        with pytest.raises(ValueError, match="of type Softmax: axis: expected that of the classes, got"):
            imported(maker, tmp_path)
    else:
        found = imported(maker, tmp_path).probabilities(X)
        np.testing.assert_allclose(found, run(tmp_path / "model.onnx", X)[maker.last], atol=1e-6)


def test_probabilities_of_two_kinds_are_refused(tmp_path):
    maker = network()
    scores = maker.last
    outputs = [maker.add("Sigmoid", x=scores), maker.add("Softmax", x=scores, axis=1)]
    with pytest.raises(ValueError, match="of type Sigmoid: expected probabilities of one kind, got those of a softmax"):
        imported(maker, tmp_path, outputs)
    model = imported(maker, tmp_path, [scores, outputs[0]])
    assert isinstance(labels_of(model.loss_function), BinaryLabels)


def test_a_sigmoid_with_its_axis_taken_away(tmp_path):
    """As of ``torch.sigmoid(scores).squeeze(1)``, one probability an example."""
    maker = network(("Sigmoid", {}), features=1)
    maker.add("Squeeze", maker.constant(np.array([1])))
    model = imported(maker, tmp_path)
    expected = run(tmp_path / "model.onnx", X)[maker.last]
    np.testing.assert_allclose(model.probabilities(X)[:, 0], expected, atol=1e-6)
    assert isinstance(labels_of(model.loss_function), BinaryLabels)


def test_one_score_is_that_of_a_yes_or_no(tmp_path):
    model = imported(network(features=1), tmp_path)
    assert isinstance(labels_of(model.loss_function), BinaryLabels)
    optimizer = SGD(0.5)
    losses = [model.train_step(X, np.array([0, 1, 1]), optimizer) for _ in range(40)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_sigmoid_is_a_layer_where_the_loss_takes_other_labels(tmp_path):
    maker = network(("Sigmoid", {}))
    model = imported(maker, tmp_path, loss=squared_loss)
    close(model.scores(X), run(tmp_path / "model.onnx", X)[maker.last])
    assert len(imported(maker, tmp_path, loss=binary_loss).layers) == 1
    with pytest.raises(ValueError, match="of type Softmax: expected one of"):
        imported(network(("Softmax", {"axis": 1})), tmp_path, loss=binary_loss)


def test_many_outputs_are_refused_at_once(tmp_path):
    maker = network(*[("Identity", {})] * 100)
    with pytest.raises(ValueError, match="expected one output, of class scores"):
        imported(maker, tmp_path, [node.output[0] for node in maker.nodes])


@pytest.mark.parametrize("pool", ["Conv", "MaxPool", "GlobalMaxPool"])
@pytest.mark.parametrize("with_softmax", [True, False])
def test_images_of_one_pixel_are_scores(pool, with_softmax, tmp_path):
    """As of a network that ends with a convolution of the whole image, and a flattening."""
    maker = Maker((2, 4, 4))
    maker.add("Conv", maker.random(5, 2, 2, 2))
    if pool == "Conv":
        maker.add("Conv", maker.random(5, 5, 3, 3))
    else:
        maker.add(pool, **({"kernel_shape": [3, 3]} if pool == "MaxPool" else {}))
    if with_softmax:
        maker.add("Softmax", axis=1)
    maker.add("Flatten")
    model = imported(maker, tmp_path)
    x = np.random.default_rng(0).normal(size=(3, 2, 4, 4)).astype(np.float32)
    found = model.probabilities(x) if with_softmax else model.scores(x)
    close(found, run(tmp_path / "model.onnx", x)[maker.last])
