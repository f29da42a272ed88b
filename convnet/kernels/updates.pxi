"""The optimizers' updates of parameters, moving averages of them, L2 regularisation, and sums of squares."""

RULES = {
    "sgd": SIMD_SGD,
    "momentum": SIMD_MOMENTUM,
    "nesterov": SIMD_NESTEROV,
    "rmsprop": SIMD_RMSPROP,
    "adadelta": SIMD_ADADELTA,
    "adam": SIMD_ADAM,
}


cdef class Rule:
    """How an optimizer updates a parameter from g, the gradient of the loss plus `l2` times the parameter.

    - ``sgd``: ``param -= rate * g``;
    - ``momentum``: ``first = decay1 * first + g``; ``param -= rate * first``;
    - ``nesterov``: the same, but ``param -= rate * (decay1 * first + g)``;
    - ``rmsprop``: ``first = decay1 * first + (1 - decay1) * g ** 2``; ``param -= rate * g / (sqrt(first) + epsilon)``;
    - ``adadelta``: ``first = decay1 * first + (1 - decay1) * g ** 2``;
      ``step = sqrt(second + epsilon) / sqrt(first + epsilon) * g``;
      ``second = decay1 * second + (1 - decay1) * step ** 2``; ``param -= rate * step``;
    - ``adam``: ``first = decay1 * first + (1 - decay1) * g``; ``second = decay2 * second + (1 - decay2) * g ** 2``;
      ``param = shrink * param - rate * first / (sqrt(second) / correction + epsilon)``.
    """

    cdef simd_rule r

    def __cinit__(
        self, str kind, double rate, *, double decay1=0, double decay2=0, double epsilon=0, double correction=1,
        double shrink=1, double l2=0,
    ):
        self.r.kind, self.r.rate, self.r.decay1, self.r.decay2 = RULES[kind], rate, decay1, decay2
        self.r.epsilon, self.r.correction, self.r.shrink, self.r.l2 = epsilon, correction, shrink, l2


cdef inline floating root(floating x) noexcept nogil:
    """Return the square root in the precision of x."""
    if floating is float:
        return sqrtf(x)
    else:
        return sqrt(x)


cdef inline void apply_rule(
    const simd_level* level, const simd_rule* r, const floating[::1] grad, floating[::1] param,
    floating[::1] first, floating[::1] second,
) noexcept nogil:
    """What `update` does."""
    cdef floating rate = <floating>r.rate, l2 = <floating>r.l2, shrink = <floating>r.shrink
    cdef floating epsilon = <floating>r.epsilon, scale = <floating>(1 / r.correction)
    cdef floating old1 = <floating>r.decay1, new1 = <floating>(1 - r.decay1)
    cdef floating old2 = <floating>r.decay2, new2 = <floating>(1 - r.decay2), gradient, step
    cdef simd_rule_kind kind = r.kind
    cdef Py_ssize_t i
    if floating is float:
        if level != NULL:
            level.update(
                r, param.shape[0], &grad[0], &param[0], NULL if first is None else &first[0],
                NULL if second is None else &second[0],
            )
            return
    for i in range(param.shape[0]):
        gradient = grad[i] + l2 * param[i]
        if kind == SIMD_SGD:
            param[i] -= rate * gradient
        elif kind == SIMD_MOMENTUM or kind == SIMD_NESTEROV:
            first[i] = old1 * first[i] + gradient
            param[i] -= rate * (old1 * first[i] + gradient if kind == SIMD_NESTEROV else first[i])
        elif kind == SIMD_RMSPROP:
            first[i] = old1 * first[i] + new1 * gradient * gradient
            param[i] -= rate * gradient / (root(first[i]) + epsilon)
        elif kind == SIMD_ADADELTA:
            first[i] = old1 * first[i] + new1 * gradient * gradient
            step = root(second[i] + epsilon) / root(first[i] + epsilon) * gradient
            second[i] = old1 * second[i] + new1 * step * step
            param[i] -= rate * step
        else:
            first[i] = old1 * first[i] + new1 * gradient
            second[i] = old2 * second[i] + new2 * gradient * gradient
            param[i] = shrink * param[i] - rate * first[i] / (root(second[i]) * scale + epsilon)


def update(
    Rule rule not None,
    const floating[::1] grad not None,       # IN (M,)
    floating[::1] param not None,            # INOUT (M,)
    floating[::1] first=None,                # INOUT (M,), or None where the rule has no such array
    floating[::1] second=None,               # INOUT (M,), or None
):
    """Update a parameter by a rule."""
    cdef const simd_level* level = level_in_use
    if param.shape[0] == 0:
        return
    with nogil:
        apply_rule(level, &rule.r, grad, param, first, second)


def move_average(
    double share,                            # in [0, 1]
    const floating[::1] x not None,          # IN (M,)
    floating[::1] average not None,          # INOUT (M,)
):
    """average = (1 - share) * average + share * x; exactly x where share is 1 and the average finite."""
    cdef Py_ssize_t i
    cdef floating new = <floating>share, old = <floating>(1 - share)
    with nogil:
        for i in range(average.shape[0]):
            average[i] = old * average[i] + new * x[i]


def add_l2(
    double l2,
    const floating[::1] weight not None,     # IN (M,)
    floating[::1] dweight not None,          # INOUT (M,)
):
    """Return 0.5 * l2 * sum(weight ** 2), summed in float64; dweight += l2 * weight, its gradient."""
    cdef Py_ssize_t i
    cdef floating a = <floating>l2
    cdef double squares = 0.0
    with nogil:
        for i in range(weight.shape[0]):
            squares += <double>weight[i] * weight[i]
            dweight[i] += a * weight[i]
    return 0.5 * l2 * squares


def sum_of_squares(
    const floating[::1] x not None,          # IN (M,)
):
    """Return sum(x ** 2), in float64 and in the same order at every instruction set."""
    cdef Py_ssize_t size = x.shape[0], i, j
    cdef double total = 0.0
    cdef double[8] sums
    for j in range(8):
        sums[j] = 0.0
    with nogil:
        for i in range(0, size - 7, 8):
            for j in range(8):               # eight sums, so that none waits for the addition before
                sums[j] += <double>x[i + j] * x[i + j]
        for i in range(size - size % 8, size):
            total += <double>x[i] * x[i]
        for j in range(8):
            total += sums[j]
    return total
