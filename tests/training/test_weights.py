"""Weights of the training examples, which a Solver hands to the loss."""

from functools import partial
from itertools import chain

import numpy as np
import pytest
from checkpoint_runs import make_data, make_solver, outcome

from convnet import SGD, Affine, Checkpoint, ReLU, Sequential, Solver, softmax_loss, svm_loss

# Labels that mean nothing, and few of them: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")


def classes_data(rng, n=23):
    """Return three classes that a small network can tell apart: the largest of three sums."""
    x = rng.standard_normal((n + 40, 6)).astype(np.float32)
    y = (x[:, :3] + x[:, 3:]).argmax(axis=1)
    return {"x_train": x[:n], "y_train": y[:n], "x_validation": x[n:], "y_validation": y[n:]}


def make_model(l2=0.0):
    rng = np.random.default_rng(0)
    return Sequential([Affine(6, 16, rng=rng), ReLU(), Affine(16, 3, rng=rng)], (6,), l2=l2)


def test_weights_of_examples_follow_the_shuffling_to_the_loss(rng):
    data = classes_data(rng)
    data["weights_train"] = np.arange(23)
    data["y_train"][:] = np.arange(23) % 3
    seen = []

    def loss(scores, labels, weights=None):
        if weights is not None:  # without them when the model is made
            seen.append((weights.tolist(), labels.tolist()))
        return softmax_loss(scores, labels, weights=weights)

    layers = [Affine(6, 3, rng=rng)]
    solver = Solver(Sequential(layers, (6,), loss=loss), data, SGD(0.1), batch_size=10, epochs=2)
    solver.train()
    assert [len(weights) for weights, _ in seen] == [10, 10, 3] * 2
    for epoch in (seen[:3], seen[3:]):
        weights, labels = (list(chain(*parts)) for parts in zip(*epoch, strict=True))
        assert sorted(weights) == list(range(23))
        assert weights != list(range(23))
        assert labels == [weight % 3 for weight in weights]


def test_examples_of_weight_0_are_not_learnt(rng):
    data, others = classes_data(rng), classes_data(rng)
    data["weights_train"] = np.where(np.arange(23) < 12, 1.5, 0)
    for key in ("x_train", "y_train"):
        others[key] = np.concatenate([data[key][:12], others[key][12:]])
    models = [make_model(), make_model()]
    for model, own in zip(models, (data, data | others), strict=True):
        Solver(model, own, SGD(0.1), batch_size=5, epochs=3, restore_best=False).train()
    for name, param in models[0].params.items():
        np.testing.assert_allclose(param, models[1].params[name], rtol=1e-5, atol=1e-6)


def test_a_step_with_weights_is_gradient_descent_on_the_weighted_loss(rng):
    data = classes_data(rng, 8)
    data["weights_train"] = rng.uniform(0, 2, 8)
    model, twin = make_model(l2=0.01), make_model(l2=0.01)
    loss = Solver(model, data, SGD(0.3), batch_size=8).step()
    expected, grads = twin.loss(data["x_train"], data["y_train"], weights=data["weights_train"])
    assert loss == pytest.approx(expected, rel=1e-6)
    assert loss != pytest.approx(make_model(l2=0.01).loss(data["x_train"], data["y_train"])[0], rel=1e-3)
    for name, param in model.params.items():
        np.testing.assert_allclose(param, twin.params[name] - 0.3 * grads[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(22), r"Solver: weights_train: expected shape \(23,\), got \(22,\)"),
        (np.full(23, -1), "Solver: weights_train: expected finite numbers of at least 0, got -1"),
        (np.full(23, np.nan), "Solver: weights_train: expected finite numbers of at least 0, got nan"),
        (np.zeros(23), "Solver: weights_train: expected a weight above 0, got none"),
    ],
)
def test_wrong_weights_are_named(rng, weights, message):
    with pytest.raises(ValueError, match=message):
        Solver(make_model(), classes_data(rng) | {"weights_train": weights}, SGD(0.1))


class OwnLoss(Sequential):
    def loss(self, x, labels):
        return super().loss(x, labels)


@pytest.mark.parametrize(
    ("kind", "loss", "named"),
    [
        (Sequential, svm_loss, "svm_loss"),
        (Sequential, partial(svm_loss, margin=2.0), "svm_loss with"),
        (OwnLoss, softmax_loss, "OwnLoss.loss"),
    ],
)
def test_weights_for_a_loss_that_takes_none_are_refused(rng, kind, loss, named):
    model = kind([Affine(6, 3, rng=rng)], (6,), loss=loss)
    data = classes_data(rng) | {"weights_train": np.ones(23)}
    with pytest.raises(ValueError, match=f"^Solver: expected a model whose loss takes weights=.*{named}"):
        Solver(model, data, SGD(0.1))
    Solver(model, data | {"weights_train": None}, SGD(0.1)).step()


def weighted_data(seed=1):
    return make_data() | {"weights_train": np.random.default_rng(seed).uniform(0, 3, 90)}


def test_every_checkpoint_of_a_training_with_weights_leads_to_the_same_bits(tmp_path):
    def solver(callbacks=()):
        loss = partial(softmax_loss, smoothing=0.1, class_weights=np.array([1.0, 2.0, 0.5]))
        return make_solver("Adam", callbacks, weighted_data(), loss=loss)

    whole = solver([Checkpoint(tmp_path, iterations=1, keep=100)])
    whole.train()
    for path in sorted(tmp_path.iterdir())[::10]:
        resumed = solver()
        resumed.resume(path)
        resumed.train()
        assert outcome(resumed) == outcome(whole)


@pytest.mark.parametrize("data", [make_data(), weighted_data(2)], ids=["none", "others"])
def test_a_checkpoint_of_other_weights_is_refused(tmp_path, data):
    solver = make_solver(data=weighted_data())
    solver.step()
    solver._check_if_due()
    solver.save(tmp_path / "checkpoint.npz")
    with pytest.raises(ValueError, match="it is a checkpoint of another run: weights_train"):
        make_solver(data=data).resume(tmp_path / "checkpoint.npz")
