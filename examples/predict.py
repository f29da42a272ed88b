"""Read digits from photographs or drawings with a trained model.

python examples/predict.py results/model.npz photo.jpg drawing.png
python examples/predict.py results/model.npz photo.jpg --figure prediction.png
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import convnet


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Print what a model reads in image files, one digit in each.")
    parser.add_argument("model", type=Path, help="model file, such as train.py leaves in results/model.npz")
    parser.add_argument("images", type=Path, nargs="+", metavar="image", help="image file: a digit on an even ground")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw what the model got, and bars of what it says")
    options = parser.parse_args()
    if not options.model.exists():
        raise FileNotFoundError(f"there is no model {options.model}: python examples/train.py trains and saves one")

    model = convnet.load_model(options.model)
    if model.statistics is None or len(model.input_shape) != 3 or model.input_shape[0] != 1:
        raise ValueError(f"{options.model}: expected a model of images of one channel, with statistics")
    # An image as it comes from a camera is not what the network was trained with: it is made so first.
    images = np.stack([convnet.prepare_digit(path, model.input_shape[1:]) for path in options.images])
    probabilities = model.probabilities(model.statistics.apply(images))

    names = model.class_names or [str(label) for label in range(model.num_classes)]
    for path, row in zip(options.images, probabilities, strict=True):
        print(f"{path}: {names[row.argmax()]}")
        print("  " + "  ".join(f"{name} {probability:.1%}" for name, probability in zip(names, row, strict=True)))
    if options.figure is not None:
        figure = convnet.plot_predictions(images, probabilities, class_names=names)
        figure.savefig(options.figure, dpi=150)
        print(f"saved {options.figure}")


if __name__ == "__main__":
    try:
        main()
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
