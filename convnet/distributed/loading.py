"""Data that one process of each machine loads, for all processes there."""

import io
import mmap
import os
import pickle
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from mpi4py import MPI

from convnet.distributed.peers import Peers

__all__ = ["load_once"]

T = TypeVar("T")
ALIGNMENT = 64


def load_once(load: Callable[[], T], communicator: Any, peers: Peers) -> T:
    """Return what `load` returns, called in one process of each machine; the others map its arrays from a file.

    The file is temporary, and has no name any more when this returns. All processes have to call this.
    """
    if not callable(load):
        raise TypeError(
            f"DataParallel: load_once: expected a function that loads the data, got a {type(load).__name__}; "
            "load_once(lambda: ...)"
        )
    if peers.size == 1:
        content, buffers = _pickled(load())
        alone: T = pickle.loads(content, buffers=[buffer.raw().toreadonly() for buffer in buffers])
        return alone
    peers.exchange("load_once")
    here = communicator.Split_type(MPI.COMM_TYPE_SHARED)
    loads, failure, found = here.Get_rank() == 0, None, None
    try:
        if loads:
            found = _written(load())
    except BaseException as error:
        failure = error
    failures = peers.exchange("load_once", f"{type(failure).__name__}: {failure!s:.300}" if failure else None)
    try:
        if failure is not None:
            raise failure
        for rank, other in enumerate(failures):
            if other is not None:
                raise RuntimeError(
                    f"DataParallel: expected data from load_once, but in process {rank} it raised {other}"
                )
        path, content, places = here.bcast(found)
        loaded: T = pickle.loads(content, buffers=_mapped(path, places))
        peers.exchange("load_once")
        return loaded
    finally:
        if found is not None:
            with suppress(OSError):  # Windows keeps a file that is mapped
                os.unlink(found[0])
        here.Free()


class _Pickler(pickle.Pickler):
    """A pickler that leaves out the memory of arrays in mapped files, and of arrays with gaps, as that of others."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.ndarray) and (type(value) is np.memmap or not value.flags.forc):
            return np.asarray(value, order="C").__reduce_ex__(5)
        return NotImplemented


def _pickled(value: Any) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """Return an object without its arrays, and these."""
    buffers: list[pickle.PickleBuffer] = []
    content = io.BytesIO()
    try:
        _Pickler(content, protocol=5, buffer_callback=buffers.append).dump(value)
        return content.getvalue(), buffers
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            "DataParallel: load_once: expected a function whose result can be pickled, such as arrays, statistics and "
            f"dictionaries of them, got a {type(value).__name__}: {error}"
        ) from None


def _written(value: Any) -> tuple[str, bytes, list[slice]]:
    """Write the arrays of an object to a file; return its path, the rest of the object, and where the arrays are."""
    content, buffers = _pickled(value)
    places, path = [], ""
    try:
        number, path = tempfile.mkstemp(prefix="convnet-")
        with open(number, "wb") as file:
            for buffer in buffers:
                file.write(b"\0" * (-file.tell() % ALIGNMENT))
                start = file.tell()
                file.write(buffer.raw())
                places.append(slice(start, file.tell()))
            file.write(b"\0")  # an empty file cannot be mapped
    except BaseException as error:
        with suppress(OSError):
            os.unlink(path)
        if isinstance(error, OSError):
            size = sum(buffer.raw().nbytes for buffer in buffers)
            raise OSError(
                error.errno,
                f"DataParallel: load_once: expected a temporary folder that takes {size:,} bytes of arrays, but "
                f"{tempfile.gettempdir()} does not ({error.strerror}); the environment variable TMPDIR names another",
            ) from error
        raise
    return path, content, places


def _mapped(path: str, places: list[slice]) -> list[memoryview]:
    """Return the memory of arrays in a file; it cannot be written to."""
    with open(path, "rb") as file:
        memory = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return [memory[place] for place in places]
