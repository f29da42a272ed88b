"""What decides which accuracy check is the best: each choice against a record of all checks."""

import io
from functools import partial

import numpy as np
import pytest
from cases import as_data, small_mlp, squared_loss

import convnet
from convnet import (
    SGD,
    Callback,
    Checkpoint,
    EarlyStopping,
    ProgressBar,
    Solver,
    balanced_accuracy,
    binary_loss,
    calibration_error,
    f1_score,
    plot_training,
    recall,
    top_k_accuracy,
)
from convnet.formats.archives import read_archive, write_archive
from convnet.training.accuracy import Accuracy

# Labels that mean nothing: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")


def make_solver(epochs=6, loss=convnet.softmax_loss, **options):
    """Return a Solver of four classes, the last of which is rare, whose accuracies go up and down."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((150, 4)).astype(np.float32)
    labels = np.where(np.arange(150) % 15 == 0, 3, rng.integers(0, 3, 150))
    x[:, 0] += 1.5 * labels
    if loss is binary_loss:
        labels = np.eye(4, dtype=int)[labels]
    data = as_data(x, labels, 80)
    model = small_mlp(np.random.default_rng(1), (4, 9, 4), loss)
    return Solver(model, data, SGD(0.3), batch_size=8, epochs=epochs, **options), data


class Watch(Callback):
    """Keeps the parameters and the scores of the validation part at each check."""

    def __init__(self, x):
        self.x, self.params, self.scores = x, [], []

    def on_train_start(self, solver):
        self.on_epoch_end(solver)

    def on_epoch_end(self, solver):
        self.params.append({name: param.copy() for name, param in solver.model.params.items()})
        self.scores.append(solver.model.scores(self.x))


def mean_recall(labels, scores):
    """Return the mean of the recalls, by loops."""
    said = scores.argmax(axis=1)
    return float(np.mean([np.mean([said[n] == k for n in range(len(labels)) if labels[n] == k]) for k in range(4)]))


def among_two(labels, scores):
    return float(np.mean([labels[n] in np.argsort(-scores[n], kind="stable")[:2] for n in range(len(labels))]))


def right_probability(labels, scores):
    shares = np.exp(scores.astype(np.float64))
    return float(np.mean([shares[n, labels[n]] / shares[n].sum() for n in range(len(labels))]))


def cross_entropy(labels, scores):
    return -float(np.mean([scores[n, labels[n]] - np.log(np.exp(scores[n]).sum()) for n in range(len(labels))]))


class Own:
    """A function of one's own that is an object, of probabilities."""

    def __call__(self, truth, probabilities):
        return probabilities[np.arange(len(truth)), truth].mean()


# What is given, and the value by loops, the higher the better.
CHOICES = {
    "accuracy": ("accuracy", lambda labels, scores: np.mean(scores.argmax(1) == labels)),
    "loss": ("loss", lambda labels, scores: -cross_entropy(labels, scores)),
    "function of the library": (balanced_accuracy, mean_recall),
    "scores": (partial(top_k_accuracy, k=2), among_two),
    "probabilities": (Own(), right_probability),
    "lambda": (lambda a, b: -float((a != b).mean()), lambda labels, scores: np.mean(scores.argmax(1) == labels) - 1),
    "one class": (
        lambda labels, predictions: recall(labels, predictions, 4)[3],
        lambda labels, scores: np.mean(scores[labels == 3].argmax(1) == 3),
    ),
}


@pytest.mark.parametrize(("best_by", "oracle"), CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("restore_best", [True, False])
def test_the_best_check_is_that_of_the_highest_value(best_by, oracle, restore_best):
    solver, data = make_solver(best_by=best_by, restore_best=restore_best)
    solver.callbacks = [watch := Watch(data["x_validation"])]
    solver.train()
    labels = data["y_validation"]
    values = [oracle(labels, scores) for scores in watch.scores]
    sign = -1 if best_by == "loss" else 1
    np.testing.assert_allclose(solver.best_by_history, [sign * value for value in values], rtol=1e-5)
    losses = [cross_entropy(labels, scores) for scores in watch.scores]
    rounded = np.round(values, 6)
    best = max(range(7), key=lambda check: (rounded[check], -losses[check], check))
    assert len(set(rounded)) > 1  # otherwise the test could not tell
    accuracies = [np.mean(scores.argmax(1) == labels) for scores in watch.scores]
    assert solver.best_validation_accuracy == pytest.approx(accuracies[best])
    for name, param in solver.best_params.items():
        np.testing.assert_array_equal(param, watch.params[best][name])
        np.testing.assert_array_equal(solver.model.params[name], watch.params[best if restore_best else -1][name])


def test_the_choices_differ():
    """The trainings above would find the same epoch otherwise, whatever decides."""
    found = []
    for best_by, _ in CHOICES.values():
        solver, _ = make_solver(best_by=best_by)
        solver.train()
        found.append(solver.state.best_check)
    assert len(set(found)) >= 3


def test_what_decides_changes_no_bit_of_the_training():
    histories = []
    for best_by in ("accuracy", "loss", balanced_accuracy):
        solver, _ = make_solver(best_by=best_by)
        solver.train()
        histories.append((solver.loss_history, solver.validation_accuracy_history, solver.validation_loss_history))
    assert histories[0] == histories[1] == histories[2]


@pytest.mark.parametrize(
    ("best_by", "values", "losses", "best"),
    [
        (balanced_accuracy, [0.1, 0.8, 0.8, 0.7], [3, 2, 1, 1], 2),
        (balanced_accuracy, [0.1, 0.8, 0.8, 0.8], [3, 2, 2, 2], 3),
        (balanced_accuracy, [np.nan, np.nan, 0.2, np.nan], [3, 1, 2, 1], 2),
        (balanced_accuracy, [-np.inf, -3, -2, np.nan], [3, 1, 2, 1], 2),
        (balanced_accuracy, [np.nan] * 4, [3, 1, 2, 1], 3),
        ("loss", [0.5] * 4, [3, 1, 2, 1.5], 1),
        ("loss", [0.1, 0.9, 0.8, 0.7], [3, 1, 1, np.nan], 2),
        ("loss", [0.1, 0.9, 0.8, 0.7], [3, np.inf, np.nan, np.inf], 0),
    ],
)
def test_ties_and_what_is_no_number(monkeypatch, best_by, values, losses, best):
    solver, _ = make_solver(epochs=3, best_by=best_by)
    given = iter(zip(values, losses, strict=True))

    def given_accuracy(x, labels, batch_size=100, *, with_loss=False):
        value, loss = next(given) if with_loss else (0.5, np.nan)
        return Accuracy(0.5, loss, True, False, value)

    monkeypatch.setattr(solver, "_accuracy", given_accuracy)
    solver.train()
    assert solver.state.best_check == best
    np.testing.assert_array_equal(solver.best_by_history, losses if best_by == "loss" else values)


def test_a_function_that_never_gives_a_number_is_told():
    solver, _ = make_solver(epochs=1, best_by=lambda labels, predictions: np.nan)
    with pytest.warns(convnet.ConvnetWarning, match=r"Solver: best_by: <lambda> gave NaN at every accuracy check"):
        solver.train()


def test_labels_of_other_kinds_come_as_they_are():
    seen = []

    def share_of_right(labels, predictions):
        seen.append((labels, predictions))
        return (labels == predictions).all(axis=1).mean()

    solver, data = make_solver(epochs=2, loss=binary_loss, best_by=share_of_right)
    solver.train()
    assert len(seen) == 3
    for labels, predictions in seen:
        np.testing.assert_array_equal(labels, data["y_validation"])
        assert predictions.shape == (70, 4)
    scores = solver.model.scores(data["x_validation"])
    assert max(solver.best_by_history) == ((scores > 0) == data["y_validation"]).all(axis=1).mean()


@pytest.mark.parametrize("best_by", ["loss", balanced_accuracy], ids=["loss", "function"])
def test_every_checkpoint_leads_to_the_same_bits(tmp_path, best_by):
    whole, _ = make_solver(best_by=best_by, callbacks=[Checkpoint(tmp_path, iterations=1, keep=100)])
    whole.train()
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == whole.num_iterations + 1
    for path in paths[::7] + paths[-2:]:
        solver, _ = make_solver(best_by=best_by)
        solver.resume(path)
        solver.train()
        assert solver.best_by_history == whole.best_by_history
        assert solver.state.best_check == whole.state.best_check
        assert solver.loss_history == whole.loss_history
        for name, param in whole.best_params.items():
            assert solver.best_params[name].tobytes() == param.tobytes()
            assert solver.model.params[name].tobytes() == whole.model.params[name].tobytes()


def test_a_checkpoint_of_another_choice_is_refused(tmp_path):
    solvers = {name: make_solver(best_by=choice)[0] for name, (choice, _) in CHOICES.items()}
    for name, solver in solvers.items():
        solver.save(tmp_path / "one.npz")
        for other, another in solvers.items():
            if other == name:
                another.resume(tmp_path / "one.npz")
                continue
            if {name, other} == {"lambda", "one class"}:
                continue  # another lambda goes unnoticed
            with pytest.raises(ValueError, match="it is a checkpoint of another run: best_by "):
                another.resume(tmp_path / "one.npz")


def test_early_stopping_waits_for_what_decides(monkeypatch):
    for best_by, values, losses, epochs in (
        (balanced_accuracy, [0.1, 0.3, 0.2, 0.3, 0.9, 0.9], [1] * 6, 3),
        (balanced_accuracy, [np.nan, 0.3, 0.2, 0.4, 0.3, 0.4], [1] * 6, 5),
        ("loss", [0.1] * 6, [5, 4, 4, 3, 2, 1], 5),
        ("loss", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [5, 4, 4, 4, 2, 1], 3),
    ):
        solver, _ = make_solver(epochs=5, best_by=best_by, callbacks=[EarlyStopping(2)])
        given = iter([Accuracy(0.5, loss, True, False, v) for v, loss in zip(values, losses, strict=True)])

        def given_accuracy(x, labels, with_loss=False, given=given):
            return next(given) if with_loss else Accuracy(0.5, np.nan, True, False)

        monkeypatch.setattr(solver, "_accuracy", given_accuracy)
        solver.train()
        assert solver.epoch == epochs


def test_progress_shows_what_decides():
    for best_by, name in (("loss", "validation loss"), (balanced_accuracy, "balanced_accuracy")):
        output = io.StringIO()
        solver, _ = make_solver(epochs=1, best_by=best_by, callbacks=[ProgressBar(output)])
        solver.train()
        assert f", {name} {solver.best_by_history[1]:.4f}, " in output.getvalue()


def test_the_figure_shows_a_measure_of_ones_own():
    for best_by, count in ((balanced_accuracy, 3), (lambda labels, predictions: 40.0, 2), ("loss", 2)):
        solver, _ = make_solver(epochs=2, best_by=best_by)
        solver.train()
        _, below = plot_training(solver).axes
        assert len(below.lines) == count
        if count == 3:
            np.testing.assert_allclose(below.lines[2].get_ydata(), 100 * np.array(solver.best_by_history))
            assert below.get_legend().get_texts()[2].get_text().startswith("balanced_accuracy (last: ")


@pytest.mark.parametrize("change", [{}, {"metric_history": np.zeros(2)}, {"metric_history": np.zeros((3, 1))}])
def test_a_damaged_history_is_named(tmp_path, change):
    solver, _ = make_solver(epochs=2, best_by=balanced_accuracy)
    solver.train()
    solver.save(tmp_path / "one.npz")
    header, arrays = read_archive(tmp_path / "one.npz", "checkpoint", (2,))
    del arrays["metric_history"]
    write_archive(tmp_path / "one.npz", "checkpoint", 2, header, arrays | change)
    with pytest.raises(ValueError, match=r"one\.npz: .*metric_history: expected (3 entries|an axis of float64), got"):
        solver.resume(tmp_path / "one.npz")


@pytest.mark.parametrize(
    ("best_by", "error", "message"),
    [
        (
            "val_loss",
            ValueError,
            r"expected 'accuracy', 'loss', or a function .* \(the function, not its name\), got '",
        ),
        ("balanced_accuracy", ValueError, r"convnet.balanced_accuracy \(the function, not its name\), got 'balanced"),
        (None, TypeError, "expected 'accuracy', 'loss', or a function .* got None"),
        (0.5, TypeError, "got 0.5"),
        (Own, TypeError, "got <class"),
        (calibration_error, ValueError, "the higher the better, got calibration_error, .* -calibration_error"),
        (partial(calibration_error, bins=3), ValueError, "the higher the better, got calibration_error"),
    ],
)
def test_what_cannot_decide_is_named(best_by, error, message):
    with pytest.raises(error, match=f"^Solver: best_by: .*{message}"):
        make_solver(best_by=best_by)


@pytest.mark.parametrize(
    ("best_by", "found"),
    [
        (f1_score, r"one number of f1_score, got an array of shape \(4,\); lambda labels, predictions: f1_score\("),
        (lambda labels, predictions: "good", "one number of <lambda>, got 'good'"),
        (lambda labels, predictions: None, "one number of <lambda>, got None"),
        (lambda labels, predictions: 1j, "one number of <lambda>, got 1j"),
    ],
)
def test_what_is_no_number_is_told_before_the_first_step(best_by, found):
    solver, _ = make_solver(best_by=best_by)
    with pytest.raises(TypeError, match=f"^Solver: best_by: expected {found}"):
        solver.train()
    assert solver.iteration == 0


def test_the_remedy_for_a_measure_of_each_class_works():
    solver, data = make_solver(best_by=lambda labels, predictions: f1_score(labels, predictions).mean())
    solver.train()
    labels, said = data["y_validation"], solver.model.predict(data["x_validation"])
    pairs = [(sum((labels == k) & (said == k)), sum(labels == k) + sum(said == k)) for k in range(4)]
    assert max(solver.best_by_history) == pytest.approx(np.mean([2 * both / all_ for both, all_ in pairs]))


def test_labels_without_probabilities_say_so():
    x = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    model = small_mlp(np.random.default_rng(0), (3, 4, 3), squared_loss)
    solver = Solver(model, as_data(x, x, 10), SGD(0.1), best_by=Own())
    with pytest.raises(
        ValueError, match=r"^probabilities: expected a loss of labels with probabilities, .* RealLabels"
    ):
        solver.train()
