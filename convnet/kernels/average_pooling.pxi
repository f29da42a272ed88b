"""Average pooling on the walk over windows that max pooling has, and global average pooling."""


cdef inline bint is_two_by_two(windows s) noexcept nogil:
    """Return whether windows of 2x2 lie side by side in the image, as nearly all do: a single pass takes them."""
    return (
        s.kernel_h == s.kernel_w == s.stride_h == s.stride_w == 2 and s.padding_h == s.padding_w == 0
        and 2 * s.out_h <= s.height and 2 * s.out_w <= s.width
    )


def average_pool2d_forward(
    Pooling s not None,
    const floating[:, :, ::1] x not None,    # IN (P, H, W), P = N * C planes
    const floating[:, ::1] counts not None,  # IN (OH, OW), what each window's sum is divided by
    floating[:, :, ::1] y not None,          # OUT (P, OH, OW)
):
    """y[p, oh, ow] = the sum of the window's elements that lie inside x, divided by counts[oh, ow]."""
    cdef windows w = s.w
    cdef Py_ssize_t p, oh, ow
    cdef const floating* row
    cdef const floating* below
    cdef bint is_two = is_two_by_two(w)
    with nogil:
        for p in range(x.shape[0]):
            for oh in range(w.out_h):
                if is_two:
                    row = &x[p, 2 * oh, 0]
                    below = row + w.width
                    for ow in range(w.out_w):
                        y[p, oh, ow] = row[2 * ow] + row[2 * ow + 1] + below[2 * ow] + below[2 * ow + 1]
                        y[p, oh, ow] /= counts[oh, ow]
                    continue
                for ow in range(w.out_w):
                    y[p, oh, ow] = 0
                walk_row(ADD_PIXELS, &w, <floating*>&x[p, 0, 0], &y[p, oh, 0], NULL, oh)
                for ow in range(w.out_w):
                    y[p, oh, ow] /= counts[oh, ow]


def average_pool2d_backward(
    Pooling s not None,
    const floating[:, :, ::1] dy not None,   # IN (P, OH, OW)
    const floating[:, ::1] counts not None,  # IN (OH, OW), as in the forward pass
    floating[:, :, ::1] shares not None,     # SCRATCH (P, OH, OW)
    floating[:, :, ::1] dx not None,         # OUT (P, H, W)
):
    """dx[p, h, w] = the sum of dy[p, oh, ow] / counts[oh, ow] over the windows that it lies in."""
    cdef windows w = s.w
    cdef Py_ssize_t p, oh, ow, h
    cdef floating* row
    cdef floating* below
    cdef bint is_two = is_two_by_two(w)
    with nogil:
        for p in range(dy.shape[0]):
            for oh in range(w.out_h):
                for ow in range(w.out_w):
                    shares[p, oh, ow] = dy[p, oh, ow] / counts[oh, ow]
            for h in range(w.height):
                for ow in range(w.width):
                    dx[p, h, ow] = 0
            for oh in range(w.out_h):
                if is_two:
                    row = &dx[p, 2 * oh, 0]
                    below = row + w.width
                    for ow in range(w.out_w):
                        row[2 * ow] = row[2 * ow + 1] = below[2 * ow] = below[2 * ow + 1] = shares[p, oh, ow]
                    continue
                walk_row(ADD_OUTPUTS, &w, &dx[p, 0, 0], &shares[p, oh, 0], NULL, oh)


cdef enum:
    CHANNELS_AT_ONCE = 16                    # channels whose sums are formed at once: a cache line of float32


def global_average_pool_forward(
    const floating[:, :, ::1] x not None,    # IN (P, Q, C): images in NCHW are (N * C, H * W, 1), else (N, H * W, C)
    floating[:, ::1] y not None,             # OUT (P, C)
):
    """y[p, c] = the mean of x[p, q, c] over the pixels q, of which there is one at least; the sum is of float64."""
    cdef Py_ssize_t p, q, c, block, first, count, pixels = x.shape[1], channels = x.shape[2]
    cdef double[CHANNELS_AT_ONCE] sums
    cdef double total
    cdef const floating* row
    with nogil:
        for p in range(x.shape[0]):
            if channels == 1:
                row, total = &x[p, 0, 0], 0
                for q in range(pixels):
                    total += row[q]
                y[p, 0] = <floating>(total / pixels)
                continue
            for block in range((channels + CHANNELS_AT_ONCE - 1) // CHANNELS_AT_ONCE):
                first = block * CHANNELS_AT_ONCE
                count = min(CHANNELS_AT_ONCE, channels - first)
                for c in range(count):
                    sums[c] = 0
                for q in range(pixels):
                    row = &x[p, q, first]
                    for c in range(count):
                        sums[c] += row[c]
                for c in range(count):
                    y[p, first + c] = <floating>(sums[c] / pixels)
