"""Inputs of a graph that become images, and images that become features."""

import numpy as np
import pytest
from onnx import TensorProto
from onnx_graphs import Maker, close, run

from convnet.onnx import import_onnx


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.UINT8])
@pytest.mark.parametrize("form", ["unsqueezed", "reshaped", "channel last", "rows", "rows, channels last"])
def test_other_arrays_become_images(form, kind, tmp_path):
    """As of ``x.unsqueeze(1)`` in PyTorch, and of ``Reshape((28, 28, 1))`` in Keras."""
    h, w, c = (6, 5, 3) if form.startswith("rows") else (6, 5, 1)
    shape = (h * w * c,) if form.startswith("rows") else (h, w)
    maker = Maker(shape, kind=kind)
    if kind == TensorProto.UINT8:
        maker.add("Cast", to=TensorProto.FLOAT)
        maker.add("Sub", maker.constant(np.linspace(0, 9, int(np.prod(shape)), dtype=np.float32).reshape(shape)))
        maker.add("Div", maker.constant(np.float32(100)))
    if form == "unsqueezed":
        maker.add("Unsqueeze", maker.constant(np.array([1])))
    elif form.endswith("last"):
        maker.add("Reshape", maker.constant(np.array([-1, h, w, c])))
        maker.add("Transpose", perm=[0, 3, 1, 2])
    else:
        maker.add("Reshape", maker.constant(np.array([-1, c, h, w])))
    maker.add("Conv", maker.random(4, c, 2, 2))
    maker.add("Flatten")
    maker.add("Gemm", maker.random(80, 3))
    path = maker.save(tmp_path / "model.onnx")
    if kind == TensorProto.FLOAT:
        x = np.random.default_rng(1).normal(size=(3, *shape)).astype(np.float32)
    else:
        x = np.random.default_rng(1).integers(0, 256, (3, *shape), np.uint8)
    model = import_onnx(path)
    assert model.input_shape == (c, h, w)
    images = x.reshape(3, h, w, c).transpose(0, 3, 1, 2) if form.endswith("last") else x.reshape(3, c, h, w)
    close(model.scores(np.ascontiguousarray(images)), run(path, x)[maker.last])


def test_turned_grids_do_not_become_images(tmp_path):
    """The file's images are the transposed ones, which nobody would know who gives the model images."""
    maker = Maker((6, 5))
    maker.add("Transpose", perm=[0, 2, 1])
    maker.add("Unsqueeze", maker.constant(np.array([1])))
    maker.add("Conv", maker.random(4, 1, 2, 2))
    maker.add("Flatten")
    with pytest.raises(ValueError, match=r"of type Conv: expected images \(C, H, W\)"):
        import_onnx(maker.save(tmp_path / "model.onnx"))


def test_the_negative_of_raw_images_is_a_layer(tmp_path):
    """As of ``1 - x / 255``, which makes dark digits on white those of MNIST."""
    maker = Maker((2, 5, 4), kind=TensorProto.UINT8)
    maker.add("Cast", to=TensorProto.FLOAT)
    maker.add("Div", maker.constant(np.float32(255)))
    maker.add("Sub", before=[maker.constant(np.float32(1))])
    maker.add("Flatten")
    maker.add("Gemm", maker.random(40, 3))
    path = maker.save(tmp_path / "model.onnx")
    x = np.random.default_rng(1).integers(0, 256, (3, 2, 5, 4), np.uint8)
    model = import_onnx(path)
    close(model.scores(x), run(path, x)[maker.last])
    assert model.statistics.divide_by_255


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("pool", ["GlobalAveragePool", "ReduceMean", "GlobalMaxPool", "ReduceMax"])
def test_a_convolution_behind_a_pooling_of_whole_images(pool, bias, tmp_path):
    """As at the end of networks that have a 1x1 convolution instead of a Gemm."""
    maker = Maker((2, 5, 6))
    maker.add("Conv", maker.random(4, 2, 3, 3))
    maker.add(pool, **({"axes": [2, 3]} if pool.startswith("Reduce") else {}))
    maker.add("Conv", maker.random(6, 4, 1, 1), *([maker.random(6)] if bias else []))
    maker.add("Relu")
    maker.add("Conv", maker.random(3, 6, 1, 1))
    maker.add("Flatten")
    path = maker.save(tmp_path / "model.onnx")
    x = np.random.default_rng(1).normal(size=(3, 2, 5, 6)).astype(np.float32)
    close(import_onnx(path).scores(x), run(path, x)[maker.last])


@pytest.mark.parametrize("operator", ["ReduceMean", "ReduceMax"])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("is_last", [False, True])
def test_a_pooling_by_axes(operator, keepdims, is_last, tmp_path):
    maker = Maker((2, 5, 6))
    maker.add("Conv", maker.random(4, 2, 3, 3))
    if is_last:
        maker.add("Transpose", perm=[0, 2, 3, 1])
    maker.add(operator, axes=[1, 2] if is_last else [-1, -2], keepdims=keepdims)
    maker.add("Flatten")
    maker.add("Gemm", maker.random(4, 3))
    path = maker.save(tmp_path / "model.onnx")
    x = np.random.default_rng(1).normal(size=(3, 2, 5, 6)).astype(np.float32)
    close(import_onnx(path).scores(x), run(path, x)[maker.last])


def test_a_bias_for_each_example_is_refused(tmp_path):
    """The file is of four examples, and a column of four numbers is added to the columns, not to the rows."""
    maker = Maker((6,), batch=4)
    maker.add("Gemm", maker.random(6, 4), maker.random(4, 1))
    with pytest.raises(ValueError, match=r"Gemm: expected a bias of shape \(4,\), got \(4, 1\)"):
        import_onnx(maker.save(tmp_path / "model.onnx"))


@pytest.mark.parametrize("kind", ["NOTSET", "SAME_UPPER"])
def test_strides_of_0_are_refused(kind, tmp_path):
    maker = Maker((3, 5, 4))
    maker.add("Conv", maker.random(4, 3, 2, 2), auto_pad=kind, strides=[1, 0])
    maker.add("Flatten")
    with pytest.raises(ValueError, match=r"model\.onnx: node .* of type Conv: strides: expected positive integers"):
        import_onnx(maker.save(tmp_path / "model.onnx"))


def test_an_input_of_another_type_is_named(tmp_path):
    maker = Maker((6,), kind=TensorProto.INT64)
    maker.add("Cast", to=TensorProto.FLOAT)
    maker.add("Gemm", maker.random(6, 3))
    with pytest.raises(ValueError, match="expected an input of floats or of uint8, got one of type INT64"):
        import_onnx(maker.save(tmp_path / "model.onnx"))


def test_numbers_for_very_many_channels_are_refused(tmp_path):
    """A scale by one number would be a convolution of all channels that the input claims to have."""
    maker = Maker((2**20, 1, 1))
    maker.add("Relu")
    maker.add("Mul", maker.constant(np.float32(2)))
    maker.add("Flatten")
    with pytest.raises(ValueError, match=r"of type Mul: .* more memory than the file"):
        import_onnx(maker.save(tmp_path / "model.onnx"))


def test_raw_images_that_the_file_only_claims_are_refused(tmp_path):
    maker = Maker((3, 4096, 4096), kind=TensorProto.UINT8)
    maker.add("Cast", to=TensorProto.FLOAT)
    maker.add("GlobalAveragePool")
    maker.add("Flatten")
    with pytest.raises(ValueError, match="expected raw images of at most 16,777,216 numbers"):
        import_onnx(maker.save(tmp_path / "model.onnx"))
