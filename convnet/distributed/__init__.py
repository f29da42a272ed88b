"""Data-parallel training over the processes of MPI: one model, with the same bits for any number of processes.

It needs mpi4py (``pip install "convnet-cpu[mpi]"``) and an MPI library: that of the system, or ``pip install mpich``.
``import convnet`` does not import this package.
"""

from convnet.core.version import to_install

try:
    from mpi4py import MPI  # noqa: F401
except (ImportError, RuntimeError) as error:  # RuntimeError: there is no MPI library
    raise ImportError(
        f"convnet.distributed needs mpi4py, which cannot be imported ({error}): {to_install('mpi')}; and an MPI "
        "library, that of the system or pip install mpich"
    ) from error

from convnet.distributed.data_parallel import DataParallel

__all__ = ["DataParallel"]
