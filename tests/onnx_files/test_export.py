"""Models as ONNX files, which ONNX Runtime computes."""

import json
import sys
from functools import partial

import layer_cases
import numpy as np
import onnx
import pytest
from onnx_graphs import close, run
from random_models import inputs_for, random_model

import convnet
from convnet import (
    Affine,
    AveragePool2D,
    Conv2D,
    ConvNet1,
    Layer,
    MaxPool2D,
    RealLabels,
    ReLU,
    Sequential,
    binary_loss,
    svm_loss,
    takes_labels,
)
from convnet.layers import LAYERS
from convnet.onnx import export_onnx, import_onnx
from convnet.onnx.exporting import EXPORTED


def small(**options):
    return ConvNet1((1, 8, 7), num_filters=3, kernel_size=3, padding=1, hidden_size=6, num_classes=3, **options)


def test_every_layer_of_the_library_is_exported():
    assert set(EXPORTED) == set(LAYERS.values())


@pytest.mark.parametrize("case", layer_cases.ROWS)
def test_a_layer_computes_the_same(case, tmp_path):
    layer = case.make(np.float32)
    shape = layer.output_shape(case.input_shape)
    rng = np.random.default_rng(0)
    model = Sequential([layer, Affine(int(np.prod(shape)), 4, rng=rng)], case.input_shape)
    export_onnx(model, tmp_path / "model.onnx")
    x = rng.normal(size=(3, *case.input_shape)).astype(np.float32)
    close(run(tmp_path / "model.onnx", x)["scores"], model.scores(x))


@pytest.mark.parametrize("seed", range(40))
def test_random_models_have_the_same_scores(seed, tmp_path):
    model = random_model(seed)
    export_onnx(model, tmp_path / "model.onnx")
    for count in (1, 5):
        x = inputs_for(model, count, seed)
        found = run(tmp_path / "model.onnx", x)
        close(found["scores"], model.scores(x))
        np.testing.assert_allclose(found["probabilities"], model.probabilities(x), atol=1e-5)


@pytest.mark.parametrize("pool", [MaxPool2D, AveragePool2D, partial(AveragePool2D, count_padding=False)])
def test_random_poolings_have_the_same_scores(pool, tmp_path):
    """Also where windows reach beyond a padding that counts along one axis, and leave pixels out along the other."""
    rng = np.random.default_rng(0)
    windows = [
        ((2, 9, 6), (2, 1), {"stride": (4, 2), "padding": 0, "ceil_mode": True}),
        ((2, 3, 10), (2, 3), {"stride": (4, 2), "padding": ((1, 1), (2, 0)), "ceil_mode": True}),
    ]
    for _ in range(60):
        kernel = tuple(rng.integers(1, 5, 2).tolist())
        padding = tuple(tuple(rng.integers(0, size, 2).tolist()) for size in kernel)
        options = {
            "stride": tuple(rng.integers(1, 5, 2).tolist()),
            "padding": padding,
            "ceil_mode": bool(rng.integers(2)),
        }
        windows.append(((2, *rng.integers(4, 12, 2).tolist()), kernel, options))
    for shape, kernel, options in windows:
        layer = pool(kernel, **options)
        model = Sequential([layer, Affine(int(np.prod(layer.output_shape(shape))), 4, rng=rng)], shape)
        export_onnx(model, tmp_path / "model.onnx")
        x = rng.normal(size=(2, *shape)).astype(np.float32)
        close(run(tmp_path / "model.onnx", x)["scores"], model.scores(x))
        close(import_onnx(tmp_path / "model.onnx").scores(x), model.scores(x))


def test_raw_images_go_in_and_names_are_in_the_metadata(tmp_path):
    model = random_model(3, statistics=True)
    model.class_names = [f"Klasse {place} ü" for place in range(model.num_classes)]
    export_onnx(model, tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    assert proto.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(metadata["class_names"]) == model.class_names
    assert "reader" not in metadata
    assert (proto.ir_version, proto.opset_import[0].version) == (7, 13)
    assert proto.producer_version == convnet.__version__


def test_how_images_of_any_size_are_read_is_in_the_metadata(tmp_path):
    model = small()
    reader = convnet.ImageReader((8, 7))
    model.statistics = convnet.Statistics((1, 8, 7), True, None, None, reader)
    export_onnx(model, tmp_path / "model.onnx")
    (entry,) = onnx.load(tmp_path / "model.onnx").metadata_props
    assert entry.key == "reader"
    assert json.loads(entry.value) == json.loads(json.dumps(reader.to_dict()))


def test_what_the_labels_of_the_loss_say_is_what_the_outputs_are(tmp_path):
    @takes_labels(RealLabels())
    def squares(scores, labels):
        difference = scores - labels
        return float((difference**2).mean()), 2 * difference / difference.size

    x = np.random.default_rng(0).normal(size=(4, 1, 8, 7)).astype(np.float32)
    for loss, names in (
        (partial(svm_loss, margin=2.0), ["scores", "probabilities"]),
        (binary_loss, ["scores", "probabilities"]),
        (squares, ["scores"]),
    ):
        model = small(loss=loss)
        export_onnx(model, tmp_path / "model.onnx")
        found = run(tmp_path / "model.onnx", x)
        assert list(found) == names
        close(found["scores"], model.scores(x))
        if "probabilities" in names:
            np.testing.assert_allclose(found["probabilities"], model.probabilities(x), atol=1e-6)


def test_a_model_of_float64_is_written_in_float32(tmp_path):
    model = small(dtype=np.float64)
    export_onnx(model, tmp_path / "model.onnx")
    x = np.random.default_rng(0).normal(size=(4, 1, 8, 7)).astype(np.float32)
    close(run(tmp_path / "model.onnx", x)["scores"], model.scores(x))


def test_no_examples_give_no_scores(tmp_path):
    export_onnx(small(), tmp_path / "model.onnx")
    assert run(tmp_path / "model.onnx", np.empty((0, 1, 8, 7), np.float32))["scores"].shape == (0, 3)


class Doubled(Layer):
    kind = "doubled"

    def forward(self, x, rng=None):
        return 2 * x, None

    def backward(self, dy, cache, need_dx=True):
        return 2 * dy, {}


class Shifted(ConvNet1):
    def scores(self, x, **options):
        return super().scores(x, **options) + 1


def test_what_cannot_be_exported_is_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "model.onnx"
    rng = np.random.default_rng(0)
    own = Sequential([Conv2D(1, 2, 3, rng=rng), Doubled(), Affine(2 * 6 * 5, 3, rng=rng)], (1, 8, 7))
    with pytest.raises(TypeError, match=r"export_onnx: expected the layer doubled1 to be one of .*, got Doubled"):
        export_onnx(own, path)
    with pytest.raises(TypeError, match="expected a model whose scores are its layers', not Shifted's own"):
        export_onnx(Shifted((1, 28, 28)), path)
    with pytest.raises(TypeError, match="expected a model such as ConvNet1"):
        export_onnx(ReLU(), path)
    model = small()
    model.class_names = names = ["a", "b", "c"]
    names.append("d")
    with pytest.raises(ValueError, match="expected 3 class names"):
        export_onnx(model, path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError, match="expected a folder"):
        export_onnx(small(), tmp_path / "nowhere" / "model.onnx")


def test_without_the_package_onnx_the_message_says_how_to_get_it(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("convnet.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "convnet-cpu\[onnx\]"'):
        import convnet.onnx  # noqa: F401
