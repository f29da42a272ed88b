"""Every combination of the options trains, and repeats."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from convnet import (
    SGD,
    Adadelta,
    Adam,
    AveragePool2D,
    ConvNet1,
    Dropout,
    MaxPool2D,
    Momentum,
    ReLU,
    RMSProp,
    Sigmoid,
    Solver,
    preprocess,
)
from convnet.layers.labels import BinaryLabels, labels_of
from convnet.layers.losses import LOSSES

OPTIMIZERS = {
    "SGD": lambda: SGD(0.05),
    "Momentum": lambda: Momentum(0.01),
    "RMSProp": lambda: RMSProp(1e-3),
    "Adadelta": lambda: Adadelta(2.0),
    "Adam": lambda: Adam(2e-3),
}

# A Solver refuses the others.
ONE_CLASS_LOSSES = [loss for loss in LOSSES.values() if not isinstance(labels_of(loss), BinaryLabels)]

COMBINATIONS = list(
    product(OPTIMIZERS, (ReLU, Sigmoid), (MaxPool2D, AveragePool2D), ONE_CLASS_LOSSES, (0, 1e-3), (0, 0.3))
)


def name(value):
    return getattr(value, "__name__", str(value))


@pytest.fixture(scope="module")
def data(mnist):
    images, labels, test_images, test_labels = mnist
    data, _ = preprocess(images[:120, ::2, ::2], labels[:120], test_images[:, ::2, ::2], test_labels, num_validation=30)
    return {key: array.astype(np.float64) if key.startswith("x") else array for key, array in data.items()}


def test_the_guide_says_how_many_there_are():
    guide = Path(__file__).parents[2] / "docs" / "guide.md"
    assert f"all {len(set(COMBINATIONS))} combinations" in guide.read_text("utf-8")


@pytest.mark.parametrize(("optimizer", "activation", "pooling", "loss", "l2", "rate"), COMBINATIONS, ids=name)
def test_the_loss_falls_and_a_repeat_is_equal(data, optimizer, activation, pooling, loss, l2, rate):
    def train():
        model = ConvNet1(
            (1, 14, 14),
            num_filters=4,
            kernel_size=5,
            padding=2,
            activation=activation,
            pooling=pooling,
            hidden_size=24,
            dropout=Dropout(rate) if rate else None,
            loss=loss,
            l2=l2,
            seed=1,
            dtype=np.float64,
        )
        solver = Solver(model, data, OPTIMIZERS[optimizer](), batch_size=20, epochs=6, seed=1)
        while solver.iteration < 30:
            solver.step()
        return solver.loss_history, {key: param.tobytes() for key, param in model.params.items()}

    losses, params = train()
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])
    assert train() == (losses, params)
