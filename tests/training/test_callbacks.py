"""The callbacks: progress and early stopping."""

import io
import re
import sys

import numpy as np
import pytest
from cases import image_solver

from convnet import EarlyStopping, FilterAnimation, ProgressBar
from convnet.training import callbacks
from convnet.training.accuracy import Accuracy

# Labels that mean nothing, and few of them: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")

LINE = re.compile(
    r"epoch \d/2: loss \d\.\d{4}, training accuracy \d+\.\d\d%, validation accuracy \d+\.\d\d%, \d+\.\d s"
)


def test_progress_is_one_line_an_epoch_in_a_file(rng):
    output = io.StringIO()
    image_solver(rng, 2, [ProgressBar(output)]).train()
    lines = output.getvalue().splitlines()
    assert len(lines) == 2
    assert all(LINE.fullmatch(line) for line in lines)


def test_progress_is_a_bar_on_a_terminal(rng):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    output = Terminal()
    image_solver(rng, 2, [ProgressBar(output)]).train()
    text = output.getvalue()
    assert "6/6" in text
    assert "100%" in text
    assert len(LINE.findall(text)) == 2


class Kernel:
    """Stands for IPython with a shell, which is a kernel if its configuration says so."""

    def __init__(self, config):
        self.config = config

    def get_ipython(self):
        return self


@pytest.mark.parametrize(
    ("ipython", "is_notebook"),
    [(Kernel({"IPKernelApp": {}}), True), (Kernel({"TerminalIPythonApp": {}}), False), (None, False)],
    ids=["a notebook", "a script of IPython", "Python"],
)
def test_progress_in_a_notebook_without_widgets_is_a_bar_of_text(rng, monkeypatch, capsys, ipython, is_notebook):
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setattr(callbacks, "find_spec", lambda name: None)
    image_solver(rng, 2, [ProgressBar()]).train()
    text, errors = capsys.readouterr()
    assert ("6/6" in text) == ("100%" in text) == is_notebook
    assert len(LINE.findall(text)) == 2
    assert errors == ""


def test_progress_in_a_notebook_goes_to_the_file_that_was_given(rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", Kernel({"IPKernelApp": {}}))
    output = io.StringIO()
    image_solver(rng, 2, [ProgressBar(output)]).train()
    assert all(LINE.fullmatch(line) for line in output.getvalue().splitlines())


@pytest.mark.parametrize(
    ("accuracies", "patience", "epochs"),
    [
        ([0.5, 0.6, 0.7, 0.8, 0.9, 0.95], 1, 5),
        ([0.5, 0.6, 0.6, 0.9, 0.9, 0.9], 1, 2),
        ([0.5, 0.6, 0.6, 0.9, 0.9, 0.9], 2, 5),
        ([0.5, 0.6, 0.6, 0.9, 0.8, 0.8], 2, 5),
        ([0.9, 0.1, 0.2, 0.3, 0.4, 0.5], 3, 3),
        ([0.9, 0.1, 0.2, 0.3, 0.4, 0.5], 6, 5),
    ],
)
def test_early_stopping_waits_for_its_patience(rng, monkeypatch, accuracies, patience, epochs):
    solver = image_solver(rng, 5, [EarlyStopping(patience)])
    given = iter(np.repeat(accuracies, 2))  # of the training, then of the validation examples
    monkeypatch.setattr(solver, "_accuracy", lambda *_, **__: Accuracy(float(next(given)), 1.0, True, False))
    solver.train()
    assert solver.epoch == epochs
    assert solver.validation_accuracy_history == accuracies[: epochs + 1]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: EarlyStopping(0), ValueError, "patience: expected at least 1, got 0"),
        (lambda: EarlyStopping(2.5), TypeError, "patience: expected an integer, got 2.5"),
        (lambda: ProgressBar("bar"), TypeError, "ProgressBar: file: expected an open file, such as .* got 'bar'"),
        (lambda: FilterAnimation("a.gif", frames=1), ValueError, "frames: expected at least 2, got 1"),
        (lambda: FilterAnimation("a.gif", max_bytes=0), ValueError, "max_bytes: expected at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
