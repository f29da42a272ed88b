/* Batch normalization channels last, for one level: rows of pixels (rows, channels). The sums of a piece are those of
 * few rows, so that they lose no precision; kernels/normalization.pxi adds them up.
 */

/* Vectors of channels whose sums are in registers at a time. */
#define NORM_VECTORS 4

/* Of each channel the mean, and the sum of the squared deviations from it. */
SIMD_TARGET static void SIMD_NAME(norm_moments)(const float *x, ptrdiff_t rows, ptrdiff_t channels, float *mean,
                                                float *squares) {
    enum { WIDTH = NORM_VECTORS * SIMD_LANES };
    for (ptrdiff_t first = 0; first < channels; first += WIDTH) {
        const ptrdiff_t count = simd_least(channels - first, WIDTH);
        FLOATS sums[NORM_VECTORS] = {{0}}, deviations[NORM_VECTORS] = {{0}};
        for (ptrdiff_t row = 0; row < rows; row++)
#pragma GCC unroll 4
            for (int v = 0; v < NORM_VECTORS; v++)
                if (v * SIMD_LANES < count)
                    sums[v] += SIMD_NAME(load)(x + row * channels + first + v * SIMD_LANES, count - v * SIMD_LANES);
#pragma GCC unroll 4
        for (int v = 0; v < NORM_VECTORS; v++) sums[v] /= (float)rows;
        for (ptrdiff_t row = 0; row < rows; row++)
#pragma GCC unroll 4
            for (int v = 0; v < NORM_VECTORS; v++)
                if (v * SIMD_LANES < count) {
                    const float *const at = x + row * channels + first + v * SIMD_LANES;
                    const FLOATS deviation = SIMD_NAME(load)(at, count - v * SIMD_LANES) - sums[v];
                    deviations[v] += deviation * deviation;
                }
        for (int v = 0; v * SIMD_LANES < count; v++) {
            SIMD_NAME(store)(sums[v], mean + first + v * SIMD_LANES, count - v * SIMD_LANES);
            SIMD_NAME(store)(deviations[v], squares + first + v * SIMD_LANES, count - v * SIMD_LANES);
        }
    }
}

/* y = activation((x - mean) * scale + bias). */
SIMD_TARGET static void SIMD_NAME(norm_write)(const simd_norm *s, const float *x, ptrdiff_t rows, float *y) {
    for (ptrdiff_t row = 0; row < rows; row++, x += s->channels, y += s->channels)
        for (ptrdiff_t c = 0; c < s->channels; c += SIMD_LANES) {
            const ptrdiff_t count = s->channels - c;
            const FLOATS centred = SIMD_NAME(load)(x + c, count) - SIMD_NAME(load)(s->mean + c, count);
            const FLOATS value = centred * SIMD_NAME(load)(s->scale + c, count) + SIMD_NAME(load)(s->bias + c, count);
            SIMD_NAME(store)(SIMD_NAME(activated)(value, s->slope), y + c, count);
        }
}

/* Of each channel the sum of dy, behind the activation, and that of dy * (x - mean). */
SIMD_TARGET static void SIMD_NAME(norm_sums)(const simd_norm *s, const float *x, const float *dy, ptrdiff_t rows,
                                             float *sums, float *products) {
    enum { VECTORS = SIMD_LANES == 16 ? NORM_VECTORS : 2, WIDTH = VECTORS * SIMD_LANES };   /* by the registers */
    for (ptrdiff_t first = 0; first < s->channels; first += WIDTH) {
        const ptrdiff_t count = simd_least(s->channels - first, WIDTH);
        FLOATS scale[VECTORS], mean[VECTORS], bias[VECTORS], sum[VECTORS] = {{0}}, product[VECTORS] = {{0}};
        for (int v = 0; v * SIMD_LANES < count; v++) {
            const ptrdiff_t c = first + v * SIMD_LANES;
            scale[v] = SIMD_NAME(load)(s->scale + c, s->channels - c);
            mean[v] = SIMD_NAME(load)(s->mean + c, s->channels - c);
            bias[v] = SIMD_NAME(load)(s->bias + c, s->channels - c);
        }
        for (ptrdiff_t row = 0; row < rows; row++)
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++)
                if (v * SIMD_LANES < count) {
                    const ptrdiff_t at = row * s->channels + first + v * SIMD_LANES, left = count - v * SIMD_LANES;
                    const FLOATS centred = SIMD_NAME(load)(x + at, left) - mean[v];
                    const FLOATS gradient = SIMD_NAME(activation_gradient)(
                        SIMD_NAME(load)(dy + at, left), centred * scale[v] + bias[v] <= (FLOATS){0}, s->slope);
                    sum[v] += gradient, product[v] += gradient * centred;
                }
        for (int v = 0; v * SIMD_LANES < count; v++) {
            SIMD_NAME(store)(sum[v], sums + first + v * SIMD_LANES, count - v * SIMD_LANES);
            SIMD_NAME(store)(product[v], products + first + v * SIMD_LANES, count - v * SIMD_LANES);
        }
    }
}

/* dx = scale * dy + of_x * (x - mean) + constant, with dy behind the activation. */
SIMD_TARGET static void SIMD_NAME(norm_write_dx)(const simd_norm *s, const float *x, const float *dy, ptrdiff_t rows,
                                                 float *dx) {
    for (ptrdiff_t row = 0; row < rows; row++, x += s->channels, dy += s->channels, dx += s->channels)
        for (ptrdiff_t c = 0; c < s->channels; c += SIMD_LANES) {
            const ptrdiff_t count = s->channels - c;
            const FLOATS scale = SIMD_NAME(load)(s->scale + c, count);
            const FLOATS centred = SIMD_NAME(load)(x + c, count) - SIMD_NAME(load)(s->mean + c, count);
            const INTS is_negative = centred * scale + SIMD_NAME(load)(s->bias + c, count) <= (FLOATS){0};
            const FLOATS gradient =
                SIMD_NAME(activation_gradient)(SIMD_NAME(load)(dy + c, count), is_negative, s->slope);
            SIMD_NAME(store)(scale * gradient + SIMD_NAME(load)(s->of_x + c, count) * centred +
                                 SIMD_NAME(load)(s->constant + c, count),
                             dx + c, count);
        }
}

#undef NORM_VECTORS
