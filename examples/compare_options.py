"""Options of ConvNet1, compared
=============================

Try the options of ConvNet1, one at a time, from the same starts, to see what each of them changes.

The rows are those of the table of options in V. N. Sichkar's tutorial (2018, DOI 10.5281/zenodo.1317904). Every choice
is trained several times, with a random seed for each run. The runs of one random seed have the same minibatches and the
same number of steps, and differ from those of the first choice, the tutorial's own, in one option. The first choice
stands in every row, and is trained once. A difference counts only if it is larger than the range of the runs.

Optimizers have a learning rate each: the unit of a step is another. 600 steps are half an epoch. What is ahead after
them need not be ahead after ten epochs; regularisation pays late.

::

    python examples/compare_options.py
"""

import argparse
import sys
import time
from pathlib import Path
from statistics import mean

import numpy as np

import convnet

SGD = ("SGD at 0.02", lambda: convnet.SGD(0.02))
DROPOUT = convnet.Dropout(0.5)

# By row of the table: the options' names, their optimizers, and ConvNet1's arguments.
ROWS = {
    "Weights initialization": [
        ("He normal", *SGD, {}),
        ("He uniform", *SGD, {"initializer": convnet.he_uniform}),
        ("Glorot normal", *SGD, {"initializer": convnet.glorot_normal}),
        ("Glorot uniform", *SGD, {"initializer": convnet.glorot_uniform}),
    ],
    "Weights update policy": [
        ("Vanilla SGD", *SGD, {}),
        ("Momentum SGD", "Momentum at 0.005", lambda: convnet.Momentum(0.005), {}),
        ("RMSProp", "RMSProp at 0.0005", lambda: convnet.RMSProp(5e-4), {}),
        ("Adam", "Adam at 0.001", lambda: convnet.Adam(1e-3), {}),
    ],
    "Activation function": [
        ("ReLU", *SGD, {}),
        ("Sigmoid", *SGD, {"activation": convnet.Sigmoid}),
    ],
    "Regularization": [
        ("L2", *SGD, {}),
        ("Dropout", *SGD, {"l2": 0, "dropout": DROPOUT}),
        ("L2 and Dropout", *SGD, {"dropout": DROPOUT}),
        ("none", *SGD, {"l2": 0}),
    ],
    "Pooling": [
        ("Max", *SGD, {}),
        ("Average", *SGD, {"pooling": convnet.AveragePool2D}),
    ],
    "Loss function": [
        ("Softmax", *SGD, {}),
        ("SVM", *SGD, {"loss": convnet.svm_loss}),
    ],
}


class AccuracyCurve(convnet.Callback):
    """Check the validation accuracy at the given steps, and stop after the last of them."""

    def __init__(self, steps: list[int]) -> None:
        self.steps = steps
        self.accuracies: list[float] = []

    def on_train_start(self, solver: convnet.Solver) -> None:
        """Check the untrained model."""
        self.on_iteration_end(solver)

    def on_iteration_end(self, solver: convnet.Solver) -> None:
        """Check the model if it is time."""
        if solver.iteration in self.steps:
            self.accuracies.append(solver.check_accuracy(*solver.data["validation"]))
        if solver.iteration == self.steps[-1]:
            solver.stop()


def train(
    model: convnet.ConvNet1, data: dict[str, np.ndarray], optimizer: convnet.Optimizer, steps: list[int], seed: int
) -> tuple[float, list[float]]:
    """Train a model; return its mean loss over the last twentieth of the steps, and the accuracies at the steps."""
    curve = AccuracyCurve(steps)
    epochs = -(-50 * steps[-1] // len(data["x_train"]))
    options = {"batch_size": 50, "epochs": epochs, "seed": seed, "callbacks": [curve], "restore_best": False}
    solver = convnet.Solver(model, data, optimizer, **options)
    solver.train()
    return mean(solver.loss_history[steps[-2] :]), curve.accuracies


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Compare the options of ConvNet1 in short runs.")
    parser.add_argument("--steps", type=int, default=600, help="minibatches of 50 images for each (default: 600)")
    parser.add_argument("--hidden-size", type=int, default=100, help="of ConvNet1 (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the first run (default: 0)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each choice (default: 5)")
    parser.add_argument("--output", type=Path, default=Path("results"), metavar="DIR", help="folder for the figure")
    options = parser.parse_args()
    for name in ("steps", "runs"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name}: expected at least 1, got {getattr(options, name)}")
    options.output.mkdir(parents=True, exist_ok=True)
    steps = sorted({round(options.steps * part / 20) for part in range(21)})  # where the accuracy is checked

    data, _ = convnet.preprocess(*convnet.load_mnist())
    curves: dict[str, dict[str, list[list[float]]]] = {}
    done: dict[str, tuple[tuple[str, ...], list[list[float]]]] = {}
    columns = "{:<23} {:<15} {:<17} {:>10} {:>10} {:>17} {:>8}"
    print(columns.format("option", "", "optimizer", "last loss", "accuracy", "range", "time"))
    for row, choices in ROWS.items():
        curves[row] = {}
        for name, rule, make_optimizer, arguments in choices:
            # The first choice of every row is the same: it is trained once.
            key = repr((rule, arguments))
            if key not in done:
                start = time.perf_counter()
                losses, accuracies = [], []
                for seed in range(options.seed, options.seed + options.runs):
                    model = convnet.ConvNet1(hidden_size=options.hidden_size, seed=seed, **arguments)
                    loss, accuracy = train(model, data, make_optimizer(), steps, seed)
                    losses.append(loss)
                    accuracies.append(accuracy)
                last = [accuracy[-1] for accuracy in accuracies]
                cells = (
                    f"{mean(losses):.4f}",
                    f"{mean(last):.2%}",
                    f"{min(last):.2%}-{max(last):.2%}",
                    f"{time.perf_counter() - start:.1f} s",
                )
                done[key] = cells, accuracies
            cells, accuracies = done[key]
            print(columns.format(row, name, rule, *cells), flush=True)
            curves[row][rule if row == "Weights update policy" else name] = accuracies
    print("last loss: the mean over the last twentieth of the steps, in different units for softmax and SVM")
    print(f"accuracy, range: mean, lowest and highest of the runs ({options.runs}), on the 1,000 validation images")

    try:
        errors = {row: {name: 100 - 100 * np.array(y) for name, y in group.items()} for row, group in curves.items()}
        figure = convnet.plot_curves(errors, steps, xlabel="iteration", ylabel="validation error (%)", log_scale=True)
        if options.runs > 1:
            figure.suptitle(f"Mean of {options.runs} runs; shaded: their range")
        figure.savefig(options.output / "options.png", dpi=150)
        print(f"saved {options.output / 'options.png'}")
    except ImportError as error:
        print(f"no figure: {error}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
