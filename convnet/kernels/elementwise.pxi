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


def minus_abs_of_cubic(
    double linear,
    double cubic,
    const floating[::1] x not None,      # IN (M,)
    floating[::1] y not None,            # OUT (M,)
):
    """y = -abs(linear * x + cubic * x ** 3), which is minus infinity where that overflows; both factors are above 0."""
    cdef Py_ssize_t i
    cdef floating a = <floating>linear, b = <floating>cubic, value
    with nogil:
        for i in range(x.shape[0]):
            value = x[i]
            value = value * (a + b * (value * value))
            y[i] = -value if value >= 0 else value


def gated_from_exp(
    const floating[::1] x not None,      # IN (M,)
    const floating[::1] e not None,      # IN (M,), exp(-abs(u)) of an u with the sign of x
    floating[::1] y not None,            # OUT (M,), may be e
):
    """y = x * s, where s is the logistic sigmoid of u; 0 where s is 0, though x be minus infinity."""
    cdef Py_ssize_t i
    cdef floating one = 1, exponential, gate, value
    with nogil:
        for i in range(x.shape[0]):
            value = x[i]
            exponential = e[i]
            gate = (one if value >= 0 else exponential) / (one + exponential)
            value = value * gate
            y[i] = 0 if gate == 0 else value


def gated_gradient_from_exp(
    double linear,
    double cubic,
    const floating[::1] dy not None,     # IN (M,)
    const floating[::1] x not None,      # IN (M,), of gated_from_exp
    const floating[::1] e not None,      # IN (M,), exp(-abs(u)) with u = linear * x + cubic * x ** 3
    floating[::1] dx not None,           # OUT (M,), may be e
):
    """dx = dy * (s + x * e / (1 + e) ** 2 * (linear + 3 * cubic * x ** 2)), where s is the logistic sigmoid of u."""
    cdef Py_ssize_t i
    cdef floating a = <floating>linear, b = <floating>(3 * cubic), one = 1, exponential, divisor, gate, part, value
    with nogil:
        for i in range(x.shape[0]):
            value = x[i]
            exponential = e[i]
            divisor = one + exponential
            gate = (one if value >= 0 else exponential) / divisor
            part = exponential / (divisor * divisor) * (value * (a + b * (value * value)))
            part = 0 if exponential == 0 else part               # 0 * infinity, where x is large
            dx[i] = dy[i] * (gate + part)


def minus_half_of_square(
    const floating[::1] x not None,      # IN (M,)
    floating[::1] y not None,            # OUT (M,)
):
    """y = -x ** 2 / 2, which is minus infinity where that overflows."""
    cdef Py_ssize_t i
    cdef floating half = <floating>-0.5
    with nogil:
        for i in range(x.shape[0]):
            y[i] = half * x[i] * x[i]


cdef inline floating normal_distribution(floating x, floating e) noexcept nogil:
    """Return the distribution function of the standard normal distribution, precise where it is close to 0 too.

    e is exp(-x ** 2 / 2). In float32 the tail is e * p(t) with t = 1 / (1 + 0.36 * abs(x) / sqrt(2)) and a polynomial
    p, the form of M. Abramowitz, I. A. Stegun, "Handbook of mathematical functions", 1964, formula 7.1.26. The
    coefficients are of a least-squares fit whose relative error was made even: it is below 4e-8.
    """
    cdef floating t, tail
    if floating is float:
        t = <float>1 / (<float>1 + <float>(0.36 * M_SQRT1_2) * fabsf(x))
        tail = <float>-0.0709843561 + t * <float>0.0188311152
        tail = <float>-0.0143179297 + t * (<float>0.0717122033 + t * tail)
        tail = <float>0.0614625434 + t * (<float>0.0532581247 + t * tail)
        tail = <float>0.0949720219 + t * (<float>0.0819583088 + t * tail)
        tail = e * t * (<float>0.1015541255 + t * (<float>0.1015538648 + t * tail))
        return <float>1 - tail if x >= 0 else tail
    else:
        return 0.5 * erfc(-x * M_SQRT1_2)


def gelu_forward(
    const floating[::1] x not None,      # IN (M,)
    const floating[::1] e not None,      # IN (M,), exp(-x ** 2 / 2)
    floating[::1] y not None,            # OUT (M,), may be e
):
    """y = x * Phi(x), and 0 where Phi(x) is 0, though x be minus infinity."""
    cdef Py_ssize_t i
    cdef floating gate, value
    with nogil:
        for i in range(x.shape[0]):
            gate = normal_distribution(x[i], e[i])
            value = x[i] * gate
            y[i] = 0 if gate == 0 else value


def gelu_backward(
    const floating[::1] dy not None,     # IN (M,)
    const floating[::1] x not None,      # IN (M,), of gelu_forward
    const floating[::1] e not None,      # IN (M,), exp(-x ** 2 / 2)
    floating[::1] dx not None,           # OUT (M,), may be e
):
    """dx = dy * (Phi(x) + x * phi(x)); the product is 0 where the density phi(x) is 0, though x be infinite."""
    cdef Py_ssize_t i
    cdef floating part, scale = <floating>(M_SQRT1_2 * M_2_SQRTPI / 2)
    with nogil:
        for i in range(x.shape[0]):
            part = scale * e[i] * x[i]
            part = 0 if e[i] == 0 else part
            dx[i] = dy[i] * (normal_distribution(x[i], e[i]) + part)


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
