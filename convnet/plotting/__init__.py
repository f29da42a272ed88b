"""Figures that people look at, drawn by matplotlib without a screen.

This package contains what reads a Solver, images or predictions and returns a figure, or writes an animation.
Packages below it must not import it. matplotlib and Pillow are imported when a figure is drawn, not with the package.
"""

from convnet.plotting.animation import FilterAnimation
from convnet.plotting.filters import plot_filters
from convnet.plotting.predictions import plot_confusion, plot_errors, plot_examples, plot_predictions
from convnet.plotting.profile import plot_profile
from convnet.plotting.training import plot_curves, plot_learning_rates, plot_training

__all__ = [
    "FilterAnimation",
    "plot_confusion",
    "plot_curves",
    "plot_errors",
    "plot_examples",
    "plot_filters",
    "plot_learning_rates",
    "plot_predictions",
    "plot_profile",
    "plot_training",
]
