"""The validation loss: its value, and which of equal validation accuracies is the best."""

from functools import partial

import numpy as np
import pytest
from cases import as_data, small_mlp, squared_loss

import convnet
from convnet import (
    SGD,
    BinaryLabels,
    Callback,
    Checkpoint,
    RealLabels,
    Sequential,
    Solver,
    binary_loss,
    naive,
    plot_training,
    softmax_loss,
    svm_loss,
)
from convnet.formats.archives import read_archive, write_archive
from convnet.training.accuracy import Accuracy

# Labels that mean nothing: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")


def make_labels(loss, n, rng):
    kind = convnet.layers.labels.labels_of(loss)
    if isinstance(kind, RealLabels):
        return rng.standard_normal((n, 3))
    if isinstance(kind, BinaryLabels):
        return rng.integers(0, 2, (n, 3))
    return np.concatenate([[0, 1, 2], rng.integers(0, 3, n - 3)])


def make_solver(loss=softmax_loss, n=137, epochs=3, **options):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n + 60, 4)).astype(np.float32)
    labels = np.concatenate([make_labels(loss, 60, rng), make_labels(loss, n, rng)])
    data = as_data(x, labels, 60)
    return Solver(
        small_mlp(rng, (4, 8, 3), loss, l2=0.1), data, SGD(0.02), batch_size=20, epochs=epochs, **options
    ), data


ORACLES = {
    "softmax": (softmax_loss, naive.softmax_loss),
    "smoothed": (partial(softmax_loss, smoothing=0.2), partial(naive.softmax_loss, smoothing=0.2)),
    "weighted classes": (
        partial(softmax_loss, class_weights=[1, 2, 3]),
        partial(naive.softmax_loss, class_weights=[1, 2, 3]),
    ),
    "svm": (partial(svm_loss, margin=0.5), partial(naive.svm_loss, margin=0.5)),
    "binary": (binary_loss, naive.binary_loss),
    "real": (squared_loss, lambda scores, labels: [sum((scores - labels).ravel() ** 2) / scores.size]),
}


@pytest.mark.parametrize(("loss", "oracle"), ORACLES.values(), ids=ORACLES.keys())
@pytest.mark.parametrize("n", [3, 100, 137])
def test_the_loss_is_the_mean_of_the_scores_losses_without_l2(loss, oracle, n):
    solver, data = make_solver(loss, n)
    expected = []

    class Watch(Callback):
        def on_train_start(self, solver):
            self.on_epoch_end(solver)

        def on_epoch_end(self, solver):
            scores = solver.model.scores(data["x_validation"]).astype(np.float64)
            parts = [slice(0, 100), slice(100, n)][: 1 + (n > 100)]
            values = [oracle(scores[part], data["y_validation"][part])[0] * len(scores[part]) for part in parts]
            expected.append(sum(values) / n)

    solver.callbacks = [Watch()]
    solver.train()
    assert len(expected) == 4
    np.testing.assert_allclose(solver.validation_loss_history, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("accuracies", "losses", "best"),
    [
        ([0.1, 0.8, 0.8, 0.8], [3, 2, 1, 1.5], 2),
        ([0.1, 0.8, 0.8, 0.8], [3, 2, 2, 2], 3),
        ([0.1, 0.8, 0.7, 0.8], [3, 2, 1, 2.5], 1),
        ([0.1, 0.8, 0.9, 0.8], [3, 1, 2, 1], 2),
        ([0.8, 0.8, 0.8, 0.8], [1, 2, 2, 2], 0),
        ([0.1, 0.8, 0.8, 0.8], [3, np.nan, np.inf, np.nan], 3),
        ([0.1, 0.8, 0.8, 0.8], [3, np.nan, 5, np.nan], 2),
        ([-1.0, -1.0, -1.0, -1.0], [4, 3, 2, 3], 2),
    ],
)
@pytest.mark.parametrize("average", [None, 0.9])
def test_of_equal_accuracies_the_lower_loss_is_the_best_and_then_the_later(
    monkeypatch, accuracies, losses, best, average
):
    solver, _ = make_solver(average=average)
    seen, given = [], iter(zip(accuracies, losses, strict=True))

    def given_accuracy(x, labels, batch_size=100, *, with_loss=False):
        accuracy, loss = next(given) if with_loss else (0.5, np.nan)
        if with_loss:
            seen.append({name: param.copy() for name, param in solver.model.params.items()})
        return Accuracy(accuracy, loss, True, False)

    monkeypatch.setattr(solver, "_accuracy", given_accuracy)
    solver.train()
    assert solver.best_validation_accuracy == accuracies[best]
    np.testing.assert_array_equal(solver.validation_loss_history, losses)
    for name, param in solver.model.params.items():
        np.testing.assert_array_equal(param, seen[best][name])
        np.testing.assert_array_equal(solver.best_params[name], seen[best][name])


def test_the_loss_gets_the_scores_read_only():
    """As in training: the predictions come from the same array."""
    writeable = []

    def watching(scores, labels):
        writeable.append(scores.flags.writeable)
        return softmax_loss(scores, labels)

    solver, _ = make_solver(watching, epochs=1)
    solver.train()
    assert len(writeable) > 2
    assert not any(writeable[1:])  # the first time a model tries its loss


def test_the_scores_are_computed_once(monkeypatch):
    solver, _ = make_solver(n=250)
    calls, real = [], Sequential.scores
    monkeypatch.setattr(Sequential, "scores", lambda self, x, *rest: calls.append(len(x)) or real(self, x, *rest))
    solver.train()
    assert sum(calls) == 4 * (60 + 250)


def test_checkpoints_hold_the_losses_and_older_ones_load(tmp_path):
    whole, _ = make_solver(epochs=4)
    whole.train()
    first, _ = make_solver(epochs=2, callbacks=[Checkpoint(tmp_path)])
    first.train()
    (path,) = (path for path in tmp_path.glob("*.npz") if path.stem.endswith(f"{first.iteration:010d}"))
    again, _ = make_solver(epochs=4)
    again.resume(path)
    assert again.validation_loss_history == first.validation_loss_history
    again.train()
    assert again.validation_loss_history == whole.validation_loss_history
    header, arrays = read_archive(path, "checkpoint", (2,))
    del arrays["validation_loss_history"], header["best_check"]
    write_archive(path, "checkpoint", 2, header, arrays)
    older, _ = make_solver(epochs=4)
    older.resume(path)
    assert np.isnan(older.validation_loss_history).all()
    assert older.state.best_check == int(np.argmax(first.validation_accuracy_history))
    older.train()
    assert older.validation_loss_history[3:] == whole.validation_loss_history[3:]
    assert older.loss_history == whole.loss_history
    assert older.validation_accuracy_history == whole.validation_accuracy_history
    plot_training(older)


@pytest.mark.parametrize(("name", "value"), [("validation_loss_history", np.zeros(7)), ("best_check", 3)])
def test_a_damaged_history_is_named(tmp_path, name, value):
    solver, _ = make_solver(epochs=2)
    solver.train()
    solver.save(tmp_path / "checkpoint.npz")
    header, arrays = read_archive(tmp_path / "checkpoint.npz", "checkpoint", (2,))
    (header if name in header else arrays)[name] = value
    write_archive(tmp_path / "checkpoint.npz", "checkpoint", 2, header, arrays)
    with pytest.raises(ValueError, match=f"{name}: expected"):
        solver.resume(tmp_path / "checkpoint.npz")


def test_the_figure_shows_the_validation_loss_where_it_was_checked():
    solver, _ = make_solver(epochs=2)
    solver.train()
    above, _ = plot_training(solver).axes
    np.testing.assert_array_equal(above.lines[1].get_xdata(), [0, 3, 6])
    np.testing.assert_allclose(above.lines[1].get_ydata(), solver.validation_loss_history)
