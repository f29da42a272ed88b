"""scikit-learn's digits, in five folds: ConvNetClassifier, a support vector machine and a multi-layer perceptron.

pip install ".[sklearn]" && python benchmarks/digits.py

Prints a Markdown table: for each random seed of the classifier the mean accuracy on the fold that is held back, and the
time of all five folds in the mean of the seeds. Each classifier has its defaults, but for the gamma of the SVC, which
is that of scikit-learn's own example of these digits, and for what a row of pixels is. It fails if ours is not the
best.
"""

import argparse
import time
import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC

from convnet.estimator import ConvNetClassifier

FOLDS = {"shuffled": KFold(5, shuffle=True, random_state=0), "in the file's order": KFold(5)}


def main() -> None:
    """Cross-validate each classifier on the same folds, and print a line for it."""
    parser = argparse.ArgumentParser(description="Compare classifiers of 8x8 digits.")
    parser.add_argument("--seeds", type=int, default=3, help="random seeds of the networks, from 0 (default: 3)")
    seeds = range(parser.parse_args().seeds)
    classifiers = {
        "`ConvNetClassifier(image_shape=(8, 8))`": [
            ConvNetClassifier(image_shape=(8, 8), random_state=seed) for seed in seeds
        ],
        "`SVC(gamma=0.001)`": [SVC(gamma=0.001)],  # which draws nothing
        "`MLPClassifier()`": [MLPClassifier(random_state=seed) for seed in seeds],
    }
    warnings.simplefilter("ignore", ConvergenceWarning)
    x, y = load_digits(return_X_y=True)
    print("| digits | classifier | accuracy | time |\n| --- | --- | --- | --- |")
    for order, folds in FOLDS.items():
        means = {}
        for name, versions in classifiers.items():
            accuracies, seconds = [], []
            for classifier in versions:
                start = time.perf_counter()
                accuracies.append(cross_val_score(classifier, x, y, cv=folds, error_score="raise").mean())
                seconds.append(time.perf_counter() - start)
            means[name] = np.mean(accuracies)
            shown = ", ".join(f"{100 * accuracy:.2f}" for accuracy in accuracies)
            print(f"| {order} | {name} | {shown} % | {np.mean(seconds):.1f} s |", flush=True)
        ours, *others = means.values()
        assert ours > max(others), f"{order}: expected ConvNetClassifier to be the best, got {means}"


if __name__ == "__main__":
    main()
