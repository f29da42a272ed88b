"""The optimizers' updates of parameters, and L2 regularisation."""


def add_scaled(
    double factor,
    const floating[::1] x not None,      # IN (M,)
    floating[::1] y not None,            # INOUT (M,)
):
    """y += factor * x."""
    cdef Py_ssize_t i
    cdef floating a = <floating>factor
    with nogil:
        for i in range(x.shape[0]):
            y[i] += a * x[i]


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


cdef inline floating root(floating x) noexcept nogil:
    """Return the square root in the precision of x."""
    if floating is float:
        return sqrtf(x)
    else:
        return sqrt(x)


def momentum_update(
    double rate, double momentum, bint nesterov,
    const floating[::1] grad not None,       # IN (M,)
    floating[::1] velocity not None,         # INOUT (M,)
    floating[::1] param not None,            # INOUT (M,)
):
    """velocity = momentum * velocity + grad; param -= rate * velocity.

    With Nesterov's momentum param -= rate * (momentum * velocity + grad), with the new velocity.
    """
    cdef Py_ssize_t i
    cdef floating step = <floating>rate, decay = <floating>momentum, gradient
    with nogil:
        for i in range(param.shape[0]):
            gradient = grad[i]
            velocity[i] = decay * velocity[i] + gradient
            param[i] -= step * (decay * velocity[i] + gradient if nesterov else velocity[i])


def rmsprop_update(
    double rate, double decay, double epsilon,
    const floating[::1] grad not None,       # IN (M,)
    floating[::1] mean_square not None,      # INOUT (M,)
    floating[::1] param not None,            # INOUT (M,)
):
    """mean_square = decay * mean_square + (1 - decay) * grad ** 2;
    param -= rate * grad / (sqrt(mean_square) + epsilon).
    """
    cdef Py_ssize_t i
    cdef floating step = <floating>rate, old = <floating>decay, new = <floating>(1 - decay), eps = <floating>epsilon
    cdef floating gradient
    with nogil:
        for i in range(param.shape[0]):
            gradient = grad[i]
            mean_square[i] = old * mean_square[i] + new * gradient * gradient
            param[i] -= step * gradient / (root(mean_square[i]) + eps)


def adam_update(
    double step,                             # rate / (1 - beta1 ** steps)
    double correction,                       # sqrt(1 - beta2 ** steps)
    double shrink,                           # 1 - rate * weight_decay
    double beta1, double beta2, double epsilon,
    const floating[::1] grad not None,       # IN (M,)
    floating[::1] mean not None,             # INOUT (M,)
    floating[::1] mean_square not None,      # INOUT (M,)
    floating[::1] param not None,            # INOUT (M,)
):
    """mean = beta1 * mean + (1 - beta1) * grad; mean_square = beta2 * mean_square + (1 - beta2) * grad ** 2;
    param = shrink * param - step * mean / (sqrt(mean_square) / correction + epsilon).
    """
    cdef Py_ssize_t i
    cdef floating old1 = <floating>beta1, new1 = <floating>(1 - beta1)
    cdef floating old2 = <floating>beta2, new2 = <floating>(1 - beta2)
    cdef floating keep = <floating>shrink, eps = <floating>epsilon
    cdef floating scale = <floating>(1 / correction), factor = <floating>step, gradient
    with nogil:
        for i in range(param.shape[0]):
            gradient = grad[i]
            mean[i] = old1 * mean[i] + new1 * gradient
            mean_square[i] = old2 * mean_square[i] + new2 * gradient * gradient
            param[i] = keep * param[i] - factor * mean[i] / (root(mean_square[i]) * scale + eps)
