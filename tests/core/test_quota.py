"""The CPU quota of a container, read from files as Linux shows them."""

import os

import pytest

from convnet.core import threads
from convnet.core.quota import cpu_quota


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/cpu,cpuacct"
CASES = {
    "no files": ({}, None),
    "version 2, no limit": ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "max 100000\n"}, None),
    "version 2, two": ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "200000 100000\n"}, 2.0),
    "version 2, a group within": (
        {"proc/self/cgroup": "0::/a/b\n", f"{V2}/a/b/cpu.max": "350000 100000\n", f"{V2}/a/cpu.max": "max 100000\n"},
        3.5,
    ),
    "version 2, the group around is limited": (
        {"proc/self/cgroup": "0::/a/b\n", f"{V2}/a/b/cpu.max": "max 100000\n", f"{V2}/a/cpu.max": "150000 100000\n"},
        1.5,
    ),
    "version 2, the name is that outside": (
        {"proc/self/cgroup": "0::/kubepods/pod1\n", f"{V2}/cpu.max": "50000 100000\n"},
        0.5,
    ),
    "version 2, above the group seen": ({"proc/self/cgroup": "0::/../..\n", f"{V2}/cpu.max": "max 100000\n"}, None),
    "version 1, three": (
        {
            "proc/self/cgroup": "3:memory:/docker/1\n2:cpu,cpuacct:/docker/1\n0::/\n",
            f"{V1}/docker/1/cpu.cfs_quota_us": "300000\n",
            f"{V1}/docker/1/cpu.cfs_period_us": "100000\n",
            f"{V1}/cpu.cfs_quota_us": "-1\n",
            f"{V1}/cpu.cfs_period_us": "100000\n",
        },
        3.0,
    ),
    "version 1, the name is that outside": (
        {
            "proc/self/cgroup": "2:cpuacct,cpu:/docker/1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "20000\n",
        },
        2.5,
    ),
    "version 1, no limit": (
        {
            "proc/self/cgroup": "2:cpu,cpuacct:/\n",
            f"{V1}/cpu.cfs_quota_us": "-1\n",
            f"{V1}/cpu.cfs_period_us": "100000\n",
        },
        None,
    ),
    "not numbers": ({"proc/self/cgroup": "0::/\nx\n", f"{V2}/cpu.max": "\xfftwo 0\n"}, None),
    "a period of 0": ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "100000 0\n"}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_quota_is_that_of_the_files(tmp_path, case):
    files, expected = CASES[case]
    assert cpu_quota(write(tmp_path, files)) == (float("inf") if expected is None else expected)


@pytest.mark.parametrize(("quota", "expected"), [(0.5, 1), (1.0, 1), (2.9, 2), (float("inf"), 5)])
def test_the_quota_limits_the_threads_rounded_down(monkeypatch, quota, expected):
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(5)), raising=False)
    assert threads._num_threads_from(None, None) == expected
    assert threads._num_threads_from(None, "3") == min(expected, 3)
    assert threads._num_threads_from("7", None) == 7  # what the user says counts
