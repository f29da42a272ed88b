"""Time one training step of ConvNet1 against the same network in PyTorch.

    pip install ".[benchmark]" && python benchmarks/train_step.py

A step is forward, backward and the update by vanilla SGD, in float32: batch 50, hidden size 500, L2. Both libraries
start from the same He-normal weights and take the same successive minibatches of real digits, in turns of a few
steps, each after a pause in which the other's idle threads fall asleep. Before anything is timed, each library's loss
and gradients are compared with those of PyTorch in float64: losses within 1e-5 relative, every gradient within 1e-4 of
its norm.
"""

import argparse
import os
import platform
import statistics
import sys
import time

import numpy as np
import threadpoolctl
import torch
from torch.nn import functional

import convnet

LEARNING_RATE, L2, BATCH = 0.05, 1e-4, 50
TURN, PAUSE = 10, 0.1


class Ours:
    """ConvNet1 of this library."""

    name = "convnet"

    def __init__(self, hidden_size: int) -> None:
        self.model = convnet.ConvNet1(hidden_size=hidden_size, l2=L2, seed=0)
        self.optimizer = convnet.SGD(LEARNING_RATE)

    def gradients(self, x, labels):
        """Return the loss and the gradients by the names of this library's parameters."""
        return self.model.loss(x, labels)

    def step(self, x, labels):
        """Make one training step."""
        _, grads = self.model.loss(x, labels)
        self.optimizer.update(self.model.params, grads)


class Torch:
    """The same network in PyTorch, with its Affine weights laid out as PyTorch's Linear has them."""

    name = "PyTorch"

    def __init__(self, params, dtype) -> None:
        self.params = {}
        for name, array in params.items():
            array = array.T if name.startswith("affine") else array
            self.params[name] = torch.tensor(np.ascontiguousarray(array), dtype=dtype, requires_grad=True)
        self.dtype = dtype
        weights = [param for name, param in self.params.items() if name.endswith("weight")]
        biases = [param for name, param in self.params.items() if name.endswith("bias")]
        groups = [{"params": weights, "weight_decay": L2}, {"params": biases, "weight_decay": 0.0}]
        self.optimizer = torch.optim.SGD(groups, lr=LEARNING_RATE)

    def loss(self, x, labels):
        """Return the loss as a tensor, without L2, which PyTorch's SGD adds to the gradients itself."""
        p = self.params
        y = functional.conv2d(x, p["conv1.weight"], p["conv1.bias"], padding=3)
        y = functional.max_pool2d(functional.relu(y), 2).flatten(1)
        y = functional.relu(functional.linear(y, p["affine1.weight"], p["affine1.bias"]))
        return functional.cross_entropy(functional.linear(y, p["affine2.weight"], p["affine2.bias"]), labels)

    def gradients(self, x, labels):
        """Return the loss with L2 and the gradients by the names of this library's parameters."""
        weights = [param for name, param in self.params.items() if name.endswith("weight")]
        loss = self.loss(torch.from_numpy(x).to(self.dtype), torch.from_numpy(labels))
        loss = loss + 0.5 * L2 * sum((weight**2).sum() for weight in weights)
        grads = torch.autograd.grad(loss, list(self.params.values()))
        arrays = (grad.numpy() for grad in grads)
        return loss.item(), {
            name: array.T if name.startswith("affine") else array
            for name, array in zip(self.params, arrays, strict=True)
        }

    def step(self, x, labels):
        """Make one training step."""
        self.optimizer.zero_grad()
        self.loss(torch.from_numpy(x), torch.from_numpy(labels)).backward()
        self.optimizer.step()


def check(rival, reference, x, labels) -> None:
    """Exit unless the loss and gradients agree with the reference's."""
    loss, grads = rival.gradients(x, labels)
    true_loss, true_grads = reference.gradients(x, labels)
    errors = {"loss": abs(loss - true_loss) / true_loss / 1e-5}
    for name, true in true_grads.items():
        errors[name] = float(np.linalg.norm(grads[name] - true) / np.linalg.norm(true)) / 1e-4
    wrong = {name: error for name, error in errors.items() if not error <= 1}
    if wrong:
        sys.exit(f"{rival.name} is wrong, in units of the tolerance: {wrong}")


def main() -> None:
    """Check, time, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="timed steps of each library (default 200)")
    parser.add_argument("--hidden-size", type=int, default=500, help="outputs of the first Affine layer (default 500)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="thread counts (default 1 2)")
    options = parser.parse_args()

    if torch.version.cuda is not None:
        sys.exit(f"expected a CPU build of PyTorch, got {torch.__version__} with CUDA {torch.version.cuda}")
    data, _ = convnet.preprocess(*convnet.load_mnist())
    batches = [
        (data["x_train"][start : start + BATCH], data["y_train"][start : start + BATCH])
        for start in range(0, (options.steps + TURN) * BATCH, BATCH)
    ]
    ours = Ours(options.hidden_size)
    rivals = [ours, Torch(ours.model.params, torch.float32)]
    reference = Torch(ours.model.params, torch.float64)
    for rival in rivals:
        check(rival, reference, *batches[0])

    print(f"ConvNet1, one training step, batch {BATCH}, hidden size {options.hidden_size}, float32")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores; convnet {convnet.__version__}, NumPy {np.__version__},", end=" "
    )
    print(f"PyTorch {torch.__version__}, Python {platform.python_version()}")
    print(f"medians of {options.steps} steps each, in turns of {TURN}")
    print("| threads | convnet | PyTorch | PyTorch / convnet |")
    print("| --- | --- | --- | --- |")
    for threads in options.threads:
        torch.set_num_threads(threads)
        with threadpoolctl.threadpool_limits(threads):
            times = {rival.name: [] for rival in rivals}
            for turn in range(0, options.steps + TURN, TURN):  # the first turn warms up
                for rival in rivals:
                    time.sleep(PAUSE)
                    rival.step(*batches[turn])  # wakes the threads up again, not counted
                    for x, labels in batches[turn : turn + TURN]:
                        start = time.perf_counter()
                        rival.step(x, labels)
                        times[rival.name].append(time.perf_counter() - start)
            pools = {pool["internal_api"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
        medians = {name: statistics.median(values[TURN:]) * 1e3 for name, values in times.items()}
        ratio = medians["PyTorch"] / medians["convnet"]
        print(f"| {threads} | {medians['convnet']:.2f} ms | {medians['PyTorch']:.2f} ms | {ratio:.2f} |", end=" ")
        print(f"pools: {', '.join(f'{pool} {count}' for pool, count in sorted(pools.items()))}", flush=True)


if __name__ == "__main__":
    main()
