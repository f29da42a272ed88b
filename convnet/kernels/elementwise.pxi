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


cdef class Gate:
    """The gate of an activation ``x * gate``, a smooth step from 0 to 1.

    It is the logistic sigmoid of ``linear * x + cubic * x ** 3``, with `linear` at least 1 and `cubic` at least 0;
    without arguments the distribution function of the standard normal distribution.
    """

    cdef simd_gate g

    def __cinit__(self, double linear=0, double cubic=0):
        if (linear or cubic) and not (linear >= 1 and cubic >= 0):
            raise ValueError(f"Gate: expected linear of at least 1 and cubic of at least 0, got {linear} and {cubic}")
        self.g.is_normal, self.g.linear, self.g.cubic = linear == 0, linear, cubic


cdef inline double within_gate(double x) noexcept nogil:
    """Return x or the nearest number at which a gate is 0 or 1, and its slope 0, in float64 too."""
    return -1000 if x < -1000 else 1000 if x > 1000 else x


cdef inline double exponential_of_gate(const simd_gate* g, double x) noexcept nogil:
    """Return exp(-x ** 2 / 2) for the normal distribution, and exp(-abs(u)) of the sigmoid's argument u."""
    return exp(-0.5 * x * x) if g.is_normal else exp(-fabs(x * (g.linear + g.cubic * (x * x))))


cdef inline double value_of_gate(const simd_gate* g, double x, double e) noexcept nogil:
    """Return the gate at x, precise where it is close to 0 too; e is that of `exponential_of_gate`."""
    return 0.5 * erfc(-x * M_SQRT1_2) if g.is_normal else (1 if x >= 0 else e) / (1 + e)


def gate_forward(
    Gate gate not None,
    const floating[::1] x not None,      # IN (M,)
    floating[::1] y not None,            # OUT (M,)
):
    """y = x * gate, and 0 where x is minus infinity."""
    cdef const simd_gate* g = &gate.g
    cdef const simd_level* level = level_in_use
    cdef double value, step
    cdef Py_ssize_t i, size = x.shape[0]
    with nogil:
        if floating is float:
            if level != NULL and size > 0:
                level.gate_forward(g, size, &x[0], &y[0])
                size = 0
        for i in range(size):
            value = within_gate(x[i])
            step = value_of_gate(g, value, exponential_of_gate(g, value))
            y[i] = <floating>((value if value < 0 else x[i]) * step)


def gate_backward(
    Gate gate not None,
    const floating[::1] dy not None,     # IN (M,)
    const floating[::1] x not None,      # IN (M,), of gate_forward
    floating[::1] dx not None,           # OUT (M,)
):
    """dx = dy * (gate + x * its slope); where x is infinite, x * its slope is 0."""
    cdef const simd_gate* g = &gate.g
    cdef const simd_level* level = level_in_use
    cdef double value, e, slope
    cdef Py_ssize_t i, size = x.shape[0]
    with nogil:
        if floating is float:
            if level != NULL and size > 0:
                level.gate_backward(g, size, &dy[0], &x[0], &dx[0])
                size = 0
        for i in range(size):
            value = within_gate(x[i])
            e = exponential_of_gate(g, value)
            if g.is_normal:
                slope = e * M_SQRT1_2 * M_2_SQRTPI / 2 * value
            else:
                slope = e / ((1 + e) * (1 + e)) * (value * (g.linear + 3 * g.cubic * (value * value)))
            dx[i] = <floating>(dy[i] * (value_of_gate(g, value, e) + slope))


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
