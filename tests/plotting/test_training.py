"""The figures of a training."""

import numpy as np
import pytest
from cases import drawn, trained

from convnet import plot_curves, plot_training

# Labels that mean nothing, and few of them: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")


def test_training_figure_shows_the_histories(rng):
    solver = trained(rng)
    above, below = plot_training(solver).axes
    np.testing.assert_array_equal(above.lines[0].get_ydata(), solver.loss_history)
    assert above.lines[0].get_linestyle() == "None"
    np.testing.assert_allclose(below.lines[0].get_ydata(), 100 * np.array(solver.train_accuracy_history))
    np.testing.assert_allclose(below.lines[1].get_ydata(), 100 * np.array(solver.validation_accuracy_history))
    np.testing.assert_array_equal(below.lines[1].get_xdata(), [0, 1, 2])
    for axes in (above, below):
        assert axes.get_xlabel()
        assert axes.get_ylabel()


def test_training_figure_of_an_interrupted_epoch(rng):
    solver = trained(rng, iterations=0)
    solver._check_if_due()
    solver.step()
    assert len(np.unique(drawn(plot_training(solver)))) > 20


def test_steps_without_an_accuracy_check_are_no_training(rng):
    solver = trained(rng, iterations=0)
    solver.step()
    with pytest.raises(ValueError, match="plot_training: expected a Solver"):
        plot_training(solver)


def test_curves_have_their_names_and_values(rng):
    panels = {"first": {"a": [1.0, 2, 3], "b": [3.0, 2, 1]}, "second": {"c": [1.0, 1, 2]}}
    figure = plot_curves(panels, [0, 10, 20], xlabel="iteration", ylabel="error (%)", log_scale=True)
    first, second = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["first", "second"]
    assert [line.get_label() for line in first.lines] == ["a", "b"]
    np.testing.assert_array_equal(first.lines[1].get_xydata(), [[0, 3], [10, 2], [20, 1]])
    assert (second.get_xlabel(), second.get_ylabel(), second.get_yscale()) == ("iteration", "error (%)", "log")
    assert len(np.unique(drawn(figure))) > 20
    five = plot_curves({str(i): {"a": [1.0]} for i in range(5)}, [0], xlabel="x", ylabel="y")
    assert len(five.axes) == 5


def test_curves_of_nothing_above_0_are_drawn_without_a_warning():
    drawn(plot_curves({"p": {"c": [0.0, 0.0]}}, [0, 1], xlabel="x", ylabel="y", log_scale=True))


def test_legends_hide_no_curve(rng):
    curves = {name: np.linspace(90, 2, 8) + i for i, name in enumerate(("Momentum at 0.005", "RMSProp", "Adam", "SGD"))}
    figure = plot_curves({"a": curves, "b": {"c": curves["SGD"]}}, np.arange(8), xlabel="x", ylabel="y", log_scale=True)
    drawn(figure)
    for axes in figure.axes:
        box = axes.get_legend().get_window_extent()
        assert not box.overlaps(axes.bbox)
        assert figure.bbox.y0 <= box.y0
        assert not box.overlaps(axes.xaxis.label.get_window_extent())
    assert len({line.get_linestyle() for line in figure.axes[0].lines}) == 4

    solver = trained(rng)
    for epochs in (1, 2, 10):
        solver.state.iteration = epochs * solver.iterations_per_epoch
        solver.state.train_accuracy_history = [0.1, *np.linspace(0.974, 1, epochs)]
        solver.state.validation_accuracy_history = [0.11, *np.linspace(0.983, 0.992, epochs)]
        figure = plot_training(solver)
        drawn(figure)
        for axes in figure.axes:
            box = axes.get_legend().get_window_extent()
            assert figure.bbox.y0 <= box.y0
            assert not any(
                box.overlaps(other.get_tightbbox(for_layout_only=True)) for other in figure.axes if other != axes
            )
            assert not box.overlaps(axes.bbox)


def test_accuracies_near_100_lie_within_the_axis(rng):
    solver = trained(rng)
    solver.state.iteration = 3 * solver.iterations_per_epoch
    solver.state.train_accuracy_history = [0.1, 0.97, 0.99, 1.0]
    solver.state.validation_accuracy_history = [0.112, 0.96, 0.97, 0.98]
    below = plot_training(solver).axes[1]
    low, high = below.get_ylim()
    for line in below.lines:
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
        assert (line.get_ydata() > low).all()
        assert (line.get_ydata() < high).all()
    assert below.get_title() == "Accuracy (before training: training 10.0 %, validation 11.2 %)"
    assert [line.get_label() for line in below.lines] == [
        "training (last: 100.0 %)",
        "validation (last: 98.0 %)",
    ]


def test_curves_of_several_runs_are_their_mean_and_range():
    runs = [[1.0, 2, 3], [3, 2, 7]]
    (axes,) = plot_curves({"p": {"c": runs, "d": [1, 1, 1]}}, [0, 1, 2], xlabel="x", ylabel="y").axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [2, 2, 5])
    (band,) = axes.collections  # none of the single run
    corners = {tuple(point) for point in band.get_paths()[0].vertices.tolist()}
    assert {(0.0, 1.0), (0.0, 3.0), (2.0, 3.0), (2.0, 7.0)} <= corners
    with pytest.raises(ValueError, match="c: expected 3 points, got shape"):
        plot_curves({"p": {"c": np.zeros((0, 3))}}, [0, 1, 2], xlabel="x", ylabel="y")


def test_losses_of_0_are_drawn(rng):
    solver = trained(rng)
    solver.state.loss_history = [0.0, 2.0, 0.0, 1.0]
    figure = plot_training(solver)
    assert figure.axes[0].get_yscale() == "symlog"
    drawn(figure)
    solver.state.loss_history = [0.0, 0.0]
    drawn(plot_training(solver))
