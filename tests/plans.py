"""A model's plan against the reference plan, in which every layer computes itself."""

import numpy as np
import pytest

from convnet import Workspace
from convnet.layers.stage import LayerStage
from convnet.models.plan import Plan


def generator():
    return np.random.default_rng(4)


def with_biases(model):
    rng = np.random.default_rng(2)
    for name, param in model.params.items():
        if name.endswith("bias"):
            param[...] = 0.1 * rng.standard_normal(param.shape)
    return model


def agree(found, expected, dtype, name="", factor=1):
    """Assert that two arrays differ within rounding, relative to the norm."""
    assert found.dtype == expected.dtype == dtype
    assert found.shape == expected.shape
    difference = np.linalg.norm((found - expected).ravel())
    limit = factor * (1e-5 if dtype == np.float32 else 1e-11)
    assert difference <= limit * np.linalg.norm(expected.ravel()), name


def outcome(plan, model, x, labels):
    """Return scores of training, the loss without L2, and the gradients."""
    step = plan.forward(x, Workspace(), generator())
    loss, dscores = model.loss_function(step.y, labels)
    gradients = {}
    for grads, penalty in plan.backward(dscores, step):
        assert penalty == 0
        assert not gradients.keys() & grads.keys()
        gradients |= {name: grad.copy() for name, grad in grads.items()}
    return step.y.copy(), loss, gradients


def check(model, dtype, n):
    """Assert that a model's plan agrees with the reference plan, and the model with both."""
    dtype = np.dtype(dtype)
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, *model.input_shape)).astype(dtype)
    labels = rng.integers(0, model.num_classes, n)
    plan = model.plan()
    reference = Plan(model.layers, model.input_shape, dtype, reference=True)
    assert all(type(stage) is LayerStage for stage in reference.stages)
    assert plan.stages[-1].output_shape == (model.num_classes,)
    agree(plan.predict(x, Workspace()), reference.predict(x, Workspace()), dtype, "scores")
    agree(model.scores(x), reference.predict(x, Workspace()), dtype, "scores")
    if n == 0:
        return
    scores, loss, grads = outcome(plan, model, x, labels)
    expected_scores, expected, true = outcome(reference, model, x, labels)
    agree(scores, expected_scores, dtype, "scores of training")
    tolerance = 1e-5 if dtype == np.float32 else 1e-11
    assert loss == pytest.approx(expected, rel=tolerance, abs=tolerance)  # scores are of the size of 1
    assert grads.keys() == true.keys() == model.params.keys()
    # What rounding changes in a score changes all gradients by so much, relative to them.
    factor = 1 + np.abs(expected_scores).max()
    for name, grad in grads.items():
        agree(grad, true[name], dtype, name, factor)
    model.rng = generator()
    loss, grads = model.loss(x, labels)
    weights = {f"{name}.{key}" for name, layer in model.layers.items() for key in layer.regularised}
    expected += sum(0.5 * model.l2 * (model.params[name].astype(np.float64) ** 2).sum() for name in weights)
    tolerance = 1e-5 if dtype == np.float32 else 1e-11
    assert loss == pytest.approx(expected, rel=tolerance, abs=tolerance)  # scores are of the size of 1
    for name, grad in grads.items():
        decay = dtype.type(model.l2) * model.params[name] if name in weights else 0
        agree(grad, true[name] + decay, dtype, name, factor)
