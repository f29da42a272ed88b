"""ONNX graphs made node by node, and ONNX Runtime, which computes them, for the tests of the door to ONNX."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def run(path, x):
    """Return what ONNX Runtime computes, by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: x}), strict=True))


def close(found, expected, tolerance=1e-5):
    """Assert that scores are within the tolerance of the largest."""
    assert found.shape == expected.shape
    if found.size:
        assert np.abs(found - expected).max() <= tolerance * max(1, np.abs(expected).max())


class Maker:
    """A graph of nodes in a row, and more where a name is given for what goes in."""

    def __init__(self, shape, opset=17, kind=TensorProto.FLOAT, batch="N", domains=()):
        self.rng = np.random.default_rng(0)
        self.opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
        self.nodes, self.constants = [], []
        self.input = helper.make_tensor_value_info("input", kind, [batch, *shape])
        self.last = "input"

    def constant(self, array):
        """Add a constant; return its name."""
        array = np.asarray(array)
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def random(self, *shape):
        """Add a constant of random numbers; return its name."""
        return self.constant(self.rng.normal(size=shape).astype(np.float32))

    def add(self, operator, *more, x=None, name=None, before=(), **attributes):
        """Add a node that takes the last value, or x, and constants behind or before it; return its output's name."""
        output = name or f"v{len(self.nodes)}"
        inputs = [*before, self.last if x is None else x, *more]
        self.nodes.append(helper.make_node(operator, inputs, [output], f"{operator.lower()}_{output}", **attributes))
        self.last = output
        return output

    def proto(self, outputs=None):
        """Return the model."""
        names = outputs or [self.last]
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
        graph = helper.make_graph(self.nodes, "graph", [self.input], values, self.constants)
        model = helper.make_model(graph, opset_imports=self.opsets, ir_version=8)
        model = onnx.shape_inference.infer_shapes(model)  # a valid file says the shapes of its outputs
        for value in model.graph.output:
            if not value.type.tensor_type.HasField("shape"):
                value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, ["N", "K"]))
        return model

    def save(self, path, outputs=None):
        """Write the model; return the path."""
        onnx.save(self.proto(outputs), path)
        return path
