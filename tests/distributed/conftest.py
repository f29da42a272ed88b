"""The tests of this folder need mpi4py, and run other processes under mpiexec; MPI does not run in their own."""

try:
    import mpi4py
except ImportError:
    collect_ignore_glob = ["test_*.py"]
else:
    mpi4py.rc.initialize = False
