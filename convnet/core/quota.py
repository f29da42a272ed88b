"""CPU quota: the number of CPUs whose time this process may use, as limited by a container."""

import os
from collections.abc import Iterator

__all__ = ["cpu_quota"]


def cpu_quota(root: str = "/") -> float:
    """Return the CPU quota of this process's control groups, in CPUs; infinity without a limit.

    A container that is limited to 2 CPUs of 64 may run on all 64, but for so short a time that two of them are busy on
    average. More threads than that are stopped for most of each period. Linux tells the limit in files: control groups
    of version 2 as ``cpu.max``, those of version 1 as ``cpu.cfs_quota_us`` and ``cpu.cfs_period_us``. A group is
    limited by the groups around it too, so that the least limit counts.

    Parameters
    ----------
    root : str
        Directory in which ``proc`` and ``sys`` lie.

    Notes
    -----
    Linux kernel documentation, "Control Group v2", CPU interface files; "CFS Bandwidth Control" for version 1.
    """
    return min((_group_quota(group) for group in _groups(root)), default=float("inf"))


def _groups(root: str) -> Iterator[str]:
    """Yield the directories of the groups that limit this process."""
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        mounted = os.path.join(root, "sys/fs/cgroup")
        if number != "0":  # version 1: a directory for each set of controllers
            if "cpu" not in controllers.split(","):
                continue
            sets = (os.path.join(mounted, directory) for directory in (controllers, "cpu"))
            mounted = next(filter(os.path.isdir, sets), mounted)
        # Inside a container, /proc may show the group's name on the host, while only the group's own files are mounted,
        # at the top of sys/fs/cgroup. So the top and every prefix of the name are read.
        parts = [part for part in name.split("/") if part]
        if ".." not in parts:
            for count in range(len(parts) + 1):
                yield os.path.join(mounted, *parts[:count])


def _group_quota(group: str) -> float:
    """Return the limit of one group in processors; infinity without one."""
    words = _read(os.path.join(group, "cpu.max")).split()
    if not words:
        words = [_read(os.path.join(group, f"cpu.cfs_{name}_us")).strip() for name in ("quota", "period")]
    # "max" and -1 stand for no limit.
    if len(words) == 2 and all(word.isdecimal() and int(word) for word in words):
        return int(words[0]) / int(words[1])
    return float("inf")


def _read(path: str) -> str:
    """Return what stands in a file; nothing if it cannot be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
