"""Activations, an element at a time. All reads are unconditional, so that the loops are vectorised."""


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


def sigmoid_from_exp(
    const floating[::1] x not None,      # IN (M,)
    const floating[::1] e not None,      # IN (M,), exp(-abs(x))
    floating[::1] y not None,            # OUT (M,), may be e
):
    """y = 1 / (1 + e) where x >= 0, e / (1 + e) elsewhere: the logistic sigmoid of x, whose exponential is NumPy's."""
    cdef Py_ssize_t i
    cdef floating one = 1, exponential       # the literal 1 would make this a division of doubles
    with nogil:
        for i in range(x.shape[0]):
            exponential = e[i]
            y[i] = (one if x[i] >= 0 else exponential) / (one + exponential)


def sigmoid_gradient_from_exp(
    double factor,                       # 1 for sigmoid; 4 for tanh, whose e is exp(-2 * abs(x))
    const floating[::1] dy not None,     # IN (M,)
    const floating[::1] e not None,      # IN (M,), exp(-abs(x))
    floating[::1] dx not None,           # OUT (M,), may be e
):
    """dx = factor * e / (1 + e) ** 2 * dy, which keeps its precision where the sigmoid rounds to 1."""
    cdef Py_ssize_t i
    cdef floating scale = <floating>factor, one = 1, exponential, divisor
    with nogil:
        for i in range(e.shape[0]):
            exponential = e[i]
            divisor = one + exponential
            dx[i] = scale * (exponential / (divisor * divisor) * dy[i])
