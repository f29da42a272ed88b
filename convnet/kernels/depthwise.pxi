"""Depthwise convolution at an instruction set: every filter sees one channel, whose pixels are read where they lie.

A channel is split into its phases, as for im2col. In a phase the pixels of a tap are rows beside each other, so that
nothing has to be copied for each tap. The input's gradient is computed in the phases, too: each of their pixels is a
sum of weights times the outputs' gradient, which has zeros around it.
"""


cdef inline void depthwise_forward(
    const convolution* s, windows w, const float* x, float* phases, const float* weight, const float* bias, float* y,
) noexcept nogil:
    """Write the output rows of w of all filters, of an image x (C, H, W) to y, whose filters are OH * OW apart."""
    cdef Py_ssize_t offsets[DEPTHWISE_TAPS]
    cdef simd_taps taps = taps_in_phases(w, offsets)
    cdef Py_ssize_t f, filters = s.filters // s.groups
    for f in range(s.filters):
        if f % filters == 0:
            taps.x = channel_of(w, x, phases, f // filters)
        s.level.depthwise(&taps, weight + f * taps.count, bias[f], y + f * s.w.out_h * s.w.out_w, w.out_w)


cdef inline void depthwise_weight_gradient(
    const convolution* s, windows w, const float* x, float* phases, const float* dy, float* dweight,
) noexcept nogil:
    """Add the gradient of the weights (C, KH * KW, F / C) of some output rows of an image."""
    cdef Py_ssize_t offsets[DEPTHWISE_TAPS]
    cdef float sums[DEPTHWISE_TAPS]
    cdef simd_taps taps = taps_in_phases(w, offsets)
    cdef Py_ssize_t f, t, filters = s.filters // s.groups
    for f in range(s.filters):
        if f % filters == 0:
            taps.x = channel_of(w, x, phases, f // filters)
        memset(sums, 0, sizeof(sums))
        s.level.depthwise_gradients(&taps, dy + f * s.w.out_h * s.w.out_w, sums)
        for t in range(taps.count):
            dweight[(f // filters * taps.count + t) * filters + f % filters] += sums[t]


cdef inline void depthwise_input_gradient(
    const convolution* s, windows w, const float* dy, const float* weight, float* phases, float* padded, float* dx,
) noexcept nogil:
    """Add the gradient of an image (C, H, W) that comes from the output rows of w."""
    cdef Py_ssize_t offsets[DEPTHWISE_TAPS]
    cdef float weights[DEPTHWISE_TAPS]
    cdef simd_taps taps
    cdef Py_ssize_t f, i, j, a, b, filters = s.filters // s.groups, step = padded_step(w)
    cdef Py_ssize_t above = reach(w.extent_h, w.stride_h), before = reach(w.extent_w, w.stride_w)
    cdef const float* of_filter
    taps.offsets, taps.x, taps.x_step, taps.rows, taps.columns = offsets, padded, step, w.rows, w.columns
    memset(padded, 0, padded_size(w) * sizeof(float))
    for f in range(s.filters):
        for i in range(w.out_h):
            memcpy(
                padded + (above + i) * step + before, dy + f * s.w.out_h * s.w.out_w + i * w.out_w,
                w.out_w * sizeof(float),
            )
        of_filter = weight + f * w.kernel_h * w.kernel_w
        for a in range(w.phases_h):
            for b in range(w.phases_w):
                taps.count = 0
                for i in range(w.kernel_h):
                    for j in range(w.kernel_w):
                        if i * w.dilation_h % w.stride_h == a and j * w.dilation_w % w.stride_w == b:
                            weights[taps.count] = of_filter[i * w.kernel_w + j]
                            offsets[taps.count] = (
                                (above - i * w.dilation_h // w.stride_h) * step
                                + before - j * w.dilation_w // w.stride_w
                            )
                            taps.count += 1
                s.level.depthwise(
                    &taps, weights, 0, phases + (a * w.rows * w.phases_w + b) * w.columns, w.phases_w * w.columns
                )
        join(w, <const float*>phases, dx + f // filters * w.height * w.width)


cdef inline simd_taps taps_in_phases(windows w, Py_ssize_t* offsets) noexcept nogil:
    """Return where the taps find their pixels in the phases of a channel."""
    cdef simd_taps taps
    cdef Py_ssize_t i, j
    for i in range(w.kernel_h):
        for j in range(w.kernel_w):
            offsets[i * w.kernel_w + j] = first_pixel(w, i, j)
    taps.count, taps.offsets, taps.x = w.kernel_h * w.kernel_w, offsets, NULL
    taps.x_step, taps.rows, taps.columns = w.phases_w * w.columns, w.out_h, w.out_w
    return taps


cdef inline const float* channel_of(windows w, const float* x, float* phases, Py_ssize_t c) noexcept nogil:
    """Return the phases of a channel of an image: the channel itself, or a copy in `phases`."""
    if w.is_plain:
        return x + (c * w.height - w.padding_h) * w.width
    split(w, x + c * w.height * w.width, phases)
    return phases
