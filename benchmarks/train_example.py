"""Run examples/train.py with its defaults for several random seeds: test accuracy, time and peak memory of each.

    pip install ".[examples]" && python benchmarks/train_example.py

Exits with an error unless every run reaches 98.8 % of the 10,000 test images within 900 MB.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "examples" / "train.py"
TARGET, MEGABYTES = 0.988, 900


def run(seed: int, output: str) -> tuple[int, str, float, float]:
    """Return the exit status, the output, the seconds and the peak memory in MB of one run."""
    start = time.perf_counter()
    command = [sys.executable, EXAMPLE, "--seed", str(seed), "--output", output, "--target-accuracy", str(TARGET)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return process.returncode, text, time.perf_counter() - start, peak / 1e6


def main() -> int:
    """Run all, print a table, return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="random seeds (default 0 1 2)")
    options = parser.parse_args()
    failed = False
    print("| seed | test accuracy | time | peak memory |\n| --- | --- | --- | --- |")
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as output:
            status, text, seconds, megabytes = run(seed, output)
        found = re.search(r"^test accuracy (\S+) on 10000 images$", text, re.MULTILINE)
        failed |= status != 0 or megabytes > MEGABYTES or not found
        print(f"| {seed} | {found[1] if found else 'none'} | {seconds:.0f} s | {megabytes:.0f} MB |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
