"""Images read where an affine map sends each of their pixels."""

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
