"""ConvNet1 on MNIST
=================

Train ConvNet1 on the MNIST digits, test it, save it, draw what it learned, and write a page to try it on.

::

    python examples/train.py
    python examples/train.py --epochs 3 --output results/quick --filters-gif results/filters.gif
    python examples/train.py --resume   (goes on from the last checkpoint: one a minute, and one after Ctrl-C)
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

import convnet


def fraction(text: str) -> float:
    """Return the number between 0 and 1 that a text stands for."""
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError(text)
    return number


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Train ConvNet1 on MNIST, or on any data set in MNIST's four files.")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of four IDX files (default: the MNIST digits)")
    parser.add_argument("--epochs", type=int, default=10, help="passes over the training images (default: 10)")
    parser.add_argument("--batch-size", type=int, default=50, help="images of a minibatch (default: 50)")
    parser.add_argument("--learning-rate", type=float, default=0.1, help="of the first epoch (default: 0.1)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument("--output", type=Path, default=Path("results"), metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--filters-gif", type=Path, metavar="FILE", help="write an animation of the first layer's filters"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the output folder")
    parser.add_argument("--target-accuracy", type=fraction, metavar="FRACTION", help="fail below this test accuracy")
    return parser.parse_args()


def main() -> int:
    """Run the example; return the exit status."""
    options = parse_arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    left_out = {"matplotlib": "figures", "tqdm": "progress bar"}
    for package, what in left_out.items():
        if find_spec(package) is None:
            print(f'{package} is not installed, so there will be no {what}: pip install ".[examples]" adds it')

    checkpoints = options.output / "checkpoints"
    callbacks: list[convnet.Callback] = [convnet.ProgressBar(), convnet.Checkpoint(checkpoints)]
    if options.filters_gif is not None:
        callbacks.append(convnet.FilterAnimation(options.filters_gif))

    # 1. Data: 60,000 digits to train with, of which the last 1,000 are held back for validation, and 10,000 to test.
    print(f"loading {options.data or 'the MNIST digits'}")
    images, labels, test_images, test_labels = convnet.load_mnist(options.data, num_classes=256)
    data, statistics = convnet.preprocess(images, labels, test_images, test_labels, num_test=None)
    for name, array in data.items():
        print(f"  {name}: {array.shape}")

    # 2. Model: Conv - ReLU - max pooling - Affine - ReLU - Affine - softmax loss.
    num_classes = int(max(labels.max(), test_labels.max())) + 1
    model = convnet.ConvNet1(data["x_train"].shape[1:], num_classes=num_classes, seed=options.seed)
    model.statistics = statistics
    filters_before = model.params["conv1.weight"].copy()
    print(model.summary())

    # 3. Training: vanilla SGD on minibatches, the learning rate 0.8 times as large after every epoch.
    solver = convnet.Solver(
        model,
        data,
        convnet.SGD(options.learning_rate),
        schedule=convnet.EpochDecay(0.8),
        batch_size=options.batch_size,
        epochs=options.epochs,
        seed=options.seed,
        callbacks=callbacks,
    )
    print(f"training for {solver.num_iterations} iterations of {options.batch_size} images")
    if options.resume:
        solver.resume(checkpoints)
        print(f"going on after iteration {solver.iteration} of {solver.num_iterations}")
    solver.train()
    print(f"best validation accuracy {solver.best_validation_accuracy:.2%}")

    # 4. Test: only now, and only once, the test images are looked at (their labels told how many classes there are).
    accuracy = solver.check_accuracy(data["x_test"], data["y_test"])
    print(f"test accuracy {accuracy:.2%} on {len(data['x_test'])} images")

    # 5. Results: the model with its preprocessing, a page to draw a digit on, and the figures.
    convnet.save_model(model, options.output / "model.npz")
    convnet.webpage.export(model, options.output / "page.html", (test_images, test_labels))
    results = ["model.npz", "page.html"]
    if find_spec("matplotlib") is not None:
        figures = {
            "examples.png": convnet.plot_examples(images, labels),
            "training.png": convnet.plot_training(solver),
            "filters.png": convnet.plot_filters(filters_before, model.params["conv1.weight"]),
        }
        for name, figure in figures.items():
            figure.savefig(options.output / name, dpi=150)
        results += figures
    print(f"saved in {options.output}: {', '.join(results)}")
    if options.filters_gif is not None:
        print(f"saved {options.filters_gif}")

    if options.target_accuracy is not None and accuracy < options.target_accuracy:
        print(f"the test accuracy is below the target of {options.target_accuracy:.2%}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ImportError, OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; the same command with --resume goes on from the last checkpoint, if there is one")
