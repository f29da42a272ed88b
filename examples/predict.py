"""Digits in photographs
=====================

Read digits from photographs or drawings with a trained model.

::

    python examples/predict.py results/model.npz photo.jpg drawing.png
    python examples/predict.py results/model.npz photo.jpg --figure prediction.png
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import convnet
from convnet.datasets.digits import LEAST_SIDE


def main() -> int:
    """Run the example; return the exit status."""
    parser = argparse.ArgumentParser(description="Print what a model reads in image files, one digit in each.")
    parser.add_argument("model", type=Path, help="model file, such as train.py leaves in results/model.npz")
    parser.add_argument("images", type=Path, nargs="+", metavar="image", help="image file: a digit on an even ground")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw what the model got, and bars of what it says")
    options = parser.parse_args()
    if not options.model.exists():
        raise FileNotFoundError(f"there is no model {options.model}: python examples/train.py trains and saves one")

    model = convnet.load_model(options.model)
    c, *size = model.input_shape
    if model.statistics is None or c != 1 or len(size) != 2 or min(size) < LEAST_SIDE:
        raise ValueError(
            f"{options.model}: expected a model of images of one channel and {LEAST_SIDE}x{LEAST_SIDE} pixels or more, "
            f"with statistics, got input {model.input_shape} and {'no ' if model.statistics is None else ''}statistics"
        )
    # An image as it comes from a camera is not what the network was trained with: it is made so first.
    prepared = {}
    for path in options.images:
        try:
            prepared[path] = convnet.prepare_digit(path, size)
        except (OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
    if not prepared:
        return 1
    images = np.stack(list(prepared.values()))
    probabilities = model.probabilities(model.statistics.apply(images))

    names = model.class_names or [str(label) for label in range(model.num_classes)]
    for path, row in zip(prepared, probabilities, strict=True):
        print(f"{path}: {names[row.argmax()]}")
        print("  " + "  ".join(f"{name} {probability:.1%}" for name, probability in zip(names, row, strict=True)))
    if options.figure is not None:
        figure = convnet.plot_predictions(images, probabilities, class_names=names)
        figure.savefig(options.figure, dpi=150)
        print(f"saved {options.figure}")
    return 1 if len(prepared) < len(set(options.images)) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
