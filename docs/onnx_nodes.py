"""Run the tests of nodes that the package onnx has for runtimes, and write their table into docs/onnx.md.

    python docs/onnx_nodes.py

A test is one node, its inputs and its outputs. Its further inputs become constants of the graph, and what it gives is
flattened and multiplied by random numbers, so that it is a network whose scores are sums of the node's outputs. A node
that makes probabilities stays the last one, behind a product with an identity matrix, so that there is a layer.
"""

import re
import tempfile
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

import convnet
from convnet.onnx import import_onnx
from convnet.onnx.heads import HEADS
from convnet.onnx.operators import OPERATORS

PAGE = Path(__file__).with_name("onnx.md")
# Of these two the tests are about types of elements.
LEFT_OUT = {"Cast", "Identity"}
# These are no layers, but the end of a graph.
ENDS = HEADS.keys() - OPERATORS.keys()
# Sums of random parts of what a node gives.
SUMS = 16
# As a part of the largest number: what the tests themselves allow, as some results are written with four digits.
TOLERANCE = 1e-3
BEGIN, END = "<!-- what docs/onnx_nodes.py writes -->\n", "<!-- its end -->\n"


def cases():
    """Return the tests of single nodes whose operator the importer knows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        found = load_model_tests(kind="node")
    return [
        case
        for case in found
        if case.model is not None
        and len(case.model.graph.node) == 1
        and case.model.graph.node[0].op_type in (OPERATORS.keys() | ENDS) - LEFT_OUT
        and not case.model.graph.node[0].domain
    ]


def as_network(case):
    """Return a test's node as a network, its input, and what its scores have to be."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    (arrays, outputs), graph = case.data_sets[0], model.graph
    names = [value.name for value in graph.input]
    for name, array in zip(names[1:], arrays[1:], strict=True):
        tensor = array if isinstance(array, onnx.TensorProto) else numpy_helper.from_array(np.asarray(array))
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = name
    del graph.input[1:]
    expected = np.asarray(outputs[0])
    last = graph.output[0].name
    if graph.node[0].op_type in ENDS:
        identity = np.eye(arrays[0].shape[-1], dtype=np.float32)
        graph.initializer.append(numpy_helper.from_array(identity, "identity"))
        graph.node.insert(0, helper.make_node("MatMul", [names[0], "identity"], ["features"]))
        graph.node[1].input[0] = "features"
    elif expected.ndim > 1:
        graph.node.append(helper.make_node("Flatten", [last], ["flat"], axis=1))
        factors = np.random.default_rng(0).normal(size=(int(np.prod(expected.shape[1:])), SUMS)).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(factors, "factors"))
        graph.node.append(helper.make_node("MatMul", ["flat", "factors"], ["scores"]))
        with np.errstate(invalid="ignore"):  # of infinities, such as the maximum of no numbers
            expected = expected.reshape(len(expected), -1) @ factors
        del graph.output[1:]
        graph.output[0].CopyFrom(helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["N", SUMS]))
    return model, arrays[0], expected


def outcome(case, folder):
    """Return "passed", "refused" with the reason, or what is wrong."""
    network, x, expected = as_network(case)
    node, path = case.model.graph.node[0], Path(folder) / "node.onnx"
    onnx.save(network, path)
    try:
        model = import_onnx(path)
    except ValueError as error:
        reason = str(error).removeprefix(f"{path}: ")
        return "refused", re.sub(r"^node.*? of type \w+( that computes '.*?')?: ", "", reason)
    is_last = x.ndim == 4 and model.input_shape != x.shape[1:]
    images = x.transpose(0, 3, 1, 2) if is_last else x.reshape(-1, *model.input_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", convnet.ConvnetWarning)  # some inputs are whole numbers, as raw images are
        found = model.probabilities(images) if node.op_type in ENDS else model.scores(images)
    if node.op_type == "LogSoftmax":
        found = np.log(found)
    if found.shape == expected.shape and np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max():
        return "passed", ""
    return "wrong", f"{found!r:.200} instead of {expected!r:.200}"


def outcomes():
    """Return by operator and by name of a test what came of it."""
    found = defaultdict(dict)
    with tempfile.TemporaryDirectory() as folder:
        for case in cases():
            found[case.model.graph.node[0].op_type][case.name.removeprefix("test_")] = outcome(case, folder)
    return dict(sorted(found.items()))


def table(found):
    """Return the outcomes as a table of Markdown, and the reasons."""
    lines = ["| operator | passed | refused | why |", "| --- | --- | --- | --- |"]
    for operator, tests in found.items():
        reasons = Counter(
            reason.partition(", got ")[0].rstrip(".") for kind, reason in tests.values() if kind == "refused"
        )
        why = "; ".join(f"{count}: {reason}" for reason, count in reasons.items())
        passed = sum(kind == "passed" for kind, _ in tests.values())
        lines.append(f"| {operator} | {passed} | {len(tests) - passed} | {why} |")
    return f"The tests are those of onnx {onnx.__version__}.\n\n" + "\n".join(lines) + "\n"


def main():
    """Write the table."""
    page = PAGE.read_text("utf-8")
    head, rest = page.split(BEGIN)
    PAGE.write_text(head + BEGIN + "\n" + table(outcomes()) + "\n" + END + rest.split(END)[1], "utf-8")


if __name__ == "__main__":
    main()
