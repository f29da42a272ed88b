"""Nodes that are nearly an activation function, and must not be taken for one."""

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_graphs import Maker

from convnet.onnx import import_onnx
from convnet.onnx.activations import SAMPLES


def bounded(maker, number):
    """A Relu that ends far above what networks usually have."""
    maker.add("Min", number(1000), x=maker.add("Max", number(0)))


def twice(maker, number):
    """The larger one of x, a number and x again."""
    x = maker.last
    maker.add("Max", number(0.5), x, x=x)


def of_integers(maker, number):
    """A Relu of numbers that were cut off behind the point."""
    maker.add("Neg")
    maker.add("Cast", to=TensorProto.INT32)
    maker.add("Cast", to=TensorProto.FLOAT)
    maker.add("Min", number(0))
    maker.add("Neg")


def scaled(maker, number):
    """A SiLU of features that are multiplied by constants first."""
    maker.add("Relu")
    x = maker.add("Mul", maker.random(4))
    maker.add("Mul", x, x=maker.add("Sigmoid"))


def of_another_domain(maker, number):
    x = maker.last
    maker.nodes.append(helper.make_node("Sigmoid", [x], ["gate"], "own", domain="com.example"))
    maker.add("Mul", x, x="gate")


def used_by_many(maker, number):
    x = maker.last
    for _ in range(3000):
        gate = maker.add("Sigmoid", x=x)
    maker.add("Mul", x, x=gate)


@pytest.mark.parametrize("add", [bounded, twice, of_integers, scaled, of_another_domain, used_by_many])
def test_what_is_nearly_an_activation_is_refused(add, tmp_path):
    before = SAMPLES.copy()
    maker = Maker((6,), domains=["com.example"])
    maker.add("Gemm", maker.random(6, 4))
    add(maker, lambda value: maker.constant(np.float32(value)))
    maker.add("Gemm", maker.random(4, 3))
    with pytest.raises(ValueError, match=r"model\.onnx: node .*: expected"):
        import_onnx(maker.save(tmp_path / "model.onnx"))
    np.testing.assert_array_equal(SAMPLES, before)
