"""Models from ONNX files: those of export_onnx, and graphs as other tools write them, against ONNX Runtime."""

import copy

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import Maker, close, run
from random_models import inputs_for, random_model

from convnet import SGD, BinaryLabels, ConvNet1, Residual, binary_loss, svm_loss
from convnet.layers.labels import labels_of
from convnet.onnx import export_onnx, import_onnx


def images(shape, count=3, seed=1):
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def check(maker, tmp_path, shape, channels_last=False, **options):
    """Import a graph, and compare its scores with ONNX Runtime's; return the model."""
    path = maker.save(tmp_path / "model.onnx")
    model = import_onnx(path, **options)
    x = images(shape)
    close(model.scores(x.transpose(0, 3, 1, 2) if channels_last else x), run(path, x)[maker.last])
    return model


def features(maker, tmp_path):
    """Return how many features the last value of a graph has."""
    path = maker.save(tmp_path / "part.onnx")
    shape = [dim.dim_value for dim in maker.input.type.tensor_type.shape.dim[1:]]
    return run(path, images(shape, 1))[maker.last].size


def kinds(model):
    return [type(layer).__name__ for layer in model.layers.values()]


# --------------------------------------------------------------------------------------- what was exported


@pytest.mark.parametrize("seed", range(40))
def test_an_exported_model_comes_back(seed, tmp_path):
    model = random_model(seed)
    model.class_names = [f"class {place}" for place in range(model.num_classes)]
    export_onnx(model, tmp_path / "model.onnx")
    found = import_onnx(tmp_path / "model.onnx")
    assert found.class_names == model.class_names
    assert kinds(found) == kinds(model)
    assert found.input_shape == model.input_shape
    assert {name: array.shape for name, array in found.params.items()} == {
        name: array.shape for name, array in model.params.items()
    }
    for name, array in model.params.items():
        np.testing.assert_array_equal(found.params[name], array)
    for name, array in model.state.items():
        np.testing.assert_array_equal(found.state[name], array)
    x = inputs_for(model, 4, seed)
    close(found.scores(x), model.scores(x))


def test_statistics_come_back(tmp_path):
    model = random_model(3, statistics=True)
    export_onnx(model, tmp_path / "model.onnx")
    found = import_onnx(tmp_path / "model.onnx").statistics
    x = inputs_for(model, 5)
    np.testing.assert_allclose(found.prepare(x), model.statistics.prepare(x), rtol=1e-5, atol=1e-6)


def test_an_imported_model_is_trained_further_as_the_exported_one(tmp_path):
    model = ConvNet1((1, 10, 9), num_filters=4, kernel_size=3, hidden_size=8, num_classes=3, l2=0.0)
    export_onnx(model, tmp_path / "model.onnx")
    found = import_onnx(tmp_path / "model.onnx")
    x, labels = images((1, 10, 9), 20), np.arange(20) % 3
    losses = [[m.train_step(x, labels, o) for _ in range(10)] for m, o in ((model, SGD(0.05)), (found, SGD(0.05)))]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert losses[0][-1] < 0.8 * losses[0][0]


def test_a_sigmoid_at_the_end_makes_a_model_of_yes_or_no(tmp_path):
    model = ConvNet1((1, 10, 9), num_filters=4, kernel_size=3, hidden_size=8, num_classes=3, loss=binary_loss)
    export_onnx(model, tmp_path / "model.onnx")
    found = import_onnx(tmp_path / "model.onnx")
    assert isinstance(labels_of(found.loss_function), BinaryLabels)
    x = images((1, 10, 9))
    np.testing.assert_allclose(found.probabilities(x), model.probabilities(x), atol=1e-6)
    assert import_onnx(tmp_path / "model.onnx", loss=svm_loss).loss_function is svm_loss


# ----------------------------------------------------------------------------------- convolution and pooling


@pytest.mark.parametrize("pads", [(0, 0, 1, 1), (1, 0, 0, 2), (2, 2, 2, 2), (0, 3, 0, 0)])
@pytest.mark.parametrize("options", [{}, {"strides": [2, 1]}, {"dilations": [2, 1]}, {"group": 2}])
def test_convolutions_of_any_padding(pads, options, tmp_path):
    maker = Maker((2, 9, 8))
    maker.add("Conv", maker.random(4, 2 // options.get("group", 1), 3, 2), maker.random(4), pads=pads, **options)
    maker.add("Flatten")
    maker.add("Gemm", maker.random(features(maker, tmp_path), 3))
    check(maker, tmp_path, (2, 9, 8))


@pytest.mark.parametrize("kind", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_padding_by_size(kind, stride, tmp_path):
    maker = Maker((2, 9, 8))
    maker.add("Conv", maker.random(4, 2, 3, 2), maker.random(4), auto_pad=kind, strides=[stride, stride])
    maker.add("MaxPool", auto_pad=kind, kernel_shape=[2, 3], strides=[1, 2])
    maker.add("Flatten")
    maker.add("Gemm", maker.random(features(maker, tmp_path), 3))
    check(maker, tmp_path, (2, 9, 8))


@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize(
    "windows",
    [
        {"kernel_shape": [3, 3], "strides": [2, 2]},
        {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 0, 1]},
        {"kernel_shape": [3, 3], "strides": [3, 2], "pads": [2, 2, 2, 2]},
        {"kernel_shape": [4, 5], "strides": [3, 4], "pads": [1, 2, 1, 2]},
    ],
)
@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool 0", "AveragePool 1"])
def test_poolings_of_any_windows(operator, windows, ceil_mode, tmp_path):
    operator, _, counts = operator.partition(" ")
    maker = Maker((2, 11, 9), opset=19)
    options = {"count_include_pad": int(counts)} if counts else {}
    maker.add(operator, ceil_mode=ceil_mode, **windows, **options)
    maker.add("Flatten")
    maker.add("Gemm", maker.random(features(maker, tmp_path), 3))
    check(maker, tmp_path, (2, 11, 9))


def test_poolings_of_whole_images(tmp_path):
    for operator, more in (("GlobalAveragePool", {}), ("GlobalMaxPool", {}), ("ReduceMean", {"axes": [2, 3]})):
        for flatten in ("Flatten", "Squeeze"):
            maker = Maker((2, 5, 6))
            maker.add("Conv", maker.random(4, 2, 3, 3), pads=[1, 1, 1, 1])
            maker.add(operator, **more)
            if flatten == "Squeeze":
                maker.add("Squeeze", maker.constant(np.array([2, 3])))
            else:
                maker.add("Flatten")
            maker.add("Gemm", maker.random(4, 3), maker.random(3))
            check(maker, tmp_path, (2, 5, 6))
    maker = Maker((2, 5, 6))
    maker.add("Conv", maker.random(4, 2, 3, 3))
    maker.add("GlobalAveragePool")
    maker.add("Flatten")  # a network that ends with it
    check(maker, tmp_path, (2, 5, 6))


@pytest.mark.parametrize("opset", [10, 13, 18])
@pytest.mark.parametrize("stride", [1, 2])
def test_zeros_that_a_node_puts_around_images_become_padding(opset, stride, tmp_path):
    maker = Maker((2, 9, 8), opset=opset)
    maker.add("Relu")
    if opset == 10:
        maker.add("Pad", pads=[0, 0, 0, 1, 0, 0, 2, 3])
    elif opset == 13:
        maker.add("Pad", maker.constant(np.array([0, 0, 0, 1, 0, 0, 2, 3])), maker.constant(np.float32(0)))
    else:
        maker.add("Pad", maker.constant(np.array([1, 0, 3, 2])), "", maker.constant(np.array([-1, 2])))
    maker.add("Conv", maker.random(4, 2, 3, 2), auto_pad="SAME_UPPER", strides=[stride, stride])
    maker.add("Flatten")
    maker.add("Gemm", maker.random(features(maker, tmp_path), 3), maker.random(3))
    model = check(maker, tmp_path, (2, 9, 8))
    assert kinds(model) == ["ReLU", "Conv2D", "Affine"]


def test_zeros_around_images_with_the_channels_last(tmp_path):
    maker = Maker((7, 6, 3))
    maker.add("Pad", maker.constant(np.array([0, 1, 2, 0, 0, 0, 3, 0])))
    maker.add("Transpose", perm=[0, 3, 1, 2])
    maker.add("Conv", maker.random(4, 3, 3, 3), pads=[1, 0, 0, 0])
    maker.add("Flatten")
    maker.add("Gemm", maker.random(features(maker, tmp_path), 3))
    model = check(maker, tmp_path, (7, 6, 3), channels_last=True)
    assert model.layers["conv1"].padding == ((2, 0), (2, 3))


def test_zeros_that_no_convolution_takes_are_refused(tmp_path):
    def pad(pads, operator=None, **options):
        def add(maker):
            maker.add("Pad", maker.constant(np.array(pads)), **options)
            if operator:
                maker.add(operator)

        return add

    around = [0, 0, 1, 1, 0, 0, 1, 1]
    refused(tmp_path, pad(around, "Relu"), "node 'relu_v1' of type Relu: expected a Conv behind zeros")
    refused(tmp_path, pad(around), "node 'pad_v0' of type Pad: expected a Conv behind zeros")
    refused(tmp_path, pad(around, "Flatten", mode="edge"), "Pad: expected a padding with zeros")
    refused(tmp_path, pad([0, 1, 0, 0, 0, 0, 0, 0], "Flatten"), "Pad: pads: expected zeros above, below and beside")
    refused(tmp_path, pad([0, 0, -1, 0, 0, 0, 0, 0], "Flatten"), "Pad: pads: expected zeros above, below and beside")

    def added(maker):
        padded = maker.add("Pad", maker.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1])))
        maker.add("Conv", maker.random(2, 2, 3, 3), pads=[1, 1, 1, 1])
        maker.add("Add", padded)

    refused(tmp_path, added, "Add: expected a Conv behind zeros")


# -------------------------------------------------------------------------------------------- other tools


def test_a_shape_that_nodes_compute(tmp_path):
    """As of ``x.view(x.size(0), -1)`` in PyTorch."""
    maker = Maker((2, 5, 4))
    x = maker.add("Conv", maker.random(3, 2, 2, 2))
    size = maker.add("Shape")
    first = maker.add("Gather", maker.constant(np.array(0)), x=size)
    first = maker.add("Unsqueeze", maker.constant(np.array([0])), x=first)
    shape = maker.add("Concat", maker.constant(np.array([-1])), x=first, axis=0)
    maker.add("Reshape", shape, x=x)
    maker.add("Gemm", maker.random(5, 36), maker.random(5), transB=1, alpha=0.5, beta=2.0)
    check(maker, tmp_path, (2, 5, 4))


@pytest.mark.parametrize("shape", [(5, 4, 3), (6, 6, 1)])
def test_images_with_the_channels_last(shape, tmp_path):
    """As of Keras: moved to the front, and back before they are flattened."""
    h, w, c = shape
    maker = Maker(shape)
    maker.add("Mul", maker.constant(np.float32(1 / 255)))
    maker.add("Transpose", perm=[0, 3, 1, 2])
    maker.add("Conv", maker.random(4, c, 3, 3), auto_pad="SAME_UPPER")
    maker.add("Add", maker.random(1, 4, 1, 1))
    maker.add("BatchNormalization", *(maker.constant(np.arange(1, 5, dtype=np.float32)) for _ in range(4)))
    maker.add("Relu")
    maker.add("Transpose", perm=[0, 2, 3, 1])
    maker.add("Reshape", maker.constant(np.array([-1, 4 * h * w])))
    maker.add("MatMul", maker.random(4 * h * w, 6))
    maker.add("Add", maker.random(6))
    maker.add("Relu")
    maker.add("MatMul", maker.random(6, 3))
    maker.add("Softmax")
    path = maker.save(tmp_path / "model.onnx")
    model = import_onnx(path)
    assert model.input_shape == (c, h, w)
    x = 100 * images(shape)
    np.testing.assert_allclose(model.probabilities(x.transpose(0, 3, 1, 2)), run(path, x)[maker.last], atol=1e-5)
    assert kinds(model) == ["Conv2D", "Conv2D", "BatchNorm2D", "ReLU", "Affine", "ReLU", "Affine"]


def test_images_with_the_channels_last_that_fork_at_once(tmp_path):
    maker = Maker((5, 4, 3))
    maker.add("Transpose", perm=[0, 3, 1, 2])
    first = maker.add("Conv", maker.random(4, 3, 1, 1))
    maker.add("Transpose", x="input", perm=[0, 3, 1, 2])
    maker.add("Conv", maker.random(4, 3, 3, 3), pads=[1, 1, 1, 1])
    maker.add("Add", first)
    maker.add("GlobalAveragePool")
    maker.add("Flatten")
    maker.add("Gemm", maker.random(4, 2))
    assert check(maker, tmp_path, (5, 4, 3), channels_last=True).input_shape == (3, 5, 4)


def test_features_that_are_multiplied_by_constants(tmp_path):
    """As of a normalization behind an activation, of which Keras' exporter leaves a factor and a term."""
    maker = Maker((4, 3, 2))
    maker.add("Transpose", perm=[0, 3, 1, 2])
    maker.add("Relu")
    maker.add("Transpose", perm=[0, 2, 3, 1])
    maker.add("Flatten")
    maker.add("Mul", maker.random(24))
    maker.add("Sub", maker.random(1, 24))
    maker.add("Dropout")
    maker.add("MatMul", maker.random(24, 5))
    maker.add("Tanh")
    maker.add("Div", maker.constant(np.float32(3)))
    maker.add("Gemm", maker.random(5, 3), maker.random(3))
    path = maker.save(tmp_path / "model.onnx")
    model, x = import_onnx(path), images((4, 3, 2))
    close(model.scores(x.transpose(0, 3, 1, 2)), run(path, x)[maker.last])
    assert kinds(model) == ["ReLU", "Dropout", "Affine", "Tanh", "Affine"]

    def activation(maker):
        maker.add("Relu")
        maker.add("Mul", maker.random(4))
        maker.add("Relu")

    refused(tmp_path, activation, "node 'relu_v2' of type Relu: expected a Gemm behind features", shape=(4,))

    def end(maker):
        maker.add("Relu")
        maker.add("Mul", maker.random(4))

    refused(tmp_path, end, "node 'mul_v1' of type Mul: expected a Gemm behind features", shape=(4,))


def test_one_channel_is_moved_by_a_reshaping(tmp_path):
    maker = Maker((6, 5, 1))
    maker.add("Reshape", maker.constant(np.array([-1, 1, 6, 5])))
    maker.add("Conv", maker.random(3, 1, 2, 2))
    maker.add("Flatten")
    maker.add("Gemm", maker.random(60, 3))
    assert check(maker, tmp_path, (6, 5, 1), channels_last=True).input_shape == (1, 6, 5)


def test_rows_that_become_images(tmp_path):
    maker = Maker((30,))
    maker.add("Reshape", maker.constant(np.array([-1, 1, 6, 5])))
    maker.add("Conv", maker.random(3, 1, 2, 2))
    maker.add("Flatten")
    maker.add("Gemm", maker.random(60, 3))
    path = maker.save(tmp_path / "model.onnx")
    model, x = import_onnx(path), images((30,))
    assert model.input_shape == (1, 6, 5)
    close(model.scores(x.reshape(-1, 1, 6, 5)), run(path, x)[maker.last])


@pytest.mark.parametrize("preparation", ["255", "255 mean", "mean", "mean std", "channels last"])
def test_raw_images_become_statistics(preparation, tmp_path):
    last = preparation == "channels last"
    maker = Maker((5, 4, 3) if last else (3, 5, 4), kind=TensorProto.UINT8)
    maker.add("Cast", to=TensorProto.FLOAT)
    if last or "255" in preparation:
        maker.add("Div", maker.constant(np.float32(255)))
    if last or "mean" in preparation:
        maker.add("Sub", maker.constant(np.array([0.3, 0.4, 0.5], np.float32).reshape((3,) if last else (3, 1, 1))))
    if last:
        maker.add("Transpose", perm=[0, 3, 1, 2])
    if "std" in preparation:
        maker.add("Mul", maker.constant(np.array([2, 4, 5], np.float32).reshape(1, 3, 1, 1)))
    maker.add("Conv", maker.random(4, 3, 3, 3), pads=[1, 1, 1, 1])
    maker.add("Flatten")
    maker.add("Gemm", maker.random(80, 3))
    path = maker.save(tmp_path / "model.onnx")
    model = import_onnx(path)
    x = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)
    planes = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    close(model.scores(planes), run(path, x if last else planes)[maker.last])
    assert (model.predict_images(x) == model.predict(planes)).all()
    assert kinds(model) == ["Conv2D", "Affine"]


@pytest.mark.parametrize("form", ["gelu", "gelu, halved first", "tanh", "silu", "gelu operator", "swish by exp"])
def test_activations_of_several_nodes_are_recognised(form, tmp_path):
    maker = Maker((2, 5, 4), opset=20)
    x = maker.add("Conv", maker.random(3, 2, 2, 2))
    number = lambda value: maker.constant(np.float32(value))  # noqa: E731
    if form == "gelu":
        maker.add("Div", number(2**0.5))
        maker.add("Erf")
        maker.add("Add", number(1))
        maker.add("Mul", before=[x])
        maker.add("Mul", number(0.5))
    elif form == "gelu, halved first":
        half = maker.add("Mul", number(0.5))
        maker.add("Mul", number(0.70710678), x=x)
        maker.add("Erf")
        maker.add("Add", number(1))
        maker.add("Mul", before=[half])
    elif form == "tanh":
        square = maker.add("Mul", x)
        maker.add("Mul", x, x=square)
        maker.add("Mul", number(0.044715))
        maker.add("Add", x)
        maker.add("Mul", number((2 / np.pi) ** 0.5))
        maker.add("Tanh")
        maker.add("Add", number(1))
        maker.add("Mul", x)
        maker.add("Mul", before=[number(0.5)])
    elif form == "silu":
        maker.add("Sigmoid")
        maker.add("Mul", x)
    elif form == "swish by exp":
        maker.add("Neg")
        maker.add("Exp")
        maker.add("Add", number(1))
        maker.add("Div", before=[x])
    else:
        maker.add("Gelu", approximate="tanh")
    maker.add("Flatten")
    maker.add("Gemm", maker.random(36, 3))
    model = check(maker, tmp_path, (2, 5, 4))
    expected = "SiLU" if "s" in form.split()[0][:1] else "GELU"
    assert kinds(model) == ["Conv2D", expected, "Affine"]
    if expected == "GELU":
        assert model.layers["gelu1"].approximate == (form in ("tanh", "gelu operator"))


def residual_graph(shortcut, swapped):
    maker = Maker((3, 6, 5))
    start = maker.add("Conv", maker.random(4, 3, 3, 3), pads=[1, 1, 1, 1])
    maker.add("Relu")
    start = maker.last
    maker.add("Conv", maker.random(4, 4, 3, 3), pads=[1, 1, 1, 1])
    maker.add("Relu")
    inner = maker.last
    maker.add("Conv", maker.random(4, 4, 3, 3), pads=[1, 1, 1, 1])
    maker.add("Add", inner)
    branch = maker.last
    other = maker.add("Conv", maker.random(4, 4, 1, 1), x=start) if shortcut else start
    maker.add("Add", other, x=branch) if not swapped else maker.add("Add", branch, x=other)
    maker.add("Relu")
    maker.add("GlobalAveragePool")
    maker.add("Flatten")
    maker.add("Gemm", maker.random(4, 3))
    return maker


@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
def test_residual_connections_also_within_each_other(shortcut, swapped, tmp_path):
    model = check(residual_graph(shortcut, swapped), tmp_path, (3, 6, 5))
    assert kinds(model) == ["Conv2D", "ReLU", "Residual", "ReLU", "GlobalAveragePool", "Affine"]
    inner = model.layers["residual1"].branches["shortcut" if shortcut and swapped else "layers"]
    assert any(isinstance(layer, Residual) for layer in inner.values())


@pytest.mark.parametrize("opset", [7, 11, 12, 13, 17, 20])
def test_operators_of_many_sets(opset, tmp_path):
    maker = Maker((2, 6, 5), opset=opset)
    maker.add("Conv", maker.random(3, 2, 3, 3))
    if opset < 11:
        maker.add("Clip", min=0.0)
    else:
        maker.add("Clip", maker.constant(np.float32(0)))
    if opset < 12:
        maker.add("Dropout", ratio=0.25)
    else:
        maker.add("Dropout", maker.constant(np.float32(0.25)))
    maker.add("LeakyRelu", alpha=0.2)
    maker.add("Flatten")
    maker.add("Gemm", maker.random(36, 4), maker.random(4))
    maker.add("PRelu", maker.constant(np.full((1,), 0.1, np.float32)))
    model = check(maker, tmp_path, (2, 6, 5))
    assert model.layers["dropout1"].rate == pytest.approx(0.25)


def test_float64_and_float16(tmp_path):
    for kind, dtype in ((TensorProto.DOUBLE, np.float64), (TensorProto.FLOAT16, np.float32)):
        maker = Maker((4,), kind=kind)
        weight = np.arange(12).reshape(4, 3).astype(np.float64 if kind == TensorProto.DOUBLE else np.float16)
        maker.add("Gemm", maker.constant(weight))
        model = import_onnx(maker.save(tmp_path / "model.onnx"))
        assert model.params["affine1.weight"].dtype == dtype
        np.testing.assert_array_equal(model.scores(np.ones((1, 4)))[0], weight.sum(axis=0))


def test_open_sizes_are_given(tmp_path):
    maker = Maker(("H", 5, 1))
    maker.add("Transpose", perm=[0, 3, 1, 2])
    maker.add("Conv", maker.random(3, 1, 2, 2))
    maker.add("GlobalAveragePool")
    maker.add("Flatten")
    path = maker.save(tmp_path / "model.onnx")
    with pytest.raises(ValueError, match=r"expected examples of a known size, got \(0, 5, 1\), where 0 is open; give"):
        import_onnx(path)
    with pytest.raises(ValueError, match=r"expected an input_shape that fits the file's, \(0, 5, 1\), got \(1, 6, 4\)"):
        import_onnx(path, input_shape=(1, 6, 4))
    model, x = import_onnx(path, input_shape=(1, 6, 5)), images((6, 5, 1))
    close(model.scores(x.transpose(0, 3, 1, 2)), run(path, x)[maker.last])


# ----------------------------------------------------------------------------------------------- refusals


def refused(tmp_path, add, message, shape=(2, 6, 5), **options):
    maker = Maker(shape, **options)
    outputs = add(maker)
    with pytest.raises(ValueError, match=message) as caught:
        import_onnx(maker.save(tmp_path / "model.onnx", outputs if isinstance(outputs, list) else None))
    assert str(caught.value).startswith(str(tmp_path / "model.onnx"))
    assert len(str(caught.value)) < 600


def test_what_has_no_layer_is_refused_with_the_node(tmp_path):
    refused(tmp_path, lambda m: m.add("Elu"), "node 'elu_v0' of type Elu: expected one of Add, AveragePool")
    refused(
        tmp_path,
        lambda m: m.add("Clip", m.constant(np.float32(0)), m.constant(np.float32(6))),
        "node 'clip_v0' of type Clip: expected the bounds 0 and infinity, as of a Relu, got 0 and 6",
    )
    refused(
        tmp_path,
        lambda m: m.add("Conv", m.random(4, 3, 3, 3)) and m.add("Flatten"),
        "node 'conv_v0' of type Conv: Conv2D: .*2",
    )
    refused(
        tmp_path,
        lambda m: m.add("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]),
        r"MaxPool: dilations: expected none in a pooling, got \(2, 2\)",
    )
    refused(tmp_path, lambda m: m.add("Gemm", m.random(5, 3)), "Gemm: expected one axis of features, got .N, 2, 6, 5.")
    refused(
        tmp_path, lambda m: m.add("Mul", m.random(1, 2, 6, 5)), "Mul: expected one constant for each channel, got shape"
    )
    refused(tmp_path, lambda m: m.add("Flatten", axis=2), "Flatten: axis: expected 1")
    refused(tmp_path, lambda m: m.add("Reshape", m.constant(np.array([-1, 3]))), "Reshape: expected a shape of as many")
    refused(
        tmp_path,
        lambda m: m.add("Transpose", perm=[0, 2, 3, 1]) and m.add("Conv", m.random(2, 6, 1, 1)),
        r"Conv: expected images \(C, H, W\), got \(N, 6, 5, 2\) with axes in another order",
    )
    refused(tmp_path, lambda m: m.add("Conv", x="input", before=()) and None, "Conv|valid ONNX")


def test_branches_that_do_not_meet_as_a_residual_connection_are_refused(tmp_path):
    def two_outputs(maker):
        first = maker.add("Flatten")
        return [maker.add("Gemm", maker.random(60, 2), x=first), maker.add("Gemm", maker.random(60, 3), x=first)]

    refused(tmp_path, two_outputs, r"expected one output, of class scores, got \['v1', 'v2'\]")

    def three(maker):
        branches = [maker.add("Conv", maker.random(2, 2, 1, 1), x="input") for _ in range(3)]
        maker.add("Add", branches[1], x=branches[0])
        maker.add("Add", branches[2])

    refused(
        tmp_path, three, "node 'conv_v0' of type Conv: expected one or two branches that meet in a sum, got 3: Conv"
    )

    def product(maker):
        maker.add("Conv", maker.random(2, 2, 1, 1), x="input")
        maker.add("Mul", "input")

    refused(tmp_path, product, "Mul")

    def concatenated(maker):
        maker.add("Conv", maker.random(2, 2, 1, 1), x="input")
        maker.add("Concat", "input", axis=1)

    refused(tmp_path, concatenated, "Concat")

    def twice(maker):
        maker.add("Add", "input")
        maker.add("Flatten")

    refused(tmp_path, twice, "Add")


def test_attributes_that_no_layer_has_are_refused(tmp_path):
    refused(
        tmp_path,
        lambda m: m.add("BatchNormalization", *(m.random(2) for _ in range(4)), training_mode=1),
        "expected a normalization by running statistics",
        opset=14,
    )
    refused(tmp_path, lambda m: m.add("Gemm", m.random(30, 3), transA=1), "Gemm: expected", shape=(30,))
    refused(tmp_path, lambda m: m.add("MaxPool", kernel_shape=[2]), "kernel_shape: expected 2 integers, got")


# ------------------------------------------------------------------------------------------ hostile files


def exported(tmp_path):
    model = ConvNet1((1, 10, 9), num_filters=4, kernel_size=3, hidden_size=8, num_classes=3)
    export_onnx(model, tmp_path / "model.onnx")
    return model, onnx.load(tmp_path / "model.onnx")


def test_arrays_in_other_files_of_the_folder(tmp_path):
    model, proto = exported(tmp_path)
    onnx.save(proto, tmp_path / "split.onnx", save_as_external_data=True, location="split.data", size_threshold=0)
    assert (tmp_path / "split.onnx").stat().st_size < 3000
    x = images((1, 10, 9))
    np.testing.assert_array_equal(import_onnx(tmp_path / "split.onnx").scores(x), model.scores(x))
    (tmp_path / "split.data").unlink()
    with pytest.raises(FileNotFoundError, match=r"split\.onnx: the array 'conv1\.weight' is in the file 'split\.data'"):
        import_onnx(tmp_path / "split.onnx")


def external(proto, name="conv1.weight", **entries):
    proto = copy.deepcopy(proto)
    tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    return proto


def test_arrays_outside_of_the_folder_are_refused(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    _, proto = exported(tmp_path)
    (tmp_path / "secret").write_bytes(bytes(1000))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "inside").write_bytes(bytes(1000))
    for location in ("../secret", str(tmp_path / "secret"), "link", "", "in\0side", "."):
        onnx.save(external(proto, location=location, length=144), folder / "model.onnx")
        with pytest.raises((ValueError, FileNotFoundError), match=r"the array 'conv1\.weight'"):
            import_onnx(folder / "model.onnx")
    for entries in ({"offset": 990}, {"offset": -1}, {"length": 10**15}, {"length": 143}, {"offset": "x"}):
        onnx.save(external(proto, location="inside", **entries), folder / "model.onnx")
        with pytest.raises(ValueError, match=r"the array 'conv1\.weight': expected"):
            import_onnx(folder / "model.onnx")
    onnx.save(external(proto, location="inside", length=144, offset=8), folder / "model.onnx")
    assert not import_onnx(folder / "model.onnx").params["conv1.weight"].any()


def test_bytes_of_another_file_are_not_used_for_many_arrays(tmp_path):
    maker = Maker((10,))
    for _ in range(50):
        maker.add("Gemm", maker.random(10, 10))
    proto = maker.proto()
    (tmp_path / "data").write_bytes(bytes(400))
    for tensor in proto.graph.initializer:
        proto = external(proto, tensor.name, location="data")
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="expected each array to have bytes of its own in another file"):
        import_onnx(tmp_path / "model.onnx")


def test_constants_that_nodes_make_large_are_refused(tmp_path):
    def doubled(maker):
        name = maker.constant(np.ones((1, 2, 1, 1), np.float32))
        for _ in range(60):
            name = maker.add("Concat", name, x=name, axis=0)
        maker.add("Add", name, x="input")

    refused(tmp_path, doubled, "expected an operand to be a constant, got one with which nodes take more memory")

    def outer(maker):
        column = maker.constant(np.ones((50_000, 1), np.float32))
        row = maker.constant(np.ones((1, 50_000), np.float32))
        maker.add("Add", maker.add("Mul", row, x=column), x="input")

    refused(tmp_path, outer, "more memory than the file")

    def shared(maker):
        weight = maker.random(300, 300)
        for _ in range(1000):
            maker.add("MatMul", weight)

    refused(tmp_path, shared, "node 'matmul_v[0-9]' of type MatMul: .* more memory than the file", shape=(300,))

    def expanded(maker):
        maker.add("Add", maker.add("ConstantOfShape", x=maker.constant(np.array([10**6, 10**6]))), x="input")

    refused(tmp_path, expanded, "which is computed by ConstantOfShape")

    def long(maker):
        name = maker.constant(np.ones((1, 2, 1, 1), np.float32))
        for _ in range(3000):
            name = maker.add("Neg", x=name)
        maker.add("Add", name, x="input")

    refused(tmp_path, long, "more than 100 nodes in a row")


def test_sizes_that_the_file_only_claims_are_refused(tmp_path):
    _, proto = exported(tmp_path)
    for dims in ([4, 1, 3, 300], [2**40, 2**20, 3, 3], [4, 1, 3], [-4, 1, 3, 3]):
        other = copy.deepcopy(proto)
        tensor = next(tensor for tensor in other.graph.initializer if tensor.name == "conv1.weight")
        del tensor.dims[:]
        tensor.dims.extend(dims)
        onnx.save(other, tmp_path / "other.onnx")
        with pytest.raises(ValueError, match=r"other\.onnx"):
            import_onnx(tmp_path / "other.onnx")
    refused(tmp_path, lambda m: m.add("Flatten"), "layers|known size", shape=(10**6, 10**6, 10**6))


def test_residual_connections_without_end_are_refused(tmp_path):
    def nested(maker):
        values = ["input"]
        for _ in range(30):
            values.append(maker.add("Conv", maker.random(2, 2, 1, 1), x=values[-1]))
        for value in values[-2::-1]:
            maker.add("Add", value)

    refused(tmp_path, nested, "expected one or two branches that meet in a sum")


def test_what_is_no_onnx_file_is_refused(tmp_path):
    exported(tmp_path)
    path, content = tmp_path / "other.onnx", (tmp_path / "model.onnx").read_bytes()
    for part in (b"", content[: len(content) // 2], b"PK\3\4" + bytes(100), bytes(50)):
        path.write_bytes(part)
        with pytest.raises(ValueError, match=r"other\.onnx: expected (an|a valid) ONNX file"):
            import_onnx(path)
    with pytest.raises(FileNotFoundError):
        import_onnx(tmp_path / "nothing.onnx")
    with pytest.raises(IsADirectoryError):
        import_onnx(tmp_path)
    with pytest.raises(TypeError, match="expected the path of a file, got 3"):
        import_onnx(3)


def test_metadata_of_others_does_not_break_a_file(tmp_path):
    _, proto = exported(tmp_path)
    for names in ("[1, 2, 3]", '["a"]', "{", "null"):
        other = copy.deepcopy(proto)
        helper.set_model_props(other, {"class_names": names})
        onnx.save(other, tmp_path / "other.onnx")
        if names == "null":
            assert import_onnx(tmp_path / "other.onnx").class_names is None
        else:
            with pytest.raises(ValueError, match=r"other\.onnx: "):
                import_onnx(tmp_path / "other.onnx")


def test_an_operator_of_another_domain_is_refused(tmp_path):
    def own(maker):
        maker.add("Gemm", maker.random(4, 3))
        maker.nodes.append(helper.make_node("Relu", [maker.last], ["y"], "own", domain="com.example"))
        maker.last = "y"

    refused(
        tmp_path,
        own,
        "node 'own' of type Relu: expected an operator of ONNX itself",
        shape=(4,),
        domains=["com.example"],
    )
