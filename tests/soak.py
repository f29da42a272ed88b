"""Train and predict from many threads at once, with random networks and sizes, until the time is up.

    python tests/soak.py --seconds 3600

It is made for builds under ThreadSanitizer and AddressSanitizer, which docs/reliability.md describes. Each network is
trained twice, by any two of the threads, beside whatever the others do and with any number of threads of the library;
both trainings have to end with the same bytes. Two more threads predict with one model, whose scores have to stay the
same. The same random seed makes the same networks.
"""

import argparse
import sys
import threading
import time
import warnings
import zlib

import numpy as np
from random_models import random_model

import convnet

TRAINERS, PREDICTORS = 4, 2
OPTIMIZERS = [
    lambda: convnet.SGD(0.02),
    lambda: convnet.Momentum(0.02, nesterov=True, clip_norm=1.0),
    lambda: convnet.RMSProp(1e-3),
    lambda: convnet.Adam(1e-3, weight_decay=0.01),
]


def network(rng: np.random.Generator) -> convnet.Sequential:
    """Return a random network: of small layers of every kind, or of convolutions that are wide enough for all ways."""
    if rng.random() < 0.5:
        model = random_model(int(rng.integers(2**31)), statistics=False)
    else:
        channels, filters, size = (int(number) for number in rng.integers((1, 8, 6), (20, 50, 25)))
        layers = [
            convnet.Conv2D(channels, filters, 3, padding=1, rng=rng),
            convnet.ReLU(),
            convnet.MaxPool2D(2),
            convnet.Conv2D(filters, 16, int(rng.choice([1, 3, 5])), padding=2, bias=False, rng=rng),
            convnet.BatchNorm2D(16),
            convnet.SiLU(),
            convnet.Dropout(0.3),
            convnet.GlobalAveragePool(),
            convnet.Affine(16, 4, rng=rng),
        ]
        model = convnet.Sequential(layers, (channels, size, size + 1))
    model.rng = np.random.default_rng(int(rng.integers(2**31)))
    return model


def trained(seed: int) -> int:
    """Train a network for some steps, and return a checksum of what that leaves."""
    rng = np.random.default_rng(seed)
    model = network(rng)
    count = int(rng.integers(1, 40))
    x = rng.standard_normal((count, *model.input_shape), np.float32)
    labels = rng.integers(0, model.num_classes, count)
    data = {"x_train": x, "y_train": labels, "x_validation": x, "y_validation": labels}
    solver = convnet.Solver(
        model,
        data,
        OPTIMIZERS[rng.integers(len(OPTIMIZERS))](),
        batch_size=int(rng.integers(1, 20)),
        epochs=2,
        seed=seed,
        augmentation=convnet.Augmentation(flip=True) if rng.random() < 0.5 else None,
    )
    try:
        solver.train()
        arrays = [*model.params.values(), *model.state.values(), np.array(solver.loss_history), model.scores(x)]
    except FloatingPointError:  # it diverged
        arrays = [np.array(solver.loss_history)]
    checksum = 0
    for array in arrays:
        checksum = zlib.crc32(np.ascontiguousarray(array), checksum)
    return checksum


class Soak:
    """What the threads share."""

    def __init__(self, seconds: float, seed: int) -> None:
        self.end, self.seed = time.monotonic() + seconds, seed
        self.lock, self.begun, self.checksums, self.errors = threading.Lock(), 0, {}, []
        self.trainings = self.pairs = self.predictions = 0

    def goes_on(self) -> bool:
        """Return whether there is time, and nothing went wrong."""
        return time.monotonic() < self.end and not self.errors

    def run(self, work) -> None:
        """Repeat some work, and keep the error that it ends with."""
        try:
            while self.goes_on():
                work()
        except BaseException as error:
            self.errors.append(error)

    def train(self) -> None:
        """Train the next network, and compare it if it is the second time."""
        with self.lock:
            number, self.begun = self.begun // 2, self.begun + 1
        convnet.set_num_threads(1 + self.begun % 4)
        checksum = trained(1000 * self.seed + number)
        with self.lock:
            self.trainings += 1
            other = self.checksums.pop(number, None)
            if other is None:
                self.checksums[number] = checksum
                return
            if other != checksum:
                raise AssertionError(f"network {number}: two trainings ended with different bytes")
            self.pairs += 1

    def predictor(self):
        """Return work that predicts with a model that all predictors share."""
        model = convnet.ConvNet1(hidden_size=30, seed=1)
        x = np.random.default_rng(self.seed).standard_normal((50, 1, 28, 28), np.float32)
        expected = model.scores(x).tobytes()

        def predict():
            assert model.scores(x).tobytes() == expected, "a prediction had different bytes"
            with self.lock:
                self.predictions += 1
            time.sleep(0.01)  # most of the time is for the trainings

        return predict


def main() -> None:
    """Let the threads work until the time is up."""
    parser = argparse.ArgumentParser(description="Train and predict from many threads at once.")
    parser.add_argument("--seconds", type=float, default=60, help="how long (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    options = parser.parse_args()
    warnings.simplefilter("ignore", convnet.ConvnetWarning)  # there is nothing to learn
    soak = Soak(options.seconds, options.seed)
    work = [soak.train] * TRAINERS + [soak.predictor()] * PREDICTORS
    threads = [threading.Thread(target=soak.run, args=[each]) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if soak.errors:
        raise soak.errors[0]
    print(
        f"{soak.pairs:,} networks trained twice with the same bytes, in {soak.trainings:,} trainings, and "
        f"{soak.predictions:,} predictions with the same bytes, in {options.seconds:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
