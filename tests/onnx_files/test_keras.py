"""Networks that Keras' exporter wrote; tests/data/keras_models.py made the files."""

from pathlib import Path

import numpy as np
import pytest

from convnet import SGD
from convnet.onnx import import_onnx

DATA = Path(__file__).parent.parent / "data"


@pytest.mark.parametrize(
    ("name", "shape", "largest"), [("mnist", (28, 28, 1), 1), ("cifar", (32, 32, 3), 255), ("residual", (16, 16, 3), 1)]
)
def test_a_network_of_keras_predicts_the_same_and_is_trained_further(name, shape, largest):
    model = import_onnx(DATA / f"keras-{name}.onnx")
    assert model.input_shape == (shape[2], *shape[:2])
    x = np.linspace(0, largest, 3 * np.prod(shape), dtype=np.float32).reshape(3, *shape).transpose(0, 3, 1, 2)
    found = model.scores(x) if name == "residual" else model.probabilities(x)
    np.testing.assert_allclose(found, np.load(DATA / f"keras-{name}.npy"), atol=1e-5)
    labels, optimizer = np.arange(3), SGD(1e-3)
    losses = [model.train_step(x, labels, optimizer) for _ in range(30)]
    assert losses[-1] < losses[0]
