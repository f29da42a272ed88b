"""MNIST with fewer than 10,000 parameters
=======================================

Train a network of fewer than 10,000 parameters on the MNIST digits.

ConvNet1 has 3 million parameters, nearly all of them in the Affine layer that looks at 6,272 features at once. This
network has no such layer: six small convolutions see further and further, and at last each of 16 channels is added up,
with a weight for each place. What makes so small a network good:

- batch normalization behind every convolution, which allows a large learning rate;
- pooling right behind the second and the fourth convolution, so that the third and the fifth see twice as far;
- a depthwise convolution at the end, as large as its input of 7 x 7: an average would forget where a stroke is;
- SiLU, which is smooth, in the place of ReLU;
- images that are shifted and turned, get more or less contrast, and lose a square of 7 x 7 pixels, anew in every
  epoch: a small network needs many epochs, and the same image twice teaches little;
- a prediction that is the mean over nine copies of the image, shifted by up to a pixel. The test accuracy is that of
  such predictions; `predict.py` reads one copy.

::

    python examples/tiny_mnist.py
    python examples/tiny_mnist.py --seed 3 --output tiny.npz
    python examples/tiny_mnist.py --epochs 2 --target-accuracy 0.97   (a first look)
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import convnet
from convnet import Affine, BatchNorm2D, Conv2D, Layer, MaxPool2D, SiLU


def convolution(inputs: int, filters: int, rng: np.random.Generator, *, pool: bool = False) -> list[Layer]:
    """Return a 3x3 convolution with batch normalization and SiLU, and with max pooling if it is wanted."""
    # The normalization subtracts each channel's mean: a bias in front of it would have no effect.
    layers: list[Layer] = [Conv2D(inputs, filters, 3, padding=1, bias=False, rng=rng)]
    if pool:
        layers.append(MaxPool2D(2))
    return [*layers, BatchNorm2D(filters), SiLU()]


def read(model: convnet.Sequential, images: np.ndarray) -> np.ndarray:
    """Return the classes of images, each from nine predictions: for shifts by -1, 0 and 1 pixels down and across."""
    height, width = images.shape[2:]
    larger = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    shifted = (larger[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3))
    return np.mean([model.probabilities(copy) for copy in shifted], axis=0).argmax(axis=1)


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Train a tiny network on the MNIST digits.")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the four IDX files (default: the digits)")
    parser.add_argument("--epochs", type=int, default=40, help="passes over the training images (default: 40)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument(
        "--target-accuracy",
        type=float,
        default=0.994,
        metavar="FRACTION",
        help="fail below this test accuracy (default: 0.994)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="save the model there, for predict.py (*.npz)")
    options = parser.parse_args()
    start = time.perf_counter()

    # 1. Data. The digits stay bytes, and the model prepares each minibatch. The test ones are not looked at before 4.
    data, statistics = convnet.preprocess(*convnet.load_mnist(options.data), num_test=None, keep_uint8=True)

    # 2. Model: images of 28 x 28 shrink to 14 x 14 and to 7 x 7, and then to a number for each channel.
    rng = np.random.default_rng(options.seed)
    layers = [
        *convolution(1, 8, rng),
        *convolution(8, 8, rng, pool=True),
        *convolution(8, 16, rng),
        *convolution(16, 16, rng, pool=True),
        *convolution(16, 16, rng),
        *convolution(16, 16, rng),
        Conv2D(16, 16, 7, groups=16, bias=False, rng=rng),
        BatchNorm2D(16),
        SiLU(),
        Affine(16, 10, rng=rng),
    ]
    model = convnet.Sequential(layers, (1, 28, 28), l2=1e-4, rng=rng)
    model.statistics = statistics
    print(model.summary())

    # 3. Training. The last parameters stay: after this schedule they are the best.
    solver = convnet.Solver(
        model,
        data,
        convnet.Momentum(0.1, nesterov=True),
        schedule=convnet.OneCycle(options.epochs),
        batch_size=50,
        epochs=options.epochs,
        seed=options.seed,
        augmentation=convnet.Augmentation(shift=2, rotation=15, contrast=0.3, cutout=7),
        callbacks=[convnet.ProgressBar()],
        restore_best=False,
    )
    solver.train()

    # 4. Test: the test images are looked at once, here.
    accuracy = float(np.mean(read(model, data["x_test"]) == data["y_test"]))
    print(f"test accuracy {accuracy:.2%} on {len(data['x_test'])} images")
    print(f"{sum(param.size for param in model.params.values()):,} parameters")
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
