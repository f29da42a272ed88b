"""Hyper-parameters, searched for
==============================

Search for good hyper-parameters of a small network on Fashion-MNIST, with Optuna and on several processes.

Each trial trains a network with other hyper-parameters on a part of the training images, and is judged by images that
are held back. The first trial has the defaults below. Optuna proposes the next ones by what it was told of those
before. Here it is asked for as many trials as there are processes, and told their results in the order in which it was
asked: the same random seed then gives the same search, whichever process ends first.

::

    pip install optuna
    python examples/search.py
    python examples/search.py --data DIR --trials 40 --processes 4
"""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import optuna

import convnet
from convnet import Affine, BatchNorm2D, Conv2D, Dropout, MaxPool2D, ReLU

DATA = Path("/usr/share/datasets/fashion-mnist")  # where Debian's dataset-fashion-mnist puts it
DEFAULTS = {"learning_rate": 0.01, "l2": 1e-4, "filters": 16, "dropout": 0.5, "shift": 0}
TRAINED, HELD_BACK, BATCH_SIZE, EPOCHS = 10_000, 5_000, 64, 3


def propose(trial: optuna.Trial) -> dict[str, float]:
    """Return the hyper-parameters of a trial."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-3, 0.3, log=True),
        "l2": trial.suggest_float("l2", 1e-5, 1e-2, log=True),
        "filters": trial.suggest_int("filters", 8, 32, step=8),
        "dropout": trial.suggest_float("dropout", 0, 0.6),
        "shift": trial.suggest_int("shift", 0, 2),
    }


def accuracy_of(parameters: dict[str, float], folder: Path, seed: int, test: bool = False) -> float:
    """Train a network; return its accuracy on the images that are held back, or on the test images."""
    convnet.set_num_threads(1)  # the processes share the processors
    images, labels, test_images, test_labels = convnet.load_mnist(folder)
    order = np.random.default_rng(0).permutation(len(images))[: TRAINED + HELD_BACK]  # the same images for all trials
    data, statistics = convnet.preprocess(
        images[order],
        labels[order],
        test_images,
        test_labels,
        num_validation=min(HELD_BACK, len(order) // 3),
        num_test=None,
        keep_uint8=True,
    )
    rng, filters = np.random.default_rng(seed), int(parameters["filters"])
    layers = [
        *(Conv2D(1, filters, 5, padding=2, bias=False, rng=rng), MaxPool2D(2), BatchNorm2D(filters), ReLU()),
        *(Conv2D(filters, 2 * filters, 3, padding=1, bias=False, rng=rng), MaxPool2D(2)),
        *(BatchNorm2D(2 * filters), ReLU(), Dropout(parameters["dropout"]), Affine(2 * filters * 49, 10, rng=rng)),
    ]
    model = convnet.Sequential(layers, (1, 28, 28), l2=parameters["l2"], rng=rng)
    model.statistics = statistics
    solver = convnet.Solver(
        model,
        data,
        convnet.Momentum(parameters["learning_rate"], nesterov=True),
        schedule=convnet.OneCycle(EPOCHS),
        batch_size=BATCH_SIZE,
        epochs=EPOCHS,
        seed=seed,
        augmentation=convnet.Augmentation(shift=int(parameters["shift"]), rotation=0, flip=True),
        restore_best=False,
    )
    try:
        solver.train()
    except FloatingPointError:  # it diverged
        return 0.0
    part = "test" if test else "validation"
    return solver.check_accuracy(data[f"x_{part}"], data[f"y_{part}"])


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Search for hyper-parameters on Fashion-MNIST.")
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help=f"folder of its files (default: {DATA})")
    parser.add_argument("--trials", type=int, default=20, help="how many (default: 20)")
    parser.add_argument("--processes", type=int, default=2, help="how many at a time (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    options = parser.parse_args()
    start = time.perf_counter()
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    # 1. The search.
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=options.seed))
    study.enqueue_trial(DEFAULTS)
    judge = partial(accuracy_of, folder=options.data, seed=options.seed)
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        while len(study.trials) < options.trials:
            trials = [study.ask() for _ in range(min(options.processes, options.trials - len(study.trials)))]
            found = [propose(trial) for trial in trials]
            for trial, parameters, accuracy in zip(trials, found, pool.map(judge, found), strict=True):
                study.tell(trial, accuracy)
                values = ", ".join(f"{name} {value:.3g}" for name, value in parameters.items())
                print(f"trial {trial.number}: {accuracy:.2%} with {values}", flush=True)

        # 2. The best ones and the defaults on the test images, which the search has not seen.
        scores = pool.map(partial(judge, test=True), [DEFAULTS, study.best_params])
        default, best = scores
    print(f"test accuracy {default:.2%} with the defaults, {best:.2%} with the best of {len(study.trials)} trials")
    print(f"{time.perf_counter() - start:.0f} s")
    if best <= default:
        sys.exit("the search found nothing better than the defaults")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
