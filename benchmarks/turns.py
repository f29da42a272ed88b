"""Libraries take turns: what benchmarks/speed.py and benchmarks/programs.py share.

A table of libraries has for each name its class, made for a number of threads, with `version` and `pools` to be
printed, and the modules that it needs. Each number of threads has a process of its own, because some libraries cannot
change theirs. The process prints its rows as JSON, and the first one prints them as tables.
"""

import argparse
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from peers import installed

import convnet

PAUSE = 0.1
# Seconds of a call that needs no other to warm up, and is not repeated within a turn.
LONG = 0.2
# Modes that go without saying.
UNNAMED = {"eager", "scores", "session", "stage", "train_step"}


# -------------------------------------------------------------------------------------------------- timing


class Timed:
    """Functions of several libraries that do the same work: label, floating-point operations, name to (mode, call)."""

    def __init__(self, label, flop, calls):
        self.label, self.flop, self.calls = label, flop, calls

    def result(self, threads, seconds, hasty=False):
        """Time all calls and return the row of the table."""
        alone = {}
        if threads > 1:
            mode, call = self.calls["convnet"]
            alone["convnet, 1 thread"] = mode, on_one_thread(call, threads)
        times = alternate({name: call for name, (_, call) in (self.calls | alone).items()}, seconds, hasty)
        return {
            "work": self.label,
            "threads": threads,
            "flop": self.flop,
            "modes": {name: mode for name, (mode, _) in self.calls.items()},
            "times": times,
        }


def on_one_thread(call, threads):
    """Return a call that is convnet's on one thread."""

    def run():
        convnet.set_num_threads(1)
        try:
            return call()
        finally:
            convnet.set_num_threads(threads)

    return run


def alternate(calls, seconds, hasty=False):
    """Return the times of each call in ms: about so many seconds of them, in turns, and at least three.

    In haste there is but one turn, and no pause: all is called, and no time says much.
    """
    durations = {name: min(timed(call) for _ in range(1 + (timed(call) < LONG))) for name, call in calls.items()}
    turns, pause = (1, 0.0) if hasty else (5 if max(durations.values()) < LONG else 3, PAUSE)
    times = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            time.sleep(pause)
            if durations[name] < LONG:
                call()
            count = int(max(1, min(40, seconds / turns / durations[name])))
            times[name] += [timed(call) * 1e3 for _ in range(count)]
    return times


def timed(call):
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def fastest(calls, seconds):
    """Return the mode and the call of a library that takes least time."""
    if len(calls) == 1:
        return next(iter(calls.items()))
    times = {}
    for mode, call in calls.items():
        times[mode] = timed(call)
        if times[mode] < LONG:
            times[mode] = min(timed(call) for _ in range(4 if seconds > 0.1 else 1))
    mode = min(times, key=times.get)
    return mode, calls[mode]


def require(right, what):
    """End the program unless a result is right."""
    if not right:
        sys.exit(f"wrong result: {what}")


def close(array, true, tolerance=1e-4):
    """Return whether an array is as close to the true one as a part of its norm."""
    return array.shape == true.shape and np.linalg.norm(array - true) <= tolerance * np.linalg.norm(true)


# ----------------------------------------------------------------------------------------------- processes


def parser_of(description, what, names):
    """Return a parser of the options that are common, and of `only` for such names."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        choices=range(1, 65),
        metavar="N",
        help="numbers of threads (default: 1, and convnet's default)",
    )
    parser.add_argument("--only", nargs="+", choices=names, default=list(names), help=f"{what} (default: all)")
    parser.add_argument("--short", action="store_true", help="few rows and hardly timed: whether results are right")
    parser.add_argument(
        "--seconds", type=float, help="of timed calls, each library, each row (default: 2, and 0.01 with --short)"
    )
    parser.add_argument("--figure", metavar="FILE", help="draw the ratios")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    return parser


def options_of(parser):
    """Return the checked options."""
    options = parser.parse_args()
    if options.seconds is None:
        options.seconds = 0.01 if options.short else 2.0
    if not 0 < options.seconds < 1000:
        parser.error(f"argument --seconds: expected a number above 0 and below 1000, got {options.seconds}")
    if options.figure and not Path(options.figure).absolute().parent.is_dir():
        parser.error(f"argument --figure: expected a file in a folder that exists, got {options.figure}")
    options.only = list(dict.fromkeys(options.only))
    return options


def libraries_of(table, threads):
    """Return the installed libraries, for so many threads, and print as JSON what they are."""
    libraries, unfit = {}, {}
    for name, (cls, modules) in table.items():
        if installed(*modules):
            try:
                libraries[name] = cls(threads)
            except RuntimeError as error:
                unfit[name] = str(error)
    # `measure_all` has limited NumPy's.
    pools = "; ".join([*(library.pools for library in libraries.values()), f"NumPy's BLAS {threads}"])
    versions = [library.version for library in libraries.values()]
    print(json.dumps({"versions": versions, "pools": pools, "unfit": unfit}), flush=True)
    return libraries


def measure_all(script, counts):
    """Run a script once for each number of threads; return its rows, and by threads what it says of the libraries."""
    rows, about = [], {}
    for threads in counts:
        command = [sys.executable, script, *sys.argv[1:], "--measure", str(threads)]
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | limits) as process:
            for line in process.stdout:
                row = json.loads(line)
                if "work" in row:
                    rows.append(row)
                    print(".", end="", file=sys.stderr, flush=True)
                else:
                    about[threads] = row
        if process.returncode:
            sys.exit(1)
    print(file=sys.stderr)
    return rows, about


# -------------------------------------------------------------------------------------------------- report


def peak(threads):
    """Return the processor's peak in GFLOP/s, or None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peak"
        source = Path(__file__).parent / "peak.c"
        built = subprocess.run([compiler, "-O2", "-march=native", source, "-o", program, "-lpthread"])
        if built.returncode != 0:
            return None
        # The best of three: another program may take a part of the time.
        return max(float(subprocess.check_output([program, str(threads)], text=True)) for _ in range(3))


def processor():
    """Return what the processor calls itself, with its family and model if it tells them."""
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    name = about.get("model name", platform.machine())
    return f"{name} (family {about['cpu family']}, model {about['model']})" if "cpu family" in about else name


def print_heading(table, about, peaks):
    """Print the machine, the versions, the threads of all pools and the peaks."""
    first = next(iter(about.values()))
    print(f"{platform.machine()}, {os.cpu_count()} processors: {processor()}; {platform.system()}; float32, medians.")
    versions = [f"Python {platform.python_version()}", f"NumPy {np.__version__}", *first["versions"]]
    print(f"{', '.join(versions)}.")
    absent = [name for name, (_, modules) in table.items() if not installed(*modules)]
    if absent:
        print(f"Not installed, and so left out: {', '.join(absent)}.")
    for name, reason in first["unfit"].items():
        print(f"{name} is left out: {reason}.")
    for threads, limit in peaks.items():
        text = f"{limit:.0f} GFLOP/s" if limit else "not measured, for want of a compiler"
        print(f"Threads of the pools: {about[threads]['pools']}. Peak: {text}.")


def ratio(row, name):
    """Return how many times convnet's time a library takes, by the medians."""
    return statistics.median(row["times"][name]) / statistics.median(row["times"]["convnet"])


def cell(row, name):
    """Return the text of a library's time, and of how many times convnet's it is."""
    if name not in row["times"]:
        return "", ""
    time_taken, mode = statistics.median(row["times"][name]), row["modes"][name]
    digits = 3 if time_taken < 1 else 2 if time_taken < 100 else 0
    named = "" if mode in UNNAMED else f" ({mode})"
    return f"{time_taken:.{digits}f} ms{named}", "" if name == "convnet" else f"{ratio(row, name):.2f}"


def names_of(rows, names):
    """Return those of the names, but convnet's, that some row has a time of."""
    return [name for name in names if name != "convnet" and any(name in row["times"] for row in rows)]


def table(rows, peers, peaks, head="work"):
    """Return the rows as Markdown, with their share of the peak if it is known for any."""
    shares = [share(row, peaks.get(row["threads"])) for row in rows]
    has_shares = any(shares)
    heads = [head, "threads", "convnet", *["share of peak"] * has_shares]
    heads += [text for peer in peers for text in (peer, "times")]
    lines = [heads, ["---"] * len(heads)]
    for row, text in zip(rows, shares, strict=True):
        cells = [row["work"], str(row["threads"]), cell(row, "convnet")[0], *[text] * has_shares]
        for peer in peers:
            cells += cell(row, peer)
        lines.append(cells)
    return markdown(lines)


def threads_text(threads):
    """Return a number of threads with its word."""
    return f"{threads} thread{'s' * (threads > 1)}"


def markdown(lines):
    """Return rows of cells as lines of a table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def share(row, limit):
    """Return the rate of a row's operations in per cent of the peak, or nothing if one of them is not known."""
    if row["flop"] is None or not limit:
        return ""
    return f"{100 * row['flop'] / statistics.median(row['times']['convnet']) / 1e6 / limit:.0f} %"


def print_slower_on_more(rows):
    """Print the works in which more threads take over 5 % longer than one, by the medians of the same turns.

    Nothing where nothing was timed on both.
    """
    if not any("convnet, 1 thread" in row["times"] for row in rows):
        return
    late = []
    for row in rows:
        if "convnet, 1 thread" in row["times"]:
            several, one = (statistics.median(row["times"][name]) for name in ("convnet", "convnet, 1 thread"))
            if several > 1.05 * one:
                late.append(f"{row['group']}, {row['work']}: {several:.3f} ms on {row['threads']}, {one:.3f} ms on one")
    print(f"\nOver 5 % slower on more threads than on one, in the same turns: {'; '.join(late) or 'nothing'}.")


def draw(grid, peers, path):
    """Draw how many times as long as convnet each peer takes: in each line of the grid panels (title, rows)."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    everything = [row for _, rows in itertools.chain(*grid) for row in rows]
    works = list(dict.fromkeys(row["work"] for row in everything))
    most = max(ratio(row, peer) for row in everything for peer in peers if peer in row["times"])
    size = 4 + 4 * len(grid[0]), 0.5 + (1 + 0.25 * len(works)) * len(grid)
    ticks = [0.5, 1, 2, 4, 8, *(tick for tick in (16, 32, 64) if tick < 1.5 * most)]
    figure, panels = plt.subplots(
        len(grid), len(grid[0]), figsize=size, sharex=len(grid) > 1, sharey=True, squeeze=False
    )
    for axes, (title, rows) in zip(panels.flat, itertools.chain(*grid), strict=True):
        for peer, marker in zip(peers, "os^D", strict=False):
            points = [(ratio(row, peer), works.index(row["work"])) for row in rows if peer in row["times"]]
            if points:
                axes.scatter(*zip(*points, strict=True), marker=marker, label=peer, zorder=3)
        axes.axvline(1, color="black", linewidth=1)
        axes.set(xscale="log", title=title)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.grid(color="0.9")
    for axes in panels[-1]:
        axes.set_xlabel("time / time of convnet (2: twice as slow)")
    panels[0][0].set_yticks(range(len(works)), works)
    panels[0][0].set_ylim(len(works) - 0.5, -0.5)
    handles = {handle.get_label(): handle for axes in panels.flat for handle in axes.collections if handle.get_label()}
    figure.legend(handles.values(), handles, loc="upper center", ncols=len(handles), frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.4 / figure.get_figheight()))
    figure.savefig(path, dpi=80)
