"""Rows of im2col's columns: copied from a channel, and added back to it."""

cdef inline void copy_row(const floating* x, floating* y, Py_ssize_t count) noexcept nogil:
    """y = x, in blocks whose length the compiler knows, of which the last may overlap the one before.

    Rows are short: a loop over elements is much slower.
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
    const simd_level* level, const floating* x, Py_ssize_t x_step, floating* y, Py_ssize_t rows, Py_ssize_t columns,
) noexcept nogil:
    """y[r * columns + i] = x[r * x_step + i]."""
    cdef Py_ssize_t r
    if floating is float:
        if level != NULL:
            level.copy_rows(x, x_step, y, rows, columns)
            return
    for r in range(rows):
        copy_row(x + r * x_step, y + r * columns, columns)


cdef inline void accumulate(
    const simd_level* level, const floating* x, Py_ssize_t x_step, Py_ssize_t shifts, floating* y, Py_ssize_t y_step,
    Py_ssize_t rows, Py_ssize_t columns,
) noexcept nogil:
    """y[r * y_step + t + i] += x[t * x_step + r * columns + i] for t below shifts."""
    cdef Py_ssize_t t, r, i
    if floating is float:
        if level != NULL:
            level.accumulate(x, x_step, shifts, y, y_step, rows, columns)
            return
    for t in range(shifts):
        for r in range(rows):
            for i in range(columns):
                y[r * y_step + t + i] += x[t * x_step + r * columns + i]
