"""Errors of a trained model
=========================

Look at the errors of a trained model: which digits it takes for which, and what those digits look like.

::

    python examples/train.py && python examples/errors.py
    python examples/errors.py results/quick/model.npz --output results/quick
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import convnet


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Draw the confusion matrix and the misclassified test images.")
    parser.add_argument(
        "model", type=Path, nargs="?", default=Path("results/model.npz"), help="model file (default: %(default)s)"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the four IDX files (default: the digits)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for the figures (default: the model's)")
    options = parser.parse_args()
    if not options.model.exists():
        raise FileNotFoundError(f"there is no model {options.model}: python examples/train.py trains and saves one")

    # 1. The model brings its preprocessing along, so that it takes the test images as they are.
    model = convnet.load_model(options.model)
    _, _, images, labels = convnet.load_mnist(options.data, num_classes=model.num_classes)
    predictions = model.predict_images(images)
    wrong = np.flatnonzero(predictions != labels)
    print(f"test accuracy {1 - len(wrong) / len(labels):.2%}: {len(wrong)} errors in {len(labels)} images")

    # 2. Which classes are taken for which, the most frequent first.
    pairs, counts = np.unique(np.stack([labels[wrong], predictions[wrong]]), axis=1, return_counts=True)
    for index in np.argsort(-counts, kind="stable")[:5]:
        true, predicted = pairs[:, index]
        print(f"  {true} taken for {predicted}: {counts[index]} times")

    # 3. Figures: all pairs at once, and the images themselves. Of many of them one would not know better either.
    output = options.output or options.model.parent
    output.mkdir(parents=True, exist_ok=True)
    names = model.class_names
    try:
        convnet.plot_confusion(labels, predictions, class_names=names).savefig(output / "confusion.png", dpi=150)
        convnet.plot_errors(images, labels, predictions, class_names=names).savefig(output / "errors.png", dpi=150)
        print(f"saved in {output}: confusion.png, errors.png")
    except ImportError as error:
        print(f"no figures: {error}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, TypeError) as error:
        sys.exit(f"error: {error}")
