"""The tests of this folder need mpi4py, and run other processes under mpiexec; MPI does not run in their own."""

import contextlib
import os
import time
from pathlib import Path

import pytest

try:
    import mpi4py
except ImportError:
    collect_ignore_glob = ["test_*.py"]
else:
    mpi4py.rc.initialize = False


@pytest.fixture(scope="session", autouse=True)
def shared_memory_of_killed_processes_is_freed():
    """Remove what MPICH leaves in shared memory, 2 MB each time, when its processes are killed."""
    yield
    mapped = ""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):  # of another user, or of a process that has ended
            mapped += maps.read_text()
    for path in Path("/dev/shm").glob("mpich_shm_*"):
        with contextlib.suppress(OSError):
            status = path.stat()
            if status.st_uid == os.getuid() and time.time() - status.st_mtime > 5 and str(path) not in mapped:
                path.unlink()
