"""Direct convolution of an image, in float32 and with an instruction set: no columns, each pixel is read where it lies.

The tiles of native/tiles/direct.h read the pixels in the phases of all channels, at the offset that each tap has there.
The weights are packed before, once for all images. The gradient of the input, where the stride is 1, is such a
convolution as well: of the output's gradient, with each filter turned by half a turn, channels in the place of filters,
and as padding what the kernel leaves, which may be negative.
"""

cdef extern from "simd.h" nogil:
    void simd_direct_weights(const simd_level* level, const float* weight, Py_ssize_t filters, Py_ssize_t channels,
                             Py_ssize_t area, int is_adjoint, float* packed) noexcept

# By columns go fewer filters than LEAST_FILTERS, and input gradients of so few channels. So do input gradients whose
# pixels, times the channels that their vectors have room for, are more than MOST_PERCENT of the output's pixels times
# the channels: most pixels are next to padding then. A window of one pixel is as fast by columns, as are outputs of
# fewer pixels than LEAST_PIXELS.
cdef enum:
    LEAST_FILTERS = 8
    LEAST_PIXELS = 16
    MOST_PERCENT = 200


cdef inline windows adjoint_of(windows s) noexcept nogil:
    """Return the convolution of the output's gradient that gives the input's, where the stride is 1."""
    return windows_of(
        s.out_h, s.out_w, s.kernel_h, s.kernel_w, 1, 1, s.kernel_h - 1 - s.padding_h, s.kernel_w - 1 - s.padding_w
    )


cdef inline const simd_level* level_for(const simd_level* level, Py_ssize_t filters) noexcept nogil:
    """Return the level whose tiles take so many filters: a narrower one where these fill half a vector."""
    return level.narrower if level.narrower != NULL and filters <= level.narrower.lanes else level


cdef inline bint is_worth_it(const simd_level* level, windows s) noexcept nogil:
    """Return whether the gradient of the weights goes without columns, and the other passes with filters enough."""
    return level != NULL and s.kernel_h * s.kernel_w > 1 and s.out_h * s.out_w >= LEAST_PIXELS


cdef inline bint is_adjoint_worth_it(const simd_level* level, windows s, Py_ssize_t channels) noexcept nogil:
    """Return whether the gradient of an input of so many channels goes without columns."""
    cdef Py_ssize_t lanes
    if s.stride_h != 1 or s.stride_w != 1 or channels < LEAST_FILTERS or not is_worth_it(level, adjoint_of(s)):
        return False
    lanes = level_for(level, channels).lanes
    return 100.0 * s.height * s.width * ((channels + lanes - 1) // lanes * lanes) <= (
        <double>MOST_PERCENT * s.out_h * s.out_w * channels
    )


cdef inline Py_ssize_t packed_size(const simd_level* level, Py_ssize_t filters, Py_ssize_t taps) noexcept nogil:
    """Return how many floats packed weights take."""
    cdef Py_ssize_t lanes = level_for(level, filters).lanes
    return (filters + 2 * lanes - 1) // (2 * lanes) * 2 * lanes * taps


cdef void lay_out(
    simd_direct* d, windows s, Py_ssize_t channels, Py_ssize_t filters,
    const float* x,                          # IN (C, H, W)
    float* phases,                           # OUT (C, phases_total(s))
    Py_ssize_t* offsets,                     # OUT (C, KH, KW), of each tap for the first output
) noexcept nogil:
    """Split all channels into their phases, and tell the tiles where the taps lie in them."""
    cdef Py_ssize_t c, i, j, tap = 0, area = s.kernel_h * s.kernel_w, total = phases_total(s)
    for c in range(channels):
        split(s, x + c * s.height * s.width, phases + c * total)
        for i in range(s.kernel_h):
            for j in range(s.kernel_w):
                offsets[tap] = first_pixel(s, i, j) if c == 0 else offsets[tap - area] + total
                tap += 1
    d.filters, d.channels, d.kernel_h, d.kernel_w = filters, channels, s.kernel_h, s.kernel_w
    d.rows, d.columns, d.stride_h, d.padding_h, d.height = s.out_h, s.out_w, s.stride_h, s.padding_h, s.height
    d.x, d.x_step, d.offsets = phases, s.phases_w * s.columns, offsets


cdef void direct_convolution(
    const simd_level* level, windows whole, Py_ssize_t block, Py_ssize_t channels, Py_ssize_t filters,
    const float* x,                          # IN (C, H, W)
    const float* packed,                     # IN, as simd_direct_weights writes it
    const float* bias,                       # IN (F,), or NULL
    float* phases, Py_ssize_t* offsets,      # SCRATCH, as lay_out writes them
    float* y,                                # OUT (F, OH, OW)
) noexcept nogil:
    """Convolve an image, a block of output rows at a time."""
    cdef Py_ssize_t row = 0
    cdef windows s
    cdef simd_direct d
    d.weight, d.bias, d.y_step = packed, bias, whole.out_h * whole.out_w
    while row < whole.out_h:
        s = block_of(whole, row, min(row + block, whole.out_h))
        lay_out(&d, s, channels, filters, x, phases, offsets)
        d.y = y + row * whole.out_w
        level_for(level, filters).direct(&d)
        row += block


cdef void direct_gradients(
    const simd_level* level, windows whole, Py_ssize_t block, Py_ssize_t channels, Py_ssize_t filters,
    const float* dy,                         # IN (F, OH, OW)
    const float* x,                          # IN (C, H, W)
    float* phases, Py_ssize_t* offsets,      # SCRATCH, as lay_out writes them
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
        lay_out(&d, s, channels, filters, x, phases, offsets)
        d.dy = dy + row * whole.out_w
        level_for(level, filters).direct_gradients(&d)
        row += block
