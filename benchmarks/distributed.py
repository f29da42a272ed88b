"""Training with several processes: its cost on this machine, and what to expect between machines.

    pip install ".[mpi]" mpich
    python benchmarks/distributed.py
    python benchmarks/distributed.py --rounds 9 --only cifar10
    python benchmarks/distributed.py --links 1 4

For each network a step is timed in three ways: by one process of two threads, without and with `DataParallel`, and by
two processes of one thread. They take turns, each in a fresh process, and the table has the medians. It is checked that
both ways with `DataParallel` give the same parameters. Below stands, on paper, what to expect of many machines with a
minibatch of this size each: the time of a step, and how many times as many examples as one machine they take.

With --links two and four processes also train over TCP through a loopback whose rate Linux limits to that of so many
gigabits a second for each process and direction (unshare and tc, as root; delays need a module of the kernel and are
not simulated). Beside it stands what the calculation expects.
"""

import argparse
import json
import os
import shutil
import statistics as statistics_of
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from math import log2
from pathlib import Path
from typing import NamedTuple

import numpy as np

import convnet

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import cifar10

BATCH_SIZE, STEPS = 128, 20
# Processes and threads, and whether the steps are those of DataParallel.
WAYS = {
    "one process, two threads": (1, 2, False),
    "the same with DataParallel": (1, 2, True),
    "two processes, one thread each": (2, 1, True),
}
MACHINES = (2, 4, 8, 16, 32, 64, 128, 256)
GIGABITS = (1, 10, 100)
LATENCY = 50e-6  # seconds of a message, about that of TCP in one hall
# A network of its own whose only interface takes so many megabits a second, and a command in it.
LIMITED = "ip link set lo up && { [ $1 = 0 ] || tc qdisc add dev lo root tbf rate $1mbit burst 256kb latency 1s; }"
# MPICH: no shared memory, and TCP.
OVER_TCP = {"MPIR_CVAR_NOLOCAL": "1", "MPIR_CVAR_CH4_NETMOD": "ofi", "FI_PROVIDER": "tcp"}


class Program(NamedTuple):
    """What is trained.

    Attributes
    ----------
    image_shape : tuple of int
        Rows, columns and channels.
    augmentation : Augmentation or None
    make : callable
        ``make(images)`` returns the model, given some prepared images.
    """

    image_shape: tuple[int, int, int]
    augmentation: convnet.Augmentation | None
    make: Callable[[np.ndarray], convnet.Sequential]


def cifar10_network(images: np.ndarray) -> convnet.Sequential:
    """Return the network of examples/cifar10.py."""
    rng = np.random.default_rng(0)
    return convnet.Sequential(cifar10.make_layers(images, cifar10.SMALL.widths, 10, rng), (3, 32, 32), rng=rng)


PROGRAMS = {
    "cifar10": Program((32, 32, 3), cifar10.AUGMENTATION, cifar10_network),
    "convnet1": Program((28, 28, 1), None, lambda images: convnet.ConvNet1(seed=0)),
}


def measure(program: Program, is_distributed: bool, leaf_size: int) -> None:
    """Print the median time of a step, and a checksum of the parameters after all of them, as JSON."""
    from convnet.distributed import DataParallel

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH_SIZE * 4, *program.image_shape), np.uint8)
    parts = {"train": convnet.ImageData(images, rng.integers(0, 10, len(images)), list("0123456789"))}
    data, statistics = convnet.preprocess_parts(parts, keep_uint8=True)
    model = program.make(statistics.prepare(data["x_train"][:1000]))
    model.statistics = statistics
    distributed = DataParallel(leaf_size) if is_distributed else None
    optimizer = convnet.Momentum(0.001)
    solver = convnet.Solver(
        model, data, optimizer, batch_size=BATCH_SIZE, augmentation=program.augmentation, distributed=distributed
    )
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        solver.step()
        times.append(time.perf_counter() - start)
    checksum = 0
    for param in model.params.values():
        checksum = zlib.crc32(param.tobytes(), checksum)
    if distributed is None or distributed.is_first:
        size = sum(param.nbytes for param in model.params.values())
        print(json.dumps({"seconds": statistics_of.median(times[2:]), "checksum": checksum, "bytes": size}))


def run(
    name: str, leaf_size: int, processes: int, threads: int, is_distributed: bool, link: float | None = None
) -> dict[str, float]:
    """Measure a program in so many fresh processes; with a `link` over TCP, at so many Gbit/s, or unlimited at 0."""
    mpiexec = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if mpiexec is None:
        sys.exit("error: expected mpiexec, which pip install mpich brings")
    command = [mpiexec, "-n", str(processes), sys.executable, "-m", "mpi4py", __file__, "--leaf-size", str(leaf_size)]
    command += ["--measure", name] + ["--distributed"] * is_distributed
    environment = os.environ | {"CONVNET_NUM_THREADS": str(threads)}
    if link is not None:
        megabits = f"{1000 * link * processes:.0f}"  # those of all processes share the loopback
        command = ["unshare", "--net", "sh", "-c", f'{LIMITED} && shift && exec "$@"', "sh", megabits, *command]
        environment |= OVER_TCP
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def step_on_paper(seconds: float, processes: int, size: float, gigabits: float) -> float:
    """Return what a step of many processes takes, if it takes one so many seconds.

    Recursive doubling sends all gradients once for each level of the tree. That some of it happens during the backward
    pass is not counted.
    """
    return seconds + log2(processes) * (LATENCY + 8 * size / (gigabits * 1e9))


def over_links(name: str, leaf_size: int, rounds: int, links: list[float]) -> None:
    """Print the time of a step over links of some rates, and what the calculation makes of that without a limit."""
    print("\n| processes | each link | a step | calculated |\n| --- | --- | --- | --- |")
    for processes in (2, 4):
        found: dict[float, list[dict[str, float]]] = {link: [] for link in (0, *links)}
        for _ in range(rounds):
            for link, measured in found.items():
                measured.append(run(name, leaf_size, processes, 1, True, link))
        times = {link: statistics_of.median(one["seconds"] for one in measured) for link, measured in found.items()}
        print(f"| {processes} | not limited | {1e3 * times[0]:.1f} ms | |")
        for link in links:
            calculated = step_on_paper(times[0], processes, found[link][0]["bytes"], link)
            print(f"| {processes} | {link:g} Gbit/s | {1e3 * times[link]:.1f} ms | {1e3 * calculated:.1f} ms |")


def on_paper(seconds: float, size: float) -> None:
    """Print how long a step takes on many machines, each with a minibatch that takes one so long."""
    print("\n| machines | " + " | ".join(f"{rate} Gbit/s" for rate in GIGABITS) + " |")
    print("| --- |" + " --- |" * len(GIGABITS))
    for machines in MACHINES:
        steps = [step_on_paper(seconds, machines, size, rate) for rate in GIGABITS]
        cells = [f"{1e3 * step:.1f} ms, {machines * seconds / step:.1f} times" for step in steps]
        print(f"| {machines} | {' | '.join(cells)} |")


def main() -> None:
    """Measure, or compare the measurements of fresh processes."""
    parser = argparse.ArgumentParser(description="Compare one process with several.")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each way (default: 5)")
    parser.add_argument("--only", choices=PROGRAMS, help="one of the programs (default: all)")
    parser.add_argument("--leaf-size", type=int, default=32, help="examples of a leaf (default: 32)")
    parser.add_argument("--links", type=float, nargs="+", metavar="GBITS", help="rates of simulated links (none)")
    parser.add_argument("--measure", choices=PROGRAMS, help=argparse.SUPPRESS)
    parser.add_argument("--distributed", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(PROGRAMS[options.measure], options.distributed, options.leaf_size)
        return
    for name in [options.only] if options.only else PROGRAMS:
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way, measured in found.items():
                measured.append(run(name, options.leaf_size, *WAYS[way]))
        checksums = {one["checksum"] for way in list(WAYS)[1:] for one in found[way]}
        if len(checksums) != 1:
            sys.exit(f"error: {name}: expected the same parameters from one process and from two, got others")
        times = {way: statistics_of.median(one["seconds"] for one in measured) for way, measured in found.items()}
        first, size = next(iter(times.values())), found["one process, two threads"][0]["bytes"]
        print(
            f"\n{name}, minibatches of {BATCH_SIZE}, leaves of {options.leaf_size}, {size / 1e6:.1f} MB of gradients\n"
        )
        print("| way | a step | times |\n| --- | --- | --- |")
        for way, seconds in times.items():
            print(f"| {way} | {1e3 * seconds:.1f} ms | {seconds / first:.2f} |")
        on_paper(first, size)
        if options.links:
            over_links(name, options.leaf_size, options.rounds, options.links)


if __name__ == "__main__":
    main()
