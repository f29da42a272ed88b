"""Typed loops over memoryviews: products, im2col convolution, pooling, ReLU, losses, warping, parameter updates.

Every function is one body for float32 and float64 (the fused ones are for float32 alone), works on C-contiguous
arrays that its caller in this package has checked and allocated, releases the GIL, and neither raises nor allocates.
`IN`, `OUT` and `INOUT` say whether an array is read, overwritten or both. `level` is 0 to simd_highest(), an index of
_simd.h's instruction sets, or -1 for the loops written here; float64 always takes these.

`run_tasks` alone touches Python objects: it calls a Python function on the threads of the pool.
"""

import contextvars
import sys

from cython cimport floating
from libc.math cimport exp, floor, log, sqrt, sqrtf
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memcpy, memset

cdef extern from "_pool.h" nogil:
    int pool_run(void (*task)(void*, Py_ssize_t, int) noexcept, void* job, Py_ssize_t count, int size) noexcept
    const int POOL_MAX

cdef extern from "_simd.h" nogil:
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
        const float* weight
        float* out
        float* dx
        float decay, rate
        uint8_t* scratch
    ctypedef struct simd_convolution:
        Py_ssize_t n, c, h, w, padding_h, padding_w, hp, wp, f, kh, kw, ph, pw
        const float* x
        const float* weight
        const float* bias
        const float* dy
        float* padded
        float* y
        float* dweight
        float* dbias
        uint8_t* codes
    ctypedef struct simd_direct:
        Py_ssize_t filters, channels, kernel_h, kernel_w, rows, columns, stride_h, padding_h, height
        Py_ssize_t x_step, y_step
        const float* weight
        const float* x
        const Py_ssize_t* pixels
        const float* bias
        float* y
        const float* dy
        float* dweight
        float* dbias
    int c_simd_highest "simd_highest"() noexcept
    void simd_multiply(int level, const simd_product* product, int threads) noexcept
    Py_ssize_t simd_multiply_scratch(Py_ssize_t m, Py_ssize_t k, Py_ssize_t n) noexcept
    Py_ssize_t simd_affine_scratch(Py_ssize_t n, Py_ssize_t d, Py_ssize_t m) noexcept
    double simd_affine_backward(int level, const simd_affine* affine, int threads) noexcept
    void simd_convolution_forward(int level, const simd_convolution* convolution, int threads) noexcept
    void simd_convolution_backward(int level, const simd_convolution* convolution, int threads) noexcept
    Py_ssize_t simd_lanes(int level) noexcept
    void simd_direct_weights(int level, const float* weight, Py_ssize_t filters, Py_ssize_t channels, Py_ssize_t area,
                             int is_adjoint, float* packed) noexcept
    void simd_direct_convolution(int level, const simd_direct* direct) noexcept
    void simd_direct_gradients(int level, const simd_direct* direct) noexcept
    void simd_copy_rows(int level, const float* x, Py_ssize_t x_step, float* y, Py_ssize_t rows,
                        Py_ssize_t columns) noexcept
    void simd_accumulate(int level, const float* x, Py_ssize_t x_step, Py_ssize_t shifts, float* y, Py_ssize_t y_step,
                         Py_ssize_t rows, Py_ssize_t columns) noexcept
    const int SIMD_SLACK, SIMD_MAX_KERNEL_W, SIMD_CLOSED, SIMD_BUILT
    const char* SIMD_COMPILER

# Most threads; floats that padded images need behind the last pixel, the widest filter of the fused backward pass, and
# the code of a pooled cell that ReLU closed; see _pool.h and _simd.h.
MAX_THREADS = POOL_MAX
SLACK = SIMD_SLACK
MAX_KERNEL_W = SIMD_MAX_KERNEL_W
CLOSED = SIMD_CLOSED
# For `show_config`: how many levels were built, and what built them.
NUM_LEVELS = SIMD_BUILT
COMPILER = SIMD_COMPILER.decode()


# ------------------------------------------------------------------------------------------------- threads

def simd_highest():
    """Return the highest level of _simd.h that this processor runs: 2 AVX-512, 1 AVX2, 0 portable, -1 none built."""
    return c_simd_highest()


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

    slot, below `threads`, is another one for each thread that takes part. Calls see the caller's context variables, of
    which numpy.errstate is one.
    """
    errors = []
    job = function, contextvars.copy_context(), errors
    if sys.is_finalizing():                  # no other thread may run Python any more
        threads = 1
    cdef void* pointer = <void*>job
    cdef bint is_whole
    with nogil:
        is_whole = pool_run(call_task, pointer, count, threads)
    if errors:
        raise errors[0]
    if not is_whole:
        raise RuntimeError("the process was forked in the middle of this computation, which the child cannot finish")


# ------------------------------------------------------------------------------------------------ products

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
    int level, int threads, Py_ssize_t m, Py_ssize_t k, Py_ssize_t n,
    const floating* a, Py_ssize_t a_step,    # a step: elements from one row in memory to the next
    const floating* b, Py_ssize_t b_step,
    floating* c, Py_ssize_t c_step,
    bint a_is_transposed, bint b_is_transposed, floating alpha, floating beta, uint8_t* scratch,
) noexcept nogil:
    """c = beta * c + alpha * a @ b for blocks of larger arrays, c of m rows and n columns, at least 1 each."""
    cdef simd_product s
    cdef Py_ssize_t i, j, start = 0, end
    if floating is float:
        if level >= 0:
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
    int level, int threads,
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


def multiply_scratch(int level, Py_ssize_t m, Py_ssize_t k, Py_ssize_t n):
    """Return how many bytes of scratch memory `multiply` can use, or 0 where it does without."""
    return simd_multiply_scratch(m, k, n) if level >= 0 else 0


def multiply(
    int level, int threads,
    const floating[:, ::1] a not None,       # IN (M, K), or (K, M) if a_is_transposed
    const floating[:, ::1] b not None,       # IN (K, N), or (N, K) if b_is_transposed; not both are
    floating[:, ::1] c not None,             # INOUT (M, N), not read if beta is 0
    bint a_is_transposed, bint b_is_transposed,
    double beta,
    uint8_t[::1] scratch,                    # SCRATCH (multiply_scratch(level, M, K, N),), or None: zeros stay
):
    """c = beta * c + a @ b. The order of every sum depends on the shapes and on where a is 0, not on the threads.

    With scratch memory, and neither factor transposed, some 8 tasks sum parts of the common axis, so that b is read
    once and from end to end; `_simd_jobs.h` has the sizes and what they gain. Where much of a is 0, as after ReLU, the
    zeros are left out, if there are rows and columns enough: with one half of 50 rows open ConvNet1's first Affine
    layer took 3.0 ms on one core instead of 3.4, with a third of 250 rows 11.4 instead of 17.2. A single row leaves out
    all of its zeros.
    """
    cdef uint8_t* memory = &scratch[0] if scratch is not None and scratch.shape[0] else NULL
    with nogil:
        product(level, threads, a, b, c, a_is_transposed, b_is_transposed, 1, <floating>beta, memory)


def affine_scratch(int level, Py_ssize_t n, Py_ssize_t d, Py_ssize_t m):
    """Return how many bytes of scratch memory `affine_backward` needs."""
    return simd_affine_scratch(n, d, m) if level >= 0 else 0


cdef inline double affine_gradients(
    int level, int threads,
    const floating[:, ::1] dy, const floating[:, ::1] x, const floating[:, ::1] weight, floating[:, ::1] dx,
    floating[:, ::1] out, floating decay, floating rate, uint8_t* scratch,
) noexcept nogil:
    """What `affine_backward` does."""
    cdef simd_affine s
    cdef Py_ssize_t d, m
    cdef double squares = 0
    if floating is float:
        if level >= 0 and x.shape[0] and weight.shape[0] and weight.shape[1]:
            s.n, s.d, s.m = x.shape[0], weight.shape[0], weight.shape[1]
            s.x, s.dy, s.weight = &x[0, 0], &dy[0, 0], &weight[0, 0]
            s.out, s.scratch = &out[0, 0], scratch
            s.dx = NULL if dx is None else &dx[0, 0]
            s.decay, s.rate = decay, rate
            return simd_affine_backward(level, &s, threads)
    for d in range(weight.shape[0]):
        for m in range(weight.shape[1]):
            squares += <double>weight[d, m] * weight[d, m]
    if dx is not None:
        product(level, threads, dy, weight, dx, False, True, 1, 0, NULL)
    product(level, threads, x, dy, out, True, False, -rate, decay, NULL)
    return squares


def affine_backward(
    int level, int threads,
    const floating[:, ::1] dy not None,      # IN (N, M)
    const floating[:, ::1] x not None,       # IN (N, D)
    const floating[:, ::1] weight not None,  # IN (D, M)
    floating[:, ::1] dx,                     # OUT (N, D), or None
    floating[:, ::1] out not None,           # INOUT (D, M): weight itself, or not read because decay is 0
    double decay, double rate,
    uint8_t[::1] scratch not None,           # SCRATCH (affine_scratch(level, N, D, M),)
):
    """dx = dy @ weight.T; out = decay * out - rate * x.T @ dy. Return the sum of weight ** 2, before.

    With the tiles this goes a block of rows of the weight at a time, so that they come from memory once for both, and
    an update in place never writes the gradient: ConvNet1's first Affine layer takes 6.6 ms on one core, 9.7 when the
    gradient is written, regularised and then subtracted. Where less than four tenths of dy are not 0, as after ReLU,
    the zeros are left out: 2.2 ms with one tenth.
    """
    cdef uint8_t* memory = &scratch[0] if scratch.shape[0] else NULL
    cdef double squares
    with nogil:
        squares = affine_gradients(
            level, threads, dy, x, weight, dx, out, <floating>decay, <floating>rate, memory
        )
    return squares


# ------------------------------------------------------------------------------------------------ geometry

cdef inline Py_ssize_t first_inside(Py_ssize_t offset, Py_ssize_t stride, Py_ssize_t count) noexcept nogil:
    """Return the first output index o in [0, count] with o * stride + offset >= 0."""
    if offset >= 0:
        return 0
    return min((stride - 1 - offset) // stride, count)


cdef inline Py_ssize_t end_inside(Py_ssize_t offset, Py_ssize_t stride, Py_ssize_t size, Py_ssize_t first,
                                  Py_ssize_t count) noexcept nogil:
    """Return the end of the output indices o >= first with o * stride + offset < size, at most count."""
    if (count - 1) * stride + offset < size:    # nearly always; without this way out the division took half the time
        return count
    if offset >= size:
        return first
    return max(first, min((size - 1 - offset) // stride + 1, count))


# --------------------------------------------------------------------------------------- im2col convolution
#
# A row of `cols` is made of rows of the image, of the pixels that are a stride apart. A channel is therefore padded and
# split into its phases first (pixels whose row and column leave the same remainders when divided by the strides), in
# which these pixels are neighbours: the KH * KW rows of `cols` are then copies of contiguous rows, whatever the stride.
# Phases beyond the kernel are left out, so that they take no more memory than a channel's part of `cols`. Without
# padding and with stride 1 a channel is its only phase, where it lies.
#
# A convolution goes through its output a block of rows at a time, as so many convolutions of fewer output rows, whose
# padding above is less by what lies above the block; it may be negative. `cols` then stays in the second-level cache,
# however large the images are.

# Elements that `cols` may have, and the least columns. For 8 images of 16 channels, 128 x 128 pixels, 3x3, both
# passes take 8.9 ms on two threads instead of 13.3; columns that fit in 1 MiB anyway gain nothing. The least columns
# count where windows are large: for 8 images 96 of them take 3 to 8 % less than 192 with 256 channels of 28 x 28
# pixels, 3x3, and 128, 5x5, but 3 to 18 % more with 512 of 14 x 14, 3x3; 384 take the same within 3 %, once 7 % less.
# These are times of convolutions by columns. Those without, further down, go by the same blocks: these bound their
# memory too, and cost them 0 to 7 %.
cdef enum:
    BLOCK_SIZE = 1 << 18
    BLOCK_COLUMNS = 192


cdef struct windows:
    Py_ssize_t kernel_h, kernel_w, out_h, out_w, stride_h, stride_w, padding_h, padding_w
    Py_ssize_t phases_h, phases_w, rows, columns     # how many phases along each axis, and the size of each
    bint is_plain                                    # the only phase is rows of the channel itself


cdef inline windows windows_of(
    Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t out_h, Py_ssize_t out_w,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
) noexcept nogil:
    cdef windows s
    s.kernel_h, s.kernel_w, s.out_h, s.out_w = kernel_h, kernel_w, out_h, out_w
    s.stride_h, s.stride_w, s.padding_h, s.padding_w = stride_h, stride_w, padding_h, padding_w
    s.phases_h, s.phases_w = min(kernel_h, stride_h), min(kernel_w, stride_w)
    s.rows, s.columns = out_h + (kernel_h - 1) // stride_h, out_w + (kernel_w - 1) // stride_w
    s.is_plain = stride_h == stride_w == 1 and padding_h == padding_w == 0
    return s


cdef inline windows block_of(windows s, Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """Return the convolution that gives the output rows from first to end - 1 alone."""
    s.out_h, s.rows = end - first, end - first + (s.kernel_h - 1) // s.stride_h
    s.padding_h -= first * s.stride_h
    return s


cdef inline Py_ssize_t phases_total(windows s) noexcept nogil:
    """Elements of all phases of a channel."""
    return s.phases_h * s.rows * s.phases_w * s.columns


cdef inline Py_ssize_t first_pixel(windows s, Py_ssize_t i, Py_ssize_t j) noexcept nogil:
    """Where in the phases the pixel is that row i, column j of the first window's kernel lies on."""
    return ((i % s.stride_h * s.rows + i // s.stride_h) * s.phases_w + j % s.stride_w) * s.columns + j // s.stride_w


def phases_size(
    Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t out_h, Py_ssize_t out_w,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
):
    """Return how many elements of scratch memory the phases of a channel take."""
    cdef windows s = windows_of(kernel_h, kernel_w, out_h, out_w, stride_h, stride_w, padding_h, padding_w)
    return phases_total(s)


def block_rows(Py_ssize_t size, Py_ssize_t out_h, Py_ssize_t out_w):
    """Return how many output rows a convolution does at a time, for windows of `size` elements, C * KH * KW.

    As many as give `cols` at most BLOCK_SIZE elements, but at least BLOCK_COLUMNS columns, spread evenly.
    """
    cdef Py_ssize_t pixels = out_h * out_w
    cdef Py_ssize_t blocks = max(1, min((size * pixels + BLOCK_SIZE - 1) // BLOCK_SIZE, pixels // BLOCK_COLUMNS, out_h))
    return (out_h + blocks - 1) // blocks


cdef inline void copy_row(const floating* x, floating* y, Py_ssize_t count) noexcept nogil:
    """y = x, in blocks whose length the compiler knows, of which the last may overlap the one before.

    Rows are short: with a loop, unfolding 14 x 14 or 28 x 28 pixels takes half as long again to twice as long.
    """
    cdef Py_ssize_t i = 0
    if count >= 16:
        while i + 16 < count:
            memcpy(y + i, x + i, 16 * sizeof(floating))
            i += 16
        memcpy(y + count - 16, x + count - 16, 16 * sizeof(floating))
    elif count >= 8:
        memcpy(y, x, 8 * sizeof(floating))
        memcpy(y + count - 8, x + count - 8, 8 * sizeof(floating))
    elif count >= 4:
        memcpy(y, x, 4 * sizeof(floating))
        memcpy(y + count - 4, x + count - 4, 4 * sizeof(floating))
    else:
        for i in range(count):
            y[i] = x[i]


cdef inline void copy_rows(
    int level, const floating* x, Py_ssize_t x_step, floating* y, Py_ssize_t rows, Py_ssize_t columns,
) noexcept nogil:
    """y[r * columns + i] = x[r * x_step + i]."""
    cdef Py_ssize_t r
    if floating is float:
        if level >= 0:
            simd_copy_rows(level, x, x_step, y, rows, columns)
            return
    for r in range(rows):
        copy_row(x + r * x_step, y + r * columns, columns)


cdef inline void accumulate(
    int level, const floating* x, Py_ssize_t x_step, Py_ssize_t shifts, floating* y, Py_ssize_t y_step,
    Py_ssize_t rows, Py_ssize_t columns,
) noexcept nogil:
    """y[r * y_step + t + i] += x[t * x_step + r * columns + i] for t below shifts."""
    cdef Py_ssize_t t, r, i
    if floating is float:
        if level >= 0:
            simd_accumulate(level, x, x_step, shifts, y, y_step, rows, columns)
            return
    for t in range(shifts):
        for r in range(rows):
            for i in range(columns):
                y[r * y_step + t + i] += x[t * x_step + r * columns + i]


cdef inline void split(
    windows s,
    const floating* x, Py_ssize_t height, Py_ssize_t width,     # IN (H, W)
    floating* phases,                        # OUT (phases_h, rows, phases_w, columns)
) noexcept nogil:
    """phases[a, r, b, q] = x[r * stride_h + a - padding_h, q * stride_w + b - padding_w], 0 outside x."""
    cdef Py_ssize_t a, b, r, q, h, offset, first, end
    for a in range(s.phases_h):
        for r in range(s.rows):
            h = r * s.stride_h + a - s.padding_h
            for b in range(s.phases_w):
                offset = b - s.padding_w
                first = end = s.columns
                if 0 <= h < height:
                    first = first_inside(offset, s.stride_w, s.columns)
                    end = end_inside(offset, s.stride_w, width, first, s.columns)
                for q in range(first):
                    phases[q] = 0
                if s.stride_w == 1 and first < end:
                    copy_row(x + h * width + first + offset, phases + first, end - first)
                else:
                    for q in range(first, end):
                        phases[q] = x[h * width + q * s.stride_w + offset]
                for q in range(end, s.columns):
                    phases[q] = 0
                phases += s.columns


cdef inline void join(
    windows s,
    const floating* phases,                  # IN (phases_h, rows, phases_w, columns)
    floating[:, ::1] x,                      # INOUT (H, W), added to
) noexcept nogil:
    """Add every element of the phases to the pixel that split copies it from."""
    cdef Py_ssize_t a, b, r, q, h, offset, first, end
    for a in range(s.phases_h):
        for r in range(s.rows):
            h = r * s.stride_h + a - s.padding_h
            for b in range(s.phases_w):
                offset = b - s.padding_w
                if 0 <= h < x.shape[0]:
                    first = first_inside(offset, s.stride_w, s.columns)
                    end = end_inside(offset, s.stride_w, x.shape[1], first, s.columns)
                    for q in range(first, end):
                        x[h, q * s.stride_w + offset] += phases[q]
                phases += s.columns


cdef inline const floating* pixels_of(const floating[:, :, :, ::1] x, Py_ssize_t n) noexcept nogil:
    """Return where an image begins, or NULL if it has no pixels, and so nothing to read."""
    return &x[n, 0, 0, 0] if x.shape[1] and x.shape[2] and x.shape[3] else NULL


cdef inline void unfold(
    int level, windows s,
    const floating* x, Py_ssize_t channels, Py_ssize_t height, Py_ssize_t width,    # IN (C, H, W)
    floating* phases,                        # SCRATCH (phases_total(s),)
    floating* cols,                          # OUT (C * KH * KW, OH * OW)
) noexcept nogil:
    """cols[(c, i, j), (oh, ow)] = x[c, oh * stride_h + i - padding_h, ow * stride_w + j - padding_w], 0 outside x."""
    cdef Py_ssize_t c, i, j, step = s.phases_w * s.columns
    cdef const floating* source
    for c in range(channels):
        source = x + (c * height - s.padding_h) * width if s.is_plain else phases
        if not s.is_plain:
            split(s, x + c * height * width, height, width, phases)
        for i in range(s.kernel_h):
            for j in range(s.kernel_w):
                copy_rows(level, source + first_pixel(s, i, j), step, cols, s.out_h, s.out_w)
                cols += s.out_h * s.out_w


cdef inline void fold(
    int level, windows s,
    const floating* cols,                    # IN (C * KH * KW, OH * OW)
    floating* phases,                        # SCRATCH (phases_total(s),)
    floating[:, :, ::1] x,                   # INOUT (C, H, W), added to
) noexcept nogil:
    """Add every element of cols to the element of x that unfold copies it from."""
    cdef Py_ssize_t c, i, j, pixels = s.out_h * s.out_w
    cdef floating* target
    for c in range(x.shape[0]):
        target = &x[c, -s.padding_h, 0] if s.is_plain else phases
        if not s.is_plain:
            memset(phases, 0, phases_total(s) * sizeof(floating))
        for i in range(s.kernel_h):
            # The columns of the kernel that are a stride apart: in a phase, each a pixel beside the one before.
            for j in range(s.phases_w):
                accumulate(
                    level, cols + j * pixels, s.stride_w * pixels, (s.kernel_w - 1 - j) // s.stride_w + 1,
                    target + first_pixel(s, i, j), s.phases_w * s.columns, s.out_h, s.out_w,
                )
            cols += s.kernel_w * pixels
        if not s.is_plain:
            join(s, phases, x[c])


def im2col(
    int level,
    const floating[:, :, :, ::1] x not None,         # IN (N, C, H, W)
    floating[::1] phases not None,                   # SCRATCH (phases_size(...),)
    floating[:, :, ::1] cols not None,               # OUT (N, C * KH * KW, OH * OW)
    Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t out_h, Py_ssize_t out_w,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
):
    """cols[n, (c, i, j), (oh, ow)] = x[n, c, oh * stride_h + i - padding_h, ow * stride_w + j - padding_w], or 0."""
    cdef windows s = windows_of(kernel_h, kernel_w, out_h, out_w, stride_h, stride_w, padding_h, padding_w)
    cdef Py_ssize_t n
    with nogil:
        for n in range(x.shape[0]):
            unfold(level, s, pixels_of(x, n), x.shape[1], x.shape[2], x.shape[3], &phases[0], &cols[n, 0, 0])


def col2im(
    int level,
    const floating[:, :, ::1] cols not None,         # IN (N, C * KH * KW, OH * OW)
    floating[::1] phases not None,                   # SCRATCH (phases_size(...),)
    floating[:, :, :, ::1] x not None,               # INOUT (N, C, H, W), added to
    Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t out_h, Py_ssize_t out_w,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
):
    """Add every element of cols to the element of x that im2col copies it from: the adjoint of im2col."""
    cdef windows s = windows_of(kernel_h, kernel_w, out_h, out_w, stride_h, stride_w, padding_h, padding_w)
    cdef Py_ssize_t n
    with nogil:
        for n in range(x.shape[0]):
            fold(level, s, &cols[n, 0, 0], &phases[0], x[n])


# ----------------------------------------------------------------------------------- convolution, both passes
#
# The tiles of _simd.h need no columns: they read each pixel where it lies in the phases of all channels, at the place
# that its tap has there. The weights are packed for that before, once for all images. The input's gradient, where the
# stride is 1, is such a convolution as well: of the output's gradient, with each filter turned by half a turn, channels
# in the place of filters, and as padding what the kernel leaves, which may be negative.
#
# By columns go fewer filters than LEAST_FILTERS: with AVX-512 3 to 7 take 1.0 to 1.2 times as long without, the input
# gradient of so many channels 1.1 to 2.4 times. So do input gradients whose pixels, times the channels that their
# vectors have room for, are more than MOST_PERCENT of the output's pixels times the channels. Most pixels are next to
# padding then: 7 for 5 in a row, 3x3, take 0.75, 6 for 4 1.1, and 8 for 4, 5x5, 1.4 times as long; with as many pixels
# as the output has, 9 channels take 1.1, 10 the same, 12 and 24 0.75 to 0.85. A window of one pixel is as fast by
# columns, as are outputs of fewer pixels than LEAST_PIXELS.

cdef enum:
    LEAST_FILTERS = 8
    LEAST_PIXELS = 16
    MOST_PERCENT = 200


cdef inline windows adjoint_of(windows s, Py_ssize_t height, Py_ssize_t width) noexcept nogil:
    """Return the convolution that gives the gradient of an input of this size."""
    return windows_of(
        s.kernel_h, s.kernel_w, height, width, 1, 1, s.kernel_h - 1 - s.padding_h, s.kernel_w - 1 - s.padding_w
    )


cdef inline int direct_level(int level, Py_ssize_t filters) noexcept nogil:
    """Return the level whose tiles take so many filters: AVX2's instead of AVX-512's where half a vector holds them."""
    return level - 1 if level > 1 and filters <= simd_lanes(level - 1) else level


cdef inline bint has_direct(int level, windows s) noexcept nogil:
    """Whether float32 gradients of weights go without columns, and the other passes where that pays."""
    return level >= 0 and s.kernel_h * s.kernel_w > 1 and s.out_h * s.out_w >= LEAST_PIXELS


cdef inline bint is_direct(int level, windows s, Py_ssize_t filters) noexcept nogil:
    """Whether float32 outputs of so many filters do."""
    return has_direct(level, s) and filters >= LEAST_FILTERS


cdef inline bint is_adjoint_direct(
    int level, windows s, Py_ssize_t channels, Py_ssize_t height, Py_ssize_t width,
) noexcept nogil:
    """Whether the gradient of an input of this size does."""
    cdef Py_ssize_t lanes
    if s.stride_h != 1 or s.stride_w != 1 or not is_direct(level, adjoint_of(s, height, width), channels):
        return False
    lanes = simd_lanes(direct_level(level, channels))
    return 100.0 * height * width * ((channels + lanes - 1) // lanes * lanes) <= (
        <double>MOST_PERCENT * s.out_h * s.out_w * channels
    )


cdef inline Py_ssize_t packed_size(int level, Py_ssize_t filters, Py_ssize_t taps) noexcept nogil:
    """Floats of packed weights, wherever their memory begins."""
    cdef Py_ssize_t lanes = simd_lanes(direct_level(level, filters))
    return (filters + 2 * lanes - 1) // (2 * lanes) * 2 * lanes * taps + 16


cdef inline float* at_line(const float* memory) noexcept nogil:
    """Return the first cache line within."""
    return <float*>((<size_t>memory + 63) // 64 * 64)


def conv2d_scratch(
    int level, bint is_float, bint is_backward, bint need_dx,   # is_float: of float32, or else of float64
    Py_ssize_t channels, Py_ssize_t filters, Py_ssize_t height, Py_ssize_t width,
    Py_ssize_t block, Py_ssize_t adjoint_block,      # output rows at a time, and rows of the input's gradient
    Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t out_h, Py_ssize_t out_w,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
):
    """Return how many elements of `packed`, `phases`, `cols` and `places` the functions below need."""
    cdef windows s = windows_of(kernel_h, kernel_w, out_h, out_w, stride_h, stride_w, padding_h, padding_w)
    cdef Py_ssize_t phases = phases_total(block_of(s, 0, block)), area = kernel_h * kernel_w, packed = 0
    cdef bint adjoint = is_float and need_dx and is_adjoint_direct(level, s, channels, height, width)
    cdef bint direct = is_float and (has_direct(level, s) if is_backward else is_direct(level, s, filters))
    if direct:
        phases *= channels
        if not is_backward:
            packed = packed_size(level, filters, channels * area)
    if adjoint:
        packed = packed_size(level, channels, filters * area)
        s = block_of(adjoint_of(s, height, width), 0, adjoint_block)
        phases = max(phases, filters * phases_total(s))
    return (
        packed,
        phases,
        0 if direct and (adjoint or not need_dx) else channels * area * block * out_w,
        max(channels, filters) * area if direct or adjoint else 0,
    )


def conv2d_pack(
    int level, bint is_backward,
    const float[:, ::1] weight not None,             # IN (F, C * KH * KW)
    Py_ssize_t channels,
    float[::1] packed not None,                      # OUT (conv2d_scratch(...)[0],)
):
    """Pack the weights for convolutions without columns: of images, or of the output's gradient if is_backward."""
    cdef Py_ssize_t filters = weight.shape[0], area = weight.shape[1] // channels
    if is_backward:
        filters, channels = channels, filters
    with nogil:
        simd_direct_weights(
            direct_level(level, filters), &weight[0, 0], filters, channels, area, is_backward, at_line(&packed[0])
        )


cdef void lay_out(
    simd_direct* d, windows s, Py_ssize_t channels, Py_ssize_t filters,
    const float* x, Py_ssize_t height, Py_ssize_t width,            # IN (C, H, W)
    float* phases,                           # OUT (C * phases_total(s),)
    Py_ssize_t* places,                      # OUT (C * KH * KW,): of the pixels that the first cell takes
) noexcept nogil:
    """Split all channels, and find which pixels are multiplied."""
    cdef Py_ssize_t c, i, j, tap = 0, area = s.kernel_h * s.kernel_w, total = phases_total(s)
    for c in range(channels):
        split(s, x + c * height * width, height, width, phases + c * total)
        for i in range(s.kernel_h):
            for j in range(s.kernel_w):
                places[tap] = first_pixel(s, i, j) if c == 0 else places[tap - area] + total
                tap += 1
    d.filters, d.channels, d.kernel_h, d.kernel_w = filters, channels, s.kernel_h, s.kernel_w
    d.rows, d.columns, d.stride_h, d.padding_h, d.height = s.out_h, s.out_w, s.stride_h, s.padding_h, height
    d.x, d.x_step, d.pixels = phases, s.phases_w * s.columns, places


cdef void direct_convolution(
    int level, windows whole, Py_ssize_t block, Py_ssize_t channels, Py_ssize_t filters,
    const float* x, Py_ssize_t height, Py_ssize_t width,            # IN (C, H, W)
    const float* packed,                     # IN, as conv2d_pack writes it
    const float* bias,                       # IN (F,), or NULL
    float* phases, Py_ssize_t* places,       # SCRATCH, as lay_out writes them
    float* y,                                # OUT (F, OH, OW)
) noexcept nogil:
    """Convolve an image, a block of output rows at a time."""
    cdef Py_ssize_t row = 0
    cdef windows s
    cdef simd_direct d
    d.weight, d.bias, d.y_step = at_line(packed), bias, whole.out_h * whole.out_w
    while row < whole.out_h:
        s = block_of(whole, row, min(row + block, whole.out_h))
        lay_out(&d, s, channels, filters, x, height, width, phases, places)
        d.y = y + row * whole.out_w
        simd_direct_convolution(direct_level(level, filters), &d)
        row += block


cdef void direct_gradients(
    int level, windows whole, Py_ssize_t block, Py_ssize_t channels, Py_ssize_t filters,
    const float* dy,                         # IN (F, OH, OW)
    const float* x, Py_ssize_t height, Py_ssize_t width,            # IN (C, H, W)
    float* phases, Py_ssize_t* places,       # SCRATCH, as lay_out writes them
    float* dweight,                          # INOUT (C, KH, KW, F), added to
    float* dbias,                            # INOUT (F,), added to
) noexcept nogil:
    """Add an image's gradients with respect to weight and bias."""
    cdef Py_ssize_t row = 0
    cdef windows s
    cdef simd_direct d
    d.y_step, d.dweight, d.dbias = whole.out_h * whole.out_w, dweight, dbias
    while row < whole.out_h:
        s = block_of(whole, row, min(row + block, whole.out_h))
        lay_out(&d, s, channels, filters, x, height, width, phases, places)
        d.dy = dy + row * whole.out_w
        simd_direct_gradients(direct_level(level, filters), &d)
        row += block


def conv2d_forward(
    int level,
    const floating[:, :, :, ::1] x not None,         # IN (N, C, H, W)
    const floating[:, ::1] weight not None,          # IN (F, C * KH * KW)
    const floating[::1] bias not None,               # IN (F,)
    const floating[::1] packed not None,             # IN (conv2d_scratch(...)[0],), as conv2d_pack writes it
    floating[::1] phases not None,                   # SCRATCH (conv2d_scratch(...)[1],)
    floating[::1] cols not None,                     # SCRATCH (conv2d_scratch(...)[2],)
    Py_ssize_t[::1] places not None,                 # SCRATCH (conv2d_scratch(...)[3],)
    floating[:, :, ::1] y not None,                  # OUT (N, F, OH * OW)
    Py_ssize_t block,                                # output rows at a time
    Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t out_h, Py_ssize_t out_w,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
):
    """y[n] = weight @ im2col(x[n]) + bias, a block of an image's output rows at a time."""
    cdef windows whole = windows_of(kernel_h, kernel_w, out_h, out_w, stride_h, stride_w, padding_h, padding_w), s
    cdef Py_ssize_t n, f, o, row
    with nogil:
        for n in range(x.shape[0]):
            if floating is float:
                if is_direct(level, whole, y.shape[1]):
                    direct_convolution(
                        level, whole, block, x.shape[1], y.shape[1], pixels_of(x, n), x.shape[2], x.shape[3],
                        &packed[0], &bias[0], &phases[0], &places[0], &y[n, 0, 0],
                    )
                    continue
            for f in range(y.shape[1]):
                for o in range(y.shape[2]):
                    y[n, f, o] = bias[f]
            row = 0
            while row < out_h:
                s = block_of(whole, row, min(row + block, out_h))
                unfold(level, s, pixels_of(x, n), x.shape[1], x.shape[2], x.shape[3], &phases[0], &cols[0])
                product_of_blocks(
                    level, 1, weight.shape[0], weight.shape[1], s.out_h * out_w, &weight[0, 0], weight.shape[1],
                    <const floating*>&cols[0], s.out_h * out_w, &y[n, 0, row * out_w], y.shape[2],
                    False, False, 1, 1, NULL,
                )
                row += block


def conv2d_backward(
    int level,
    const floating[:, :, ::1] dy not None,           # IN (N, F, OH * OW)
    const floating[:, :, :, ::1] x not None,         # IN (N, C, H, W)
    const floating[:, ::1] weight not None,          # IN (F, C * KH * KW)
    const floating[::1] packed not None,             # IN (conv2d_scratch(...)[0],), as conv2d_pack writes it
    floating[::1] phases not None,                   # SCRATCH (conv2d_scratch(...)[1],)
    floating[::1] cols not None,                     # SCRATCH (conv2d_scratch(...)[2],)
    Py_ssize_t[::1] places not None,                 # SCRATCH (conv2d_scratch(...)[3],)
    floating[:, ::1] dweight not None,               # OUT (C * KH * KW, F)
    floating[::1] dbias not None,                    # OUT (F,)
    floating[:, :, :, ::1] dx,                       # OUT (N, C, H, W), or None
    Py_ssize_t block, Py_ssize_t adjoint_block,      # output rows at a time, and rows of dx
    Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t out_h, Py_ssize_t out_w,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t padding_h, Py_ssize_t padding_w,
):
    """dweight = sum_n im2col(x[n]) @ dy[n].T; dbias = sum_n,o dy[n, :, o]; dx[n] = col2im(weight.T @ dy[n])."""
    cdef windows whole = windows_of(kernel_h, kernel_w, out_h, out_w, stride_h, stride_w, padding_h, padding_w), s
    cdef Py_ssize_t filters = weight.shape[0], size = weight.shape[1]
    cdef Py_ssize_t n, f, o, c, h, w, row, columns
    cdef floating total
    cdef bint need_dx = dx is not None, direct = False, adjoint = False
    if floating is float:
        direct = has_direct(level, whole)
        adjoint = need_dx and is_adjoint_direct(level, whole, x.shape[1], x.shape[2], x.shape[3])
    with nogil:
        dweight[:, :] = 0
        dbias[:] = 0
        for n in range(x.shape[0]):
            if floating is float:
                if direct:
                    direct_gradients(
                        level, whole, block, x.shape[1], filters, &dy[n, 0, 0],
                        pixels_of(x, n), x.shape[2], x.shape[3],
                        &phases[0], &places[0], &dweight[0, 0], &dbias[0],
                    )
                if adjoint:
                    direct_convolution(
                        level, adjoint_of(whole, x.shape[2], x.shape[3]), adjoint_block, filters, x.shape[1],
                        &dy[n, 0, 0], out_h, out_w, &packed[0], NULL, &phases[0], &places[0], &dx[n, 0, 0, 0],
                    )
            if not direct:
                for f in range(filters):
                    total = 0
                    for o in range(dy.shape[2]):
                        total += dy[n, f, o]
                    dbias[f] += total
            if need_dx and not adjoint:
                for c in range(x.shape[1]):
                    for h in range(x.shape[2]):
                        for w in range(x.shape[3]):
                            dx[n, c, h, w] = 0
            row = out_h if direct and (adjoint or not need_dx) else 0
            while row < out_h:
                s = block_of(whole, row, min(row + block, out_h))
                columns = s.out_h * out_w
                if not direct:
                    unfold(level, s, pixels_of(x, n), x.shape[1], x.shape[2], x.shape[3], &phases[0], &cols[0])
                    product_of_blocks(
                        level, 1, size, columns, filters, <const floating*>&cols[0], columns,
                        &dy[n, 0, row * out_w], dy.shape[2], &dweight[0, 0], filters, False, True, 1, 1, NULL,
                    )
                if need_dx and not adjoint:
                    product_of_blocks(
                        level, 1, size, filters, columns, &weight[0, 0], size, &dy[n, 0, row * out_w], dy.shape[2],
                        &cols[0], columns, True, False, 1, 0, NULL,
                    )
                    fold(level, s, <const floating*>&cols[0], &phases[0], dx[n])
                row += block


# -------------------------------------------------------------------------------------------- max pooling

cdef inline void keep_larger(
    const floating[:, :, ::1] x,     # IN (P, H, W)
    floating[:, :, ::1] y,           # INOUT (P, OH, OW), the largest so far
    int32_t[:, :, ::1] argmax,       # INOUT (P, OH, OW), its h * W + w
    Py_ssize_t p, Py_ssize_t oh, Py_ssize_t h,
    Py_ssize_t first, Py_ssize_t end, Py_ssize_t stride, Py_ssize_t offset,
) noexcept nogil:
    """Compare output row oh, columns first to end, with x[p, h, ow * stride + offset]; a NaN is larger than any."""
    cdef Py_ssize_t ow
    cdef int32_t start = <int32_t>(h * x.shape[2] + offset), index
    cdef floating value, best
    cdef bint larger
    for ow in range(first, end):
        value = x[p, h, ow * stride + offset]
        best = y[p, oh, ow]
        index = argmax[p, oh, ow]
        larger = (index < 0) | (value > best) | ((value != value) & (best == best))
        y[p, oh, ow] = value if larger else best
        # All reads are unconditional, and the index is of argmax's width: otherwise this is not vectorised.
        argmax[p, oh, ow] = start + <int32_t>ow * <int32_t>stride if larger else index


def max_pool2d_forward(
    const floating[:, :, ::1] x not None,    # IN (P, H, W), P = N * C planes
    floating[:, :, ::1] y not None,          # OUT (P, OH, OW)
    int32_t[:, :, ::1] argmax not None,      # OUT (P, OH, OW), h * W + w of the first maximum
    Py_ssize_t kernel_h, Py_ssize_t kernel_w,
    Py_ssize_t stride_h, Py_ssize_t stride_w,
    Py_ssize_t padding_h, Py_ssize_t padding_w,
):
    """y[p, oh, ow] = the largest of the window's elements that lie inside x; a NaN wins over every number.

    Works a row of outputs at a time, element of the window by element, so that the innermost loop runs over
    neighbouring outputs and is vectorised; strides 1 and 2 are apart, because that takes a known stride. Columns of the
    window that lie outside x in every window are left out: a kernel may be far larger than the image.
    """
    cdef Py_ssize_t height = x.shape[1], width = x.shape[2]
    cdef Py_ssize_t out_h = y.shape[1], out_w = y.shape[2]
    cdef Py_ssize_t p, oh, ow, h, j, top, bottom, offset, first, end
    cdef Py_ssize_t left = max(padding_w - (out_w - 1) * stride_w, 0), right = min(width + padding_w, kernel_w)
    with nogil:
        for p in range(x.shape[0]):
            for oh in range(out_h):
                top = max(oh * stride_h - padding_h, 0)
                bottom = min(oh * stride_h - padding_h + kernel_h, height)
                for ow in range(out_w):
                    y[p, oh, ow] = 0
                    argmax[p, oh, ow] = -1
                for h in range(top, bottom):
                    for j in range(left, right):
                        offset = j - padding_w
                        first = first_inside(offset, stride_w, out_w)
                        end = end_inside(offset, stride_w, width, first, out_w)
                        if stride_w == 1:
                            keep_larger(x, y, argmax, p, oh, h, first, end, 1, offset)
                        elif stride_w == 2:
                            keep_larger(x, y, argmax, p, oh, h, first, end, 2, offset)
                        else:
                            keep_larger(x, y, argmax, p, oh, h, first, end, stride_w, offset)


def max_pool2d_backward(
    const floating[:, ::1] dy not None,      # IN (P, OH * OW)
    const int32_t[:, ::1] argmax not None,   # IN (P, OH * OW), from max_pool2d_forward
    floating[:, ::1] dx not None,            # OUT (P, H * W)
):
    """dx[p, argmax[p, o]] = the sum of such dy[p, o], 0 elsewhere."""
    cdef Py_ssize_t p, o
    with nogil:
        for p in range(dy.shape[0]):
            for o in range(dx.shape[1]):
                dx[p, o] = 0
            for o in range(dy.shape[1]):
                dx[p, argmax[p, o]] += dy[p, o]


# ---------------------------------------------------------------------------------------- average pooling

cdef inline void add_to_windows(
    const floating[:, :, ::1] x,     # IN (P, H, W)
    floating[:, :, ::1] y,           # INOUT (P, OH, OW)
    Py_ssize_t p, Py_ssize_t oh, Py_ssize_t h,
    Py_ssize_t first, Py_ssize_t end, Py_ssize_t stride, Py_ssize_t offset,
) noexcept nogil:
    """Add x[p, h, ow * stride + offset] to output row oh, columns first to end."""
    cdef Py_ssize_t ow
    for ow in range(first, end):
        y[p, oh, ow] += x[p, h, ow * stride + offset]


def average_pool2d_forward(
    const floating[:, :, ::1] x not None,    # IN (P, H, W), P = N * C planes
    const floating[:, ::1] counts not None,  # IN (OH, OW), what each window's sum is divided by
    floating[:, :, ::1] y not None,          # OUT (P, OH, OW)
    Py_ssize_t kernel_h, Py_ssize_t kernel_w,
    Py_ssize_t stride_h, Py_ssize_t stride_w,
    Py_ssize_t padding_h, Py_ssize_t padding_w,
):
    """y[p, oh, ow] = the sum of the window's elements that lie inside x, divided by counts[oh, ow].

    A row of outputs at a time, as max_pool2d_forward, and for the same reason.
    """
    cdef Py_ssize_t height = x.shape[1], width = x.shape[2]
    cdef Py_ssize_t out_h = y.shape[1], out_w = y.shape[2]
    cdef Py_ssize_t p, oh, ow, h, j, top, bottom, offset, first, end
    cdef Py_ssize_t left = max(padding_w - (out_w - 1) * stride_w, 0), right = min(width + padding_w, kernel_w)
    with nogil:
        for p in range(x.shape[0]):
            for oh in range(out_h):
                top = max(oh * stride_h - padding_h, 0)
                bottom = min(oh * stride_h - padding_h + kernel_h, height)
                for ow in range(out_w):
                    y[p, oh, ow] = 0
                for h in range(top, bottom):
                    for j in range(left, right):
                        offset = j - padding_w
                        first = first_inside(offset, stride_w, out_w)
                        end = end_inside(offset, stride_w, width, first, out_w)
                        if stride_w == 1:
                            add_to_windows(x, y, p, oh, h, first, end, 1, offset)
                        elif stride_w == 2:
                            add_to_windows(x, y, p, oh, h, first, end, 2, offset)
                        else:
                            add_to_windows(x, y, p, oh, h, first, end, stride_w, offset)
                for ow in range(out_w):
                    y[p, oh, ow] /= counts[oh, ow]


cdef inline void add_from_windows(
    const floating[:, :, ::1] dy,    # IN (P, OH, OW)
    floating[:, :, ::1] dx,          # INOUT (P, H, W)
    Py_ssize_t p, Py_ssize_t oh, Py_ssize_t h,
    Py_ssize_t first, Py_ssize_t end, Py_ssize_t stride, Py_ssize_t offset,
) noexcept nogil:
    """Add output row oh, columns first to end, to dx[p, h, ow * stride + offset]."""
    cdef Py_ssize_t ow
    for ow in range(first, end):
        dx[p, h, ow * stride + offset] += dy[p, oh, ow]


def average_pool2d_backward(
    const floating[:, :, ::1] dy not None,   # IN (P, OH, OW)
    const floating[:, ::1] counts not None,  # IN (OH, OW), as in the forward pass
    floating[:, :, ::1] shares not None,     # SCRATCH (P, OH, OW)
    floating[:, :, ::1] dx not None,         # OUT (P, H, W)
    Py_ssize_t kernel_h, Py_ssize_t kernel_w,
    Py_ssize_t stride_h, Py_ssize_t stride_w,
    Py_ssize_t padding_h, Py_ssize_t padding_w,
):
    """dx[p, h, w] = the sum of dy[p, oh, ow] / counts[oh, ow] over the windows that it lies in."""
    cdef Py_ssize_t height = dx.shape[1], width = dx.shape[2]
    cdef Py_ssize_t out_h = dy.shape[1], out_w = dy.shape[2]
    cdef Py_ssize_t p, oh, ow, h, w, j, top, bottom, offset, first, end
    cdef Py_ssize_t left = max(padding_w - (out_w - 1) * stride_w, 0), right = min(width + padding_w, kernel_w)
    with nogil:
        for p in range(dy.shape[0]):
            for oh in range(out_h):
                for ow in range(out_w):
                    shares[p, oh, ow] = dy[p, oh, ow] / counts[oh, ow]
            for h in range(height):
                for w in range(width):
                    dx[p, h, w] = 0
            for oh in range(out_h):
                top = max(oh * stride_h - padding_h, 0)
                bottom = min(oh * stride_h - padding_h + kernel_h, height)
                for h in range(top, bottom):
                    for j in range(left, right):
                        offset = j - padding_w
                        first = first_inside(offset, stride_w, out_w)
                        end = end_inside(offset, stride_w, width, first, out_w)
                        if stride_w == 1:
                            add_from_windows(shares, dx, p, oh, h, first, end, 1, offset)
                        elif stride_w == 2:
                            add_from_windows(shares, dx, p, oh, h, first, end, 2, offset)
                        else:
                            add_from_windows(shares, dx, p, oh, h, first, end, stride_w, offset)


# ------------------------------------------------------------- convolution, ReLU and 2x2 max pooling fused

cdef simd_convolution convolution_of(
    const float[:, :, :, ::1] x, const float[:, :, :, ::1] weight, const float[:, :, :, ::1] pooled,
    Py_ssize_t padding_h, Py_ssize_t padding_w,
) noexcept nogil:
    """Return the sizes of a fused convolution, without its arrays."""
    cdef simd_convolution s
    s.n, s.c, s.h, s.w = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
    s.padding_h, s.padding_w, s.hp, s.wp = padding_h, padding_w, s.h + 2 * padding_h, s.w + 2 * padding_w
    s.f, s.kh, s.kw = weight.shape[0], weight.shape[2], weight.shape[3]
    s.ph, s.pw = pooled.shape[2], pooled.shape[3]
    return s


def conv_relu_pool_forward(
    int level, int threads,                      # level at least 0
    const float[:, :, :, ::1] x not None,        # IN (N, C, H, W)
    const float[:, :, :, ::1] weight not None,   # IN (F, C, KH, KW)
    const float[::1] bias not None,              # IN (F,)
    float[:, ::1] padded not None,               # SCRATCH (N, C * (H + 2 padding_h) * (W + 2 padding_w) + SLACK)
    float[:, :, :, ::1] y not None,              # OUT (N, F, PH, PW)
    uint8_t[:, :, :, ::1] codes not None,        # OUT (N, F, PH, PW)
    Py_ssize_t padding_h, Py_ssize_t padding_w,
):
    """y = max pooling 2x2 of max(convolution of stride 1 + bias, 0).

    codes: 0 to 3, the place of the first maximum in its window, row by row; CLOSED where the maximum is at most 0.

    Nothing but the pooled output is written to memory: ConvNet1's batch of 50 takes 1.4 ms with AVX-512 on one core of
    the processor measured, the three layers apart 5 ms.
    """
    cdef simd_convolution s = convolution_of(x, weight, y, padding_h, padding_w)
    if s.n == 0:
        return
    s.x, s.weight, s.bias = &x[0, 0, 0, 0], &weight[0, 0, 0, 0], &bias[0]
    s.padded, s.y, s.codes = &padded[0, 0], &y[0, 0, 0, 0], &codes[0, 0, 0, 0]
    with nogil:
        simd_convolution_forward(level, &s, threads)


def conv_relu_pool_backward(
    int level, int threads,                      # level at least 0
    const float[:, :, :, ::1] dy not None,       # IN (N, F, PH, PW)
    const uint8_t[:, :, :, ::1] codes not None,  # IN (N, F, PH, PW), from the forward pass
    const float[:, :, :, ::1] x not None,        # IN (N, C, H, W)
    const float[:, :, :, ::1] weight not None,   # IN (F, C, KH, KW), of which only the shape counts
    float[:, ::1] padded not None,               # SCRATCH, as in the forward pass
    float[:, :, :, ::1] dweight not None,        # OUT (F, C, KH, 8); lanes from KW on have no meaning
    float[::1] dbias not None,                   # OUT (F,)
    Py_ssize_t padding_h, Py_ssize_t padding_w,
):
    """Gradients of conv_relu_pool_forward with respect to weight and bias.

    Of each window only the maximum has a gradient: dweight += dy * the patch of x under it, one of four at most that
    a dense product would multiply with. ConvNet1's batch of 50 takes 0.7 ms on one core.
    """
    cdef simd_convolution s = convolution_of(x, weight, dy, padding_h, padding_w)
    if s.n == 0:
        dweight[:] = 0
        dbias[:] = 0
        return
    s.x, s.padded, s.dy, s.codes = &x[0, 0, 0, 0], &padded[0, 0], &dy[0, 0, 0, 0], <uint8_t*>&codes[0, 0, 0, 0]
    s.dweight, s.dbias = &dweight[0, 0, 0, 0], &dbias[0]
    with nogil:
        simd_convolution_backward(level, &s, threads)


def relu_pool_backward(
    const float[:, :, ::1] dy not None,          # IN (P, PH, PW)
    const uint8_t[:, :, ::1] codes not None,     # IN (P, PH, PW), from conv_relu_pool_forward
    float[:, :, ::1] dx not None,                # OUT (P, OH, OW)
):
    """dx = dy at the maximum of each window that ReLU left open, 0 elsewhere."""
    cdef Py_ssize_t p, oh, ow, code
    with nogil:
        for p in range(dy.shape[0]):
            for oh in range(dx.shape[1]):
                for ow in range(dx.shape[2]):
                    dx[p, oh, ow] = 0
            for oh in range(dy.shape[1]):
                for ow in range(dy.shape[2]):
                    code = codes[p, oh, ow]
                    if code != SIMD_CLOSED:
                        dx[p, 2 * oh + code // 2, 2 * ow + code % 2] = dy[p, oh, ow]


# --------------------------------------------------------------------------------------------------- ReLU

def relu_forward(
    const floating[::1] x not None,      # IN (M,)
    floating[::1] y not None,            # OUT (M,)
):
    """y = max(x, 0), and NaN where x is NaN."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(x.shape[0]):
            y[i] = 0 if x[i] < 0 else x[i]


def relu_backward(
    const floating[::1] dy not None,     # IN (M,)
    const floating[::1] y not None,      # IN (M,), from relu_forward
    floating[::1] dx not None,           # OUT (M,)
):
    """dx = dy where y is positive or NaN, 0 elsewhere."""
    cdef Py_ssize_t i
    cdef floating gradient
    with nogil:
        for i in range(y.shape[0]):
            # Read whatever y is: a read under a condition becomes a branch, and that cost eight times as much.
            gradient = dy[i]
            dx[i] = 0 if y[i] <= 0 else gradient


# ------------------------------------------------------------------------------------------------- losses

def softmax_loss(
    const floating[:, ::1] scores not None,      # IN (N, K)
    const Py_ssize_t[::1] labels not None,       # IN (N,), in [0, K)
    floating[:, ::1] dscores not None,           # OUT (N, K)
):
    """Return mean_n(log(sum_k exp(scores[n, k])) - scores[n, labels[n]]); dscores becomes its gradient.

    Each row's largest score is subtracted first, so that no exponential overflows; sums are in float64.
    """
    cdef Py_ssize_t count = scores.shape[0], classes = scores.shape[1]
    cdef Py_ssize_t n, k
    cdef double largest, total, probability, loss = 0.0
    with nogil:
        for n in range(count):
            largest = scores[n, 0]
            for k in range(1, classes):
                largest = max(largest, <double>scores[n, k])
            total = 0.0
            for k in range(classes):
                total += exp(scores[n, k] - largest)
            for k in range(classes):
                probability = exp(scores[n, k] - largest) / total
                dscores[n, k] = <floating>((probability - (k == labels[n])) / count)
            loss += log(total) - (scores[n, labels[n]] - largest)
    return loss / count


def svm_loss(
    const floating[:, ::1] scores not None,      # IN (N, K)
    const Py_ssize_t[::1] labels not None,       # IN (N,), in [0, K)
    double margin,
    floating[:, ::1] dscores not None,           # OUT (N, K)
):
    """Return mean_n(sum over k != labels[n] of max(0, scores[n, k] - scores[n, labels[n]] + margin)).

    dscores becomes its gradient; a term that is exactly 0 has none. NaN, and an infinite score, make the loss not
    finite, but for minus infinity as a wrong score, which has no term. The sum is in float64.
    """
    cdef Py_ssize_t count = scores.shape[0], classes = scores.shape[1]
    cdef Py_ssize_t n, k, label, wrong
    cdef double right, term, loss = 0.0
    with nogil:
        for n in range(count):
            label = labels[n]
            right = scores[n, label]
            wrong = 0
            for k in range(classes):
                dscores[n, k] = 0
                term = scores[n, k] - right + margin
                if k == label or term <= 0:      # not so for NaN, which is added
                    continue
                loss += term
                wrong += 1
                dscores[n, k] = <floating>(1.0 / count)
            dscores[n, label] = <floating>(-(<double>wrong) / count)
            loss += 0 * right                    # 0, but for an infinite right score, which leaves no term
    return loss / count


# ------------------------------------------------------------------------------------------------ warping

cdef inline floating between(floating start, floating end, floating part) noexcept nogil:
    """Return the value at the part of the way; where that is 0 the end does not count, even if it is infinite."""
    return start if part == 0 else (1 - part) * start + part * end


def warp(
    const floating[:, :, :, ::1] x not None,     # IN (N, C, H, W)
    const double[:, :, ::1] maps not None,       # IN (N, 2, 3)
    floating[:, :, :, ::1] y not None,           # OUT (N, C, H, W)
):
    """y[n, c, h, w] = x[n, c] at row a, column b, where (a, b) = maps[n] @ (h, w, 1).

    Between pixels the four neighbours are weighted bilinearly; outside the image its nearest pixel counts.
    """
    cdef Py_ssize_t height = x.shape[2], width = x.shape[3]
    cdef Py_ssize_t n, c, h, w, top, left, bottom, right
    cdef double row, column
    cdef floating down, across, above, below
    with nogil:
        for n in range(x.shape[0]):
            for h in range(height):
                for w in range(width):
                    row = maps[n, 0, 0] * h + maps[n, 0, 1] * w + maps[n, 0, 2]
                    column = maps[n, 1, 0] * h + maps[n, 1, 1] * w + maps[n, 1, 2]
                    row = min(max(row, 0.0), <double>(height - 1))
                    column = min(max(column, 0.0), <double>(width - 1))
                    top, left = <Py_ssize_t>floor(row), <Py_ssize_t>floor(column)
                    down, across = <floating>(row - top), <floating>(column - left)
                    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
                    for c in range(x.shape[1]):
                        above = between(x[n, c, top, left], x[n, c, top, right], across)
                        below = between(x[n, c, bottom, left], x[n, c, bottom, right], across)
                        y[n, c, h, w] = between(above, below, down)


# -------------------------------------------------------------------------------------- parameter updates

def add_scaled(
    double factor,
    const floating[::1] x not None,      # IN (M,)
    floating[::1] y not None,            # INOUT (M,)
):
    """y += factor * x."""
    cdef Py_ssize_t i
    cdef floating a = <floating>factor
    with nogil:
        for i in range(x.shape[0]):
            y[i] += a * x[i]


def add_l2(
    double l2,
    const floating[::1] weight not None,     # IN (M,)
    floating[::1] dweight not None,          # INOUT (M,)
):
    """Return 0.5 * l2 * sum(weight ** 2), summed in float64; dweight += l2 * weight, its gradient."""
    cdef Py_ssize_t i
    cdef floating a = <floating>l2
    cdef double squares = 0.0
    with nogil:
        for i in range(weight.shape[0]):
            squares += <double>weight[i] * weight[i]
            dweight[i] += a * weight[i]
    return 0.5 * l2 * squares


cdef inline floating root(floating x) noexcept nogil:
    """Return the square root in the precision of x."""
    if floating is float:
        return sqrtf(x)
    else:
        return sqrt(x)


def momentum_update(
    double rate, double momentum, bint nesterov,
    const floating[::1] grad not None,       # IN (M,)
    floating[::1] velocity not None,         # INOUT (M,)
    floating[::1] param not None,            # INOUT (M,)
):
    """velocity = momentum * velocity + grad; param -= rate * velocity.

    With Nesterov's momentum param -= rate * (momentum * velocity + grad), with the new velocity.
    """
    cdef Py_ssize_t i
    cdef floating step = <floating>rate, decay = <floating>momentum, gradient
    with nogil:
        for i in range(param.shape[0]):
            gradient = grad[i]
            velocity[i] = decay * velocity[i] + gradient
            param[i] -= step * (decay * velocity[i] + gradient if nesterov else velocity[i])


def rmsprop_update(
    double rate, double decay, double epsilon,
    const floating[::1] grad not None,       # IN (M,)
    floating[::1] mean_square not None,      # INOUT (M,)
    floating[::1] param not None,            # INOUT (M,)
):
    """mean_square = decay * mean_square + (1 - decay) * grad ** 2;
    param -= rate * grad / (sqrt(mean_square) + epsilon).
    """
    cdef Py_ssize_t i
    cdef floating step = <floating>rate, old = <floating>decay, new = <floating>(1 - decay), eps = <floating>epsilon
    cdef floating gradient
    with nogil:
        for i in range(param.shape[0]):
            gradient = grad[i]
            mean_square[i] = old * mean_square[i] + new * gradient * gradient
            param[i] -= step * gradient / (root(mean_square[i]) + eps)


def adam_update(
    double step,                             # rate / (1 - beta1 ** steps)
    double correction,                       # sqrt(1 - beta2 ** steps)
    double shrink,                           # 1 - rate * weight_decay
    double beta1, double beta2, double epsilon,
    const floating[::1] grad not None,       # IN (M,)
    floating[::1] mean not None,             # INOUT (M,)
    floating[::1] mean_square not None,      # INOUT (M,)
    floating[::1] param not None,            # INOUT (M,)
):
    """mean = beta1 * mean + (1 - beta1) * grad; mean_square = beta2 * mean_square + (1 - beta2) * grad ** 2;
    param = shrink * param - step * mean / (sqrt(mean_square) / correction + epsilon).
    """
    cdef Py_ssize_t i
    cdef floating old1 = <floating>beta1, new1 = <floating>(1 - beta1)
    cdef floating old2 = <floating>beta2, new2 = <floating>(1 - beta2)
    cdef floating keep = <floating>shrink, eps = <floating>epsilon
    cdef floating scale = <floating>(1 / correction), factor = <floating>step, gradient
    with nogil:
        for i in range(param.shape[0]):
            gradient = grad[i]
            mean[i] = old1 * mean[i] + new1 * gradient
            mean_square[i] = old2 * mean_square[i] + new2 * gradient * gradient
            param[i] = keep * param[i] - factor * mean[i] / (root(mean_square[i]) * scale + eps)
