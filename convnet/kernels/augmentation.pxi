"""Training images moved, changed and prepared: each is read once and written once, as the network gets it.

The amounts are the caller's, and each image is computed on its own, so that the work can be divided anywhere.
"""

cdef inline Py_ssize_t index_inside(Py_ssize_t index, Py_ssize_t size, bint reflect) noexcept nogil:
    """Return an index in [0, size): for one outside the nearest, or the one that it mirrors."""
    cdef Py_ssize_t period = 2 * (size - 1)
    if reflect and period:
        index = (-index if index < 0 else index) % period
        return min(index, period - index)
    return min(max(index, 0), size - 1)


cdef inline floating outside_pixel(
    const pixel* row, const floating* values, Py_ssize_t width, Py_ssize_t column, bint flip, bint reflect,
    bint has_ground, floating ground,
) noexcept nogil:
    """Return what stands in a column outside a row's image."""
    if has_ground:
        return ground
    column = index_inside(column, width, reflect)
    return value_of(row[width - 1 - column if flip else column], values)


cdef inline void move_image(
    const pixel* x,                              # IN (C, H, W)
    const floating* values,                      # IN (256,), for raw pixels
    Py_ssize_t channels, Py_ssize_t height, Py_ssize_t width,
    const Py_ssize_t* move,                      # IN (4,): the shifts along H and W, whether flipped along H and W
    bint reflect, bint has_ground, floating ground,
    floating* y,                                 # OUT (C, H, W)
) noexcept nogil:
    """y[c, h, w] = x[c, h - move[0], w - move[1]], of the flipped image."""
    cdef Py_ssize_t down = move[0], across = move[1], c, h, w, row
    cdef bint flip = move[3] != 0
    # The columns whose pixels lie inside.
    cdef Py_ssize_t first = min(max(across, 0), width), end = max(first, min(width + across, width))
    cdef const pixel* source
    for c in range(channels):
        for h in range(height):
            row = h - down
            if has_ground and not 0 <= row < height:
                for w in range(width):
                    y[w] = ground
            else:
                row = index_inside(row, height, reflect)
                source = x + (c * height + (height - 1 - row if move[2] else row)) * width
                for w in range(first):
                    y[w] = outside_pixel(source, values, width, w - across, flip, reflect, has_ground, ground)
                if flip:
                    for w in range(first, end):
                        y[w] = value_of(source[width - 1 + across - w], values)
                else:
                    for w in range(first, end):
                        y[w] = value_of(source[w - across], values)
                for w in range(end, width):
                    y[w] = outside_pixel(source, values, width, w - across, flip, reflect, has_ground, ground)
            y += width


cdef inline double mean_pixel(const pixel* x, const floating* values, Py_ssize_t size) noexcept nogil:
    """Return the mean of all numbers of an image."""
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(size):
        total += value_of(x[i], values)
    return total / size


cdef inline void prepare_image(
    floating* y, Py_ssize_t size,                # INOUT (size,)
    const floating* mean, Py_ssize_t means,      # IN (means,): one, or `size` of them
    const floating* std, Py_ssize_t stds,        # IN (stds,): the same
) noexcept nogil:
    """y = (y - mean) / std."""
    cdef Py_ssize_t i
    cdef floating one_mean = mean[0], one_std = std[0]
    if means == 1 and stds == 1:
        for i in range(size):
            y[i] = (y[i] - one_mean) / one_std
    elif stds == 1:
        for i in range(size):
            y[i] = (y[i] - mean[i]) / one_std
    elif means == 1:
        for i in range(size):
            y[i] = (y[i] - one_mean) / std[i]
    else:
        for i in range(size):
            y[i] = (y[i] - mean[i]) / std[i]


def prepare(
    const uint8_t[:, ::1] x not None,            # IN (N, M)
    double unit,
    const floating[::1] mean not None,           # IN (M,), or (1,) for all pixels
    const floating[::1] std not None,            # IN, the same
    floating[:, ::1] y not None,                 # OUT (N, M)
):
    """y = (x / unit - mean) / std, for raw images."""
    cdef Py_ssize_t n, i, size = x.shape[1]
    cdef floating divisor = <floating>unit
    with nogil:
        for n in range(x.shape[0]):
            for i in range(size):
                y[n, i] = <floating>x[n, i] / divisor
            prepare_image(&y[n, 0], size, &mean[0], mean.shape[0], &std[0], std.shape[0])


def augment(
    const pixel[:, :, :, ::1] x not None,        # IN (N, C, H, W)
    const Py_ssize_t[:, ::1] moves not None,     # IN (N, 4): shifts along H and W, whether flipped along H and W
    const double[:, :, ::1] maps,                # IN (N, 2, 3) as of `warp`, used instead of the moves; or None
    bint reflect,                                # whether what comes in from outside is the mirrored image
    bint has_ground,                             # whether it is the ground; otherwise the nearest pixel
    double ground,
    const double[:, ::1] tones not None,         # IN (N, 2): factor about the image's mean, and what is added
    const Py_ssize_t[:, ::1] cuts not None,      # IN (N, 4): the rows [0] to [1] and columns [2] to [3] are cut out
    double unit,                                 # by which raw pixels are divided first; floats are not
    const floating[::1] mean not None,           # IN (C * H * W,), or (1,) for all pixels
    const floating[::1] std not None,            # IN, the same
    floating[:, :, :, ::1] y not None,           # OUT (N, C, H, W)
):
    """y = (tone(moved(x / unit)) - mean) / std, and 0 where an image is cut out.

    The ground, and what a tone adds, are in the unit of x / unit. The last row and column of a cut stay.
    """
    cdef Py_ssize_t n, c, h, w, i, channels = x.shape[1], height = x.shape[2], width = x.shape[3]
    cdef Py_ssize_t size = channels * height * width
    cdef bint is_warped = maps is not None
    cdef const pixel* source
    cdef floating* target
    cdef floating gain, addend
    cdef floating values[256]
    with nogil:
        for i in range(256):
            values[i] = <floating>i / <floating>unit
        for n in range(x.shape[0]):
            source, target = &x[n, 0, 0, 0], &y[n, 0, 0, 0]
            if is_warped:
                warp_image(
                    source, values, channels, height, width, &maps[n, 0, 0], reflect, has_ground, <floating>ground,
                    target,
                )
            else:
                move_image(
                    source, values, channels, height, width, &moves[n, 0], reflect, has_ground, <floating>ground,
                    target,
                )
            if tones[n, 0] != 1 or tones[n, 1] != 0:
                gain, addend = <floating>tones[n, 0], <floating>tones[n, 1]
                if tones[n, 0] != 1:
                    addend = <floating>(tones[n, 1] + (1 - tones[n, 0]) * mean_pixel(source, values, size))
                for i in range(size):
                    target[i] = gain * target[i] + addend
            prepare_image(target, size, &mean[0], mean.shape[0], &std[0], std.shape[0])
            for c in range(channels):
                for h in range(cuts[n, 0], cuts[n, 1]):
                    for w in range(cuts[n, 2], cuts[n, 3]):
                        target[(c * height + h) * width + w] = 0


def mix_pairs(
    floating[:, ::1] x not None,                 # INOUT (N, M)
    Py_ssize_t first, Py_ssize_t end,            # of the first half of the rows
    double factor,
):
    """x[n], x[N - 1 - n] = factor * x[n] + (1 - factor) * x[N - 1 - n], and the other way round, at once."""
    cdef Py_ssize_t n, i, last = x.shape[0] - 1
    cdef floating own = <floating>factor, others = <floating>(1 - factor), one, other
    with nogil:
        for n in range(first, end):
            for i in range(x.shape[1]):
                one, other = x[n, i], x[last - n, i]
                x[n, i] = own * one + others * other
                x[last - n, i] = own * other + others * one
