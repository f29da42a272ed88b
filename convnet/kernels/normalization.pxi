"""Batch normalization, with an activation in the same pass.

An array is (P, C, Q): images in NCHW are (N, C, H * W); images channels last, and vectors, are (P, C, 1). A channel's
P * Q elements are normalised together. The rows p are divided into groups, and a group's elements of a channel into
pieces. A piece is summed in the array's precision; pieces and groups are added in float64, in order.
"""

cdef enum:
    NORM_PIECE = 64                          # elements of a piece where Q is 1; otherwise there are NORM_PIECE ** 2
    NORM_GROUPS = 16                         # groups, at most
    NORM_PART = 1 << 14                      # elements of a group, at least, and of a task that writes


cdef struct norm_job:
    Py_ssize_t p, c, q, groups
    const void* x
    const void* dy
    void* y                                  # y, or dx
    const void* scale                        # the arrays of factors, (C,) each: y = (x - mean) * scale + bias
    const void* mean
    const void* bias
    const void* of_x                         # dx = scale * dy + of_x * (x - mean) + constant
    const void* constant
    double slope                             # factor of what is not positive: 0 for ReLU, 1 for no activation
    double* sums                             # (groups, 2, C)
    void* pieces                             # (groups, 2, C)
    const simd_level* level                  # what takes rows of channels in float32, or NULL


cdef inline simd_norm native_norm(const norm_job* j) noexcept nogil:
    """Return the factors as native/ takes them."""
    cdef simd_norm s
    s.channels, s.slope, s.scale, s.mean = j.c, <float>j.slope, <const float*>j.scale, <const float*>j.mean
    s.bias, s.of_x, s.constant = <const float*>j.bias, <const float*>j.of_x, <const float*>j.constant
    return s


cdef inline Py_ssize_t norm_groups(Py_ssize_t p, Py_ssize_t c, Py_ssize_t q) noexcept nogil:
    """Return in how many groups the sums are formed."""
    return max(1, min(min(NORM_GROUPS, p), p * c * q // NORM_PART))


cdef inline Py_ssize_t norm_rows(const norm_job* j) noexcept nogil:
    """Return how many of the P rows a task writes."""
    return max(1, NORM_PART // max(1, j.c * j.q))


cdef inline void add_moments(
    double count, double* mean, double* squares, double more, double other_mean, double other_squares,
) noexcept nogil:
    """Add a piece's mean and its sum of squared deviations to those of `count` elements."""
    cdef double delta = other_mean - mean[0], part = more / (count + more)
    mean[0] += delta * part
    squares[0] += other_squares + delta * delta * count * part


cdef inline void norm_moments(const norm_job* j, const floating* x, floating* total, Py_ssize_t group) noexcept nogil:
    """Form the means, and the sums of squared deviations, of a group."""
    cdef Py_ssize_t first = j.p * group // j.groups, end = j.p * (group + 1) // j.groups, p, c, i, start, count
    cdef double* mean = j.sums + 2 * group * j.c
    cdef double* squares = mean + j.c
    cdef floating* deviations = total + j.c
    cdef const floating* row
    cdef floating sum, deviation, centre
    memset(mean, 0, 2 * j.c * sizeof(double))
    if j.q == 1:
        start = first
        while start < end:
            count = min(NORM_PIECE, end - start)
            if floating is float and j.level != NULL:
                j.level.norm_moments(x + start * j.c, count, j.c, total, deviations)
            else:
                for c in range(j.c):
                    total[c] = deviations[c] = 0
                for p in range(start, start + count):
                    row = x + p * j.c
                    for c in range(j.c):
                        total[c] += row[c]
                for c in range(j.c):
                    total[c] /= count
                for p in range(start, start + count):
                    row = x + p * j.c
                    for c in range(j.c):
                        deviation = row[c] - total[c]
                        deviations[c] += deviation * deviation
            for c in range(j.c):
                add_moments(start - first, &mean[c], &squares[c], count, total[c], deviations[c])
            start += NORM_PIECE
        return
    for p in range(first, end):
        for c in range(j.c):
            start = 0
            while start < j.q:
                count = min(NORM_PIECE * NORM_PIECE, j.q - start)
                row = x + (p * j.c + c) * j.q + start
                sum = 0
                for i in range(count):
                    sum += row[i]
                centre, sum = sum / count, 0
                for i in range(count):
                    deviation = row[i] - centre
                    sum += deviation * deviation
                add_moments((p - first) * j.q + start, &mean[c], &squares[c], count, centre, sum)
                start += NORM_PIECE * NORM_PIECE


cdef inline floating norm_activated(floating value, floating x, floating slope) noexcept nogil:
    """Return `value` where x is positive or NaN, elsewhere `slope` times it, and 0 for slope 0 whatever it is."""
    cdef floating zero = 0
    return (zero if slope == 0 else slope * value) if x <= 0 else value


cdef inline void norm_write(
    const norm_job* j, const floating* x, floating* y, const floating* scale, const floating* mean,
    const floating* bias, Py_ssize_t first, Py_ssize_t end,
) noexcept nogil:
    """y = activation((x - mean) * scale + bias) for some of the P rows."""
    cdef Py_ssize_t p, c, i
    cdef floating slope = <floating>j.slope, value, factor, centre, shift
    cdef const floating* row
    cdef floating* to
    cdef simd_norm native
    if floating is float and j.level != NULL:
        native = native_norm(j)
        j.level.norm_write(&native, x + first * j.c, end - first, y + first * j.c)
        return
    for p in range(first, end):
        if j.q == 1:
            row, to = x + p * j.c, y + p * j.c
            for c in range(j.c):
                value = (row[c] - mean[c]) * scale[c] + bias[c]
                to[c] = norm_activated(value, value, slope)
            continue
        for c in range(j.c):
            row, to = x + (p * j.c + c) * j.q, y + (p * j.c + c) * j.q
            factor, centre, shift = scale[c], mean[c], bias[c]
            for i in range(j.q):
                value = (row[i] - centre) * factor + shift
                to[i] = norm_activated(value, value, slope)


cdef inline floating norm_gradient(
    floating dy, floating x, floating scale, floating mean, floating bias, floating slope,
) noexcept nogil:
    """Return the gradient with respect to what the activation was given."""
    return norm_activated(dy, (x - mean) * scale + bias, slope)


cdef inline void norm_sums(
    const norm_job* j, const floating* x, const floating* dy, const floating* scale, const floating* mean,
    const floating* bias, floating* total, Py_ssize_t group,
) noexcept nogil:
    """Form a group's sums of dy, behind the activation, and of dy * (x - mean)."""
    cdef Py_ssize_t first = j.p * group // j.groups, end = j.p * (group + 1) // j.groups, p, c, i, start, count, at
    cdef double* sums = j.sums + 2 * group * j.c
    cdef double* products = sums + j.c
    cdef floating* product = total + j.c
    cdef const floating* row
    cdef const floating* gradients
    cdef floating slope = <floating>j.slope, gradient, sum, with_x, factor, centre, shift
    cdef simd_norm native
    memset(sums, 0, 2 * j.c * sizeof(double))
    if j.q == 1:
        start = first
        while start < end:
            count = min(NORM_PIECE, end - start)
            if floating is float and j.level != NULL:
                native = native_norm(j)
                j.level.norm_sums(&native, x + start * j.c, dy + start * j.c, count, total, product)
            else:
                for c in range(j.c):
                    total[c] = product[c] = 0
                for p in range(start, start + count):
                    row, gradients = x + p * j.c, dy + p * j.c
                    for c in range(j.c):
                        gradient = norm_gradient(gradients[c], row[c], scale[c], mean[c], bias[c], slope)
                        total[c] += gradient
                        product[c] += gradient * (row[c] - mean[c])
            for c in range(j.c):
                sums[c] += total[c]
                products[c] += product[c]
            start += NORM_PIECE
        return
    for p in range(first, end):
        for c in range(j.c):
            factor, centre, shift = scale[c], mean[c], bias[c]
            start = 0
            while start < j.q:
                count, at = min(NORM_PIECE * NORM_PIECE, j.q - start), (p * j.c + c) * j.q + start
                row, gradients = x + at, dy + at
                sum = with_x = 0
                for i in range(count):
                    gradient = norm_gradient(gradients[i], row[i], factor, centre, shift, slope)
                    sum += gradient
                    with_x += gradient * (row[i] - centre)
                sums[c] += sum
                products[c] += with_x
                start += NORM_PIECE * NORM_PIECE


cdef inline void norm_write_dx(
    const norm_job* j, const floating* x, const floating* dy, floating* dx, const floating* scale,
    const floating* mean, const floating* bias, const floating* of_x, const floating* constant, Py_ssize_t first,
    Py_ssize_t end,
) noexcept nogil:
    """dx = scale * dy + of_x * (x - mean) + constant for some of the P rows, with dy behind the activation."""
    cdef Py_ssize_t p, c, i, at
    cdef floating slope = <floating>j.slope, gradient, factor, centre, shift, slant, added
    cdef const floating* row
    cdef const floating* gradients
    cdef floating* to
    cdef simd_norm native
    if floating is float and j.level != NULL:
        native = native_norm(j)
        j.level.norm_write_dx(&native, x + first * j.c, dy + first * j.c, end - first, dx + first * j.c)
        return
    for p in range(first, end):
        if j.q == 1:
            row, gradients, to = x + p * j.c, dy + p * j.c, dx + p * j.c
            for c in range(j.c):
                gradient = norm_gradient(gradients[c], row[c], scale[c], mean[c], bias[c], slope)
                to[c] = scale[c] * gradient + of_x[c] * (row[c] - mean[c]) + constant[c]
            continue
        for c in range(j.c):
            at = (p * j.c + c) * j.q
            row, gradients, to = x + at, dy + at, dx + at
            factor, centre, shift, slant, added = scale[c], mean[c], bias[c], of_x[c], constant[c]
            for i in range(j.q):
                gradient = norm_gradient(gradients[i], row[i], factor, centre, shift, slope)
                to[i] = factor * gradient + slant * (row[i] - centre) + added


# What the pool calls.

cdef void norm_moments_float(void* job, Py_ssize_t index, int slot) noexcept nogil:
    cdef norm_job* j = <norm_job*>job
    norm_moments(j, <const float*>j.x, <float*>j.pieces + 2 * index * j.c, index)


cdef void norm_moments_double(void* job, Py_ssize_t index, int slot) noexcept nogil:
    cdef norm_job* j = <norm_job*>job
    norm_moments(j, <const double*>j.x, <double*>j.pieces + 2 * index * j.c, index)


cdef void norm_write_float(void* job, Py_ssize_t index, int slot) noexcept nogil:
    cdef norm_job* j = <norm_job*>job
    norm_write(
        j, <const float*>j.x, <float*>j.y, <const float*>j.scale, <const float*>j.mean, <const float*>j.bias,
        index * norm_rows(j), min((index + 1) * norm_rows(j), j.p),
    )


cdef void norm_write_double(void* job, Py_ssize_t index, int slot) noexcept nogil:
    cdef norm_job* j = <norm_job*>job
    norm_write(
        j, <const double*>j.x, <double*>j.y, <const double*>j.scale, <const double*>j.mean, <const double*>j.bias,
        index * norm_rows(j), min((index + 1) * norm_rows(j), j.p),
    )


cdef void norm_sums_float(void* job, Py_ssize_t index, int slot) noexcept nogil:
    cdef norm_job* j = <norm_job*>job
    norm_sums(
        j, <const float*>j.x, <const float*>j.dy, <const float*>j.scale, <const float*>j.mean, <const float*>j.bias,
        <float*>j.pieces + 2 * index * j.c, index,
    )


cdef void norm_sums_double(void* job, Py_ssize_t index, int slot) noexcept nogil:
    cdef norm_job* j = <norm_job*>job
    norm_sums(
        j, <const double*>j.x, <const double*>j.dy, <const double*>j.scale, <const double*>j.mean,
        <const double*>j.bias, <double*>j.pieces + 2 * index * j.c, index,
    )


cdef void norm_write_dx_float(void* job, Py_ssize_t index, int slot) noexcept nogil:
    cdef norm_job* j = <norm_job*>job
    norm_write_dx(
        j, <const float*>j.x, <const float*>j.dy, <float*>j.y, <const float*>j.scale, <const float*>j.mean,
        <const float*>j.bias, <const float*>j.of_x, <const float*>j.constant, index * norm_rows(j),
        min((index + 1) * norm_rows(j), j.p),
    )


cdef void norm_write_dx_double(void* job, Py_ssize_t index, int slot) noexcept nogil:
    cdef norm_job* j = <norm_job*>job
    norm_write_dx(
        j, <const double*>j.x, <const double*>j.dy, <double*>j.y, <const double*>j.scale, <const double*>j.mean,
        <const double*>j.bias, <const double*>j.of_x, <const double*>j.constant, index * norm_rows(j),
        min((index + 1) * norm_rows(j), j.p),
    )


cdef inline norm_job norm_job_of(Py_ssize_t p, Py_ssize_t c, Py_ssize_t q, Py_ssize_t itemsize, uint8_t* scratch):
    """Return a job with its part of the scratch memory."""
    cdef norm_job job
    cdef const simd_level* level = level_in_use
    memset(&job, 0, sizeof(job))
    job.p, job.c, job.q, job.groups = p, c, q, norm_groups(p, c, q)
    job.sums = <double*>scratch
    job.pieces = scratch + 2 * job.groups * c * sizeof(double)
    if level != NULL and q == 1 and itemsize == sizeof(float):
        job.level = simd_level_for(level, c)
    return job


cdef inline int norm_threads(const norm_job* j) noexcept nogil:
    """Return how many threads share the work."""
    return pool_kernel_threads() if j.p * j.c * j.q >= 2 * NORM_PART else 1


def batch_norm2d_scratch(Py_ssize_t p, Py_ssize_t c, Py_ssize_t q):
    """Return how many bytes of scratch memory the functions below need."""
    return (norm_groups(p, c, q) * 4 + 3) * c * <Py_ssize_t>sizeof(double)


def batch_norm2d_moments(
    const floating[:, :, ::1] x not None,    # IN (P, C, Q)
    floating[::1] mean not None,             # OUT (C,)
    floating[::1] variance not None,         # OUT (C,)
    uint8_t[::1] scratch not None,           # SCRATCH (batch_norm2d_scratch(P, C, Q),), of whole float64
):
    """mean[c] and variance[c] of x[:, c, :]: the mean squared deviation. Both are 0 where there is no element."""
    cdef norm_job job = norm_job_of(x.shape[0], x.shape[1], x.shape[2], sizeof(floating), &scratch[0])
    cdef pool_function task = <pool_function>(norm_moments_float if floating is float else norm_moments_double)
    cdef Py_ssize_t group, c, count, size = job.p * job.q
    if size == 0:
        mean[:] = 0
        variance[:] = 0
        return
    job.x = &x[0, 0, 0]
    with nogil:
        pool_run(task, &job, job.groups, norm_threads(&job))
        for group in range(1, job.groups):
            count = job.p * group // job.groups
            for c in range(job.c):
                add_moments(
                    count * job.q, &job.sums[c], &job.sums[job.c + c],
                    (job.p * (group + 1) // job.groups - count) * job.q, job.sums[2 * group * job.c + c],
                    job.sums[(2 * group + 1) * job.c + c],
                )
        for c in range(job.c):
            mean[c], variance[c] = <floating>job.sums[c], <floating>(job.sums[job.c + c] / size)


def batch_norm2d_forward(
    const floating[:, :, ::1] x not None,    # IN (P, C, Q)
    const floating[::1] weight not None,     # IN (C,)
    const floating[::1] bias not None,       # IN (C,)
    const floating[::1] mean not None,       # IN (C,)
    const floating[::1] variance not None,   # IN (C,)
    double epsilon,
    double slope,
    floating[:, :, ::1] y not None,          # OUT (P, C, Q)
    uint8_t[::1] scratch not None,           # SCRATCH (batch_norm2d_scratch(P, C, Q),), of whole float64
):
    """y = (x - mean) * weight / sqrt(variance + epsilon) + bias, and `slope` times that where it is not positive."""
    cdef norm_job job = norm_job_of(x.shape[0], x.shape[1], x.shape[2], sizeof(floating), &scratch[0])
    cdef pool_function task = <pool_function>(norm_write_float if floating is float else norm_write_double)
    cdef floating* scale = <floating*>job.pieces
    cdef Py_ssize_t c
    if x.shape[0] == 0 or x.shape[1] == 0 or x.shape[2] == 0:
        return
    job.x, job.y, job.scale, job.mean, job.bias = &x[0, 0, 0], &y[0, 0, 0], scale, &mean[0], &bias[0]
    job.slope = slope
    with nogil:
        for c in range(job.c):
            scale[c] = <floating>(weight[c] / sqrt(variance[c] + epsilon))
        pool_run(task, &job, (job.p + norm_rows(&job) - 1) // norm_rows(&job), norm_threads(&job))


def batch_norm2d_sums(
    const floating[:, :, ::1] dy not None,   # IN (P, C, Q)
    const floating[:, :, ::1] x not None,    # IN (P, C, Q)
    const floating[::1] weight not None,     # IN (C,)
    const floating[::1] bias not None,       # IN (C,)
    const floating[::1] mean not None,       # IN (C,)
    const floating[::1] variance not None,   # IN (C,)
    double epsilon,
    double slope,
    floating[::1] dweight not None,          # OUT (C,)
    floating[::1] dbias not None,            # OUT (C,)
    uint8_t[::1] scratch not None,           # SCRATCH (batch_norm2d_scratch(P, C, Q),), of whole float64
):
    """The gradients of `batch_norm2d_forward` with respect to weight and bias.

    With g the gradient in front of the activation and r = 1 / sqrt(variance + epsilon), for each channel:
    dbias = sum(g); dweight = sum(g * (x - mean)) * r.
    """
    cdef norm_job job = norm_job_of(x.shape[0], x.shape[1], x.shape[2], sizeof(floating), &scratch[0])
    cdef pool_function sum_task = <pool_function>(norm_sums_float if floating is float else norm_sums_double)
    cdef floating* scale = <floating*>(job.sums + 4 * job.groups * job.c)
    cdef Py_ssize_t c, group
    cdef double sum, product
    if x.shape[0] == 0 or x.shape[1] == 0 or x.shape[2] == 0:
        dweight[:] = 0
        dbias[:] = 0
        return
    job.x, job.dy, job.scale, job.mean, job.bias = &x[0, 0, 0], &dy[0, 0, 0], scale, &mean[0], &bias[0]
    job.slope = slope
    with nogil:
        for c in range(job.c):
            scale[c] = <floating>(weight[c] / sqrt(variance[c] + epsilon))
        pool_run(sum_task, &job, job.groups, norm_threads(&job))
        for c in range(job.c):
            sum, product = 0, 0
            for group in range(job.groups):
                sum += job.sums[2 * group * job.c + c]
                product += job.sums[(2 * group + 1) * job.c + c]
            dbias[c], dweight[c] = <floating>sum, <floating>(product / sqrt(variance[c] + epsilon))


def batch_norm2d_dx(
    const floating[:, :, ::1] dy not None,   # IN (P, C, Q)
    const floating[:, :, ::1] x not None,    # IN (P, C, Q)
    const floating[::1] weight not None,     # IN (C,)
    const floating[::1] bias not None,       # IN (C,)
    const floating[::1] mean not None,       # IN (C,), of `count` elements, among them those of x
    const floating[::1] variance not None,   # IN (C,), of the same
    double epsilon,
    double slope,
    const floating[::1] dweight not None,    # IN (C,), the sums over the same
    const floating[::1] dbias not None,      # IN (C,)
    double count,
    floating[:, :, ::1] dx not None,         # OUT (P, C, Q)
    uint8_t[::1] scratch not None,           # SCRATCH (batch_norm2d_scratch(P, C, Q),), of whole float64
):
    """The gradient of `batch_norm2d_forward` with respect to x, where mean and variance move with x.

    With g and r as in `batch_norm2d_sums`: dx = weight * r * (g - dbias / count - (x - mean) * r * dweight / count).
    """
    cdef norm_job job = norm_job_of(x.shape[0], x.shape[1], x.shape[2], sizeof(floating), &scratch[0])
    cdef pool_function write = <pool_function>(norm_write_dx_float if floating is float else norm_write_dx_double)
    cdef floating* scale = <floating*>(job.sums + 4 * job.groups * job.c)
    cdef floating* of_x = scale + job.c
    cdef floating* constant = of_x + job.c
    cdef Py_ssize_t c
    cdef double root
    if x.shape[0] == 0 or x.shape[1] == 0 or x.shape[2] == 0:
        return
    job.x, job.dy, job.scale, job.mean, job.bias = &x[0, 0, 0], &dy[0, 0, 0], scale, &mean[0], &bias[0]
    job.of_x, job.constant, job.slope, job.y = of_x, constant, slope, &dx[0, 0, 0]
    with nogil:
        for c in range(job.c):
            root = 1 / sqrt(variance[c] + epsilon)
            scale[c] = <floating>(weight[c] * root)
            of_x[c] = <floating>(-weight[c] * root * root * dweight[c] / count)
            constant[c] = <floating>(-weight[c] * root * dbias[c] / count)
        pool_run(write, &job, (job.p + norm_rows(&job) - 1) // norm_rows(&job), norm_threads(&job))
