"""The kinds of labels: how a loss declares them, and what a model and a Solver make of them."""

import pickle
from functools import partial

import numpy as np
import pytest
from cases import as_data, as_every_second, as_read_only, small_mlp, squared_loss

from convnet import (
    SGD,
    Adam,
    BinaryLabels,
    ClassLabels,
    Labels,
    RealLabels,
    Solver,
    binary_loss,
    plot_training,
    softmax_loss,
    svm_loss,
    takes_labels,
)
from convnet.layers.labels import labels_of

# Labels that mean nothing, and few of them: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")


class Median(Labels):
    """One number an example, of which a model gives two bounds."""

    def check(self, labels, what, count, num_classes):
        labels = np.asarray(labels, np.float32)
        if labels.shape != (count,):
            raise ValueError(f"{what}: expected one number an example")
        return labels

    def example(self, num_classes):
        return np.zeros(1, np.float32)

    def predict(self, scores):
        return np.sort(scores, axis=1)

    def accuracy(self, predicted, labels):
        return float(((predicted[:, 0] <= labels) & (labels <= predicted[:, 1])).mean())


class BoundsLoss:
    """Absolute distances of the two bounds from a little below and above the label."""

    labels = Median()

    def __call__(self, scores, labels):
        difference = scores - (labels[:, np.newaxis] + np.array([-0.5, 0.5], np.float32))
        return float(np.abs(difference).mean()), np.sign(difference) / difference.size


def make_model(rng, outputs, loss, dtype=np.float32):
    return small_mlp(rng, (5, 12, outputs), loss, dtype)


def yes_or_no(rng, outputs, n=120):
    x = rng.standard_normal((n, 5)).astype(np.float32)
    return x, (x[:, :outputs] > x[:, 1 : outputs + 1]).astype(int)


def sigmoid(scores):
    return [[1 / (1 + np.exp(-float(score))) for score in row] for row in scores]


def test_a_loss_says_which_labels_it_takes():
    assert type(labels_of(softmax_loss)) is type(labels_of(svm_loss)) is ClassLabels
    assert type(labels_of(lambda scores, labels: None)) is ClassLabels
    assert type(labels_of(binary_loss)) is BinaryLabels
    assert type(labels_of(partial(partial(binary_loss, weights=None), positive_weights=[1.0]))) is BinaryLabels
    assert type(labels_of(squared_loss)) is RealLabels
    assert type(labels_of(BoundsLoss())) is Median
    marked = partial(softmax_loss)
    assert takes_labels(BinaryLabels())(marked) is marked
    assert type(labels_of(marked)) is BinaryLabels
    assert type(labels_of(softmax_loss)) is ClassLabels
    assert repr(labels_of(binary_loss)) == "BinaryLabels()"
    for wrong in ("binary", BinaryLabels, None):
        with pytest.raises(TypeError, match=r"^takes_labels: expected labels such as BinaryLabels\(\), got "):
            takes_labels(wrong)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", [binary_loss, partial(binary_loss, positive_weights=None)])
def test_a_solver_trains_with_yes_or_no_for_every_class(rng, dtype, outputs, loss):
    x, labels = yes_or_no(rng, outputs)
    model = make_model(rng, outputs, loss, dtype)
    solver = Solver(model, as_data(x, labels, 80), Adam(0.03), batch_size=16, epochs=15, num_train_check=None)
    solver.train()
    assert solver.best_validation_accuracy > 0.8
    scores = model.scores(x)
    answers = model.predict(x)
    assert answers.shape == labels.shape
    assert answers.dtype == np.intp
    assert answers.tolist() == [[int(score > 0) for score in row] for row in scores]
    np.testing.assert_array_equal(solver.predict(x), answers)
    right = sum(int((scores[n, k] > 0) == labels[n, k]) for n in range(120) for k in range(outputs))
    assert solver.check_accuracy(x, labels) == solver.check_accuracy(x, labels, batch_size=7) == right / (120 * outputs)
    validation = sum(int(answers[n, k] == labels[n, k]) for n in range(80, 120) for k in range(outputs))
    assert solver.best_validation_accuracy == validation / (40 * outputs)
    probabilities = model.probabilities(x)
    assert probabilities.dtype == dtype
    np.testing.assert_allclose(probabilities, sigmoid(scores), rtol=1e-5)


def test_one_question_may_have_its_labels_as_a_vector(rng):
    x, labels = yes_or_no(rng, 1)
    histories = []
    for given in (labels, labels[:, 0], labels[:, 0].astype(bool), as_every_second(labels.astype(np.float64))):
        solver = Solver(make_model(np.random.default_rng(1), 1, binary_loss), as_data(x, given, 80), SGD(0.1), epochs=2)
        solver.train()
        assert solver.check_accuracy(x, given) == solver.check_accuracy(x, labels)
        histories.append((solver.loss_history, solver.validation_accuracy_history))
    assert histories[1:] == histories[:-1]


def test_a_step_of_a_solver_is_that_of_the_model(rng):
    x, labels = yes_or_no(rng, 3)
    soft, weights = np.clip(labels + 0.25, 0, 1), rng.random(120)
    one, other = (make_model(np.random.default_rng(1), 3, binary_loss) for _ in range(2))
    data = as_data(x, as_read_only(soft), 100) | {"weights_train": weights[:100]}
    solver = Solver(one, data, SGD(0.5), batch_size=100)
    loss = solver.step()
    order = solver.state.order  # one minibatch of all
    assert loss == other.train_step(x[order], soft[order], SGD(0.5), weights=weights[order])
    for name, param in one.params.items():
        assert param.tobytes() == other.params[name].tobytes()
    assert solver.check_accuracy(x, soft) == ((one.scores(x) > 0) == (soft > 0.5)).mean()


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (
            np.zeros(100, int),
            ValueError,
            r"expected labels of shape \(100, 3\), one for each class, got shape \(100,\)",
        ),
        (np.zeros((99, 3)), ValueError, r".* got shape \(99, 3\)"),
        (np.full((100, 3), 2), ValueError, r"expected labels in \[0, 1\], got 2"),
        (np.full((100, 3), "yes"), TypeError, "expected labels of numbers or truth values, got dtype <U3"),
    ],
)
def test_wrong_labels_of_a_solver_are_named(rng, labels, error, message):
    x, right = yes_or_no(rng, 3)
    data = as_data(x, right, 100) | {"y_train": labels}
    with pytest.raises(error, match=f"^Solver: y_train: {message}"):
        Solver(make_model(rng, 3, binary_loss), data, SGD(0.1))


def by_formula(predicted, labels):
    """Return the coefficient of determination by loops."""
    n, k = labels.shape
    means = [sum(float(labels[i, j]) for i in range(n)) / n for j in range(k)]
    error = sum((float(predicted[i, j]) - float(labels[i, j])) ** 2 for i in range(n) for j in range(k))
    return 1 - error / sum((float(labels[i, j]) - means[j]) ** 2 for i in range(n) for j in range(k))


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_solver_trains_a_regression(rng, outputs):
    x = rng.standard_normal((150, 5)).astype(np.float32)
    labels = x[:, :outputs] * 3 + np.abs(x[:, 2:3]) + 10
    model = make_model(rng, outputs, squared_loss)
    solver = Solver(
        model, as_data(x, labels if outputs > 1 else labels[:, 0], 100), Adam(0.05), batch_size=20, epochs=25
    )
    solver.train()
    assert solver.validation_accuracy_history[0] == -1  # cut off
    assert solver.best_validation_accuracy == pytest.approx(by_formula(model.predict(x[100:]), labels[100:]), abs=1e-6)
    assert solver.best_validation_accuracy > 0.9
    np.testing.assert_array_equal(model.predict(x), model.scores(x))
    with pytest.raises(ValueError, match=r"^probabilities: expected a loss of labels with prob.*, got one of RealLab"):
        model.probabilities(x)
    assert plot_training(solver).axes[1].get_ylim() == (-102, 102)


def test_the_best_of_bad_regressions_is_kept(rng, tmp_path):
    x, labels = rng.standard_normal((30, 5)).astype(np.float32), np.full((30, 1), 1e3)
    labels[::2] += 1e-3
    solver = Solver(make_model(rng, 1, squared_loss), as_data(x, labels, 20), SGD(1e-9), epochs=2)
    solver.train()
    assert solver.validation_accuracy_history == [-1, -1, -1]
    assert set(solver.best_params) == set(solver.model.params)
    solver.save(tmp_path / "one.npz")
    solver.resume(tmp_path / "one.npz")


def test_labels_of_a_step_without_a_solver_are_checked_too(rng):
    x = rng.standard_normal((7, 5)).astype(np.float32)
    model = make_model(rng, 1, squared_loss)
    expected = model.loss(x, x[:, :1])[0]
    assert expected == pytest.approx(np.square(model.scores(x) - x[:, :1]).mean(), rel=1e-5)
    assert model.loss(x, x[:, 0])[0] == model.train_step(x, x[:, 0], SGD(0.1)) == expected
    for step in (model.loss, lambda *batch: model.train_step(*batch, SGD(0.1))):
        with pytest.raises(
            ValueError, match=r"^Sequential: expected labels of shape \(7, 1\) or \(7,\), got shape \(6,\)"
        ):
            step(x, x[:6, 0])


def test_the_accuracy_of_real_labels():
    accuracy = RealLabels().accuracy
    labels = np.array([[1.0, 5.0], [3.0, 5.5], [8.0, 7.0]])
    predicted = labels + np.array([[0.5, -0.25], [1.0, 0.0], [-2.0, 0.125]])
    assert accuracy(predicted, labels) == pytest.approx(by_formula(predicted, labels), rel=1e-13)
    assert accuracy(labels, labels) == 1
    assert accuracy(np.broadcast_to(labels.mean(axis=0), labels.shape), labels) == 0
    assert accuracy(labels + 1e9, labels) == -1
    assert accuracy(np.full((3, 2), 1e300), labels) == accuracy(np.full((3, 2), np.nan), labels) == -1
    assert accuracy(np.ones((2, 1)), np.ones((2, 1))) == 1
    assert accuracy(np.zeros((2, 1)), np.ones((2, 1))) == 0
    for wrong, message in (
        (np.nan, "expected finite labels, got nan"),
        ([[1, 2]], r"expected labels of shape \(1, 1\)"),
    ):
        with pytest.raises(ValueError, match=f"^here: {message}"):
            RealLabels().check(np.reshape(wrong, (1, -1)), "here", 1, 1)


def test_labels_of_ones_own(rng):
    x = rng.standard_normal((120, 5)).astype(np.float32)
    model = make_model(rng, 2, BoundsLoss())
    solver = Solver(model, as_data(x, x[:, 0], 80), Adam(0.02), batch_size=16, epochs=30)
    solver.train()
    assert solver.best_validation_accuracy > 0.8
    low, high = model.predict(x).T
    assert (low <= high).all()
    with pytest.raises(ValueError, match=r"^Solver: y_train: expected one number an example"):
        Solver(model, as_data(x, x, 80), SGD(0.1))
    with pytest.raises(ValueError, match=r"^probabilities: .* got one of Median\(\)"):
        model.probabilities(x)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_an_accuracy_out_of_range_is_named(rng, monkeypatch):
    monkeypatch.setattr(Median, "accuracy", lambda self, predicted, labels: -3.0)
    x = rng.standard_normal((120, 5)).astype(np.float32)
    solver = Solver(make_model(rng, 2, BoundsLoss()), as_data(x, x[:, 0], 80), SGD(0.1))
    message = r"^the accuracy of Median\(\): expected a finite number of at least -1 and at most 1, got -3"
    with pytest.raises(ValueError, match=message):
        solver.train()


def test_a_loss_of_other_labels_that_does_not_say_so_gets_a_hint(rng):
    def undeclared(scores, labels):
        return float((scores - labels[:, :2]).sum()), np.ones_like(scores)

    message = r"raised IndexError.* with labels of ClassLabels\(\); see takes_labels for losses of other labels$"
    with pytest.raises(TypeError, match=message):
        make_model(rng, 2, undeclared)


def test_scores_that_are_nan_are_no_answers(rng):
    model = make_model(rng, 3, binary_loss)
    x = np.zeros((4, 5), np.float32)
    x[2] = np.nan
    with pytest.raises(ValueError, match=r"^predict: expected scores, got NaN for x\[2\]"):
        model.predict(x)
    assert model.predict(x[:0]).shape == (0, 3)
