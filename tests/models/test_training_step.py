"""The training step, and whose the gradients are."""

import copy
from functools import partial

import numpy as np
import pytest
from cases import small_batch, small_convnet1
from guarded import on, using

from convnet import (
    SGD,
    Adadelta,
    Adam,
    Affine,
    ConvNet1,
    Momentum,
    ReLU,
    RMSProp,
    Sequential,
    Workspace,
    _kernels,
    binary_loss,
    gradient_error,
    softmax_loss,
    svm_loss,
)


def test_gradients_are_fresh_arrays(rng):
    model = small_convnet1()
    x, labels = small_batch(rng)
    _, first = model.loss(x, labels)
    kept = {name: grad.copy() for name, grad in first.items()}
    model.loss(*small_batch(rng))
    for name, grad in first.items():
        np.testing.assert_array_equal(grad, kept[name])
        assert not any(np.shares_memory(grad, param) for param in model.params.values())


OPTIMIZERS = [
    SGD(0.05),
    Momentum(0.01),
    Momentum(0.01, nesterov=True),
    RMSProp(1e-3, epsilon=1e-3),
    Adadelta(0.5, epsilon=1e-4),
    Adam(1e-3, epsilon=1e-3, weight_decay=0.1),
]


@pytest.mark.parametrize("instruction_set", _kernels.INSTRUCTION_SETS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("l2", [0, 0.1])
def test_a_training_step_is_loss_and_then_update(rng, optimizer, dtype, l2, instruction_set):
    x, labels = rng.standard_normal((20, 1, 12, 10)), rng.integers(0, 4, 20)
    models = [ConvNet1((1, 12, 10), hidden_size=30, num_classes=4, l2=l2, dtype=dtype) for _ in range(3)]
    optimizers, workspace = [copy.deepcopy(optimizer) for _ in range(3)], Workspace()
    optimizers[2].regularised = frozenset({"conv1.weight", "affine1.weight", "affine2.weight"})
    with using(instruction_set):
        for _ in range(4):
            losses = []
            for model, own, threads in zip(models[:2], optimizers[:2], (1, 3), strict=True):
                with on(threads):
                    losses.append(model.train_step(x, labels, own, workspace))
            expected, grads = models[2].loss(x, labels)
            optimizers[2].update(models[2].params, grads)
            assert losses[0] == losses[1] == pytest.approx(expected, rel=1e-4 if dtype == np.float32 else 1e-11)
    for name, param in models[0].params.items():
        np.testing.assert_array_equal(param, models[1].params[name])
        np.testing.assert_allclose(param, models[2].params[name], rtol=1e-3, atol=1e-5, err_msg=name)
    for name, kept in optimizers[0].state.items():
        for key, array in kept.items():
            np.testing.assert_allclose(array, optimizers[2].state[name][key], rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS[1:], ids=repr)
def test_an_optimizer_of_another_model_changes_nothing(rng, optimizer):
    x, labels, optimizer = rng.standard_normal((20, 1, 12, 10)), rng.integers(0, 4, 20), copy.deepcopy(optimizer)
    model, other = (ConvNet1((1, 12, 10), hidden_size=size, num_classes=4) for size in (30, 31))
    model.train_step(x, labels, optimizer)
    before = {name: param.copy() for name, param in other.params.items()}
    with pytest.raises(ValueError, match="another model needs an optimizer of its own"):
        other.train_step(x, labels, optimizer)
    for name, param in other.params.items():
        np.testing.assert_array_equal(param, before[name])
    model.train_step(x, labels, optimizer)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_training_goes_on_after_a_first_step_that_failed_in_the_backward_pass(rng, optimizer):
    class Once(ReLU):
        fails = True

        def backward(self, dy, cache, need_dx=True):
            if self.fails:
                self.fails = False
                raise RuntimeError("once")
            return super().backward(dy, cache, need_dx)

    layers = [Affine(6, 5, rng=rng), Once(), Affine(5, 4, rng=rng)]
    model, optimizer = Sequential(layers, (6,)), copy.deepcopy(optimizer)
    x, labels = rng.standard_normal((20, 6)), rng.integers(0, 4, 20)
    with pytest.raises(RuntimeError, match="once"):
        model.train_step(x, labels, optimizer)
    losses = [model.train_step(x, labels, optimizer) for _ in range(50)]
    assert losses[-1] < losses[0]


def test_an_update_of_ones_own_is_used_for_every_parameter(rng):
    names, optimizer = [], Momentum(0.1)
    optimizer.update_param = lambda name, param, grad, state, rate: names.append(name)
    model = Sequential([Affine(6, 5, rng=rng), ReLU(), Affine(5, 4, rng=rng)], (6,))
    model.train_step(rng.standard_normal((3, 6)), [0, 1, 2], optimizer)
    assert sorted(names) == sorted(model.params)


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


@pytest.mark.parametrize("loss", [softmax_loss, partial(softmax_loss, smoothing=0.2), binary_loss])
def test_weights_of_examples_reach_the_loss(rng, loss):
    model = Sequential([Affine(6, 4, rng=rng, dtype=np.float64)], (6,), loss=loss)
    x, weights = rng.standard_normal((5, 6)), np.array([0.5, 0, 1, 2, 3])
    labels = rng.integers(0, 2, (5, 4)) if loss is binary_loss else rng.integers(0, 4, 5)
    value, grads = model.loss(x, labels, weights=weights)
    assert value == loss(model.scores(x), labels, weights=weights)[0]
    for name, param in model.params.items():
        assert gradient_error(lambda: model.loss(x, labels, weights=weights)[0], param, grads[name], rng=rng) < 1e-6
    twin = copy.deepcopy(model)
    assert model.train_step(x, labels, SGD(0.1), weights=weights) == value
    for name, param in model.params.items():
        np.testing.assert_allclose(param, twin.params[name] - 0.1 * grads[name], rtol=1e-12, atol=1e-15)


def test_weights_reach_a_subclasses_own_loss(rng):
    class Doubled(Sequential):
        def loss(self, x, labels, *, weights=None):
            loss, grads = super().loss(x, labels, weights=weights)
            return 2 * loss, grads

    model, twin = (kind([Affine(6, 4, rng=np.random.default_rng(0))], (6,)) for kind in (Doubled, Sequential))
    x, labels, weights = rng.standard_normal((3, 6)), [0, 1, 3], [1, 2, 3]
    loss = model.train_step(x, labels, SGD(0.1), weights=weights)
    assert loss == 2 * twin.train_step(x, labels, SGD(0.1), weights=weights)


def plain_loss(scores, labels):
    return softmax_loss(scores, labels)


@pytest.mark.parametrize("loss", [svm_loss, partial(svm_loss, margin=2.0), plain_loss])
def test_weights_for_a_loss_that_takes_none_are_refused_before_anything_changes(rng, loss):
    model = Sequential([Affine(6, 4, rng=rng)], (6,), loss=loss)
    before = model.params["affine1.weight"].copy()
    with pytest.raises(ValueError, match="Sequential: expected no weights, because the loss takes none"):
        model.train_step(rng.standard_normal((3, 6)), [0, 1, 2], SGD(0.1), weights=[1, 2, 3])
    np.testing.assert_array_equal(model.params["affine1.weight"], before)
