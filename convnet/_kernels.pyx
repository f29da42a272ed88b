"""The compiled kernels: typed loops over memoryviews, and the only door to the C in native/.

Here are im2col and col2im, the convolution on them, max pooling and the softmax loss. The rest of this module lies in
kernels/, one idea a file:

    threads.pxi           the pool of threads, and Python functions on it
    instruction_sets.pxi  the instruction sets by name, and the one in use
    products.pxi          products of matrices, and the Affine layer
    geometry.pxi          geometry objects of convolutions and poolings
    columns.pxi           rows of im2col's columns
    algorithms.pxi        which algorithm computes a convolution
    packing.pxi           a convolution's weight as its algorithm reads it
    average_pooling.pxi   average pooling; channels_last_pooling.pxi has that of 2x2 windows at an instruction set
    elementwise.pxi       ReLU and its kin; smooth_activations.pxi has sigmoid, tanh, GELU and SiLU
    normalization.pxi     batch normalization
    dropout.pxi           the random mask of a dropout, and its use
    losses.pxi            the SVM loss
    warping.pxi           affine maps of images; augmentation.pxi moves, changes and prepares training images
    updates.pxi           the optimizers' updates of parameters, and sums of squares

Every kernel is one body for float32 and float64 (a fused convolution is for float32 alone). It works on C-contiguous
arrays that its caller in this package has checked and allocated, releases the GIL, and neither raises nor allocates.
`IN`, `OUT`, `INOUT` and `SCRATCH` say whether an array is read, overwritten, both, or memory without a meaning. Sizes
come in geometry objects (Convolution, Pooling), which are made once and tell both how much memory is needed and how the
work goes. float64, and the instruction set "none", take the loops written here; the others have theirs in native/.
`run_tasks` alone touches Python objects: it calls a Python function on the threads of the pool.

This file is long because it holds the whole convolution by im2col, from one window to the gradients.
"""

import contextvars
import sys

from cython cimport floating
from libc.math cimport INFINITY, M_2_SQRTPI, M_SQRT1_2, erfc, exp, fabs, floor, log, sqrt, sqrtf, tanh
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

include "kernels/threads.pxi"
include "kernels/instruction_sets.pxi"
include "kernels/updates.pxi"
include "kernels/products.pxi"
include "kernels/geometry.pxi"
include "kernels/algorithms.pxi"
include "kernels/columns.pxi"

# --------------------------------------------------------------------------------------- im2col and col2im
#
# A channel is split into its phases first, and then copied by rows: kernels/geometry.pxi says what they are.

cdef inline void split(
    windows s,
    const floating* x,                       # IN (H, W)
    floating* phases,                        # OUT (phases_h, rows, phases_w, columns)
) noexcept nogil:
    """phases[a, r, b, q] = x[r * stride_h + a - padding_h, q * stride_w + b - padding_w], 0 outside x."""
    cdef Py_ssize_t a, b, r, q, h, offset, first, end, inside
    cdef floating* row
    for b in range(s.phases_w):
        offset = b - s.padding_w
        first = first_inside(offset, s.stride_w, s.columns)
        inside = end_inside(offset, s.stride_w, s.width, first, s.columns)
        for a in range(s.phases_h):
            row = phases + (a * s.rows * s.phases_w + b) * s.columns
            for r in range(s.rows):
                h = r * s.stride_h + a - s.padding_h
                end = inside if 0 <= h < s.height else first
                for q in range(first):
                    row[q] = 0
                if s.stride_w == 1 and first < end:
                    copy_row(x + h * s.width + first + offset, row + first, end - first)
                else:
                    for q in range(first, end):
                        row[q] = x[h * s.width + q * s.stride_w + offset]
                for q in range(end, s.columns):
                    row[q] = 0
                row += s.phases_w * s.columns


cdef inline void join(
    windows s,
    const floating* phases,                  # IN (phases_h, rows, phases_w, columns)
    floating* x,                             # INOUT (H, W), added to
) noexcept nogil:
    """Add every element of the phases to the pixel that split copies it from."""
    cdef Py_ssize_t a, b, r, q, h, offset, first, end
    cdef const floating* row
    for b in range(s.phases_w):
        offset = b - s.padding_w
        first = first_inside(offset, s.stride_w, s.columns)
        end = end_inside(offset, s.stride_w, s.width, first, s.columns)
        for a in range(s.phases_h):
            row = phases + (a * s.rows * s.phases_w + b) * s.columns
            for r in range(s.rows):
                h = r * s.stride_h + a - s.padding_h
                if 0 <= h < s.height:
                    for q in range(first, end):
                        x[h * s.width + q * s.stride_w + offset] += row[q]
                row += s.phases_w * s.columns


cdef inline void unfold(
    const simd_level* level, windows s, Py_ssize_t channels,
    const floating* x,                       # IN (C, H, W)
    floating* phases,                        # SCRATCH (phases_total(s),)
    floating* cols,                          # OUT (C * KH * KW, OH * OW)
) noexcept nogil:
    """cols[(c, i, j), (oh, ow)] = x[c, h, w], or 0 outside x.

    With h = oh * stride_h + i * dilation_h - padding_h, w = ow * stride_w + j * dilation_w - padding_w.
    """
    cdef Py_ssize_t c, i, j, step = s.phases_w * s.columns
    cdef const floating* source
    for c in range(channels):
        source = x + (c * s.height - s.padding_h) * s.width if s.is_plain else phases
        if not s.is_plain:
            split(s, x + c * s.height * s.width, phases)
        for i in range(s.kernel_h):
            for j in range(s.kernel_w):
                copy_rows(level, source + first_pixel(s, i, j), step, cols, s.out_h, s.out_w)
                cols += s.out_h * s.out_w


cdef inline void fold(
    const simd_level* level, windows s, Py_ssize_t channels,
    const floating* cols,                    # IN (C * KH * KW, OH * OW)
    floating* phases,                        # SCRATCH (phases_total(s),)
    floating* x,                             # INOUT (C, H, W), added to
) noexcept nogil:
    """Add every element of cols to the element of x that unfold copies it from."""
    cdef Py_ssize_t c, i, j, pixels = s.out_h * s.out_w
    cdef Py_ssize_t step = s.stride_w if s.dilation_w == 1 else s.kernel_w
    cdef floating* target
    for c in range(channels):
        target = x + (c * s.height - s.padding_h) * s.width if s.is_plain else phases
        if not s.is_plain:
            memset(phases, 0, phases_total(s) * sizeof(floating))
        for i in range(s.kernel_h):
            # The columns of the kernel that are `step` apart: in a phase, each a pixel beside the one before.
            for j in range(min(step, s.kernel_w)):
                accumulate(
                    level, cols + j * pixels, step * pixels, (s.kernel_w - 1 - j) // step + 1,
                    target + first_pixel(s, i, j), s.phases_w * s.columns, s.out_h, s.out_w,
                )
            cols += s.kernel_w * pixels
        if not s.is_plain:
            join(s, phases, x + c * s.height * s.width)


cdef inline const floating* start_of(const floating[:, :, :, ::1] x) noexcept nogil:
    """Return where an array begins, or NULL if it is empty."""
    return &x[0, 0, 0, 0] if x.shape[0] and x.shape[1] and x.shape[2] and x.shape[3] else NULL


def im2col(
    Convolution s not None,
    const floating[:, :, :, ::1] x not None,         # IN (N, C, H, W)
    floating[:, :, ::1] cols not None,               # OUT (N, C * KH * KW, OH * OW)
    uint8_t[::1] scratch not None,                   # SCRATCH (s.im2col_scratch(),)
):
    """cols[n, (c, i, j), (oh, ow)] = x[n, c, h, w], or 0 outside x; unfold says what h and w are."""
    cdef const convolution* g = &s.s
    cdef const floating* pixels = start_of(x)
    cdef floating* phases = <floating*>at_line(&scratch[0])
    cdef Py_ssize_t n, image = g.channels * g.w.height * g.w.width
    with nogil:
        for n in range(x.shape[0]):
            unfold(g.level, g.w, g.channels, pixels + n * image, phases, &cols[n, 0, 0])


def col2im(
    Convolution s not None,
    const floating[:, :, ::1] cols not None,         # IN (N, C * KH * KW, OH * OW)
    floating[:, :, :, ::1] x not None,               # INOUT (N, C, H, W), added to
    uint8_t[::1] scratch not None,                   # SCRATCH (s.im2col_scratch(),)
):
    """Add every element of cols to the element of x that im2col copies it from: the adjoint of im2col."""
    cdef const convolution* g = &s.s
    cdef floating* phases = <floating*>at_line(&scratch[0])
    cdef Py_ssize_t n
    if x.shape[1] == 0 or x.shape[2] == 0 or x.shape[3] == 0:
        return
    with nogil:
        for n in range(x.shape[0]):
            fold(g.level, g.w, g.channels, &cols[n, 0, 0], phases, &x[n, 0, 0, 0])


# ------------------------------------------------------------------------------------------------ convolution

# Rows of the weight gradient's sums, (c, i, j), that a task adds and transposes.
cdef enum:
    FINISH_ROWS = 64


cdef inline Py_ssize_t finish_parts(const convolution* s) noexcept nogil:
    """Return how many such tasks there are for each group of filters."""
    return (taps_of(s) + FINISH_ROWS - 1) // FINISH_ROWS


cdef struct convolution_job:                 # of im2col
    const convolution* s
    memory_plan plan
    Py_ssize_t n, batches
    const void* x
    const void* weight
    const void* bias
    const void* dy
    void* y
    void* dx                                 # may be NULL
    void* dweight                            # may be NULL
    uint8_t* dweights                        # (batches, dweight)
    uint8_t* dbiases                         # (batches, dbias)
    uint8_t* of_threads                      # (threads, phases + cols)


cdef inline convolution_job job_of(
    const convolution* s, Py_ssize_t n, bint need_dweight, uint8_t* scratch,
) noexcept nogil:
    """Return a job with its scratch memory divided, and without its arrays."""
    cdef convolution_job job
    memset(&job, 0, sizeof(job))
    job.s, job.plan, job.n, job.batches = s, plan_of(s, need_dweight), n, batches_of(s, n, need_dweight)
    job.dweights = at_line(scratch)
    job.dbiases = job.dweights + job.batches * job.plan.dweight
    job.of_threads = job.dbiases + job.batches * job.plan.dbias
    return job


cdef inline double work_of(const convolution* s, Py_ssize_t n) noexcept nogil:
    """Return how many multiplications the convolution of n images takes."""
    return <double>n * s.filters * taps_of(s) * s.w.out_h * s.w.out_w


cdef inline void forward_image(
    const convolution_job* j, const floating* x, const floating* weight, const floating* bias, floating* y,
    Py_ssize_t n, int slot,
) noexcept nogil:
    """y[n] = weight @ im2col(x[n]) + bias, a block of the image's output rows at a time."""
    cdef const convolution* s = j.s
    cdef windows whole = s.w, w
    cdef Py_ssize_t f, o, g, columns, row = 0, pixels = whole.out_h * whole.out_w
    cdef Py_ssize_t taps = taps_of(s), filters = s.filters // s.groups
    cdef uint8_t* memory = j.of_threads + slot * (j.plan.phases + j.plan.cols)
    cdef floating* phases = <floating*>memory
    cdef floating* cols = <floating*>(memory + j.plan.phases)
    x += n * s.channels * whole.height * whole.width
    y += n * s.filters * pixels
    for f in range(s.filters):
        for o in range(pixels):
            y[f * pixels + o] = bias[f]
    while row < whole.out_h:
        w = block_of(whole, row, min(row + s.block, whole.out_h))
        columns = w.out_h * w.out_w
        unfold(s.level, w, s.channels, x, phases, cols)
        for g in range(s.groups):
            product_of_blocks(
                s.level, 1, filters, taps, columns, weight + g * filters * taps, taps,
                <const floating*>cols + g * taps * columns, columns, y + g * filters * pixels + row * whole.out_w,
                pixels, False, False, 1, 1, NULL,
            )
        row += s.block


cdef inline void backward_batch(
    const convolution_job* j, const floating* dys, const floating* xs, const floating* weight, floating* dxs,
    Py_ssize_t batch, int slot,
) noexcept nogil:
    """Sum a batch's images: dweight = im2col(x[n]) @ dy[n].T, dbias; and dx[n] = col2im(weight.T @ dy[n])."""
    cdef const convolution* s = j.s
    cdef windows whole = s.w, w
    cdef Py_ssize_t n, f, o, g, row, columns, pixels = whole.out_h * whole.out_w, filters = s.filters // s.groups
    cdef Py_ssize_t taps = taps_of(s), image = s.channels * whole.height * whole.width
    cdef uint8_t* memory = j.of_threads + slot * (j.plan.phases + j.plan.cols)
    cdef floating* phases = <floating*>memory
    cdef floating* cols = <floating*>(memory + j.plan.phases)
    cdef floating* dweight = <floating*>(j.dweights + batch * j.plan.dweight)
    cdef floating* dbias = <floating*>(j.dbiases + batch * j.plan.dbias)
    cdef const floating* dy
    cdef const floating* x
    cdef floating* dx
    cdef double total
    cdef bint need_dx = dxs != NULL, need_dweight = j.dweight != NULL
    if need_dweight:
        memset(dweight, 0, taps * s.filters * sizeof(floating))
        memset(dbias, 0, s.filters * sizeof(floating))
    for n in range(j.n * batch // j.batches, j.n * (batch + 1) // j.batches):
        dy, x, dx = dys + n * s.filters * pixels, xs + n * image, dxs + n * image if need_dx else NULL
        if need_dweight:
            for f in range(s.filters):
                total = 0
                for o in range(pixels):
                    total += dy[f * pixels + o]
                dbias[f] += <floating>total
        if need_dx:
            memset(dx, 0, image * sizeof(floating))
        row = 0
        while row < whole.out_h:
            w = block_of(whole, row, min(row + s.block, whole.out_h))
            columns = w.out_h * w.out_w
            if need_dweight:
                unfold(s.level, w, s.channels, x, phases, cols)
                for g in range(s.groups):
                    product_of_blocks(
                        s.level, 1, taps, columns, filters, <const floating*>cols + g * taps * columns, columns,
                        dy + g * filters * pixels + row * whole.out_w, pixels, dweight + g * taps * filters, filters,
                        False, True, 1, 1, NULL,
                    )
            if need_dx:
                for g in range(s.groups):
                    product_of_blocks(
                        s.level, 1, taps, filters, columns, weight + g * filters * taps, taps,
                        dy + g * filters * pixels + row * whole.out_w, pixels, cols + g * taps * columns, columns,
                        True, False, 1, 0, NULL,
                    )
                fold(s.level, w, s.channels, <const floating*>cols, phases, dx)
            row += s.block


cdef inline void finish_rows(const convolution_job* j, floating* dweight, Py_ssize_t part) noexcept nogil:
    """Add the batches' sums of some rows (c, i, j) to the first batch's, in order, and transpose these to dweight."""
    cdef const convolution* s = j.s
    cdef Py_ssize_t size = taps_of(s), filters = s.filters // s.groups, parts = finish_parts(s)
    cdef Py_ssize_t first = part % parts * FINISH_ROWS, end = min(first + FINISH_ROWS, size), batch, i, f
    cdef Py_ssize_t start = part // parts * size * filters       # of a group of filters
    cdef floating* total = <floating*>j.dweights + start
    cdef const floating* sums
    dweight += start
    for batch in range(1, j.batches):
        sums = <const floating*>(j.dweights + batch * j.plan.dweight) + start
        for i in range(first * filters, end * filters):
            total[i] += sums[i]
    if floating is float:
        if s.level != NULL:
            s.level.transpose(total + first * filters, filters, end - first, filters, dweight + first, size)
            return
    for f in range(filters):
        for i in range(first, end):
            dweight[f * size + i] = total[i * filters + f]


cdef void forward_float(void* job, Py_ssize_t n, int slot) noexcept nogil:
    cdef convolution_job* j = <convolution_job*>job
    forward_image(j, <const float*>j.x, <const float*>j.weight, <const float*>j.bias, <float*>j.y, n, slot)


cdef void forward_double(void* job, Py_ssize_t n, int slot) noexcept nogil:
    cdef convolution_job* j = <convolution_job*>job
    forward_image(j, <const double*>j.x, <const double*>j.weight, <const double*>j.bias, <double*>j.y, n, slot)


cdef void backward_float(void* job, Py_ssize_t batch, int slot) noexcept nogil:
    cdef convolution_job* j = <convolution_job*>job
    backward_batch(j, <const float*>j.dy, <const float*>j.x, <const float*>j.weight, <float*>j.dx, batch, slot)


cdef void backward_double(void* job, Py_ssize_t batch, int slot) noexcept nogil:
    cdef convolution_job* j = <convolution_job*>job
    backward_batch(j, <const double*>j.dy, <const double*>j.x, <const double*>j.weight, <double*>j.dx, batch, slot)


cdef void finish_float(void* job, Py_ssize_t part, int slot) noexcept nogil:
    finish_rows(<convolution_job*>job, <float*>(<convolution_job*>job).dweight, part)


cdef void finish_double(void* job, Py_ssize_t part, int slot) noexcept nogil:
    finish_rows(<convolution_job*>job, <double*>(<convolution_job*>job).dweight, part)


def conv2d_forward(
    Convolution s not None,
    const floating[:, :, :, ::1] x not None,         # IN (N, C, H, W)
    const floating[:, :, :, ::1] weight not None,    # IN (F, C / groups, KH, KW)
    const floating[::1] bias not None,               # IN (F,)
    floating[:, :, :, ::1] y not None,               # OUT (N, F, OH, OW)
    uint8_t[::1] scratch not None,                   # SCRATCH (s.forward_scratch(N, threads),)
    int threads,
    uint8_t[:, :, :, ::1] codes=None,                # OUT (N, OH, OW, F) of a pooling, or None
    uint8_t[::1] packed=None,                        # IN, the weight from conv2d_pack for N images, or None
):
    """y[n] = weight @ im2col(x[n]) + bias, by the algorithm that the geometry has chosen.

    If the convolution is fused, y is what comes behind activation and pooling, and x and y are in the layouts of the
    geometry. `codes` say which way the gradients of a pooling take; native/tiles/outputs.h has their meaning.
    """
    cdef const convolution* g = &s.s
    cdef convolution_job job
    cdef simd_convolution native, of_group
    cdef Py_ssize_t group
    cdef pool_function task = <pool_function>(forward_float if floating is float else forward_double)
    if x.shape[0] == 0:
        return
    if g.forward == IM2COL:
        job = job_of(g, x.shape[0], False, &scratch[0])
        job.x, job.weight, job.bias, job.y = start_of(x), &weight[0, 0, 0, 0], &bias[0], &y[0, 0, 0, 0]
        with nogil:
            pool_run(task, &job, job.n, threads if work_of(g, job.n) >= SIMD_ALONE else 1)
        return
    if floating is float:
        native = native_of(g, x.shape[0], FORWARD)
        native.x, native.weight, native.scratch = <float*>start_of(x), &weight[0, 0, 0, 0], &scratch[0]
        native.outputs.bias, native.outputs.y = &bias[0], &y[0, 0, 0, 0]
        native.outputs.codes = NULL if codes is None else &codes[0, 0, 0, 0]
        if packed is not None:
            native.packed = <float*>at_line(&packed[0])
        with nogil:
            for group in range(groups_of(g)):
                of_group = group_of(g, native, group)
                simd_convolution_forward(g.level, &of_group, threads)


def conv2d_backward(
    Convolution s not None,
    const floating[:, :, :, ::1] dy not None,        # IN (N, F, OH, OW)
    const floating[:, :, :, ::1] x not None,         # IN (N, C, H, W)
    const floating[:, :, :, ::1] weight not None,    # IN (F, C / groups, KH, KW)
    floating[:, :, :, ::1] dweight,                  # OUT (F, C / groups, KH, KW), or None
    floating[::1] dbias,                             # OUT (F,), or None with dweight
    floating[:, :, :, ::1] dx,                       # OUT (N, C, H, W), or None
    uint8_t[::1] scratch not None,                   # SCRATCH (s.backward_scratch(N, threads, dx is not None),)
    int threads,
    const floating[:, :, :, ::1] y=None,             # IN (N, F, OH, OW), of an activation without pooling
    const uint8_t[:, :, :, ::1] codes=None,          # IN (N, OH, OW, F), of a pooling
):
    """dweight = sum_n im2col(x[n]) @ dy[n].T; dbias = sum_n,o dy[n, :, o]; dx[n] = col2im(weight.T @ dy[n]).

    If the convolution is fused, dy is behind activation and pooling; y and codes are those of the forward pass.

    By im2col, a batch of images is a task, and the batches' sums are added in order, whatever the threads.
    """
    cdef const convolution* g = &s.s
    cdef bint need_dx = dx is not None and dx.shape[0] and dx.shape[1] and dx.shape[2] and dx.shape[3]
    cdef bint need_dweight = dweight is not None
    cdef convolution_job job
    cdef simd_convolution native, of_group
    cdef pool_function task = <pool_function>(backward_float if floating is float else backward_double)
    cdef pool_function finish = <pool_function>(finish_float if floating is float else finish_double)
    cdef Py_ssize_t batch, f, group
    cdef const floating* sums
    cdef const float* gradients
    cdef float* outputs
    cdef uint8_t* directions
    if x.shape[0] == 0:
        if need_dweight:
            dweight[:] = 0
            dbias[:] = 0
        return
    if need_dweight and g.weight == IM2COL or need_dx and g.input == IM2COL:
        job = job_of(g, x.shape[0], need_dweight and g.weight == IM2COL, &scratch[0])
        job.dy, job.x, job.weight = &dy[0, 0, 0, 0], start_of(x), &weight[0, 0, 0, 0]
        if need_dweight and g.weight == IM2COL:
            job.dweight = &dweight[0, 0, 0, 0]
        if need_dx and g.input == IM2COL:
            job.dx = &dx[0, 0, 0, 0]
        with nogil:
            pool_run(task, &job, job.batches, threads if work_of(g, job.n) >= SIMD_ALONE else 1)
            if job.dweight != NULL:
                pool_run(
                    finish, &job, g.groups * finish_parts(g),
                    threads if job.batches * taps_of(g) * g.filters >= SIMD_ALONE else 1,
                )
                for f in range(g.filters):
                    dbias[f] = (<const floating*>job.dbiases)[f]
                for batch in range(1, job.batches):
                    sums = <const floating*>(job.dbiases + batch * job.plan.dbias)
                    for f in range(g.filters):
                        dbias[f] += sums[f]
    if floating is float:
        gradients = start_of(dy)
        outputs = NULL if y is None else <float*>start_of(y)
        directions = NULL if codes is None else <uint8_t*>&codes[0, 0, 0, 0]
        if need_dweight and g.weight != IM2COL:
            native = native_of(g, x.shape[0], WEIGHT)
            native.x, native.scratch = <float*>start_of(x), &scratch[0]
            native.dweight, native.dbias = &dweight[0, 0, 0, 0], &dbias[0]
            native.outputs.dy, native.outputs.y, native.outputs.codes = gradients, outputs, directions
            with nogil:
                for group in range(groups_of(g)):
                    of_group = group_of(g, native, group)
                    simd_convolution_gradients(g.level, &of_group, threads)
        if need_dx and g.input != IM2COL:
            native = native_of(g, x.shape[0], INPUT)
            native.x, native.weight, native.scratch = &dx[0, 0, 0, 0], &weight[0, 0, 0, 0], &scratch[0]
            native.outputs.dy, native.outputs.y, native.outputs.codes = gradients, outputs, directions
            with nogil:
                for group in range(groups_of(g)):
                    of_group = group_of(g, native, group)
                    simd_convolution_forward(g.level, &of_group, threads)


# ------------------------------------------------------------------------------------------------ pooling

cdef enum:
    KEEP_LARGER                              # the output and its argmax become those of the larger
    ADD_PIXELS                               # the output += the pixel
    ADD_OUTPUTS                              # the pixel += the output


cdef inline void visit(
    int operation, floating* pixels, floating* outputs, int32_t* argmax,
    Py_ssize_t start, Py_ssize_t first, Py_ssize_t end, Py_ssize_t stride,
) noexcept nogil:
    """Do the operation for the outputs from first to end - 1, each with the pixel start + ow * stride."""
    cdef Py_ssize_t ow
    cdef int32_t index
    cdef floating value, best
    cdef bint larger
    if operation == KEEP_LARGER:
        for ow in range(first, end):
            value, best, index = pixels[start + ow * stride], outputs[ow], argmax[ow]
            larger = (index < 0) | (value > best) | ((value != value) & (best == best))
            outputs[ow] = value if larger else best
            # All reads are unconditional, and the index is of argmax's width: otherwise this is not vectorised.
            argmax[ow] = <int32_t>start + <int32_t>ow * <int32_t>stride if larger else index
    elif operation == ADD_PIXELS:
        for ow in range(first, end):
            outputs[ow] += pixels[start + ow * stride]
    else:
        for ow in range(first, end):
            pixels[start + ow * stride] += outputs[ow]


cdef inline void walk_row(
    int operation,                           # a constant
    const windows* s,
    floating* pixels,                        # (H, W)
    floating* outputs, int32_t* argmax,      # (OW,), row oh
    Py_ssize_t oh,
) noexcept nogil:
    """Do the operation for each output of a row and each pixel of its window.

    The innermost loop runs over neighbouring outputs and is vectorised; strides 1 and 2 are apart, because that takes a
    known stride. Columns of the window that lie outside the image in every window are left out: a kernel may be far
    larger than the image.
    """
    cdef Py_ssize_t h, j, offset, first, end
    cdef Py_ssize_t top = max(oh * s.stride_h - s.padding_h, 0)
    cdef Py_ssize_t bottom = min(oh * s.stride_h - s.padding_h + s.kernel_h, s.height)
    cdef Py_ssize_t left = max(s.padding_w - (s.out_w - 1) * s.stride_w, 0)
    cdef Py_ssize_t right = min(s.width + s.padding_w, s.kernel_w)
    for h in range(top, bottom):
        for j in range(left, right):
            offset = j - s.padding_w
            first = first_inside(offset, s.stride_w, s.out_w)
            end = end_inside(offset, s.stride_w, s.width, first, s.out_w)
            if s.stride_w == 1:
                visit(operation, pixels, outputs, argmax, h * s.width + offset, first, end, 1)
            elif s.stride_w == 2:
                visit(operation, pixels, outputs, argmax, h * s.width + offset, first, end, 2)
            else:
                visit(operation, pixels, outputs, argmax, h * s.width + offset, first, end, s.stride_w)


cdef inline void find_largest(
    const floating* pixels, Py_ssize_t count, floating* output, int32_t* argmax
) noexcept nogil:
    """Write the largest of an image's pixels, and the number of the first such pixel."""
    cdef Py_ssize_t i
    cdef int32_t index = 0
    cdef floating value, best = pixels[0]
    cdef bint larger
    for i in range(1, count):
        value = pixels[i]
        larger = (value > best) | ((value != value) & (best == best))
        best, index = value if larger else best, <int32_t>i if larger else index
    output[0], argmax[0] = best, index


def max_pool2d_forward(
    Pooling s not None,
    const floating[:, :, ::1] x not None,    # IN (P, H, W), P = N * C planes
    floating[:, :, ::1] y not None,          # OUT (P, OH, OW)
    int32_t[:, :, ::1] argmax not None,      # OUT (P, OH, OW), h * W + w of the first maximum
):
    """y[p, oh, ow] = the largest of the window's elements that lie inside x; a NaN wins over every number."""
    cdef windows w = s.w
    cdef Py_ssize_t p, oh, ow
    cdef bint is_whole = (                       # a single window holds all pixels
        w.out_h == w.out_w == 1 and w.kernel_h - w.padding_h >= w.height and w.kernel_w - w.padding_w >= w.width
    )
    with nogil:
        for p in range(x.shape[0]):
            if is_whole:
                find_largest(&x[p, 0, 0], w.height * w.width, &y[p, 0, 0], &argmax[p, 0, 0])
                continue
            for oh in range(w.out_h):
                for ow in range(w.out_w):
                    y[p, oh, ow] = 0
                    argmax[p, oh, ow] = -1
                walk_row(KEEP_LARGER, &w, <floating*>&x[p, 0, 0], &y[p, oh, 0], &argmax[p, oh, 0], oh)


def max_pool2d_backward(
    const floating[:, :, ::1] dy not None,   # IN (P, OH, OW)
    const int32_t[:, :, ::1] argmax not None,    # IN (P, OH, OW), from max_pool2d_forward
    floating[:, :, ::1] dx not None,         # OUT (P, H, W)
):
    """dx[p].flat[argmax[p, oh, ow]] = the sum of such dy[p, oh, ow], 0 elsewhere."""
    cdef Py_ssize_t p, o, outputs = dy.shape[1] * dy.shape[2], pixels = dx.shape[1] * dx.shape[2]
    cdef const floating* gradients
    cdef const int32_t* indices
    cdef floating* plane
    if outputs == 0 or pixels == 0:
        dx[:, :, :] = 0
        return
    with nogil:
        for p in range(dy.shape[0]):
            gradients, indices, plane = &dy[p, 0, 0], &argmax[p, 0, 0], &dx[p, 0, 0]
            for o in range(pixels):
                plane[o] = 0
            for o in range(outputs):
                plane[indices[o]] += gradients[o]


# ------------------------------------------------------------------------------------------------- softmax

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


include "kernels/packing.pxi"
include "kernels/average_pooling.pxi"
include "kernels/channels_last_pooling.pxi"
include "kernels/elementwise.pxi"
include "kernels/smooth_activations.pxi"
include "kernels/normalization.pxi"
include "kernels/dropout.pxi"
include "kernels/losses.pxi"
include "kernels/warping.pxi"
include "kernels/augmentation.pxi"
