"""Images read where an affine map sends each of their pixels."""

# A pixel as it is read: raw, or a number of the result's precision.
ctypedef fused pixel:
    uint8_t
    float
    double


cdef inline floating value_of(pixel x, const floating* values) noexcept nogil:
    """Return what a pixel counts: a raw one is looked up in a table of all 256, because it would be divided by 255."""
    if pixel is uint8_t:
        return values[x]
    return <floating>x


cdef inline floating between(floating start, floating end, floating part) noexcept nogil:
    """Return the value at the part of the way; where that is 0 the end does not count, even if it is infinite."""
    return start if part == 0 else (1 - part) * start + part * end


cdef inline double mirrored(double place, Py_ssize_t size) noexcept nogil:
    """Return the place in [0, size - 1] that one outside shows, where the image is mirrored at its first and last."""
    cdef double last = <double>(size - 1), period = 2 * last
    if size == 1:
        return 0
    place = fabs(place)
    place -= period * floor(place / period)
    return period - place if place > last else place


cdef inline floating pixel_or_ground(
    const pixel* x, const floating* values, Py_ssize_t height, Py_ssize_t width, Py_ssize_t row, Py_ssize_t column,
    floating ground,
) noexcept nogil:
    """Return a pixel of a channel, or the ground for one outside."""
    return value_of(x[row * width + column], values) if 0 <= row < height and 0 <= column < width else ground


cdef inline void warp_image(
    const pixel* x,                              # IN (C, H, W)
    const floating* values,                      # IN (256,), for raw pixels
    Py_ssize_t channels, Py_ssize_t height, Py_ssize_t width,
    const double* map,                           # IN (2, 3)
    bint reflect, bint has_ground, floating ground,
    floating* y,                                 # OUT (C, H, W)
) noexcept nogil:
    """y[c, h, w] = x[c] at row a, column b, where (a, b) = map @ (h, w, 1)."""
    cdef Py_ssize_t c, h, w, top, left, bottom, right, size = height * width
    # Beyond one pixel outside, all is ground.
    cdef double border = 1 if has_ground else 0
    cdef double row, column
    cdef floating down, across, above, below
    cdef const pixel* upper
    cdef const pixel* lower
    for h in range(height):
        for w in range(width):
            row = map[0] * h + map[1] * w + map[2]
            column = map[3] * h + map[4] * w + map[5]
            if reflect:
                row, column = mirrored(row, height), mirrored(column, width)
            row = min(max(row, -border), <double>(height - 1) + border)
            column = min(max(column, -border), <double>(width - 1) + border)
            top, left = <Py_ssize_t>floor(row), <Py_ssize_t>floor(column)
            down, across = <floating>(row - top), <floating>(column - left)
            bottom, right = top + 1, left + 1
            if has_ground and (top < 0 or left < 0 or bottom >= height or right >= width):
                for c in range(channels):
                    above = between(
                        pixel_or_ground(x + c * size, values, height, width, top, left, ground),
                        pixel_or_ground(x + c * size, values, height, width, top, right, ground), across,
                    )
                    below = between(
                        pixel_or_ground(x + c * size, values, height, width, bottom, left, ground),
                        pixel_or_ground(x + c * size, values, height, width, bottom, right, ground), across,
                    )
                    y[c * size + h * width + w] = between(above, below, down)
                continue
            bottom, right = min(bottom, height - 1), min(right, width - 1)
            for c in range(channels):
                upper, lower = x + c * size + top * width, x + c * size + bottom * width
                above = between(value_of(upper[left], values), value_of(upper[right], values), across)
                below = between(value_of(lower[left], values), value_of(lower[right], values), across)
                y[c * size + h * width + w] = between(above, below, down)


def warp(
    const floating[:, :, :, ::1] x not None,     # IN (N, C, H, W)
    const double[:, :, ::1] maps not None,       # IN (N, 2, 3)
    floating[:, :, :, ::1] y not None,           # OUT (N, C, H, W)
):
    """y[n, c, h, w] = x[n, c] at row a, column b, where (a, b) = maps[n] @ (h, w, 1).

    Between pixels the four neighbours are weighted bilinearly; outside the image its nearest pixel counts.
    """
    cdef Py_ssize_t n
    with nogil:
        for n in range(x.shape[0]):
            warp_image(
                &x[n, 0, 0, 0], <const floating*>NULL, x.shape[1], x.shape[2], x.shape[3], &maps[n, 0, 0],
                False, False, <floating>0, &y[n, 0, 0, 0],
            )
