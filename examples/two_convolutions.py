"""Build another network than ConvNet1 with Sequential, and train it with augmentation and a one-cycle schedule.

Two convolutions with small windows see more of a digit's shape than one with large windows, and need fewer
multiplications; see the table that is printed first.

python examples/two_convolutions.py
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import convnet
from convnet import Affine, Conv2D, MaxPool2D, ReLU


def fraction(text: str) -> float:
    """Return the number between 0 and 1 that a text stands for."""
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError(text)
    return number


def main() -> int:
    """Run the example; return the exit status."""
    parser = argparse.ArgumentParser(description="Train a network of two convolutions on MNIST.")
    parser.add_argument("--epochs", type=int, default=5, help="passes over the training images (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument("--output", type=Path, default=Path("results"), metavar="DIR", help="folder for the model")
    parser.add_argument("--target-accuracy", type=fraction, metavar="FRACTION", help="fail below this test accuracy")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    # 1. Data, with all test images.
    data, statistics = convnet.preprocess(*convnet.load_mnist(), num_test=None)

    # 2. Model: the images shrink from 28 x 28 to 14 x 14 to 7 x 7 while they gain channels.
    rng = np.random.default_rng(options.seed)
    layers = [
        Conv2D(1, 16, 5, padding=2, rng=rng),
        ReLU(),
        MaxPool2D(2),
        Conv2D(16, 32, 3, padding=1, rng=rng),
        ReLU(),
        MaxPool2D(2),
        Affine(32 * 7 * 7, 128, rng=rng),
        ReLU(),
        Affine(128, 10, rng=rng),
    ]
    model = convnet.Sequential(layers, (1, 28, 28), l2=1e-4, rng=rng)
    model.statistics = statistics
    print(model.summary())

    # 3. Training: every image is shifted by up to a pixel each time, so that none is seen twice alike; the learning
    # rate rises to its peak and falls to nothing. The last parameters are kept: after such a schedule they are the
    # best, and 1,000 validation images are too few to choose between the last epochs.
    solver = convnet.Solver(
        model,
        data,
        convnet.Momentum(0.05, nesterov=True),
        schedule=convnet.OneCycle(options.epochs),
        batch_size=100,
        epochs=options.epochs,
        seed=options.seed,
        augmentation=convnet.Augmentation(shift=1, rotation=0, statistics=statistics),
        callbacks=[convnet.ProgressBar()],
        restore_best=False,
    )
    solver.train()

    # 4. Test, and save.
    accuracy = solver.check_accuracy(data["x_test"], data["y_test"])
    print(f"test accuracy {accuracy:.2%} on {len(data['x_test'])} images")
    convnet.save_model(model, options.output / "two_convolutions.npz")
    print(f"saved {options.output / 'two_convolutions.npz'}")
    if options.target_accuracy is not None and accuracy < options.target_accuracy:
        print(f"the test accuracy is below the target of {options.target_accuracy:.2%}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
