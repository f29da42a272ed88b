"""Time the algorithms of a convolution against each other, and show which one the library chooses.

    pip install . && python benchmarks/algorithms.py

Each pass of a float32 convolution, forward, the gradients of its weights and the gradient of its input, is computed by
each algorithm that can, in turns; results that differ end the program with status 1. The table has the least time of
each, and the time of the algorithm that `convnet/kernels/algorithms.pxi` chooses as a part of the best one's. At the
end stands the worst choice. The thresholds there were set by this table.

"Alone" is a convolution in NCHW; "fused" is one channels last with ReLU and 2x2 max pooling, where ReLU is inactive at
a quarter of the maxima.
"""

import argparse
import sys
import time

import numpy as np

import convnet
from convnet import _kernels

# (N, C, image size, F, kernel size, padding)
SHAPES = [
    (128, 1, 28, 32, 3, 0),
    (50, 1, 28, 32, 7, 3),
    (64, 3, 32, 32, 3, 1),
    (64, 8, 32, 8, 3, 1),
    (64, 8, 16, 16, 3, 1),
    (50, 16, 32, 16, 3, 1),
    (64, 16, 8, 32, 3, 1),
    (128, 32, 13, 64, 3, 0),
    (64, 32, 26, 64, 3, 0),
    (32, 32, 15, 64, 3, 0),
    (64, 32, 32, 32, 3, 1),
    (32, 32, 30, 32, 3, 0),
    (64, 64, 16, 64, 3, 1),
    (32, 64, 6, 64, 3, 0),
    (32, 64, 13, 64, 3, 0),
    (64, 64, 8, 128, 3, 1),
    (64, 128, 8, 128, 3, 1),
    (64, 128, 4, 128, 3, 1),
    (64, 128, 5, 64, 3, 1),
    (64, 128, 3, 128, 3, 1),
    (64, 128, 2, 128, 3, 1),
    (64, 64, 11, 64, 7, 0),
    (64, 64, 5, 64, 5, 0),
    (64, 16, 3, 32, 3, 0),
    (64, 16, 4, 32, 3, 0),
    (64, 16, 7, 32, 5, 0),
    (64, 64, 6, 64, 3, 1),
    (64, 64, 7, 64, 3, 1),
    (16, 256, 8, 256, 3, 1),
    (4, 512, 8, 512, 3, 1),
    (16, 512, 8, 512, 3, 1),
    (64, 512, 4, 512, 3, 1),
    (8, 256, 8, 512, 3, 1),
    (1, 64, 32, 64, 3, 1),
    (1, 32, 14, 32, 3, 1),
    (50, 16, 14, 32, 5, 2),
    (50, 32, 14, 64, 5, 2),
    (64, 1, 28, 6, 5, 2),
    (64, 6, 14, 16, 5, 0),
    (4, 3, 32, 6, 5, 0),
    (64, 3, 28, 4, 3, 1),
    (64, 6, 14, 6, 3, 1),
    (64, 3, 32, 12, 3, 1),
    (64, 12, 16, 12, 3, 1),
    (64, 16, 14, 4, 3, 1),
    (64, 5, 28, 5, 7, 3),
]
FUSED_SHAPES = [
    (128, 1, 28, 32, 3, 0),
    (50, 1, 28, 32, 7, 3),
    (64, 3, 32, 32, 3, 1),
    (100, 16, 14, 32, 3, 1),
    (128, 32, 13, 64, 3, 0),
    (64, 32, 26, 64, 3, 0),
    (64, 32, 32, 32, 3, 1),
    (32, 64, 13, 64, 3, 0),
    (64, 64, 16, 64, 3, 1),
    (100, 1, 28, 16, 5, 2),
    (64, 128, 8, 128, 3, 1),
]
INACTIVE = 0.25
PASSES = ("forward", "weight", "input")
# Relative to the norm; the algorithms are tested against float64 in tests/test_kernels.py.
LARGEST_DIFFERENCE = 5e-5


def calls_of(shape, is_fused, algorithm, threads):
    """Return the name of the algorithm, a call and the array that it writes, for each pass."""
    n, c, size, f, kernel, padding = shape
    fused = {"x_channels_last": True, "y_channels_last": True, "slope": 0, "pool": "max"} if is_fused else {}
    sizes = c, size, size, f, kernel, kernel, 1, 1, padding, padding
    s = _kernels.Convolution(True, *sizes, algorithm=algorithm, **fused)
    inputs, outputs = (n, c, size, size), (n, f, s.out_h, s.out_w)
    if is_fused:
        inputs, outputs = (n, size, size, c), (n, s.out_h // 2, s.out_w // 2, f)
    rng = np.random.default_rng(0)
    x, weight, bias, dy = (rng.standard_normal(a, np.float32) for a in (inputs, (f, c, kernel, kernel), f, outputs))
    codes = rng.integers(0, 4, outputs, np.uint8) if is_fused else None
    if is_fused:
        codes[rng.random(outputs) < INACTIVE] = 4
    y, dweight, dbias, dx = (np.empty_like(array) for array in (dy, weight, bias, x))
    forward = np.empty(s.forward_scratch(n, threads), np.uint8)
    backward = np.empty(s.backward_scratch(n, threads, True), np.uint8)
    new_codes = None if codes is None else np.empty_like(codes)

    def run_forward():
        _kernels.conv2d_forward(s, x, weight, bias, y, forward, threads, new_codes)

    def run_weight():
        _kernels.conv2d_backward(s, dy, x, weight, dweight, dbias, None, backward, threads, None, codes)

    def run_input():
        _kernels.conv2d_backward(s, dy, x, weight, None, None, dx, backward, threads, None, codes)

    calls = (run_forward, y), (run_weight, dweight), (run_input, dx)
    return {name: (way, *call) for name, way, call in zip(PASSES, s.algorithms(n), calls, strict=True)}


def can_be_fused(algorithm, shape):
    """Return whether an algorithm computes a convolution of this shape together with what follows it."""
    return algorithm in ("direct", "pooled") or (algorithm.startswith("winograd") and shape[4] == 3)


def least_times(calls, seconds):
    """Return the least time of each call in ms, in turns."""
    least = {}
    for _ in range(3):
        for name, call in calls.items():
            call()
            end = time.perf_counter() + seconds / 3 / len(calls)
            while True:
                start = time.perf_counter()
                call()
                now = time.perf_counter()
                least[name] = min(least.get(name, float("inf")), (now - start) * 1e3)
                if now > end:
                    break
    return least


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, convnet.get_num_threads()])
    parser.add_argument("--seconds", type=float, default=0.4, help="for each pass of each shape (%(default)s)")
    parser.add_argument("--short", action="store_true", help="four shapes, to see that all runs")
    options = parser.parse_args()
    worst = 1.0, "none"
    works = [(shape, False) for shape in SHAPES] + [(shape, True) for shape in FUSED_SHAPES]
    for threads in sorted(set(options.threads)):
        print(f"{_kernels.instruction_set()}, {threads} threads; ms\n")
        header = ["convolution", "N, C, size, F, kernel, padding", "pass", *_kernels.ALGORITHMS, "chosen", "of best"]
        print(f"| {' | '.join(header)} |\n|{' --- |' * len(header)}")
        for shape, is_fused in works[:2] + works[-2:] if options.short else works:
            kind = "fused" if is_fused else "alone"
            chosen = {name: way for name, (way, _, _) in calls_of(shape, is_fused, None, threads).items()}
            possible = [name for name in _kernels.ALGORITHMS if not is_fused or can_be_fused(name, shape)]
            ways = {algorithm: calls_of(shape, is_fused, algorithm, threads) for algorithm in possible}
            for name in PASSES:
                calls = {a: passes[name][1] for a, passes in ways.items() if passes[name][0] == a}
                times = least_times(calls, options.seconds)
                exact = ways[possible[0]][name][2]
                for algorithm in calls:
                    difference = np.linalg.norm(ways[algorithm][name][2] - exact) / np.linalg.norm(exact)
                    if not difference < LARGEST_DIFFERENCE:
                        sys.exit(f"wrong result: {shape}, {name}, {algorithm} differs from {possible[0]}: {difference}")
                best = min(times, key=times.get)
                part = times[chosen[name]] / times[best]
                worst = max(worst, (part, f"{kind}, {shape}, {name}, {threads} threads: {chosen[name]}, not {best}"))
                cells = [f"{times[a]:.3f}" if a in times else "-" for a in _kernels.ALGORITHMS]
                row = [kind, str(shape), name, *cells, chosen[name], f"{part:.2f}"]
                print(f"| {' | '.join(row)} |", flush=True)
        print()
    print(f"worst choice: {worst[0]:.2f} times the best; {worst[1]}")


if __name__ == "__main__":
    main()
