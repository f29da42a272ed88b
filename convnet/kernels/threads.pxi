"""The pool of threads, and how many of them the kernels use."""

ctypedef void (*pool_function)(void* job, Py_ssize_t index, int slot) noexcept nogil

cdef extern from "pool.h" nogil:
    int pool_run(pool_function task, void* job, Py_ssize_t count, int size) noexcept
    int pool_kernel_threads() noexcept
    void pool_set_kernel_threads(int count) noexcept
    const int POOL_MAX

# Most threads of the pool, the caller's among them.
MAX_THREADS = POOL_MAX


def num_threads():
    """Return how many threads the kernels use."""
    return pool_kernel_threads()


def set_num_threads(int count):
    """Set how many threads the kernels use, in the whole process; at most MAX_THREADS."""
    pool_set_kernel_threads(count)


cdef void call_task(void* job, Py_ssize_t index, int slot) noexcept with gil:
    """Call the function of a job with an index and a slot; keep what it raises."""
    function, context, errors = <object>job
    try:
        if not errors:
            context.copy().run(function, index, slot)
    except BaseException as error:
        errors.append(error)


def run_tasks(function, Py_ssize_t count, int threads):
    """Call function(index, slot) for every index below count, on up to `threads` threads; raise what one raises.

    The slot, below `threads`, is another one for each thread that takes part. Calls see the caller's context variables,
    of which numpy.errstate is one.
    """
    errors = []
    job = function, contextvars.copy_context(), errors
    if sys.is_finalizing():                  # no other thread may run Python any more
        threads = 1
    cdef void* pointer = <void*>job
    cdef bint is_whole
    with nogil:
        is_whole = pool_run(<pool_function>call_task, pointer, count, threads)
    if errors:
        raise errors[0]
    if not is_whole:
        raise RuntimeError("the process was forked in the middle of this computation, which the child cannot finish")
