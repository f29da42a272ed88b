"""The tests of nodes that the package onnx has for runtimes."""

import importlib.util
from pathlib import Path

import onnx
import pytest

SCRIPT = Path(__file__).parent.parent.parent / "docs" / "onnx_nodes.py"
spec = importlib.util.spec_from_file_location("convnet_docs_onnx_nodes", SCRIPT)
docs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(docs)


@pytest.fixture(scope="module")
def outcomes():
    return docs.outcomes()


def test_no_node_computes_something_else(outcomes):
    wrong = {name: reason for tests in outcomes.values() for name, (kind, reason) in tests.items() if kind == "wrong"}
    assert wrong == {}
    assert sum(kind == "passed" for tests in outcomes.values() for kind, _ in tests.values()) >= 60


def test_the_table_of_the_docs_is_that_of_this_code(outcomes):
    page = SCRIPT.with_name("onnx.md").read_text("utf-8")
    if f"those of onnx {onnx.__version__}." not in page:
        pytest.skip(f"the table is of another version than onnx {onnx.__version__}")
    assert docs.table(outcomes) in page
