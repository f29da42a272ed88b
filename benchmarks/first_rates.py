"""How safe a first learning rate is: the test accuracies of short trainings over several random seeds.

python benchmarks/first_rates.py
python benchmarks/first_rates.py --images 60000 --seeds 3

The last 1,000 of the images are held back for validation. The table has the mean and the lowest test accuracy over the
random seeds, and the largest loss of an iteration.
"""

import argparse
import copy

import convnet
from convnet import SGD, Adam, ConvNet1, EpochDecay, Momentum, OneCycle, Solver

EPOCHS = 2
# The optimizer, the schedule, and whether the best parameters are restored.
BEGINNINGS = (
    (SGD(0.1), EpochDecay(0.8), True),
    (SGD(0.05), EpochDecay(0.8), True),
    (SGD(0.02), EpochDecay(0.8), True),
    (SGD(0.1), OneCycle(EPOCHS), False),
    (SGD(0.05), OneCycle(EPOCHS), False),
    (Momentum(0.01), EpochDecay(0.8), True),
    (Momentum(0.01), OneCycle(EPOCHS), False),
    (Momentum(0.02), OneCycle(EPOCHS), False),
    (Adam(1e-3), EpochDecay(0.8), True),
)


def main() -> None:
    """Train with each beginning, and print a line for it."""
    parser = argparse.ArgumentParser(description="Compare first learning rates.")
    parser.add_argument("--images", type=int, default=6000, help="of MNIST's training images (default: 6000)")
    parser.add_argument("--seeds", type=int, default=6, help="random seeds, from 0 (default: 6)")
    options = parser.parse_args()
    images, labels, *test = convnet.load_mnist()
    data, _ = convnet.preprocess(images[: options.images], labels[: options.images], *test, num_test=None)
    print(f"{'optimizer':<46} {'schedule':<20} {'mean':>7} {'lowest':>7} {'largest loss':>12}")
    for optimizer, schedule, restore_best in BEGINNINGS:
        accuracies, largest = [], 0.0
        for seed in range(options.seeds):
            solver = Solver(
                ConvNet1(hidden_size=100, seed=seed),
                data,
                copy.deepcopy(optimizer),
                schedule=schedule,
                epochs=EPOCHS,
                seed=seed,
                restore_best=restore_best,
            )
            solver.train()
            accuracies.append(solver.check_accuracy(data["x_test"], data["y_test"]))
            largest = max(largest, *solver.loss_history)
        mean = sum(accuracies) / len(accuracies)
        print(f"{optimizer!r:<46.46} {schedule!r:<20.20} {mean:>7.2%} {min(accuracies):>7.2%} {largest:>12.1f}")


if __name__ == "__main__":
    main()
