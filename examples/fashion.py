"""Fashion-MNIST
=============

Train a small network on Fashion-MNIST: ten kinds of clothes, grey, 28 x 28 pixels.

Fashion-MNIST (H. Xiao, K. Rasul, R. Vollgraf, 2017) has the files of MNIST, and is harder. What this network has:

- four convolutions with batch normalization, of which the last three have 3x3 filters;
- images shifted by up to one pixel, and half of them mirrored;
- a prediction that is the mean over an image and its mirror image; the test accuracy is that of such predictions;
- a learning rate that rises for three tenths of the way and then falls to nothing.

Debian has the four files as the package dataset-fashion-mnist.

::

    python examples/fashion.py
    python examples/fashion.py --data DIR --output results/fashion.npz
    python examples/fashion.py --epochs 1 --target-accuracy 0.85   (a first look)
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import convnet
from convnet import Affine, BatchNorm2D, Conv2D, Layer, MaxPool2D, ReLU

DATA = Path("/usr/share/datasets/fashion-mnist")  # where Debian puts it
CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def convolution(inputs: int, filters: int, size: int, rng: np.random.Generator, *, pool: bool = False) -> list[Layer]:
    """Return a convolution with batch normalization and ReLU, and with max pooling if it is wanted."""
    # The normalization subtracts each channel's mean: a bias in front of it would have no effect.
    layers: list[Layer] = [Conv2D(inputs, filters, size, padding=size // 2, bias=False, rng=rng)]
    if pool:
        layers.append(MaxPool2D(2))
    return [*layers, BatchNorm2D(filters), ReLU()]


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Train a small network on Fashion-MNIST.")
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help=f"folder of its files (default: {DATA})")
    parser.add_argument("--epochs", type=int, default=13, help="passes over the training images (default: 13)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument(
        "--target-accuracy",
        type=float,
        default=0.93,
        metavar="FRACTION",
        help="fail below this test accuracy (default: 0.93)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="save the model there (*.npz)")
    options = parser.parse_args()
    start = time.perf_counter()

    # 1. Data. The images stay bytes, and the model prepares each minibatch. The test ones are not looked at before 4.
    data, statistics = convnet.preprocess(*convnet.load_mnist(options.data), num_test=None, keep_uint8=True)

    # 2. Model: images of 28 x 28 shrink to 14 x 14, to 7 x 7, and to the largest value of each channel.
    rng = np.random.default_rng(options.seed)
    layers = [
        *convolution(1, 32, 5, rng, pool=True),
        *convolution(32, 64, 3, rng, pool=True),
        *convolution(64, 128, 3, rng),
        *convolution(128, 128, 3, rng),
        MaxPool2D(7),
        Affine(128, len(CLASSES), rng=rng),
    ]
    model = convnet.Sequential(layers, (1, 28, 28), l2=5e-4, rng=rng)
    model.statistics, model.class_names = statistics, CLASSES
    print(model.summary())

    # 3. Training. The last parameters stay: after this schedule they are the best.
    solver = convnet.Solver(
        model,
        data,
        convnet.Momentum(0.1, nesterov=True),
        schedule=convnet.OneCycle(options.epochs),
        batch_size=128,
        epochs=options.epochs,
        seed=options.seed,
        augmentation=convnet.Augmentation(shift=1, rotation=0, flip=True),
        callbacks=[convnet.ProgressBar()],
        restore_best=False,
    )
    solver.train()

    # 4. Test: the test images are looked at once, here, each with its mirror image.
    accuracy = float(np.mean(model.predict(data["x_test"], flips=True) == data["y_test"]))
    print(f"test accuracy {accuracy:.2%} on {len(data['x_test'])} images")
    print(f"{time.perf_counter() - start:.1f} s from data to test")
    if options.output is not None:
        convnet.save_model(model, options.output)
    if accuracy < options.target_accuracy:
        sys.exit(f"the test accuracy is below the target of {options.target_accuracy:.2%}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
