"""ReLU and its kin, an element at a time. All reads are unconditional, so that the loops are vectorised."""


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
            # Read whatever y is: a read under a condition becomes a branch, and the loop is not vectorised.
            gradient = dy[i]
            dx[i] = 0 if y[i] <= 0 else gradient


def leaky_relu_forward(
    double slope,
    const floating[::1] x not None,      # IN (M,)
    floating[::1] y not None,            # OUT (M,)
):
    """y = x where x is positive or NaN, slope * x elsewhere."""
    cdef Py_ssize_t i
    cdef floating factor = <floating>slope, value
    with nogil:
        for i in range(x.shape[0]):
            value = x[i]
            y[i] = factor * value if value <= 0 else value


def leaky_relu_backward(
    double slope,
    const floating[::1] dy not None,     # IN (M,)
    const floating[::1] x not None,      # IN (M,), of leaky_relu_forward
    floating[::1] dx not None,           # OUT (M,)
):
    """dx = dy where x is positive or NaN, slope * dy elsewhere, at x = 0 too."""
    cdef Py_ssize_t i
    cdef floating factor = <floating>slope, gradient
    with nogil:
        for i in range(x.shape[0]):
            gradient = dy[i]
            dx[i] = factor * gradient if x[i] <= 0 else gradient


def sum_forward(
    const floating[::1] a not None,      # IN (M,)
    const floating[::1] b not None,      # IN (M,)
    double slope,                        # 1 for the sum alone, 0 for ReLU behind it
    floating[::1] y not None,            # OUT (M,)
):
    """y = a + b where that is positive or NaN, slope * (a + b) elsewhere."""
    cdef Py_ssize_t i
    cdef floating factor = <floating>slope, value
    with nogil:
        if slope == 1:
            for i in range(a.shape[0]):
                y[i] = a[i] + b[i]
        elif slope == 0:                     # not 0 * minus infinity
            for i in range(a.shape[0]):
                value = a[i] + b[i]
                y[i] = 0 if value < 0 else value
        else:
            for i in range(a.shape[0]):
                value = a[i] + b[i]
                y[i] = factor * value if value <= 0 else value
