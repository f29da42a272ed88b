"""Train the network of examples/cifar10.py in this library and in PyTorch: accuracy, time, and both learning curves.

    pip install ".[benchmark]"
    python benchmarks/cifar10.py --data DIR
    python benchmarks/cifar10.py --data DIR --seeds 0 1 2 --figure docs/cifar10.png

Both begin with the same parameters and use the same minibatch size, schedule, loss and augmentation, which is this
library's; PyTorch has images in the layout that it is faster with. The libraries take turns by random seeds. A mean
accuracy more than 0.3 % from PyTorch's, or more than half of its time, is marked, and the exit status is 1 then.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch_layers import network_of

import convnet

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import cifar10 as example  # the example's folder comes first on the path

MOMENTUM, FAR, SLOW = 0.9, 0.003, 0.5


class Run(NamedTuple):
    """What a training gave: seconds and validation accuracy after each epoch, the test accuracy, and the seconds."""

    times: list
    curve: list
    accuracy: float
    seconds: float


class Curve(convnet.Callback):
    """Notes the time at the end of each epoch."""

    def __init__(self):
        self.start, self.times = time.perf_counter(), []

    def on_epoch_end(self, solver):
        """Note the time."""
        self.times.append(time.perf_counter() - self.start)


def train_here(data, statistics, recipe, seed):
    """Return a Run of this library."""
    model = example.make_model(data, statistics, recipe, seed)
    curve = Curve()
    solver = example.make_solver(model, data, recipe, seed, [curve])
    solver.train()
    accuracy = example.accuracy_of(model, data["x_test"], data["y_test"])
    return Run(curve.times, solver.validation_accuracy_history[1:], accuracy, curve.times[-1])


def scores_of(network, x, statistics, flips=False):
    """Return the network's scores of raw images, or with `flips` the sum over an image and its mirror image."""
    scores = []
    with torch.inference_mode():
        for start in range(0, len(x), 500):
            part = x[start : start + 500]
            ways = [part, np.ascontiguousarray(part[..., ::-1])] if flips else [part]
            prepared = [torch.from_numpy(statistics.prepare(way)) for way in ways]
            scores.append(sum(network(way.to(memory_format=torch.channels_last)) for way in prepared).numpy())
    return np.concatenate(scores)


def train_in_pytorch(data, statistics, recipe, seed):
    """Return a Run of PyTorch."""
    network = network_of(example.make_model(data, statistics, recipe, seed).layers.values())
    network = network.to(memory_format=torch.channels_last)
    weights = [param for param in network.parameters() if param.ndim > 1]
    others = [param for param in network.parameters() if param.ndim == 1]
    groups = [{"params": weights, "weight_decay": example.L2}, {"params": others}]
    optimizer = torch.optim.SGD(groups, lr=example.LEARNING_RATE, momentum=MOMENTUM, nesterov=True)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=example.SMOOTHING)
    schedule, rng = convnet.OneCycle(recipe.epochs), np.random.default_rng(seed)
    x, labels, count = data["x_train"], data["y_train"], -(-len(data["x_train"]) // example.BATCH_SIZE)
    times, curve, start = [], [], time.perf_counter()
    for epoch in range(recipe.epochs):
        network.train()
        order = rng.permutation(len(x))
        for step in range(count):
            chosen = order[step * example.BATCH_SIZE : (step + 1) * example.BATCH_SIZE]
            for group in optimizer.param_groups:
                group["lr"] = example.LEARNING_RATE * schedule(epoch + step / count)
            images = torch.from_numpy(example.AUGMENTATION(x[chosen], rng, statistics=statistics))
            optimizer.zero_grad()
            scores = network(images.to(memory_format=torch.channels_last))
            criterion(scores, torch.from_numpy(labels[chosen])).backward()
            optimizer.step()
        network.eval()
        found = scores_of(network, data["x_validation"], statistics).argmax(1)
        curve.append(float(np.mean(found == data["y_validation"])))
        times.append(time.perf_counter() - start)
    found = scores_of(network, data["x_test"], statistics, flips=True).argmax(1)
    return Run(times, curve, float(np.mean(found == data["y_test"])), times[-1])


def draw(runs, path):
    """Draw the validation accuracy of all runs against the time."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for (name, found), colour in zip(runs.items(), ("C0", "C1"), strict=True):
        for run in found:
            axes.plot(run.times, 100 * np.array(run.curve), ".-", color=colour, alpha=0.35)
        mean = np.mean([run.times for run in found], axis=0), np.mean([run.curve for run in found], axis=0)
        axes.plot(mean[0], 100 * mean[1], ".-", color=colour, label=f"{name}, mean of {len(found)}")
    axes.set(xlabel="seconds", ylabel="validation accuracy, %", xlim=(0, None))
    axes.grid(color="0.9")
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def main():
    """Train, print a table, draw, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="as for examples/cifar10.py")
    parser.add_argument("--best", action="store_true", help="the network of the same option there")
    parser.add_argument("--epochs", type=int, help="passes over the training images (default: the example's)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="random seeds (default: 0 1 2)")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the learning curves (*.png)")
    options = parser.parse_args()
    recipe = example.BEST if options.best else example.SMALL
    recipe = recipe._replace(epochs=options.epochs or recipe.epochs)
    data, statistics, _ = example.load(options.data)
    torch.set_num_threads(convnet.get_num_threads())
    libraries = {f"convnet {convnet.__version__}": train_here, f"PyTorch {torch.__version__}": train_in_pytorch}
    print(f"{convnet.get_num_threads()} threads each, {recipe.epochs} epochs\n")
    print("| library | seed | test accuracy | time |\n| --- | --- | --- | --- |")
    runs = {name: [] for name in libraries}
    for seed in options.seeds:
        for name, train in libraries.items():
            run = train(data, statistics, recipe, seed)
            runs[name].append(run)
            print(f"| {name} | {seed} | {run.accuracy:.2%} | {run.seconds:.0f} s |", flush=True)
    (accuracy, seconds), (other, other_seconds) = (
        (np.mean([run.accuracy for run in found]), np.mean([run.seconds for run in found])) for found in runs.values()
    )
    for name, values in zip(runs, ((accuracy, seconds), (other, other_seconds)), strict=True):
        print(f"| {name} | mean | {values[0]:.2%} | {values[1]:.0f} s |")
    is_far, is_slow = abs(accuracy - other) > FAR, seconds > SLOW * other_seconds
    print(f"\n{accuracy - other:+.2%} of PyTorch's accuracy{' missed' if is_far else ''}, ", end="")
    print(f"{seconds / other_seconds:.2f} of its time{' missed' if is_slow else ''}")
    if options.figure:
        draw(runs, options.figure)
    return int(is_far or is_slow)


if __name__ == "__main__":
    sys.exit(main())
