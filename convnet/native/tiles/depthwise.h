/* Depthwise convolution, channels last, and the gradient of its weights, for one level. Each filter sees one channel, and
 * a vector holds neighbouring channels of a pixel.
 */

/* do(name, c, done) for the vectors of channels that cover those from first to end - 1; end is the number of channels
 * or first plus a multiple of the lanes. Where channels do not fill a vector, the last one overlaps the one before and
 * begins at c; its first `done` channels are done by then.
 */
#define DEPTHWISE_VECTORS(first, end, channels, do)                                                                    \
    {                                                                                                                  \
        ptrdiff_t c = first;                                                                                           \
        for (; c + SIMD_LANES <= end; c += SIMD_LANES) do(wide, c, 0);                                                 \
        if (c < end && channels >= SIMD_LANES) {                                                                       \
            do(wide, channels - SIMD_LANES, c + SIMD_LANES - channels);                                                \
        } else if (c < end && SIMD_LANES > 8 && channels >= 8) {                                                       \
            do(eight, 0, 0);                                                                                           \
            if (channels > 8) do(eight, channels - 8, 16 - channels);                                                  \
        } else if (c < end && SIMD_LANES > 4 && channels >= 4) {                                                       \
            do(four, 0, 0);                                                                                            \
            if (channels > 4) do(four, channels - 4, 8 - channels);                                                    \
        } else {                                                                                                       \
            for (; c < end; c++) do(one, c, 0);                                                                        \
        }                                                                                                              \
    }

/* ------------------------------------------------------------------------------------------------- outputs */

/* `size` outputs at a time, beside each other. */
#define DEPTHWISE_OUTPUTS(type, size)                                                                                  \
    for (; q + size <= s->columns; q += size) {                                                                        \
        const float *const x = s->x + q * s->x_step + c;                                                               \
        float *const y = s->y + q * s->y_step + c;                                                                     \
        type sums[size];                                                                                               \
        _Pragma("GCC unroll 8") for (int i = 0; i < size; i++) sums[i] = (type){0};                                    \
        for (ptrdiff_t t = 0; t < s->count; t++) {                                                                     \
            const type weight = *(const type *)(s->weight + s->weights[t] + c);                                        \
            const float *const from = x + s->offsets[t];                                                               \
            _Pragma("GCC unroll 8") for (int i = 0; i < size; i++) sums[i] +=                                          \
                weight * *(const type *)(from + i * s->x_step);                                                        \
        }                                                                                                              \
        _Pragma("GCC unroll 8") for (int i = 0; i < size; i++) *(type *)(y + i * s->y_step) = sums[i];                 \
    }

/* The channels of a vector of type, from c on. */
#define DEPTHWISE_ROW(name, type)                                                                                      \
    SIMD_TARGET static void SIMD_NAME(depthwise_##name)(const simd_taps *s, ptrdiff_t c) {                             \
        ptrdiff_t q = 0;                                                                                               \
        DEPTHWISE_OUTPUTS(type, 8)                                                                                     \
        DEPTHWISE_OUTPUTS(type, 4)                                                                                     \
        DEPTHWISE_OUTPUTS(type, 1)                                                                                     \
    }

DEPTHWISE_ROW(wide, FLOATS)
DEPTHWISE_ROW(eight, simd_eight)
DEPTHWISE_ROW(four, simd_four)
DEPTHWISE_ROW(one, float)

/* y[q * y_step + c] = sum over t of weight[weights[t] + c] * x[offsets[t] + q * x_step + c]. */
SIMD_TARGET static void SIMD_NAME(depthwise)(const simd_taps *s) {
#define ROW(name, c, done) SIMD_NAME(depthwise_##name)(s, c)
    DEPTHWISE_VECTORS(0, s->channels, s->channels, ROW)
#undef ROW
}

/* ------------------------------------------------------------------------------------ gradient of the weights */

/* The sums of `count` taps at a time. */
#define DEPTHWISE_SUMS(type, count)                                                                                    \
    for (; t + count <= taps; t += count) {                                                                            \
        ptrdiff_t offsets[count];                                                                                      \
        type sums[count];                                                                                              \
        for (int i = 0; i < count; i++) {                                                                              \
            sums[i] = (type){0};                                                                                       \
            offsets[i] = (t + i) / s->kernel_w * s->dilation_h * s->x_step +                                           \
                         (t + i) % s->kernel_w * s->dilation_w * s->channels + c;                                      \
        }                                                                                                              \
        for (ptrdiff_t row = 0; row < s->rows; row++) {                                                                \
            const float *x = s->x + row * s->stride_h * s->x_step;                                                     \
            const float *dy = s->dy + row * s->columns * s->channels + c;                                              \
            for (ptrdiff_t q = 0; q < s->columns; q++, x += s->stride_w * s->channels, dy += s->channels) {            \
                const type gradient = *(const type *)dy;                                                               \
                _Pragma("GCC unroll 9") for (int i = 0; i < count; i++) sums[i] +=                                     \
                    gradient * *(const type *)(x + offsets[i]);                                                        \
            }                                                                                                          \
        }                                                                                                              \
        for (int i = 0; i < count; i++) {                                                                              \
            float lanes[sizeof(type) / sizeof(float)], *const total = s->dweight + (t + i) * s->channels + c;          \
            *(type *)lanes = sums[i];                                                                                  \
            for (ptrdiff_t l = done; l < (ptrdiff_t)(sizeof lanes / sizeof *lanes); l++) total[l] += lanes[l];         \
        }                                                                                                              \
    }

#define DEPTHWISE_GRADIENTS(name, type)                                                                                \
    SIMD_TARGET static void SIMD_NAME(depthwise_sums_##name)(const simd_strip *s, ptrdiff_t c, ptrdiff_t done) {       \
        const ptrdiff_t taps = s->kernel_h * s->kernel_w, pixels = s->rows * s->columns;                               \
        ptrdiff_t t = 0;                                                                                               \
        DEPTHWISE_SUMS(type, 9)                                                                                        \
        DEPTHWISE_SUMS(type, 3)                                                                                        \
        DEPTHWISE_SUMS(type, 1)                                                                                        \
        float lanes[sizeof(type) / sizeof(float)];                                                                     \
        type bias = (type){0};                                                                                         \
        for (ptrdiff_t i = 0; i < pixels; i++) bias += *(const type *)(s->dy + i * s->channels + c);                   \
        *(type *)lanes = bias;                                                                                         \
        for (ptrdiff_t l = done; l < (ptrdiff_t)(sizeof lanes / sizeof *lanes); l++) s->dbias[c + l] += lanes[l];      \
    }

DEPTHWISE_GRADIENTS(wide, FLOATS)
DEPTHWISE_GRADIENTS(eight, simd_eight)
DEPTHWISE_GRADIENTS(four, simd_four)
DEPTHWISE_GRADIENTS(one, float)

/* Add a strip's gradients of the weights (taps, channels) and biases, of the channels from first to end - 1; first is a
 * multiple of two vectors.
 */
SIMD_TARGET static void SIMD_NAME(depthwise_gradients)(const simd_strip *s, ptrdiff_t first, ptrdiff_t end) {
#define SUMS(name, c, done) SIMD_NAME(depthwise_sums_##name)(s, c, done)
    DEPTHWISE_VECTORS(first, end, s->channels, SUMS)
#undef SUMS
}

#undef DEPTHWISE_VECTORS
#undef DEPTHWISE_OUTPUTS
#undef DEPTHWISE_ROW
#undef DEPTHWISE_SUMS
#undef DEPTHWISE_GRADIENTS
