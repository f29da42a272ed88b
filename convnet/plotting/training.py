"""Figures of a training: losses, accuracies, the search for a learning rate, and curves to compare."""

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from convnet.core.checks import as_real
from convnet.plotting.figures import AxesArgument, legend_below, panels_for, width_of
from convnet.training.best_by import called
from convnet.training.rate_finder import LearningRates
from convnet.training.solver import Solver

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_curves", "plot_learning_rates", "plot_training"]

DOTS = "#4c72b0"
TRAINING = "#dd8452"
VALIDATION = "#55a868"
MEASURE = "#8172b3"
STROKES = ("-", "--", ":", "-.")


def plot_training(solver: Solver, *, ax: AxesArgument = None) -> "Figure":
    """Draw the training: above, the loss of every iteration as dots, and the validation loss; below, the accuracies.

    What a Solver without a validation part does not know is left out. The values of a function `best_by` are drawn
    below, too, if they are in [-1, 1], as those of most measures are.

    Parameters
    ----------
    solver : Solver
        After at least one accuracy check.
    ax : Axes, or two of them, optional
        Where to draw: into two Axes, or in the place of one, which they share; by default in a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        A new one, or that of `ax`.

    Raises
    ------
    ValueError
        If the Solver has not trained.
    ImportError
        If matplotlib is not installed.
    """
    if not isinstance(solver, Solver):
        raise TypeError(f"plot_training: expected a Solver, got {solver!r:.60}")
    if not (solver.loss_history and solver.train_accuracy_history):
        raise ValueError("plot_training: expected a Solver that has trained, got one without a history")
    entries_beside = 2 if width_of(ax, 8) > 4.5 else 1  # of a legend
    figure, (above, below) = panels_for("plot_training", ax, (8, 7.6), 2, gap=0.06)

    iterations = np.arange(1, len(solver.loss_history) + 1)
    size = min(max(200 / len(iterations) ** 0.5, 2), 6)  # thousands of dots small, a hundred large
    above.plot(iterations, solver.loss_history, ".", color=DOTS, markersize=size, alpha=0.5, rasterized=True)
    if solver.has_validation:
        checks = solver.iterations_per_epoch * np.arange(len(solver.validation_loss_history))
        above.plot(checks, solver.validation_loss_history, "o-", color=VALIDATION)
        above.lines[0].set_label("minibatch")
        above.lines[1].set_label("validation, without L2" if solver.model.l2 else "validation")
        legend_below(above, entries_beside)
    above.set(title="Loss", xlabel="iteration", ylabel="loss")
    losses = [loss for loss in solver.loss_history + solver.validation_loss_history if np.isfinite(loss)]
    positive = [loss for loss in losses if loss > 0]
    if len(positive) == len(losses):
        above.set_yscale("log")
    else:  # the SVM loss can be 0, which a logarithmic scale leaves out
        above.set_yscale("symlog", linthresh=min(positive, default=1.0))

    curves = {"training": 100 * np.array(solver.train_accuracy_history)}
    if solver.has_validation:
        curves["validation"] = 100 * np.array(solver.validation_accuracy_history)
    if callable(solver.best_by) and all(-1 <= value <= 1 for value in solver.best_by_history):
        curves[called(solver.best_by)] = 100 * np.array(solver.best_by_history)
    title = "Accuracy"
    later = np.concatenate([percent[1:] for percent in curves.values()])
    lowest, first = float(later.min()) if later.size else 0.0, 0
    if lowest > 90 and solver.epoch > 1:
        # If the axis began at the untrained model's accuracy, the later ones would look alike. The title tells it.
        start = ", ".join(f"{name} {percent[0]:.1f} %" for name, percent in curves.items())
        title, first = f"{title} (before training: {start})", 1
        margin = 0.1 * (100 - lowest) + 0.01
        below.set_ylim(lowest - margin, 100 + margin)
    else:
        lowest = min(0.0, lowest, *(percent[0] for percent in curves.values()))  # that of a regression may be below 0
        below.set_ylim(1.02 * lowest, 102)
    for (name, percent), colour in zip(curves.items(), (TRAINING, VALIDATION, MEASURE), strict=False):
        epochs, label = np.arange(first, len(percent)), f"{name} (last: {percent[-1]:.1f} %)"
        below.plot(epochs, percent[first:], "o-", color=colour, label=label)
    below.set(title=title, xlabel="epoch", ylabel="accuracy (%)")
    below.xaxis.get_major_locator().set_params(integer=True)
    legend_below(below, entries_beside)
    for axes in (above, below):
        axes.grid(alpha=0.3)
    return figure


def plot_learning_rates(found: LearningRates, *, ax: AxesArgument = None) -> "Figure":
    """Draw the search for a learning rate: the losses as dots, their moving average, and the suggestion.

    Parameters
    ----------
    found : LearningRates
        From `find_learning_rate`.
    ax : Axes, optional
        Where to draw, such as a panel of a figure of your own; by default in a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        A new one, or that of `ax`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    if not isinstance(found, LearningRates):
        raise TypeError(f"plot_learning_rates: expected what find_learning_rate returns, got {found!r:.60}")
    figure, (axes,) = panels_for("plot_learning_rates", ax, (8, 4))
    axes.plot(found.rates, found.losses, ".", color=DOTS, alpha=0.5, label="loss of the minibatch")
    axes.plot(found.rates, found.smoothed, color=TRAINING, linewidth=2, label="smoothed")
    if found.suggestion is not None:
        axes.axvline(found.suggestion, color=VALIDATION, linestyle="--", label=f"suggestion: {found.suggestion:.2g}")
    # Where training diverges the losses rise out of the figure: it shows where they fall.
    fall = found.smoothed[: int(found.smoothed.argmin()) + 1]
    low = float(min(found.losses.min(), found.smoothed.min()))
    high = float((fall if len(fall) > 1 else found.smoothed).max())
    margin = 0.08 * (high - low) or 0.1
    axes.set_ylim(low - margin, high + margin)
    axes.set_xscale("log")
    axes.set(title="Loss while the learning rate grows", xlabel="learning rate", ylabel="loss")
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    return figure


def plot_curves(
    panels: Mapping[str, Mapping[str, npt.ArrayLike]],
    x: npt.ArrayLike,
    *,
    xlabel: str,
    ylabel: str,
    log_scale: bool = False,
    ax: AxesArgument = None,
) -> "Figure":
    """Draw curves for comparison, one panel per group, all on one scale.

    Parameters
    ----------
    panels : mapping of str to mapping of str to array_like, shape (M,) or (R, M)
        The curves by their panel's title and their own name. One of shape (R, M) is of R runs: their mean is drawn, and
        the range of the runs is shaded.
    x : array_like, shape (M,)
        The common abscissa.
    xlabel, ylabel : str
        Labels of the axes.
    log_scale : bool
        If True and any value is positive, the y axis is logarithmic. Values of 0 or below are not drawn.
    ax : Axes, or as many as there are panels, optional
        Where to draw: into an Axes each, which keep their scales, or in the place of one, which the panels share; by
        default in a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        A new one, or that of `ax`.

    Raises
    ------
    ValueError
        If there is no panel or a panel has no curve, or a curve has not as many points as x.
    ImportError
        If matplotlib is not installed.
    """
    x = as_real(x, "plot_curves: x")
    if x.ndim != 1:
        raise ValueError(f"plot_curves: expected x of shape (M,), got {x.shape}")
    if not isinstance(panels, Mapping) or not all(isinstance(curves, Mapping) for curves in panels.values()):
        raise TypeError(
            f"plot_curves: expected a dictionary of panels, each a dictionary of curves by name, got {panels!r:.60}"
        )
    if not panels or not all(panels.values()):
        raise ValueError("plot_curves: expected at least one panel, and a curve in each, got none")
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    # The legends stand below the axes, where they hide no curve; the strokes differ, so that no curve hides another.
    entries = max(len(curves) for curves in panels.values())
    size = 4.2 * columns, (3.4 + 0.22 * -(-entries // 2)) * rows + 0.2
    drawn = panels_for("plot_curves", ax, size, rows, columns, count=len(panels), gap=0.06, share=True)
    from matplotlib.ticker import LogLocator, NullFormatter

    largest = 0.0
    for axes, (title, curves) in zip(drawn.axes, panels.items(), strict=True):
        for (name, values), stroke in zip(curves.items(), cycle(STROKES), strict=False):
            y = as_real(values, f"plot_curves: {name}")
            if y.shape[-1:] != x.shape or y.ndim > 2 or not len(y):
                raise ValueError(f"plot_curves: {name}: expected {x.size} points, got shape {y.shape}")
            runs = np.atleast_2d(y)
            (line,) = axes.plot(x, runs.mean(axis=0), linestyle=stroke, linewidth=1.6, label=name)
            if len(runs) > 1:
                axes.fill_between(
                    x, runs.min(axis=0), runs.max(axis=0), color=line.get_color(), alpha=0.15, linewidth=0
                )
            largest = max(largest, float(y.max(initial=0)))
        axes.set_title(title)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.tick_params(labelbottom=True, labelleft=True)
        legend_below(axes)
        axes.grid(alpha=0.3)
    for axes in drawn.axes if log_scale and largest > 0 else []:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    return drawn.figure
