"""The loss of a multi-class support vector machine."""


def svm_loss(
    const floating[:, ::1] scores not None,      # IN (N, K)
    const Py_ssize_t[::1] labels not None,       # IN (N,), in [0, K)
    double margin,
    floating[:, ::1] dscores not None,           # OUT (N, K)
):
    """Return mean_n(sum over k != labels[n] of max(0, scores[n, k] - scores[n, labels[n]] + margin)).

    dscores becomes its gradient; a term that is exactly 0 has none. NaN, and an infinite score, make the loss not
    finite, but for minus infinity as a wrong score, which has no term. The sum is in float64.
    """
    cdef Py_ssize_t count = scores.shape[0], classes = scores.shape[1]
    cdef Py_ssize_t n, k, label, wrong
    cdef double right, term, loss = 0.0
    with nogil:
        for n in range(count):
            label = labels[n]
            right = scores[n, label]
            wrong = 0
            for k in range(classes):
                dscores[n, k] = 0
                term = scores[n, k] - right + margin
                if k == label or term <= 0:      # not so for NaN, which is added
                    continue
                loss += term
                wrong += 1
                dscores[n, k] = <floating>(1.0 / count)
            dscores[n, label] = <floating>(-(<double>wrong) / count)
            loss += 0 * right                    # 0, but for an infinite right score, which leaves no term
    return loss / count
