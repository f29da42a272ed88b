/* Sigmoid, tanh, and the functions x * gate, such as GELU and SiLU, for float32, for one level. A gate is a smooth step
 * from 0 to 1. Each is computed from a number that is small far from 0, and so keeps its precision there.
 */

/* Beyond this distance from 0 a gate is 0 or 1, and its slope 0. */
#define GATE_END 200.0f
/* From this distance on tanh is computed from an exponential. */
#define TANH_NEAR 0.6f

SIMD_TARGET static inline __attribute__((always_inline)) FLOATS SIMD_NAME(absolute)(FLOATS x) {
    return (FLOATS)((INTS)x & 0x7fffffff);
}

/* exp(x) for x <= 0: 2**n exp(r), with a polynomial for exp(r). Its coefficients are of a fit whose relative error was
 * made even: it is below 4e-9. Below the smallest normal number it soon becomes 0, and NaN stays.
 */
SIMD_TARGET static inline __attribute__((always_inline)) FLOATS SIMD_NAME(exp)(FLOATS x) {
    const FLOATS within = SIMD_NAME(at_least)(x, -88.0f);
    const INTS n = __builtin_convertvector(within * 1.44269504f - 0.5f, INTS); /* nearest to x / log(2), -127 to 0 */
    const FLOATS r = within - __builtin_convertvector(n, FLOATS) * 0.693147181f;
    const FLOATS tail = 0.49999993f + r * (0.16666518f + r * (0.04166842f + r * (0.00836906f + r * 0.00138139f)));
    return (1.0f + r + r * r * tail) * (FLOATS)((n + 127) << 23);
}

/* What the distribution function of the standard normal distribution is below 1 at x >= 0, and so what it is at -x; e
 * is exp(-x**2 / 2). It is e * p(t) with t = 1 / (1 + 0.36 * x / sqrt(2)) and a polynomial p, the form of
 * M. Abramowitz, I. A. Stegun, "Handbook of mathematical functions", 1964, formula 7.1.26. The coefficients are of a
 * least-squares fit whose relative error was made even: it is below 4e-8.
 */
SIMD_TARGET static inline __attribute__((always_inline)) FLOATS SIMD_NAME(normal_tail)(FLOATS x, FLOATS e) {
    const FLOATS t = 1.0f / (1.0f + 0.254558441f * x);
    FLOATS p = -0.0709843561f + t * 0.0188311152f;
    p = -0.0143179297f + t * (0.0717122033f + t * p);
    p = 0.0614625434f + t * (0.0532581247f + t * p);
    p = 0.0949720219f + t * (0.0819583088f + t * p);
    return e * t * (0.1015541255f + t * (0.1015538648f + t * p));
}

/* x * gate, 0 where x is minus infinity; or with `is_slope`, known when it is compiled, gate + x * slope.
 *
 * Both follow from the gate at -abs(x), which is small and so keeps its precision: the gate at abs(x) is 1 minus that,
 * and the slope is the same at both.
 */
SIMD_TARGET static inline __attribute__((always_inline)) FLOATS SIMD_NAME(gated)(const int is_normal,
                                                                                 const int is_slope, float linear,
                                                                                 float cubic, FLOATS x) {
    const FLOATS distance = SIMD_NAME(at_most)(SIMD_NAME(absolute)(x), GATE_END), square = distance * distance;
    FLOATS tail, slope;         /* the gate at -distance, and distance times its slope there */
    if (is_normal) {
        const FLOATS e = SIMD_NAME(exp)(-0.5f * square);
        tail = SIMD_NAME(normal_tail)(distance, e);
        slope = 0.398942280f * e * distance;
    } else {
        const FLOATS e = SIMD_NAME(exp)(-distance * (linear + cubic * square)), scale = 1.0f / (1.0f + e);
        tail = e * scale;
        slope = tail * scale * (distance * (linear + 3 * cubic * square));
    }
    if (!is_slope) return SIMD_NAME(at_least)(x, 0.0f) - distance * tail;
    return SIMD_NAME(choose)((INTS)(x >= 0.0f), 1.0f - (tail - slope), tail - slope);
}

/* 1 / (1 + exp(-x)), or its slope. */
SIMD_TARGET static inline __attribute__((always_inline)) FLOATS SIMD_NAME(sigmoid)(const int is_slope, FLOATS x) {
    const FLOATS e = SIMD_NAME(exp)(-SIMD_NAME(absolute)(x)), scale = 1.0f / (1.0f + e);
    if (is_slope) return e * scale * scale;
    return SIMD_NAME(choose)((INTS)(x >= 0.0f), scale, e * scale);
}

/* tanh(x), or its slope. Close to 0 it is x + x**3 * p(x**2), with a polynomial of a fit whose relative error was made
 * even: it is below 3e-9.
 */
SIMD_TARGET static inline __attribute__((always_inline)) FLOATS SIMD_NAME(tanh)(const int is_slope, FLOATS x) {
    const FLOATS distance = SIMD_NAME(absolute)(x), square = x * x;
    const FLOATS e = SIMD_NAME(exp)(-2.0f * distance), scale = 1.0f / (1.0f + e);
    if (is_slope) return 4.0f * e * scale * scale;
    FLOATS p = 0.0207959678f - 0.00589515606f * square;
    p = -0.333332982f + square * (0.133319242f + square * (-0.0537838333f + square * p));
    const FLOATS magnitude = 1.0f - 2.0f * e * scale;
    const FLOATS with_sign = (FLOATS)((INTS)magnitude | ((INTS)x & ~0x7fffffff));
    return SIMD_NAME(choose)((INTS)(distance >= TANH_NEAR), with_sign, x + x * square * p);
}

/* The function of all elements, or its slopes times dy. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(smooth_all)(
    const simd_smooth *a, const simd_smooth_kind kind, const int is_slope, ptrdiff_t size, const float *dy,
    const float *x, float *to) {
    const float linear = (float)a->linear, cubic = (float)a->cubic;
    for (ptrdiff_t i = 0; i < size; i += SIMD_LANES) {
        const FLOATS values = SIMD_NAME(load)(x + i, size - i);
        FLOATS found;
        if (kind == SIMD_TANH) found = SIMD_NAME(tanh)(is_slope, values);
        else if (kind == SIMD_SIGMOID) found = SIMD_NAME(sigmoid)(is_slope, values);
        else found = SIMD_NAME(gated)(kind == SIMD_NORMAL_GATE, is_slope, linear, cubic, values);
        if (is_slope) found *= SIMD_NAME(load)(dy + i, size - i);
        SIMD_NAME(store)(found, to + i, size - i);
    }
}

/* A copy of the loop for each kind, which is then known when it is compiled. */
#define SMOOTH(is_slope, dy, to) \
    switch (a->kind) { \
    case SIMD_NORMAL_GATE: SIMD_NAME(smooth_all)(a, SIMD_NORMAL_GATE, is_slope, size, dy, x, to); break; \
    case SIMD_SIGMOID_GATE: SIMD_NAME(smooth_all)(a, SIMD_SIGMOID_GATE, is_slope, size, dy, x, to); break; \
    case SIMD_SIGMOID: SIMD_NAME(smooth_all)(a, SIMD_SIGMOID, is_slope, size, dy, x, to); break; \
    case SIMD_TANH: SIMD_NAME(smooth_all)(a, SIMD_TANH, is_slope, size, dy, x, to); break; \
    }

SIMD_TARGET static void SIMD_NAME(smooth_forward)(const simd_smooth *a, ptrdiff_t size, const float *x, float *y) {
    SMOOTH(0, NULL, y)
}

SIMD_TARGET static void SIMD_NAME(smooth_backward)(const simd_smooth *a, ptrdiff_t size, const float *dy,
                                                   const float *x, float *dx) {
    SMOOTH(1, dy, dx)
}

#undef SMOOTH
#undef TANH_NEAR
#undef GATE_END
