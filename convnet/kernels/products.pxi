"""Products of matrices, and what an Affine layer makes of them."""

cdef extern from "simd.h" nogil:
    ctypedef struct simd_product:
        Py_ssize_t m, n, k
        const float* a
        const float* b
        float* c
        Py_ssize_t a_step, b_step, c_step
        int a_is_transposed, b_is_transposed, b_is_packed
        float alpha, beta
        uint8_t* scratch
        const float* stream
        Py_ssize_t stream_size
    ctypedef struct simd_affine:
        Py_ssize_t n, d, m
        const float* x
        const float* dy
        float* weight
        float* out
        float* dx
        float decay, rate
        const simd_rule* rule
        float* first
        float* second
        uint8_t* scratch
    void simd_multiply(const simd_level* level, const simd_product* product, int threads) noexcept
    Py_ssize_t simd_multiply_scratch(Py_ssize_t m, Py_ssize_t k, Py_ssize_t n) noexcept
    Py_ssize_t simd_affine_scratch(Py_ssize_t n, Py_ssize_t d, Py_ssize_t m) noexcept
    double simd_affine_backward(const simd_level* level, const simd_affine* affine, int threads) noexcept

# Length of the common axis that is walked before the next rows are taken, so that this part of b stays in the cache.
cdef enum:
    DEPTH = 128


cdef inline void add_rows(
    Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t start, Py_ssize_t end,
    const floating* a, Py_ssize_t a_step, const floating* b, Py_ssize_t b_step, floating* c, Py_ssize_t c_step,
    bint a_is_transposed, floating alpha,
) noexcept nogil:
    """c += alpha * a[:, start:end] @ b[start:end], four rows of b at a time, to load c less often."""
    cdef Py_ssize_t _, j, p
    cdef Py_ssize_t down = 1 if a_is_transposed else a_step, right = a_step if a_is_transposed else 1
    cdef const floating* b0
    cdef const floating* b1
    cdef const floating* b2
    cdef const floating* b3
    cdef floating a0, a1, a2, a3
    for _ in range(rows):
        p = start
        while p + 4 <= end:
            a0, a1 = alpha * a[p * right], alpha * a[(p + 1) * right]
            a2, a3 = alpha * a[(p + 2) * right], alpha * a[(p + 3) * right]
            b0 = b + p * b_step
            b1, b2, b3 = b0 + b_step, b0 + 2 * b_step, b0 + 3 * b_step
            for j in range(columns):
                c[j] += a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j]
            p += 4
        while p < end:
            a0, b0 = alpha * a[p * right], b + p * b_step
            for j in range(columns):
                c[j] += a0 * b0[j]
            p += 1
        a += down
        c += c_step


cdef inline void add_dots(
    Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t start, Py_ssize_t end,
    const floating* a, Py_ssize_t a_step, const floating* b, Py_ssize_t b_step, floating* c, Py_ssize_t c_step,
    floating alpha,
) noexcept nogil:
    """c += alpha * a[:, start:end] @ b[:, start:end].T."""
    cdef Py_ssize_t _, j, p
    cdef const floating* b0
    cdef const floating* b1
    cdef const floating* b2
    cdef const floating* b3
    cdef floating sum0, sum1, sum2, sum3
    for _ in range(rows):
        j = 0
        while j + 4 <= columns:
            b0 = b + j * b_step
            b1, b2, b3 = b0 + b_step, b0 + 2 * b_step, b0 + 3 * b_step
            sum0 = sum1 = sum2 = sum3 = 0
            for p in range(start, end):
                sum0 += a[p] * b0[p]
                sum1 += a[p] * b1[p]
                sum2 += a[p] * b2[p]
                sum3 += a[p] * b3[p]
            c[j] += alpha * sum0
            c[j + 1] += alpha * sum1
            c[j + 2] += alpha * sum2
            c[j + 3] += alpha * sum3
            j += 4
        while j < columns:
            b0, sum0 = b + j * b_step, 0
            for p in range(start, end):
                sum0 += a[p] * b0[p]
            c[j] += alpha * sum0
            j += 1
        a += a_step
        c += c_step


cdef inline void product_of_blocks(
    const simd_level* level, int threads, Py_ssize_t m, Py_ssize_t k, Py_ssize_t n,
    const floating* a, Py_ssize_t a_step,    # a step: elements from one row in memory to the next
    const floating* b, Py_ssize_t b_step,
    floating* c, Py_ssize_t c_step,
    bint a_is_transposed, bint b_is_transposed, floating alpha, floating beta, uint8_t* scratch,
) noexcept nogil:
    """c = beta * c + alpha * a @ b for blocks of larger arrays, c of m rows and n columns, at least 1 each."""
    cdef simd_product s
    cdef Py_ssize_t i, j, start = 0, end
    if floating is float:
        if level != NULL:
            s.m, s.n, s.k = m, n, k
            s.a, s.b, s.c = a, b, c
            s.a_step, s.b_step, s.c_step = a_step, b_step, c_step
            s.a_is_transposed, s.b_is_transposed = a_is_transposed, b_is_transposed
            s.alpha, s.beta = alpha, beta
            s.b_is_packed, s.scratch, s.stream, s.stream_size = False, scratch, NULL, 0
            simd_multiply(level, &s, threads)
            return
    for i in range(m):
        for j in range(n):
            c[i * c_step + j] = 0 if beta == 0 else beta * c[i * c_step + j]
    while start < k:
        end = min(start + DEPTH, k)
        if b_is_transposed:
            add_dots(m, n, start, end, a, a_step, b, b_step, c, c_step, alpha)
        else:
            add_rows(m, n, start, end, a, a_step, b, b_step, c, c_step, a_is_transposed, alpha)
        start = end


cdef inline void product(
    const simd_level* level, int threads,
    const floating[:, ::1] a, const floating[:, ::1] b, floating[:, ::1] c,
    bint a_is_transposed, bint b_is_transposed, floating alpha, floating beta, uint8_t* scratch,
) noexcept nogil:
    """c = beta * c + alpha * a @ b, of whole arrays."""
    cdef Py_ssize_t k = a.shape[0] if a_is_transposed else a.shape[1]
    if c.shape[0] and c.shape[1]:
        product_of_blocks(
            level, threads, c.shape[0], k, c.shape[1], &a[0, 0] if k else NULL, a.shape[1],
            &b[0, 0] if k else NULL, b.shape[1], &c[0, 0], c.shape[1],
            a_is_transposed, b_is_transposed, alpha, beta, scratch,
        )


def multiply_scratch(Py_ssize_t m, Py_ssize_t k, Py_ssize_t n):
    """Return how many bytes of scratch memory `multiply` can use, or 0 where it does without."""
    return 0 if level_in_use == NULL else simd_multiply_scratch(m, k, n)


def multiply(
    const floating[:, ::1] a not None,       # IN (M, K), or (K, M) if a_is_transposed
    const floating[:, ::1] b not None,       # IN (K, N), or (N, K) if b_is_transposed; not both are
    floating[:, ::1] c not None,             # INOUT (M, N), not read if beta is 0
    bint a_is_transposed, bint b_is_transposed,
    double beta,
    uint8_t[::1] scratch,                    # SCRATCH (multiply_scratch(M, K, N),), or None
):
    """c = beta * c + a @ b. The order of every sum depends on the shapes and on where a is 0, not on the threads.

    With scratch memory, and neither factor transposed, the common axis is divided (split-K), so that b is read once
    and from end to end; native/jobs/product.h has the sizes. Where much of a is 0, as after ReLU, the zeros are left
    out, if there are rows and columns enough. A single row leaves out all of its zeros.
    """
    cdef const simd_level* level = level_in_use
    cdef int threads = pool_kernel_threads()
    cdef uint8_t* memory = &scratch[0] if scratch is not None and scratch.shape[0] else NULL
    with nogil:
        product(level, threads, a, b, c, a_is_transposed, b_is_transposed, 1, <floating>beta, memory)


# ------------------------------------------------------------------------------------------------- Affine

# Elements of y whose bias or ReLU a task does.
cdef enum:
    AFFINE_PART = 1 << 14


cdef struct affine_job:
    Py_ssize_t n, m, rows                    # rows of a task
    const void* bias
    void* y


cdef inline void write_bias(const affine_job* j, floating* y, const floating* bias, Py_ssize_t part) noexcept nogil:
    """Write the bias to some rows of y."""
    cdef Py_ssize_t n, m
    for n in range(part * j.rows, min((part + 1) * j.rows, j.n)):
        for m in range(j.m):
            y[n * j.m + m] = bias[m]


cdef inline void rectify(const affine_job* j, floating* y, Py_ssize_t part) noexcept nogil:
    """Apply ReLU to some rows of y."""
    cdef Py_ssize_t i
    for i in range(part * j.rows * j.m, min((part + 1) * j.rows, j.n) * j.m):
        y[i] = 0 if y[i] < 0 else y[i]


cdef void write_bias_float(void* job, Py_ssize_t index, int slot) noexcept nogil:
    cdef affine_job* j = <affine_job*>job
    write_bias(j, <float*>j.y, <const float*>j.bias, index)


cdef void write_bias_double(void* job, Py_ssize_t index, int slot) noexcept nogil:
    cdef affine_job* j = <affine_job*>job
    write_bias(j, <double*>j.y, <const double*>j.bias, index)


cdef void rectify_float(void* job, Py_ssize_t index, int slot) noexcept nogil:
    rectify(<affine_job*>job, <float*>(<affine_job*>job).y, index)


cdef void rectify_double(void* job, Py_ssize_t index, int slot) noexcept nogil:
    rectify(<affine_job*>job, <double*>(<affine_job*>job).y, index)


def affine_forward_scratch(Py_ssize_t n, Py_ssize_t d, Py_ssize_t m):
    """Return how many bytes of scratch memory `affine_forward` can use."""
    return 0 if level_in_use == NULL else simd_multiply_scratch(n, d, m)


def affine_forward(
    const floating[:, ::1] x not None,       # IN (N, D)
    const floating[:, ::1] weight not None,  # IN (D, M)
    const floating[::1] bias not None,       # IN (M,)
    floating[:, ::1] y not None,             # OUT (N, M)
    bint relu,
    uint8_t[::1] scratch not None,           # SCRATCH (affine_forward_scratch(N, D, M),)
):
    """y = x @ weight + bias, and then max(y, 0), with NaN kept, if relu is true."""
    cdef const simd_level* level = level_in_use
    cdef int threads = pool_kernel_threads(), few = threads if y.shape[0] * y.shape[1] >= SIMD_ALONE else 1
    cdef uint8_t* memory = &scratch[0] if scratch.shape[0] else NULL
    cdef pool_function write = <pool_function>(write_bias_float if floating is float else write_bias_double)
    cdef pool_function rectify_rows = <pool_function>(rectify_float if floating is float else rectify_double)
    cdef affine_job job
    cdef Py_ssize_t parts
    if y.shape[0] == 0 or y.shape[1] == 0:
        return
    job.n, job.m, job.bias, job.y = y.shape[0], y.shape[1], &bias[0], &y[0, 0]
    job.rows = max(1, AFFINE_PART // job.m)
    parts = (job.n + job.rows - 1) // job.rows
    with nogil:
        pool_run(write, &job, parts, few)
        product(level, threads, x, weight, y, False, False, 1, 1, memory)
        if relu:
            pool_run(rectify_rows, &job, parts, few)


def affine_backward_scratch(Py_ssize_t n, Py_ssize_t d, Py_ssize_t m):
    """Return how many bytes of scratch memory `affine_backward` needs."""
    return 0 if level_in_use == NULL else simd_affine_scratch(n, d, m)


cdef inline double affine_gradients(
    const simd_level* level, int threads,
    const floating[:, ::1] dy, const floating[:, ::1] x, const floating[:, ::1] weight, floating[:, ::1] dx,
    floating[:, ::1] out, floating decay, floating rate, uint8_t* scratch,
) noexcept nogil:
    """What `affine_backward` does."""
    cdef simd_affine s
    cdef Py_ssize_t d, m
    cdef double squares = 0
    if floating is float:
        if level != NULL and x.shape[0] and weight.shape[0] and weight.shape[1]:
            s.n, s.d, s.m = x.shape[0], weight.shape[0], weight.shape[1]
            s.x, s.dy, s.weight = &x[0, 0], &dy[0, 0], <float*>&weight[0, 0]
            s.out, s.scratch = &out[0, 0], scratch
            s.dx = NULL if dx is None else &dx[0, 0]
            s.decay, s.rate = decay, rate
            s.rule = NULL
            return simd_affine_backward(level, &s, threads)
    for d in range(weight.shape[0]):
        for m in range(weight.shape[1]):
            squares += <double>weight[d, m] * weight[d, m]
    if dx is not None:
        product(level, threads, dy, weight, dx, False, True, 1, 0, NULL)
    product(level, threads, x, dy, out, True, False, -rate, decay, NULL)
    return squares


cdef inline void sum_rows(const floating[:, ::1] dy, floating[::1] dbias) noexcept nogil:
    """dbias = the sum of dy's rows, added in order."""
    cdef Py_ssize_t n, m
    for m in range(dy.shape[1]):
        dbias[m] = 0
    for n in range(dy.shape[0]):
        for m in range(dy.shape[1]):
            dbias[m] += dy[n, m]


def affine_backward(
    const floating[:, ::1] dy not None,      # IN (N, M)
    const floating[:, ::1] x not None,       # IN (N, D)
    const floating[:, ::1] weight not None,  # IN (D, M)
    floating[:, ::1] dx,                     # OUT (N, D), or None
    floating[:, ::1] out not None,           # INOUT (D, M): weight itself, or not read because decay is 0
    floating[::1] dbias not None,            # OUT (M,)
    double decay, double rate,
    uint8_t[::1] scratch not None,           # SCRATCH (affine_backward_scratch(N, D, M),)
):
    """dx = dy @ weight.T; out = decay * out - rate * x.T @ dy; dbias = the sum of dy's rows, added in order.

    Return the sum of weight ** 2, before. With an instruction set this goes a block of rows of the weight at a time:
    they come from memory once for both, and an update in place never writes the gradient. Where most of dy is 0, as
    after ReLU, the zeros are left out.
    """
    cdef const simd_level* level = level_in_use
    cdef int threads = pool_kernel_threads()
    cdef uint8_t* memory = &scratch[0] if scratch.shape[0] else NULL
    cdef double squares
    with nogil:
        squares = affine_gradients(
            level, threads, dy, x, weight, dx, out, <floating>decay, <floating>rate, memory
        )
        sum_rows(dy, dbias)
    return squares


def affine_update(
    Rule rule not None,
    const float[:, ::1] dy not None,         # IN (N, M)
    const float[:, ::1] x not None,          # IN (N, D)
    float[:, ::1] weight not None,           # INOUT (D, M)
    float[:, ::1] dx,                        # OUT (N, D), or None
    float[:, ::1] dweight not None,          # SCRATCH (D, M)
    float[::1] dbias not None,               # OUT (M,)
    float[::1] first,                        # INOUT (D * M,), or None where the rule has no such array
    float[::1] second,                       # INOUT (D * M,), or None
    uint8_t[::1] scratch not None,           # SCRATCH (affine_backward_scratch(N, D, M),)
):
    """Do what `affine_backward` does, for N of at least 1, and update the weight by a rule. Needs an instruction set.

    Return the sum of weight ** 2, before.
    """
    cdef const simd_level* level = level_in_use
    cdef int threads = pool_kernel_threads()
    cdef simd_affine s
    cdef double squares
    s.n, s.d, s.m = x.shape[0], weight.shape[0], weight.shape[1]
    s.x, s.dy, s.weight = &x[0, 0], &dy[0, 0], &weight[0, 0]
    s.out, s.scratch, s.dx = &dweight[0, 0], &scratch[0], NULL if dx is None else &dx[0, 0]
    s.decay, s.rate, s.rule = 0, -1, &rule.r
    s.first, s.second = NULL if first is None else &first[0], NULL if second is None else &second[0]
    with nogil:
        squares = simd_affine_backward(level, &s, threads)
        sum_rows(dy, dbias)
    return squares
