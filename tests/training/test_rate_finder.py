"""The search for a learning rate: what it measures, what it suggests, and that it changes nothing."""

import copy
import pickle

import numpy as np
import pytest
from batch_norm import arrays_of, equal, make_data, make_model, outcome
from cases import drawn

from convnet import (
    SGD,
    Adam,
    Affine,
    Augmentation,
    Callback,
    Checkpoint,
    Conv2D,
    Dropout,
    EpochDecay,
    LearningRates,
    Momentum,
    ReLU,
    Sequential,
    Solver,
    binary_loss,
    find_learning_rate,
    plot_learning_rates,
)


def make_solver(optimizer=None, n=53, **options):
    options = {"batch_size": 10, "epochs": 3} | options
    return Solver(make_model(), make_data(n), optimizer or SGD(0.05), **options)


def generators(solver):
    streams = solver.model.rng, solver.state.shuffling, solver.state.augmenting, solver.state.sampling
    return [copy.deepcopy(rng.bit_generator.state) for rng in streams]


def by_definition(losses, smoothing):
    """Return the moving averages of losses as sums over all that came before."""
    found = []
    for i in range(len(losses)):
        weights = [smoothing ** (i - j) for j in range(i + 1)]
        found.append(sum(weight * losses[j] for j, weight in enumerate(weights)) / sum(weights))
    return found


@pytest.mark.parametrize("smoothing", [0, 0.75])
def test_the_search_is_a_training_with_a_rate_that_grows(smoothing):
    solver = make_solver()
    found = find_learning_rate(solver, lowest=1e-4, highest=1e-1, steps=31, smoothing=smoothing)
    assert not found.has_diverged
    np.testing.assert_allclose(found.rates, [1e-4 * 1e3 ** (i / 30) for i in range(31)], rtol=1e-12)
    twin = make_solver(optimizer := SGD(1.0))
    losses = []
    for rate in found.rates:
        optimizer.learning_rate = float(rate)
        losses.append(twin.step())
    assert found.losses.tolist() == losses
    np.testing.assert_allclose(found.smoothed, by_definition(losses, smoothing), rtol=1e-12)
    lowest = int(np.argmin(found.smoothed))
    assert found.suggestion == found.rates[lowest] / 3
    text = str(found)
    assert text.startswith("31 steps with learning rates from 0.0001 to 0.1\nsmoothed loss: ")
    assert f"suggestion: {found.suggestion:.2g}, a third of the rate with the lowest loss" in text
    assert text.endswith("; the loss did not grow at the highest rate, so try higher ones")
    again = find_learning_rate(solver, lowest=1e-4, highest=1e-1, steps=31, smoothing=smoothing)
    assert again.losses.tolist() == losses


@pytest.mark.parametrize("highest", [1e3, 1e30])  # the loss grows, or is not finite any more
def test_it_ends_when_the_loss_diverges(highest):
    found = find_learning_rate(make_solver(), lowest=1e-3, highest=highest, steps=300 if highest < 1e9 else 30)
    assert found.has_diverged
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 300
    assert np.isfinite(found.losses).all()
    assert (found.smoothed[:-1] <= 2 * found.smoothed[0]).all()
    assert 1e-3 / 3 < found.suggestion < 3
    assert "so try higher ones" not in str(found)


def test_a_suggestion_trains():
    for optimizer in (SGD(1), Momentum(1), Adam(1)):
        solver = make_solver(optimizer, 400, epochs=8)
        optimizer.learning_rate = find_learning_rate(solver, lowest=1e-5).suggestion
        solver.train()
        assert solver.best_validation_accuracy > 0.8, optimizer


class Counting(Callback):
    calls = 0

    def on_train_start(self, solver):
        self.calls += 1

    on_iteration_end = on_epoch_end = on_train_end = on_train_start


@pytest.mark.parametrize("iterations", [0, 8])
def test_nothing_of_the_callers_is_changed(tmp_path, iterations):
    rng = np.random.default_rng(2)
    x, labels = rng.standard_normal((40, 1, 6, 5)).astype(np.float32), rng.integers(0, 2, 40)
    data = {"x_train": x, "y_train": labels, "x_validation": x[:9], "y_validation": labels[:9]}
    data["weights_train"] = rng.random(40)
    for array in data.values():
        array.flags.writeable = False

    def make(callbacks=()):
        make_rng = np.random.default_rng(0)
        layers = [Conv2D(1, 3, 3, rng=make_rng), ReLU(), Dropout(0.5), Affine(36, 2, rng=make_rng)]
        return Solver(
            Sequential(layers, (1, 6, 5), l2=1e-3),
            data,
            Adam(0.01),
            batch_size=10,
            epochs=3,
            augmentation=Augmentation(),
            schedule=EpochDecay(0.5),
            average=0.9,
            callbacks=callbacks,
        )

    whole = make()
    whole.train()
    solver = make([Checkpoint(tmp_path, iterations=1), counting := Counting()])
    for _ in range(iterations):
        solver.step()
    solver.save(tmp_path / "before.npz")
    before, streams, legacy = outcome(solver), generators(solver), np.random.get_state()  # noqa: NPY002
    optimizer = pickle.dumps(solver.optimizer.__dict__)
    found = find_learning_rate(solver, steps=20)
    assert outcome(solver) == before
    assert generators(solver) == streams
    assert pickle.dumps(solver.optimizer.__dict__) == optimizer
    np.testing.assert_equal(np.random.get_state(), legacy)  # noqa: NPY002
    assert counting.calls == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["before.npz"]
    solver.save(tmp_path / "after.npz")
    assert (tmp_path / "after.npz").read_bytes() == (tmp_path / "before.npz").read_bytes()
    assert find_learning_rate(solver, steps=20).losses.tolist() == found.losses.tolist()
    if not iterations:  # a training after the search is that without it
        solver.train()
        assert solver.loss_history == whole.loss_history
        equal(arrays_of(solver.model), arrays_of(whole.model))


def test_labels_of_any_kind(rng):
    x = rng.standard_normal((50, 6)).astype(np.float32)
    labels = x[:, :3] > 0
    data = {"x_train": x, "y_train": labels, "x_validation": x, "y_validation": labels}
    model = Sequential([Affine(6, 3, rng=rng)], (6,), loss=binary_loss)
    assert find_learning_rate(Solver(model, data, SGD(0.1)), lowest=1e-3).suggestion > 0.01


def test_a_loss_that_never_falls_gives_no_suggestion():
    found = find_learning_rate(make_solver(), lowest=1e3, highest=1e4, steps=5)
    assert found.suggestion is None
    assert "no suggestion: the smoothed loss never fell; try a lower rate" in str(found)
    drawn(plot_learning_rates(found))
    data = make_data()
    data["x_train"][...] = np.nan
    with pytest.raises(
        ValueError, match=r"^find_learning_rate: expected a finite loss, got none at the lowest rate, 1e-06"
    ):
        find_learning_rate(Solver(make_model(), data, SGD(0.1)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lowest": 0}, ValueError, "lowest: expected a finite number above 0, got 0"),
        ({"lowest": 1, "highest": 1}, ValueError, "highest: expected a finite number above 1, got 1"),
        ({"steps": 1}, ValueError, "steps: expected at least 2, got 1"),
        ({"smoothing": 1}, ValueError, "smoothing: expected a finite number of at least 0 and below 1, got 1"),
        ({"highest": "10"}, TypeError, "highest: expected a real number, got '10'"),
    ],
)
def test_wrong_arguments_are_named(options, error, message):
    with pytest.raises(error, match=f"^{message}"):
        find_learning_rate(make_solver(), **options)


def test_what_is_no_solver_is_named():
    with pytest.raises(TypeError, match=r"^find_learning_rate: expected a Solver, got Sequential"):
        find_learning_rate(make_model())


def test_the_figure_shows_the_losses_and_the_suggestion():
    rates, losses = np.geomspace(1e-3, 1, 4), np.array([2.0, 1.0, 0.5, 90.0])
    found = LearningRates(rates, losses, np.array([2.0, 1.5, 1.0, 3.9]), 0.01, True)
    figure = plot_learning_rates(found)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), np.stack([rates, losses], axis=1))
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), found.smoothed)
    assert list(axes.lines[2].get_xdata()) == [0.01, 0.01]
    assert 2 < axes.get_ylim()[1] < 2.5  # what lies above the first losses does not flatten the fall
    assert "suggestion: 0.01" in [text.get_text() for text in axes.get_legend().get_texts()]
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    assert len(np.unique(drawn(figure))) > 20
