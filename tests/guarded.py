"""Memory that ends where the arrays of a test end, and what kernels run on, for a while."""

import contextlib
import ctypes
import mmap
import os

import numpy as np

from convnet import _kernels


@contextlib.contextmanager
def using(instruction_set):
    before = _kernels.instruction_set()
    _kernels.use_instruction_set(instruction_set)
    yield
    _kernels.use_instruction_set(before)


@contextlib.contextmanager
def on(threads):
    before = _kernels.num_threads()
    _kernels.set_num_threads(threads)
    yield
    _kernels.set_num_threads(before)


def at_the_end_of_memory(array):
    """Return a copy behind which the process has no memory, so that it ends if a kernel touches what follows."""
    if not hasattr(os, "fork") or not array.size:
        return array.copy()
    size = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, size + mmap.PAGESIZE)
    behind = ctypes.addressof(ctypes.c_char.from_buffer(memory, size))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(behind), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    copy = np.frombuffer(memory, array.dtype, array.size, size - array.nbytes).reshape(array.shape)
    copy[...] = array
    return copy


def scratch(size):
    """Return scratch memory with nothing behind it, full of what must not come out: NaN as floats, -1 as integers."""
    return at_the_end_of_memory(np.full(size, 255, np.uint8))
