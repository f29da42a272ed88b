"""Answers to the exercises of chapter 6, and tests that they are right."""

import warnings

import numpy as np
import pytest

from convnet import SGD, Adam, Callback, ConvNet1, ConvnetWarning, Momentum, Solver, preprocess


def nesterov(gradient, memory):
    """Exercise 1: the step looks one velocity ahead."""
    memory["velocity"] = 0.9 * memory.get("velocity", 0) + gradient
    return 0.9 * memory["velocity"] + gradient


def straight(epochs):
    """Exercise 2: up in the first tenth, down in the other nine."""

    def factor(epoch):
        done = epoch / epochs
        return 10 * done if done < 0.1 else (1 - done) / 0.9

    return factor


class UntilLearned(Callback):
    """Exercise 3: ends the training when the training accuracy has reached a value."""

    def __init__(self, accuracy=1.0):
        self.accuracy = accuracy

    def on_epoch_end(self, solver):
        if solver.train_accuracy_history[-1] >= self.accuracy:
            solver.stop()


def l2_gradients(model):
    """Exercise 4: the derivative of l2 / 2 * w**2 is l2 * w."""
    return {
        f"{place}.{name}": model.l2 * param if name in layer.regularised else np.zeros_like(param)
        for place, layer in model.layers.items()
        for name, param in layer.params.items()
    }


def calm_start(model):
    """Exercise 5: small weights of the last layer give scores near 0, which are nearly equal."""
    model.params["affine2.weight"][...] *= 0.001


def factor_of_sgd(rate, steepness):
    """Exercise 6: b - rate * steepness * b is b times this number."""
    return 1 - rate * steepness


def largest_rate(steepness):
    """Exercise 6: the factor is between -1 and 1 as long as the rate is below this one."""
    return 2 / steepness


@pytest.fixture(scope="module")
def data(mnist):
    return preprocess(*(array[:700] for array in mnist), num_validation=200, num_test=100)[0]


def small_model(**options):
    return ConvNet1(num_filters=4, kernel_size=5, padding=2, hidden_size=20, **options)


def descend(step, steepness=100.0, steps=30):
    """Return the last point of a walk from (-9, 2), where `step(point, gradient)` moves the point."""
    point = np.array([-9.0, 2.0])
    for _ in range(steps):
        step(point, np.array([1.0, steepness]) * point)
    return point


def test_nesterov_takes_the_path_of_the_library():
    memory, optimizer = {}, Momentum(0.01, nesterov=True)

    def own(point, gradient):
        point -= 0.01 * nesterov(gradient, memory)

    def library(point, gradient):
        optimizer.update({"point": point}, {"point": gradient})

    np.testing.assert_allclose(descend(own), descend(library))


def test_the_schedule_reaches_the_optimizer(data):
    factors = []

    class Record(Callback):
        def on_iteration_end(self, solver):
            factors.append(solver.optimizer.rate_factor)

    Solver(small_model(), data, SGD(0.01), schedule=straight(4), epochs=4, callbacks=[Record()]).train()
    epochs = np.arange(40) / 10  # ten minibatches an epoch
    np.testing.assert_allclose(factors, np.interp(epochs, [0, 0.4, 4], [0, 1, 0]), atol=1e-12)


def test_the_training_ends_when_all_is_learned(data):
    few = data | {"x_train": data["x_train"][:10], "y_train": data["y_train"][:10]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvnetWarning)  # ten images lack classes
        solver = Solver(small_model(l2=0), few, Adam(1e-3), epochs=100, callbacks=[UntilLearned()])
        solver.train()
    assert 1 < solver.epoch < 60
    assert solver.train_accuracy_history[-1] == 1
    assert max(solver.train_accuracy_history[:-1]) < 1


def test_what_l2_adds(data):
    x, labels = data["x_train"][:20], data["y_train"][:20]
    with_l2, without = small_model(l2=0.1), small_model(l2=0)
    added = l2_gradients(with_l2)
    gradients, plain = with_l2.loss(x, labels)[1], without.loss(x, labels)[1]
    assert added.keys() == gradients.keys()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient - plain[name], added[name], atol=1e-5)
    assert not added["conv1.bias"].any()
    assert added["conv1.weight"].any()


def test_a_calm_start(data):
    x, labels = data["x_train"], data["y_train"]
    model, other = small_model(l2=0), small_model(l2=0)
    assert model.loss(x, labels)[0] > np.log(10) + 0.1
    calm_start(model)
    assert model.loss(x, labels)[0] == pytest.approx(np.log(10), abs=0.01)
    for name in ("conv1.weight", "conv1.bias", "affine1.weight", "affine1.bias"):
        assert np.array_equal(model.params[name], other.params[name])
    assert model.params["affine2.weight"].any()


@pytest.mark.parametrize("steepness", [1.0, 25.0, 300.0])
def test_how_far_sgd_can_go(steepness):
    def last(rate):
        optimizer = SGD(rate)
        return descend(lambda point, gradient: optimizer.update({"p": point}, {"p": gradient}), steepness)[1]

    rate = largest_rate(steepness)
    assert abs(last(0.99 * rate)) < 2 < abs(last(1.01 * rate))
    assert last(0.3 * rate) == pytest.approx(2 * factor_of_sgd(0.3 * rate, steepness) ** 30)
