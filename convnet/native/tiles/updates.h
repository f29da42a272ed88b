/* The optimizers' rules for float32, for one level; convnet/training/optimizers.py has the formulas. */

/* Update `size` elements of a parameter, whose gradient is grad + l2 * param. */
SIMD_TARGET static void SIMD_NAME(update)(const simd_rule *r, ptrdiff_t size, const float *restrict grad,
                                          float *restrict param, float *restrict first, float *restrict second) {
    const float rate = (float)r->rate, l2 = (float)r->l2, shrink = (float)r->shrink, epsilon = (float)r->epsilon;
    const float old1 = (float)r->decay1, new1 = (float)(1 - r->decay1);
    const float old2 = (float)r->decay2, new2 = (float)(1 - r->decay2), scale = (float)(1 / r->correction);
    switch (r->kind) {
    case SIMD_SGD:
        for (ptrdiff_t i = 0; i < size; i++) param[i] -= rate * (grad[i] + l2 * param[i]);
        break;
    case SIMD_MOMENTUM:
        for (ptrdiff_t i = 0; i < size; i++) {
            first[i] = old1 * first[i] + (grad[i] + l2 * param[i]);
            param[i] -= rate * first[i];
        }
        break;
    case SIMD_NESTEROV:
        for (ptrdiff_t i = 0; i < size; i++) {
            const float gradient = grad[i] + l2 * param[i];
            first[i] = old1 * first[i] + gradient;
            param[i] -= rate * (old1 * first[i] + gradient);
        }
        break;
    case SIMD_RMSPROP:
        for (ptrdiff_t i = 0; i < size; i++) {
            const float gradient = grad[i] + l2 * param[i];
            first[i] = old1 * first[i] + new1 * gradient * gradient;
            param[i] -= rate * gradient / (sqrtf(first[i]) + epsilon);
        }
        break;
    case SIMD_ADADELTA:
        for (ptrdiff_t i = 0; i < size; i++) {
            const float gradient = grad[i] + l2 * param[i];
            first[i] = old1 * first[i] + new1 * gradient * gradient;
            const float step = sqrtf(second[i] + epsilon) / sqrtf(first[i] + epsilon) * gradient;
            second[i] = old1 * second[i] + new1 * step * step;
            param[i] -= rate * step;
        }
        break;
    case SIMD_ADAM:
        for (ptrdiff_t i = 0; i < size; i++) {
            const float gradient = grad[i] + l2 * param[i];
            first[i] = old1 * first[i] + new1 * gradient;
            second[i] = old2 * second[i] + new2 * gradient * gradient;
            param[i] = shrink * param[i] - rate * first[i] / (sqrtf(second[i]) * scale + epsilon);
        }
        break;
    }
}
