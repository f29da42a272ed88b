"""The recipe of docs/contributing.md for a layer: which of its steps is missing, and a toy layer that follows it."""

import re
from pathlib import Path

import numpy as np
import pytest
from layer_cases import CASES, activation, model_of

import convnet
from convnet import ConvNet1, functional, gradient_error, layers, load_model, naive, save_model
from convnet.layers.activations import Activation

PAGE = Path(convnet.webpage.__file__).parent / "network.js"
DTYPES = (np.float32, np.float64)


def function_of(module, layer_class, suffix):
    """Return the name of a layer's function in a module, such as leaky_relu_forward, or None."""
    for name in vars(module):
        if name.endswith(suffix) and name.removesuffix(suffix).replace("_", "") == layer_class.__name__.lower():
            return name
    return None


def page_entries(text):
    """Return the names in the page's tables LAYERS and ACTIVATIONS."""
    tables = re.findall(r"^const (?:LAYERS|ACTIVATIONS) = \{$(.*?)^\};$", text, re.M | re.S)
    return {name for table in tables for name in re.findall(r"^  (\w+):", table, re.M)}


def missing_steps(layer_class, cases=CASES, page=None):
    """Return which steps of the recipe a layer lacks, in words."""
    name = layer_class.__name__
    page = PAGE.read_text("utf-8") if page is None else page
    made = next((layer for case in cases if type(layer := case.make(np.float32)) is layer_class), None)
    # A layer that only holds others has their loops and functions.
    pair = ("_forward", "_backward") if made is None or not made.branches else ()
    steps = {
        "1: its loops in convnet/naive.py": all(function_of(naive, layer_class, suffix) for suffix in pair),
        "2: its functions in convnet/functional.py": all(
            function_of(functional, layer_class, suffix) in functional.__all__ for suffix in pair
        ),
        "3: its name in LAYERS of convnet/layers/__init__.py": layers.LAYERS.get(name) is layer_class,
        "3: its name in the import list of convnet/layers/__init__.py": name in layers.__all__,
        "3: its name in _NAMES_IN of convnet/__init__.py": name in convnet.__all__,
        "4: its entry in LAYERS of convnet/webpage/network.js": name in page_entries(page),
        "5: a row in tests/layer_cases.py": made is not None,
    }
    return [step for step, is_done in steps.items() if not is_done]


@pytest.mark.parametrize("layer_class", layers.LAYERS.values(), ids=layers.LAYERS)
def test_every_layer_follows_the_recipe(layer_class):
    assert missing_steps(layer_class) == []


def test_the_page_has_no_other_layers():
    assert page_entries(PAGE.read_text("utf-8")) == set(layers.LAYERS)


class Square(Activation):
    """y = x ** 2."""

    kind = "square"

    def compute(self, x, y):
        np.square(x, out=y)

    def differentiate(self, dy, kept, dx):
        np.multiply(2 * dy, kept, out=dx)


def square_forward(x):
    return np.array([float(value) ** 2 for value in x.flat]).reshape(x.shape)


def square_backward(dy, x):
    return np.array([2 * float(g) * float(value) for g, value in zip(dy.flat, x.flat, strict=True)]).reshape(x.shape)


def test_a_toy_layer_that_follows_the_recipe_is_one_of_the_library(monkeypatch, rng, tmp_path):
    page, row = PAGE.read_text("utf-8"), activation("square", Square, square_forward, square_backward)
    assert [step[0] for step in missing_steps(Square)] == ["1", "2", "3", "3", "3", "4", "5"]

    # 1. Its loops.
    monkeypatch.setattr(naive, "square_forward", square_forward, raising=False)
    monkeypatch.setattr(naive, "square_backward", square_backward, raising=False)
    assert "1: its loops in convnet/naive.py" not in missing_steps(Square)
    # 2. Its functions and its class.
    monkeypatch.setattr(functional, "square_forward", lambda x: Square()(x), raising=False)
    monkeypatch.setattr(functional, "square_backward", lambda dy, x: Square().backward(dy, x)[0], raising=False)
    monkeypatch.setattr(functional, "__all__", [*functional.__all__, "square_forward", "square_backward"])
    # 3. Its name in the table and the import lists.
    monkeypatch.setitem(layers.LAYERS, "Square", Square)
    monkeypatch.setattr(layers, "__all__", [*layers.__all__, "Square"])
    monkeypatch.setattr(convnet, "__all__", [*convnet.__all__, "Square"])
    # 4. Its entry in the page.
    assert missing_steps(Square) == [
        "4: its entry in LAYERS of convnet/webpage/network.js",
        "5: a row in tests/layer_cases.py",
    ]
    page = page.replace("  ReLU: relu_forward,\n", "  ReLU: relu_forward,\n  Square: square_forward,\n")
    # 5. Its row.
    assert missing_steps(Square, [*CASES, row], page) == []

    # No other place was touched, and it is computed as the library's own: a stage of its own, files, ConvNet1's option.
    for dtype in DTYPES:
        model = model_of(row, dtype)
        assert model.plan().stages[0].algorithm == "loops"
        x = rng.standard_normal((4, *row.input_shape)).astype(dtype)
        expected = square_forward(x).reshape(4, -1) @ model.layers["affine1"].params["weight"].astype(np.float64)
        expected += model.layers["affine1"].params["bias"]
        np.testing.assert_allclose(model.scores(x), expected, rtol=1e-4, atol=1e-4)
        save_model(model, tmp_path / "model.npz")
        assert load_model(tmp_path / "model.npz").scores(x).tobytes() == model.scores(x).tobytes()
    layer, x = Square(), rng.standard_normal((3, 5))
    dy = rng.standard_normal(x.shape)
    dx, _ = layer.backward(dy, layer.forward(x)[1])
    assert gradient_error(lambda: float((dy * layer(x)).sum()), x, dx, rng=rng) < 1e-7
    model = ConvNet1((1, 8, 8), activation=Square)
    assert [type(layer) for layer in model.layers.values()].count(Square) == 2
