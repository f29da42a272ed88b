"""The training step, and whose the gradients are."""

import numpy as np
import pytest
from cases import small_batch, small_convnet1

from convnet import SGD, Adam, ConvNet1, Momentum, Workspace


def test_gradients_are_fresh_arrays(rng):
    model = small_convnet1()
    x, labels = small_batch(rng)
    _, first = model.loss(x, labels)
    kept = {name: grad.copy() for name, grad in first.items()}
    model.loss(*small_batch(rng))
    for name, grad in first.items():
        np.testing.assert_array_equal(grad, kept[name])
        assert not any(np.shares_memory(grad, param) for param in model.params.values())


@pytest.mark.parametrize("optimizer", [SGD(0.05), Momentum(0.01), Adam(1e-3)], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("l2", [0, 0.1])
def test_a_training_step_is_loss_and_then_update(rng, optimizer, dtype, l2):
    x, labels = rng.standard_normal((20, 1, 12, 10)), rng.integers(0, 4, 20)
    one, other = (ConvNet1((1, 12, 10), hidden_size=30, num_classes=4, l2=l2, dtype=dtype) for _ in range(2))
    optimizers = [type(optimizer)(optimizer.learning_rate) for _ in range(2)]
    workspace = Workspace()
    for _ in range(4):
        loss = one.train_step(x, labels, optimizers[0], workspace)
        expected, grads = other.loss(x, labels)
        optimizers[1].update(other.params, grads)
        assert loss == pytest.approx(expected, rel=1e-4 if dtype == np.float32 else 1e-11)
    for name, param in one.params.items():
        np.testing.assert_allclose(param, other.params[name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_a_training_step_needs_no_workspace(rng):
    x, labels = rng.standard_normal((5, 1, 8, 8)), rng.integers(0, 10, 5)
    with_one, without = (ConvNet1((1, 8, 8), hidden_size=7) for _ in range(2))
    assert with_one.train_step(x, labels, SGD(0.1), Workspace()) == without.train_step(x, labels, SGD(0.1))
    for name, param in with_one.params.items():
        np.testing.assert_array_equal(param, without.params[name])


def test_a_training_step_uses_a_subclasses_own_loss(rng):
    class Doubled(ConvNet1):
        def loss(self, x, labels):
            loss, grads = super().loss(x, labels)
            return 2 * loss, {name: 2 * grad for name, grad in grads.items()}

    x, labels = rng.standard_normal((5, 1, 8, 8)), rng.integers(0, 10, 5)
    plain, doubled = ConvNet1((1, 8, 8), hidden_size=7), Doubled((1, 8, 8), hidden_size=7)
    assert doubled.train_step(x, labels, SGD(0.1)) == pytest.approx(2 * plain.train_step(x, labels, SGD(0.2)))
    for name, param in plain.params.items():
        np.testing.assert_allclose(doubled.params[name], param, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_training_step_with_a_loss_that_is_not_finite_changes_nothing(rng):
    model = ConvNet1((1, 8, 8), hidden_size=7)
    before = {name: param.copy() for name, param in model.params.items()}
    x = np.full((3, 1, 8, 8), np.nan)
    assert not np.isfinite(model.train_step(x, [0, 1, 2], SGD(0.1)))
    for name, param in model.params.items():
        np.testing.assert_array_equal(param, before[name])


def test_gradients_of_loss_are_the_callers_own(rng):
    model = ConvNet1((1, 8, 8), hidden_size=7)
    x, labels = rng.standard_normal((5, 1, 8, 8)), rng.integers(0, 10, 5)
    _, grads = model.loss(x, labels)
    kept = {name: grad.copy() for name, grad in grads.items()}
    workspace = Workspace()
    for _ in range(2):
        model.train_step(rng.standard_normal(x.shape), labels, SGD(0.1), workspace)
        model.loss(2 * x, labels)
    for name, grad in grads.items():
        np.testing.assert_array_equal(grad, kept[name])
