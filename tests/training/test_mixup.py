"""Mixup: the inputs, the losses of two labels, and users' own mixtures in a Solver."""

from functools import partial

import numpy as np
import pytest
from guarded import on

from convnet import (
    SGD,
    Affine,
    Augmentation,
    Mixture,
    Mixup,
    Momentum,
    ReLU,
    Sequential,
    Solver,
    binary_loss,
    preprocess,
    softmax_loss,
    svm_loss,
)
from convnet.core import threads

# Labels that mean nothing, and few of them: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")


def make_model(loss=softmax_loss, kind=Sequential):
    rng = np.random.default_rng(0)
    return kind([Affine(6, 8, rng=rng, dtype=np.float64), ReLU(), Affine(8, 3, rng=rng, dtype=np.float64)], (6,),
                loss=loss)  # fmt: skip


def make_data(rng, n=23):
    x = rng.standard_normal((n + 20, 6))
    y = (x[:, :3] + x[:, 3:]).argmax(axis=1)
    return {"x_train": x[:n], "y_train": y[:n], "x_validation": x[n:], "y_validation": y[n:]}


@pytest.mark.parametrize("shape", [(0, 3), (1, 2, 3), (2, 4), (7, 2, 3, 3), (40, 3)])
def test_examples_are_mixed_in_pairs_by_a_factor_of_the_minibatch(monkeypatch, rng, dtype, shape):
    monkeypatch.setattr(threads, "PART", 20)
    x = rng.standard_normal(shape).astype(dtype)
    before, results = x.copy(), set()
    for number in (1, 2, 3, 4, 5):
        with on(number):
            mixed, partners, factor = Mixup(0.7)(x, np.random.default_rng(5))
        results.add((mixed.tobytes(), factor))
    assert len(results) == 1
    assert factor == np.random.default_rng(5).beta(0.7, 0.7)
    assert mixed.dtype == dtype
    np.testing.assert_array_equal(x, before)
    assert partners.tolist() == list(range(len(x)))[::-1]
    np.testing.assert_allclose(mixed, factor * x + (1 - factor) * x[partners], rtol=1e-5, atol=1e-6)


def test_the_augmentation_comes_first(rng):
    x = rng.standard_normal((6, 1, 5, 5)).astype(np.float32)
    augmentation = Augmentation(flip=True)
    twin = np.random.default_rng(2)
    moved = augmentation(x, twin)
    mixed, partners, factor = Mixup(1, augmentation)(x, np.random.default_rng(2))
    assert factor == twin.beta(1, 1)
    np.testing.assert_allclose(mixed, factor * moved + (1 - factor) * moved[partners], rtol=1e-5, atol=1e-6)


def weighted_loops(scores, labels, weights, smoothing, class_weights):
    """Return the weighted softmax loss of target probabilities (N, K), summed example by example."""
    total, sum_of_weights = 0.0, 0.0
    for row, parts, owners in zip(scores, labels, weights, strict=True):
        logs = row - np.log(np.exp(row).sum())
        for label, part, weight in zip(*parts, owners, strict=True):
            sum_of_weights += part * weight * class_weights[label]
            for k in range(len(row)):
                target = (1 - smoothing) * (k == label) + smoothing / len(row)
                total -= part * weight * class_weights[k] * target * logs[k]
    return total / sum_of_weights


def test_the_loss_is_that_of_mixed_targets_with_smoothing_and_weights(rng):
    n, factor = 7, 0.3
    x, labels = rng.standard_normal((n, 6)), rng.integers(0, 3, n)
    partners, weights, classes = rng.permutation(n), rng.uniform(0, 2, n), rng.uniform(0.5, 2, 3)
    weights[2] = 0
    model = make_model(partial(softmax_loss, smoothing=0.1, class_weights=classes))
    mixed = factor * x + (1 - factor) * x[partners]
    loss, grads = model.loss(mixed, labels, weights=weights, mixed=(partners, factor))
    parts = [((labels[n], labels[p]), (factor, 1 - factor)) for n, p in enumerate(partners)]
    expected = weighted_loops(
        model.scores(mixed), parts, [(weights[n], weights[p]) for n, p in enumerate(partners)], 0.1, classes
    )
    assert loss == pytest.approx(expected, rel=1e-12)
    for name, param in model.params.items():
        direction = rng.standard_normal(param.shape)
        values = []
        for step in (1e-6, -1e-6):
            param += step * direction
            values.append(model.loss(mixed, labels, weights=weights, mixed=(partners, factor))[0])
            param -= step * direction
        assert (values[0] - values[1]) / 2e-6 == pytest.approx((grads[name] * direction).sum(), rel=1e-4, abs=1e-8)


@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        (softmax_loss, np.array([0, 2, 1, 1])),
        (svm_loss, np.array([0, 2, 1, 1])),
        (binary_loss, np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]])),
        (lambda scores, labels: softmax_loss(scores, labels), [0, 2, 1, 1]),
    ],
    ids=["softmax", "svm", "binary", "own"],
)
def test_every_loss_is_mixed_in_parts(rng, loss, labels):
    x, partners = rng.standard_normal((4, 6)), [3, 2, 1, 0]
    model = make_model(loss)
    own, other = model.loss(x, labels), model.loss(x, np.asarray(labels)[partners])
    for factor in (0, 0.25, 1):
        found, grads = model.loss(x, labels, mixed=(partners, factor))
        assert found == pytest.approx(factor * own[0] + (1 - factor) * other[0], rel=1e-12)
        for name, grad in grads.items():
            np.testing.assert_allclose(grad, factor * own[1][name] + (1 - factor) * other[1][name], atol=1e-12)


def test_a_solver_hands_the_mixture_to_the_loss(rng):
    data = make_data(rng) | {"weights_train": rng.uniform(0, 2, 23)}
    solver = Solver(make_model(), data, SGD(0.1), batch_size=10, epochs=1, seed=4, augmentation=Mixup(0.5))
    calls, step = [], solver.model.train_step

    def recorded(x, labels, *rest, **options):
        calls.append((x.copy(), labels, options))
        return step(x, labels, *rest, **options)

    solver.model.train_step = recorded
    solver.train()
    twin = Solver(make_model(), data, SGD(0.1), batch_size=10, epochs=1, seed=4)
    generator = twin.state.augmenting
    twin.state.shuffle(0)
    for position, (x, labels, options) in enumerate(calls):
        chosen = twin.state.order[10 * position : 10 * position + 10]
        partners, factor = options["mixed"]
        assert factor == generator.beta(0.5, 0.5)
        own = data["x_train"][chosen]
        np.testing.assert_allclose(x, factor * own + (1 - factor) * own[::-1], rtol=1e-12)
        np.testing.assert_array_equal(partners, np.arange(len(x))[::-1])
        np.testing.assert_array_equal(labels, data["y_train"][chosen])
        np.testing.assert_array_equal(options["weights"], data["weights_train"][chosen])
    assert len(calls) == 3


def test_users_own_functions_may_return_mixtures(rng):
    data = make_data(rng)

    def own(x, rng):
        factor = rng.beta(0.5, 0.5)
        partners = np.arange(len(x))[::-1]
        return Mixture(factor * x + (1 - factor) * x[partners], partners, factor)

    losses = []
    for augmentation in (own, Mixup(0.5)):
        solver = Solver(make_model(), data, Momentum(0.1), batch_size=10, epochs=2, augmentation=augmentation)
        solver.train()
        losses.append(solver.loss_history)
    np.testing.assert_allclose(*losses, rtol=1e-9)


class Swapped(Augmentation):
    """An augmentation of the library's kind that mixes, too."""

    def __call__(self, x, rng, **options):
        x = super().__call__(x, rng, **options)
        return Mixture((x + x[::-1]) / 2, np.arange(len(x))[::-1], 0.5)


@pytest.mark.parametrize("keep_uint8", [False, True])
def test_a_subclass_of_augmentation_may_return_mixtures(rng, dtype, keep_uint8):
    images, labels = rng.integers(0, 256, (40, 6, 6), dtype=np.uint8), np.arange(40) % 3
    data, statistics = preprocess(
        images, labels, images, labels, num_validation=8, num_test=None, keep_uint8=keep_uint8
    )
    model = Sequential([Affine(36, 3, rng=rng, dtype=dtype)], (1, 6, 6))
    model.statistics = statistics
    solver = Solver(model, data, SGD(0.05), batch_size=10, epochs=2, augmentation=Swapped(statistics=statistics))
    solver.train()
    assert np.isfinite(solver.loss_history).all()
    with pytest.raises(ValueError, match="Mixup: expected an augmentation that does not mix its inputs"):
        Solver(model, data, SGD(0.1), augmentation=Mixup(1, Swapped())).step()


def test_an_array_that_a_users_function_returns_is_not_changed(rng):
    data, kept = make_data(rng), []

    def same(x, rng):
        kept.append((x * 2, x * 2))
        return kept[-1][0]

    Solver(make_model(), data, SGD(0.1), batch_size=10, epochs=1, augmentation=Mixup(0.5, same)).train()
    for returned, before in kept:
        np.testing.assert_array_equal(returned, before)


class OwnLoss(Sequential):
    def loss(self, x, labels):
        return super().loss(x, labels)


class OwnLossOfMixtures(Sequential):
    def loss(self, x, labels, *, mixed=None):
        return super().loss(x, labels, mixed=mixed)


def test_a_class_with_a_loss_of_its_own_has_to_take_mixtures(rng):
    data = make_data(rng)
    solvers = [
        Solver(make_model(kind=kind), data, SGD(0.1), augmentation=Mixup(0.5)) for kind in (OwnLoss, OwnLossOfMixtures)
    ]
    with pytest.raises(ValueError, match="OwnLoss: expected examples that are not mixed, because the class's own loss"):
        solvers[0].step()
    plain = Solver(make_model(), data, SGD(0.1), augmentation=Mixup(0.5))
    assert solvers[1].step() == pytest.approx(plain.step())


@pytest.mark.parametrize(
    ("mixed", "error", "message"),
    [
        (5, TypeError, "Sequential: expected mixed to be the partners and the factor, got 5"),
        (([0.0, 1.0], 0.5), TypeError, "Sequential: partners: expected integers, got dtype float64"),
        (([0, 1, 1], 0.5), ValueError, r"partners: expected 2 numbers of examples, in \[0, 2\), got shape \(3,\)"),
        (([0, 2], 0.5), ValueError, r"partners: expected 2 numbers of examples, in \[0, 2\), got 0 to 2"),
        (([-1, 0], 0.5), ValueError, "got -1 to 0"),
        (([0, 1], 1.5), ValueError, "Sequential: factor: expected a finite number of at least 0 and at most 1"),
        (([0, 1], "half"), TypeError, "Sequential: factor: expected a real number, got 'half'"),
    ],
)
def test_wrong_mixtures_are_named(rng, mixed, error, message):
    with pytest.raises(error, match=message):
        make_model().train_step(rng.standard_normal((2, 6)), [0, 1], SGD(0.1), mixed=mixed)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Mixup(0), ValueError, "Mixup: alpha: expected a finite number above 0, got 0"),
        (lambda: Mixup("1"), TypeError, "Mixup: alpha: expected a real number, got '1'"),
        (lambda: Mixup(1, Augmentation), TypeError, "Mixup: expected augmentation to be a function, or an object"),
        (lambda: Mixup(1, 3), TypeError, "Mixup: expected augmentation to be a function, .* got 3"),
        (
            lambda: Mixup(1, Mixup(1))(np.zeros((2, 3)), np.random.default_rng(0)),
            ValueError,
            "Mixup: expected an augmentation that does not mix its inputs",
        ),
        (lambda: Mixup(1)(["a"], np.random.default_rng(0)), TypeError, "Mixup: x: expected real numbers"),
    ],
)
def test_wrong_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_mixture_of_another_shape_is_named(rng):
    solver = Solver(make_model(), make_data(rng), SGD(0.1), augmentation=Mixup(1, lambda x, rng: x[:, :5]))
    with pytest.raises(ValueError, match=r"augmentation: expected x of shape \(23, 6\), got \(23, 5\)"):
        solver.step()


def test_repr():
    assert repr(Mixup(1)) == "Mixup(1.0)"
    assert repr(Mixup(0.2, Augmentation())) == "Mixup(0.2, Augmentation(shift=2, rotation=10.0))"
