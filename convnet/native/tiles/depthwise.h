/* Depthwise convolution, for one level: each filter sees one channel. The pixels of a tap in the windows of a row lie
 * beside each other, so that a vector holds neighbouring outputs of one filter.
 */

SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(depthwise_rows)(
    const simd_taps *s, ptrdiff_t count, const float *weights, float bias, float *y, ptrdiff_t y_step) {
    const ptrdiff_t columns = s->columns;
    for (ptrdiff_t r = 0; r < s->rows; r++, y += y_step) {
        const float *const from = s->x + r * s->x_step;
        ptrdiff_t q = 0;
#define OUTPUTS(type)                                                                                                  \
    {                                                                                                                  \
        type sum = (type){0} + bias;                                                                                   \
        for (ptrdiff_t t = 0; t < count; t++) sum += weights[t] * *(const type *)(from + s->offsets[t] + q);           \
        *(type *)(y + q) = sum;                                                                                        \
    }
/* The last vector overlaps the one before. */
#define VECTORS(type, lanes)                                                                                           \
    {                                                                                                                  \
        for (; q + lanes <= columns; q += lanes) OUTPUTS(type)                                                         \
        if (q < columns) {                                                                                             \
            q = columns - lanes;                                                                                       \
            OUTPUTS(type)                                                                                              \
        }                                                                                                              \
    }
        if (columns >= SIMD_LANES) VECTORS(FLOATS, SIMD_LANES)
        else if (SIMD_LANES > 8 && columns >= 8) VECTORS(simd_eight, 8)
        else if (SIMD_LANES > 4 && columns >= 4) VECTORS(simd_four, 4)
        else
            for (; q < columns; q++) OUTPUTS(float)
#undef VECTORS
#undef OUTPUTS
    }
}

/* y[r * y_step + q] = bias + sum over t of weights[t] * x[offsets[t] + r * x_step + q]. */
SIMD_TARGET static void SIMD_NAME(depthwise)(const simd_taps *s, const float *weights, float bias, float *y,
                                             ptrdiff_t y_step) {
    if (s->count == 9) SIMD_NAME(depthwise_rows)(s, 9, weights, bias, y, y_step);
    else SIMD_NAME(depthwise_rows)(s, s->count, weights, bias, y, y_step);
}

/* The sums for `count` taps, a constant. Behind the whole vectors of a row come shorter ones. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(depthwise_sums)(
    const simd_taps *s, ptrdiff_t first, const int count, const float *dy, float *sums) {
    FLOATS wide[4] = {{0}};
    simd_eight eight[4] = {{0}};
    simd_four four[4] = {{0}};
    float one[4] = {0};
    for (ptrdiff_t r = 0; r < s->rows; r++) {
        const float *from = s->x + r * s->x_step;
#define ADD(type, lanes, total)                                                                                        \
    {                                                                                                                  \
        const type gradients = *(const type *)dy;                                                                      \
        _Pragma("GCC unroll 4") for (int t = 0; t < count; t++) total[t] +=                                            \
            gradients * *(const type *)(from + s->offsets[first + t]);                                                 \
        from += lanes, dy += lanes;                                                                                    \
    }
        for (ptrdiff_t i = s->columns / SIMD_LANES; i > 0; i--) ADD(FLOATS, SIMD_LANES, wide)
        if (SIMD_LANES > 8 && s->columns & 8) ADD(simd_eight, 8, eight)
        if (SIMD_LANES > 4 && s->columns & 4) ADD(simd_four, 4, four)
        for (ptrdiff_t i = s->columns & 3; i > 0; i--) ADD(float, 1, one)
#undef ADD
    }
    for (int t = 0; t < count; t++) {
        float total = one[t];
        for (int i = 0; i < SIMD_LANES; i++) total += wide[t][i];
        for (int i = 0; i < 8; i++) total += eight[t][i];
        for (int i = 0; i < 4; i++) total += four[t][i];
        sums[first + t] += total;
    }
}

/* sums[t] += sum over r and q of dy[r][q] * x[offsets[t] + r * x_step + q]. */
SIMD_TARGET static void SIMD_NAME(depthwise_gradients)(const simd_taps *s, const float *dy, float *sums) {
    ptrdiff_t t = 0;
    for (; t + 4 <= s->count; t += 4) SIMD_NAME(depthwise_sums)(s, t, 4, dy, sums);
    for (; t < s->count; t++) SIMD_NAME(depthwise_sums)(s, t, 1, dy, sums);
}
