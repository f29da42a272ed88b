"""Mistakes with images of one's own, on real digits: each is told, and beside it stands what the right way gives."""

import copy
import warnings

import numpy as np
import pytest

from convnet import (
    SGD,
    Adam,
    ConvNet1,
    ConvnetWarning,
    Momentum,
    OneCycle,
    RMSProp,
    Solver,
    preprocess,
    preprocess_parts,
    split,
)


@pytest.fixture(scope="module")
def data(mnist):
    images, labels, *test = mnist
    return preprocess(images[:6000], labels[:6000], *test, num_validation=1000)


def told(make):
    """Return what `make` returns, and the messages of the library's warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = make()
    assert all(warning.category is ConvnetWarning for warning in caught)
    return made, [str(warning.message) for warning in caught]


def train(data, optimizer, **options):
    solver = Solver(ConvNet1(hidden_size=100), data, copy.deepcopy(optimizer), **options)
    solver.train()
    return solver


def accuracy(solver, data):
    return np.mean(solver.model.predict(data["x_test"]) == data["y_test"])


def test_digits_that_are_sorted_by_class(mnist):
    images, labels, test_images, test_labels = mnist
    order = np.argsort(labels[:2000], kind="stable")
    images, labels = images[order], labels[order]
    nines = int((labels == 9).sum())
    (data, _), messages = told(lambda: preprocess(images, labels, test_images, test_labels, num_validation=nines))
    assert [message.split("; ")[0] for message in messages] == [
        "preprocess: the training part has no image of the class 9",
        "preprocess: the validation part has no image of the classes 0, 1, 2, 3, 4, 5, 6, 7, 8",
    ]
    gentle = {"schedule": OneCycle(2), "epochs": 2}
    solver, messages = told(lambda: train(data, Momentum(0.02), **gentle))
    assert accuracy(solver, data) < 0.12
    assert [message.split(": ")[1][:40] for message in messages] == [
        "y_train lacks 1 of the 10 classes, 9",
        "y_validation lacks 9 of the 10 classes, ",
        "the model has the parameters from before",
    ]
    parts = split(images, labels, validation=0.1)
    parts["test"] = parts["train"]._replace(images=test_images[:1000], labels=test_labels[:1000])
    data, _ = preprocess_parts(parts)
    solver, messages = told(lambda: train(data, Momentum(0.02), **gentle))
    assert messages == []
    assert accuracy(solver, data) > 0.84


@pytest.mark.parametrize("optimizer", [SGD(0.5), Momentum(0.2), Adam(0.1)], ids=repr)
def test_rates_that_are_too_large(data, optimizer):
    solver, messages = told(lambda: train(data[0], optimizer, epochs=1))
    assert accuracy(solver, data[0]) < 0.15
    rate = f"try a smaller learning rate than {optimizer.learning_rate:g}"
    for beginning in (
        "Solver: at the end of the training the model predicts one and the same for all 1000 validation examples",
        "Solver: 100 of the 100 units of relu2 give the same number",
    ):
        (message,) = [message for message in messages if message.startswith(beginning)]
        assert rate in message


@pytest.mark.parametrize("optimizer", [SGD(0.1), RMSProp(0.1)], ids=repr)
def test_a_rate_that_kills_most_units(data, optimizer):
    solver, messages = told(lambda: train(data[0], optimizer, epochs=1))
    assert accuracy(solver, data[0]) < 0.5
    assert any("of the 100 units of relu2 give the same number" in message for message in messages)


def test_a_rate_that_grows_at_first(data):
    solver, messages = told(lambda: train(data[0], Momentum(0.02), schedule=OneCycle(2), epochs=2))
    assert messages == []
    assert max(solver.loss_history) < 10
    assert accuracy(solver, data[0]) > 0.92


def test_pixels_that_nobody_scaled(data):
    prepared, statistics = data
    raw = prepared | {
        name: np.rint(255 * (prepared[name] * statistics.std + statistics.mean)) for name in ("x_train", "x_validation")
    }
    solver, messages = told(lambda: train(raw, SGD(0.1), epochs=1))
    assert solver.validation_accuracy_history[-1] < 0.2
    for text in (
        "x_train holds large numbers, such as pixels that nobody scaled",
        "the training diverges: the loss is",
    ):
        assert sum(message.startswith(f"Solver: {text}") for message in messages) == 1
