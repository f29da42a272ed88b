"""What the kernels run on: the number of threads, and the instruction set.

Both are set from the environment when the package is imported:

- ``CONVNET_NUM_THREADS`` is the number of threads, at most 256. Without it there is one for each processor that this
  process may run on, or fewer if ``OMP_NUM_THREADS`` or the CPU quota of a container is less; a quota is rounded down.
- ``CONVNET_SIMD`` forces an instruction set: ``avx512``, ``avx2``, ``neon`` (on aarch64), ``portable`` (vectors of 16
  bytes, on any processor), or ``none`` for the loops in Cython alone. Without it the best one of this processor is
  taken.

Results have the same bits for any number of threads; they differ within rounding from one instruction set to another.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from convnet import _kernels
from convnet.core.checks import as_count
from convnet.core.quota import cpu_quota
from convnet.core.version import __version__

__all__ = ["config", "get_num_threads", "set_num_threads", "show_config"]


def _instruction_set_from(name: str | None) -> str:
    """Return the instruction set that CONVNET_SIMD names, the best one for None."""
    present = _kernels.INSTRUCTION_SETS
    if name is not None and name not in present:
        raise ValueError(f"CONVNET_SIMD: expected one of {', '.join(present)} on this machine, got {name!r}")
    return present[-1] if name is None else name


def _num_threads_from(ours: str | None, openmp: str | None) -> int:
    """Return the number of threads that the two variables, and the processors of this process, give."""
    if ours is not None:
        try:
            return min(as_count(int(ours), "CONVNET_NUM_THREADS"), _kernels.MAX_THREADS)
        except ValueError:
            raise ValueError(f"CONVNET_NUM_THREADS: expected an integer of at least 1, got {ours!r}") from None
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processors = max(1, int(min(processors, cpu_quota())))
    # OpenMP allows a list, with a number for each level of nesting.
    first = (openmp or "").split(",")[0].strip()
    wanted = int(first) if first.isdecimal() else 0
    return min(wanted or processors, processors, _kernels.MAX_THREADS)


_kernels.use_instruction_set(_instruction_set_from(os.environ.get("CONVNET_SIMD") or None))
_kernels.set_num_threads(
    _num_threads_from(os.environ.get("CONVNET_NUM_THREADS") or None, os.environ.get("OMP_NUM_THREADS"))
)


def get_num_threads() -> int:
    """Return how many threads a computation uses at most, the calling one among them."""
    return _kernels.num_threads()


def set_num_threads(count: int) -> None:
    """Set how many threads computations use at most, in the whole process.

    It changes no result: the bits are the same for any number.

    Parameters
    ----------
    count : int
        At least 1, the calling thread among them; of more than 256 no more are used.

    Raises
    ------
    ValueError, TypeError
        If it is not an integer of at least 1.
    """
    _kernels.set_num_threads(min(as_count(count, "set_num_threads"), _kernels.MAX_THREADS))


def config() -> dict[str, Any]:
    """Return what the package was built with and runs on, for programs; `show_config` prints it."""
    import platform

    return {
        "convnet": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
        "processors": os.cpu_count(),
        "compiler": _kernels.COMPILER,
        "instruction_sets_built": list(_kernels.BUILT),
        "best_instruction_set": _kernels.INSTRUCTION_SETS[-1],
        "instruction_set": _kernels.instruction_set(),
        "threads": get_num_threads(),
    }


def show_config() -> None:
    """Print what the package was built with and runs on: versions, instruction sets, threads."""
    found = config()
    print(f"convnet {found['convnet']}, NumPy {found['numpy']}, Python {found['python']}")
    print(f"platform: {found['platform']}, {found['processors']} processors")
    print(f"compiler: {found['compiler']}")
    print(
        f"instruction sets built: {', '.join(found['instruction_sets_built'])}; best here: "
        f"{found['best_instruction_set']}; in use: {found['instruction_set']}"
    )
    print(f"threads: {found['threads']}")


# Least work of a part, in additions, which is 0.1 ms or so; LARGE_PART is the same where there are more than 8 parts. A
# thread needs the GIL to start a part, and waits for it longer than a small part takes.
PART, LARGE_PART = 1 << 20, 1 << 22


def in_parts(task: Callable[[slice, int], object], count: int, work: int, threads: int | None = None) -> None:
    """Split range(count) into slices, and call task(slice, slot) for each, on several threads.

    The slices depend on the sizes alone. What a task writes must depend on its slice alone. `slot` is below `threads`
    and differs between concurrent tasks; it selects scratch memory.

    Parameters
    ----------
    task : callable
    count : int
        Number of things to split, such as images.
    work : int
        How long all things together take, in additions.
    threads : int, optional
        Largest number of threads; `get_num_threads` by default.
    """
    threads = _kernels.num_threads() if threads is None else threads
    parts = min(count, work // PART, max(8, min(32, work // LARGE_PART)))
    if parts < 2:
        task(slice(0, count), 0)
        return
    bounds = [count * part // parts for part in range(parts + 1)]
    _kernels.run_tasks(lambda index, slot: task(slice(bounds[index], bounds[index + 1]), slot), parts, threads)


def elementwise(kernel: Callable[..., object], *arrays: npt.NDArray[Any]) -> None:
    """Call a kernel with the same part of each array, for parts that together are all elements, on several threads.

    Parameters
    ----------
    kernel : callable
        Takes as many flat arrays of one length as are given.
    *arrays : ndarray
        Of one size and in C order, of any shape.
    """
    flat = [array.reshape(-1) for array in arrays]
    size = flat[0].size
    in_parts(lambda part, _: kernel(*(array[part] for array in flat)), size, size)
