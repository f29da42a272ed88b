"""A few images, learnt by heart
=============================

Overfit ConvNet1 on 100 and on 10 training images: the first test of any new network.

A network that cannot learn a handful of images by heart has a bug, and nothing larger needs to be tried before that is
found. With plenty of parameters, no regularisation and enough epochs the training accuracy has to reach 100 %, while
the validation accuracy stays where so few examples can bring it: the gap between the curves is overfitting.

::

    python examples/overfit_small_data.py
"""

import argparse
import sys
import warnings
from pathlib import Path

import convnet

# Number of training images, and of epochs.
RUNS = [(100, 50), (10, 40)]


def main() -> int:
    """Run the example; return the exit status."""
    parser = argparse.ArgumentParser(description="Overfit ConvNet1 on 100 and on 10 training images.")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument("--output", type=Path, default=Path("results"), metavar="DIR", help="folder for the figures")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    data, _ = convnet.preprocess(*convnet.load_mnist())
    failed = False
    for num_images, epochs in RUNS:
        # 1. Data: the first few training images, and the 1,000 validation images to compare with.
        few = data | {"x_train": data["x_train"][:num_images], "y_train": data["y_train"][:num_images]}

        # 2. Model: without L2, because nothing shall keep it from learning by heart.
        model = convnet.ConvNet1(hidden_size=100, l2=0, seed=options.seed)

        # 3. Training: Adam at 1e-3. An epoch of 100 images is only two iterations, so that there are 100 iterations in
        # all, and 40 with 10 images. Published curves of this experiment name vanilla SGD with a rate of 1e-3, which in
        # 100 iterations hardly moves the loss; what learns as fast as they show is Adam.
        warnings.simplefilter("ignore", convnet.ConvnetWarning)  # so few images lack classes
        solver = convnet.Solver(model, few, convnet.Adam(1e-3), batch_size=50, epochs=epochs, seed=options.seed)
        solver.train()

        # 4. Result: the last training accuracy is that of all the few images.
        reached = solver.train_accuracy_history[-1]
        print(
            f"{num_images} images, {epochs} epochs: training accuracy {reached:.2%}, "
            f"validation accuracy {solver.validation_accuracy_history[-1]:.2%}"
        )
        if reached < 1:
            print(f"the network did not learn {num_images} images by heart", file=sys.stderr)
            failed = True
        try:
            path = options.output / f"overfit_{num_images}.png"
            convnet.plot_training(solver).savefig(path, dpi=150)
            print(f"  saved {path}")
        except ImportError as error:
            print(f"  no figure: {error}")
    return int(failed)


if __name__ == "__main__":
    try:
        if status := main():
            sys.exit(status)
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
