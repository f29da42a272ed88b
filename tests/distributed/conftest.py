"""The tests of this folder need mpi4py, and run other processes under mpiexec; MPI does not run in their own."""

import pytest

mpi4py = pytest.importorskip("mpi4py")
mpi4py.rc.initialize = False
