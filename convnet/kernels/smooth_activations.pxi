"""Sigmoid, tanh, and the functions ``x * gate``, such as GELU, on the threads of the pool."""

cdef enum:
    SMOOTH_PART = 1 << 13                    # elements of a task


cdef class SmoothActivation:
    """A smooth activation function.

    `GATED` is x times a gate, a smooth step from 0 to 1: the logistic sigmoid of ``linear * x + cubic * x ** 3``, with
    `linear` at least 1 and `cubic` at least 0, or without arguments the distribution function of the standard normal
    distribution. `SIGMOID` is the logistic sigmoid, and `TANH` the hyperbolic tangent.
    """

    cdef simd_smooth a

    GATED, SIGMOID, TANH = range(3)

    def __cinit__(self, int function, double linear=0, double cubic=0):
        if not 0 <= function <= 2:
            raise ValueError(f"SmoothActivation: expected GATED, SIGMOID or TANH, got {function}")
        if (linear or cubic) and not (function == 0 and linear >= 1 and cubic >= 0):
            raise ValueError(
                f"SmoothActivation: expected linear of at least 1 and cubic of at least 0 for a gate, got {linear} and "
                f"{cubic}"
            )
        if function == 0:
            self.a.kind = SIMD_SIGMOID_GATE if linear else SIMD_NORMAL_GATE
        else:                                # tanh(x) = 2 * sigmoid(2 * x) - 1
            self.a.kind, linear = (SIMD_SIGMOID, 1) if function == 1 else (SIMD_TANH, 2)
        self.a.linear, self.a.cubic = linear, cubic


cdef inline double smooth_within(double x) noexcept nogil:
    """Return x or the nearest number at which a gate is 0 or 1, and its slope 0, in float64 too."""
    return -1000 if x < -1000 else 1000 if x > 1000 else x


cdef inline double smooth_exponential(const simd_smooth* a, double x) noexcept nogil:
    """Return exp(-x ** 2 / 2) for the normal distribution, and exp(-abs(u)) of the sigmoid's argument u."""
    return exp(-0.5 * x * x) if a.kind == SIMD_NORMAL_GATE else exp(-fabs(x * (a.linear + a.cubic * (x * x))))


cdef inline double smooth_step(const simd_smooth* a, double x, double e) noexcept nogil:
    """Return the gate at x, precise where it is close to 0, too; e is that of `smooth_exponential`."""
    return 0.5 * erfc(-x * M_SQRT1_2) if a.kind == SIMD_NORMAL_GATE else (1 if x >= 0 else e) / (1 + e)


cdef inline double smooth_value(const simd_smooth* a, double x) noexcept nogil:
    """Return the function at x; x * gate is 0 where x is minus infinity."""
    cdef double within = smooth_within(x)
    if a.kind == SIMD_TANH:
        return tanh(x)
    if a.kind == SIMD_SIGMOID:
        return smooth_step(a, within, smooth_exponential(a, within))
    return (within if within < 0 else x) * smooth_step(a, within, smooth_exponential(a, within))


cdef inline double smooth_slope(const simd_smooth* a, double x) noexcept nogil:
    """Return the derivative at x. Where x is infinite, x times the slope of a gate is 0."""
    cdef double within = smooth_within(x), e = smooth_exponential(a, within), slope
    if a.kind == SIMD_TANH or a.kind == SIMD_SIGMOID:
        return a.linear * a.linear * (e / ((1 + e) * (1 + e)))
    if a.kind == SIMD_NORMAL_GATE:
        slope = e * M_SQRT1_2 * M_2_SQRTPI / 2 * within
    else:
        slope = e / ((1 + e) * (1 + e)) * (within * (a.linear + 3 * a.cubic * (within * within)))
    return smooth_step(a, within, e) + slope


cdef struct smooth_job:
    const simd_smooth* activation
    const simd_level* level                  # NULL for the loops here
    Py_ssize_t size
    const void* x
    const void* dy                           # NULL for the forward pass
    void* out


cdef inline void smooth_part(const smooth_job* j, const floating* x, const floating* dy, floating* out,
                             Py_ssize_t index) noexcept nogil:
    """Compute the elements of a task."""
    cdef Py_ssize_t first = index * SMOOTH_PART, end = min(first + SMOOTH_PART, j.size), i
    if floating is float:
        if j.level != NULL:
            if dy == NULL:
                j.level.smooth_forward(j.activation, end - first, x + first, out + first)
            else:
                j.level.smooth_backward(j.activation, end - first, dy + first, x + first, out + first)
            return
    if dy == NULL:
        for i in range(first, end):
            out[i] = <floating>smooth_value(j.activation, x[i])
    else:
        for i in range(first, end):
            out[i] = <floating>(dy[i] * smooth_slope(j.activation, x[i]))


# What the pool calls.

cdef void smooth_task_float(void* job, Py_ssize_t index, int slot) noexcept nogil:
    cdef smooth_job* j = <smooth_job*>job
    smooth_part(j, <const float*>j.x, <const float*>j.dy, <float*>j.out, index)


cdef void smooth_task_double(void* job, Py_ssize_t index, int slot) noexcept nogil:
    cdef smooth_job* j = <smooth_job*>job
    smooth_part(j, <const double*>j.x, <const double*>j.dy, <double*>j.out, index)


cdef inline void smooth_run(smooth_job* j, bint is_float) noexcept nogil:
    """Compute all elements; few of them take less time than to hand some to another thread."""
    cdef Py_ssize_t parts = (j.size + SMOOTH_PART - 1) // SMOOTH_PART
    cdef pool_function task = <pool_function>(smooth_task_float if is_float else smooth_task_double)
    pool_run(task, j, parts, pool_kernel_threads() if parts > 2 else 1)


def smooth_forward(
    SmoothActivation activation not None,
    const floating[::1] x not None,      # IN (M,)
    floating[::1] y not None,            # OUT (M,)
):
    """y = f(x)."""
    cdef smooth_job job = smooth_job(&activation.a, level_in_use, x.shape[0], NULL, NULL, NULL)
    if job.size == 0:
        return
    job.x, job.out = &x[0], &y[0]
    with nogil:
        smooth_run(&job, floating is float)


def smooth_backward(
    SmoothActivation activation not None,
    const floating[::1] dy not None,     # IN (M,)
    const floating[::1] x not None,      # IN (M,), of smooth_forward
    floating[::1] dx not None,           # OUT (M,)
):
    """dx = dy * f'(x)."""
    cdef smooth_job job = smooth_job(&activation.a, level_in_use, x.shape[0], NULL, NULL, NULL)
    if job.size == 0:
        return
    job.x, job.dy, job.out = &x[0], &dy[0], &dx[0]
    with nogil:
        smooth_run(&job, floating is float)
