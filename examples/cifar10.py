"""CIFAR-10
========

Train a small network on CIFAR-10, photographs of ten classes, or with --best a larger one for longer.

The network is that of K. Jordan, "94 % on CIFAR-10 in 3.29 seconds on a single GPU", 2024, without its bias-only
normalization: three blocks of two 3x3 convolutions, the first one with pooling behind it, between a 3x3 convolution
and one Affine layer. What it has besides:

- a first convolution that starts as the whitening of the photographs' patches: its outputs are then uncorrelated and
  of about one variance;
- other convolutions that start as the identity, for as many filters as there are channels: the network begins as a
  shallow one;
- batch normalization, and a learning rate that rises for three tenths of the way and then falls to nothing;
- label smoothing, so that the network does not become too sure of the training labels;
- photographs shifted by up to two pixels, and half of them mirrored; a prediction is the mean of both ways.

DIR holds the folders train/CLASS and test/CLASS of images, or the unpacked files of the Python or the binary version.

::

    python examples/cifar10.py --data DIR
    python examples/cifar10.py --data DIR --best --output results/cifar10.npz
    python examples/cifar10.py --data DIR --epochs 1 --target-accuracy 0.5   (a first look)
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

import convnet
from convnet import Affine, BatchNorm2D, Conv2D, Layer, MaxPool2D, ReLU

Initializer = Callable[..., np.ndarray]
BATCH_SIZE, LEARNING_RATE, L2, SMOOTHING = 128, 0.1, 5e-4, 0.1
AUGMENTATION = convnet.Augmentation(shift=2, rotation=0, flip=True, reflect=True)


class Recipe(NamedTuple):
    """How many filters the convolutions of each block have, how long to train, and the test accuracy to be reached."""

    widths: tuple[int, int, int]
    epochs: int
    target: float


SMALL = Recipe((32, 64, 128), 10, 0.84)
BEST = Recipe((64, 256, 256), 30, 0.9)


def load(folder: Path) -> tuple[dict[str, np.ndarray], convnet.Statistics, tuple[str, ...]]:
    """Return raw photographs, of which one in fifty is held back for validation, statistics, and the classes."""
    parts = convnet.load_data(folder)
    held_back = convnet.split(parts["train"], validation=0.02)
    return *convnet.preprocess_parts({**held_back, "test": parts["test"]}, keep_uint8=True), parts["train"].class_names


def whitening(images: np.ndarray) -> Initializer:
    """Return an initializer of filters whose outputs on the patches of prepared images are uncorrelated.

    They are the patches' principal components, divided by their standard deviations, and the negatives of these, so
    that ReLU keeps both signs.
    """

    def initializer(shape, fan_in, rng, dtype, *, fan_out):
        patches = np.lib.stride_tricks.sliding_window_view(images, shape[2:], axis=(2, 3))
        patches = patches.transpose(0, 2, 3, 1, 4, 5).reshape(-1, fan_in)
        variances, components = np.linalg.eigh(patches.T @ patches / len(patches))
        filters = (components / np.sqrt(variances + 1e-2)).T[::-1][: shape[0] // 2]
        return np.concatenate([filters, -filters]).reshape(shape)

    return initializer


def identity(shape, fan_in, rng, dtype, *, fan_out):
    """Initialise a convolution: the first filters hand on a channel each, the others are uniform."""
    weight = rng.uniform(-1, 1, shape) / np.sqrt(fan_in)
    middle = shape[2] // 2, shape[3] // 2
    for channel in range(min(shape[:2])):
        weight[channel] = 0
        weight[channel, channel, *middle] = 1
    return weight


def convolution(inputs: int, filters: int, initializer: Initializer, rng: np.random.Generator) -> Conv2D:
    """Return a 3x3 convolution that keeps the size, without a bias: the normalization behind it has one."""
    return Conv2D(inputs, filters, 3, padding=1, bias=False, initializer=initializer, rng=rng)


def make_layers(
    images: np.ndarray, widths: tuple[int, int, int], classes: int, rng: np.random.Generator
) -> list[Layer]:
    """Return the network's layers; the first ones are fitted to prepared images (N, 3, 32, 32)."""
    layers: list[Layer] = [convolution(3, 24, whitening(images), rng), BatchNorm2D(24), ReLU()]
    inputs = 24
    for filters in widths:
        layers += [convolution(inputs, filters, identity, rng), MaxPool2D(2), BatchNorm2D(filters), ReLU()]
        layers += [convolution(filters, filters, identity, rng), BatchNorm2D(filters), ReLU()]
        inputs = filters
    return [*layers, MaxPool2D(4), Affine(inputs, classes, rng=rng)]


def make_model(
    data: dict[str, np.ndarray], statistics: convnet.Statistics, recipe: Recipe, seed: int
) -> convnet.Sequential:
    """Return the network with its initial parameters."""
    rng = np.random.default_rng(seed)
    images = statistics.prepare(data["x_train"][:5000])
    layers = make_layers(images, recipe.widths, int(data["y_train"].max()) + 1, rng)
    loss = partial(convnet.softmax_loss, smoothing=SMOOTHING)
    model = convnet.Sequential(layers, images.shape[1:], loss=loss, l2=L2, rng=rng)
    model.statistics = statistics
    return model


def make_solver(
    model: convnet.Sequential,
    data: dict[str, np.ndarray],
    recipe: Recipe,
    seed: int,
    callbacks: list[convnet.Callback],
) -> convnet.Solver:
    """Return what trains it. The last parameters stay: after this schedule they are the best."""
    return convnet.Solver(
        model,
        data,
        convnet.Momentum(LEARNING_RATE, nesterov=True),
        schedule=convnet.OneCycle(recipe.epochs),
        batch_size=BATCH_SIZE,
        epochs=recipe.epochs,
        seed=seed,
        augmentation=AUGMENTATION,
        callbacks=callbacks,
        restore_best=False,
    )


def accuracy_of(model: convnet.Sequential, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the part of right predictions, each made of a photograph and its mirror image."""
    return float(np.mean(model.predict(images, flips=True) == labels))


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Train a small network on CIFAR-10.")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folders of images, or CIFAR's own files"
    )
    parser.add_argument("--best", action="store_true", help="a larger network, for longer")
    parser.add_argument("--epochs", type=int, help=f"(default: {SMALL.epochs}, or {BEST.epochs} with --best)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument(
        "--target-accuracy",
        type=float,
        metavar="FRACTION",
        help=f"fail below this test accuracy (default: {SMALL.target}, or {BEST.target} with --best)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="save the model there (*.npz)")
    options = parser.parse_args()
    start = time.perf_counter()
    recipe = BEST if options.best else SMALL
    recipe = recipe._replace(epochs=recipe.epochs if options.epochs is None else options.epochs)
    target = recipe.target if options.target_accuracy is None else options.target_accuracy

    # 1. Data. The photographs stay bytes; the model prepares each minibatch. The test ones are not looked at before 4.
    data, statistics, classes = load(options.data)

    # 2. Model.
    model = make_model(data, statistics, recipe, options.seed)
    model.class_names = classes
    print(model.summary())

    # 3. Training.
    make_solver(model, data, recipe, options.seed, [convnet.ProgressBar()]).train()

    # 4. Test: the test photographs are looked at once, here.
    accuracy = accuracy_of(model, data["x_test"], data["y_test"])
    print(f"test accuracy {accuracy:.2%} on {len(data['x_test'])} images")
    print(f"{time.perf_counter() - start:.1f} s from data to test")
    if options.output is not None:
        convnet.save_model(model, options.output)
    if accuracy < target:
        sys.exit(f"the test accuracy is below the target of {target:.2%}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
