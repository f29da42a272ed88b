/* What follows a convolution, channels last, for one level: bias, activation and 2x2 pooling, and their gradients.
 *
 * The activation multiplies what is not positive by a slope: 0 for ReLU, 1 for none. The gradient of a pooled output
 * finds its way back by a code. With max pooling it is the number of the first maximum in the window, 0 to 3 row by
 * row, plus 4 where the maximum is not positive; with ReLU that is any of 4 to 7. With average pooling the code has bit
 * k where element k of the window is positive. NaN counts as positive, and as a maximum.
 */

/* a where the mask has ones, b where it has zeros. */
SIMD_TARGET static inline __attribute__((always_inline)) FLOATS SIMD_NAME(choose)(INTS mask, FLOATS a, FLOATS b) {
#if defined(SIMD_AVX2)
    return (FLOATS)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)mask);
#else
    return (FLOATS)(((INTS)a & mask) | ((INTS)b & ~mask));
#endif
}

/* A vector within a bound; NaN stays. */
SIMD_TARGET static inline __attribute__((always_inline)) FLOATS SIMD_NAME(at_least)(FLOATS x, float least) {
#if defined(SIMD_AVX512)
    return (FLOATS)_mm512_max_ps(_mm512_set1_ps(least), (__m512)x);
#elif defined(SIMD_AVX2)
    return (FLOATS)_mm256_max_ps(_mm256_set1_ps(least), (__m256)x);
#else
    return SIMD_NAME(choose)((INTS)(x < least), (FLOATS){0} + least, x);
#endif
}

SIMD_TARGET static inline __attribute__((always_inline)) FLOATS SIMD_NAME(at_most)(FLOATS x, float most) {
#if defined(SIMD_AVX512)
    return (FLOATS)_mm512_min_ps(_mm512_set1_ps(most), (__m512)x);
#elif defined(SIMD_AVX2)
    return (FLOATS)_mm256_min_ps(_mm256_set1_ps(most), (__m256)x);
#else
    return SIMD_NAME(choose)((INTS)(x > most), (FLOATS){0} + most, x);
#endif
}

/* A vector of which `count` elements lie in memory; the others are 0. Copies of a size that the compiler does not know
 * would be calls.
 */
SIMD_TARGET static inline __attribute__((always_inline)) FLOATS SIMD_NAME(load)(const float *from, ptrdiff_t count) {
    if (count >= SIMD_LANES) return *(const FLOATS *)from;
#if defined(SIMD_AVX512)
    return (FLOATS)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
#else
    FLOATS vector = {0};
    ptrdiff_t i = 0;
    if (SIMD_LANES > 4 && count >= 4) {
        memcpy(&vector, from, sizeof(simd_four));
        i = 4;
    }
    for (; i < count; i++) vector[i] = from[i];
    return vector;
#endif
}

SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(store)(FLOATS vector, float *to,
                                                                               ptrdiff_t count) {
    if (count >= SIMD_LANES) {
        *(FLOATS *)to = vector;
        return;
    }
#if defined(SIMD_AVX512)
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), (__m512)vector);
#else
    ptrdiff_t i = 0;
    if (SIMD_LANES > 4 && count >= 4) {
        memcpy(to, &vector, sizeof(simd_four));
        i = 4;
    }
    for (; i < count; i++) to[i] = vector[i];
#endif
}

/* The activation of a vector, and what is multiplied with its gradient; `values` are the inputs or the outputs. */
SIMD_TARGET static inline __attribute__((always_inline)) FLOATS SIMD_NAME(activated)(FLOATS values, float slope) {
    const INTS is_negative = values <= (FLOATS){0};
    if (slope == 1) return values;
    return slope == 0 ? (FLOATS)((INTS)values & ~is_negative) : SIMD_NAME(choose)(is_negative, slope * values, values);
}

SIMD_TARGET static inline __attribute__((always_inline)) FLOATS SIMD_NAME(activation_gradient)(
    FLOATS gradient, INTS is_negative, float slope) {
    if (slope == 1) return gradient;
    return slope == 0 ? (FLOATS)((INTS)gradient & ~is_negative)
                      : SIMD_NAME(choose)(is_negative, slope * gradient, gradient);
}

/* Numbers below 256 as bytes, and back. gcc takes AVX2's vectors apart for it. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(store_codes)(INTS codes, uint8_t *to,
                                                                                     ptrdiff_t count) {
#if defined(SIMD_AVX2)
    const __m256i eight = (__m256i)codes;
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    const __m128i bytes = _mm_packus_epi16(words, words);
#else
    const BYTES bytes = __builtin_convertvector(codes, BYTES);
#endif
    if (count >= SIMD_LANES) memcpy(to, &bytes, SIMD_LANES);
    else memcpy(to, &bytes, (size_t)count);
}

SIMD_TARGET static inline __attribute__((always_inline)) INTS SIMD_NAME(load_codes)(const uint8_t *from,
                                                                                    ptrdiff_t count) {
    BYTES bytes = {0};
    if (count >= SIMD_LANES) memcpy(&bytes, from, SIMD_LANES);
    else memcpy(&bytes, from, (size_t)count);
#if defined(SIMD_AVX2)
    __m128i low = _mm_setzero_si128();
    memcpy(&low, &bytes, sizeof bytes);
    return (INTS)_mm256_cvtepu8_epi32(low);
#else
    return __builtin_convertvector(bytes, INTS);
#endif
}

/* y (pixels, filters) = the activation of y + bias, for the filters from f0 to f1 - 1. */
SIMD_TARGET static void SIMD_NAME(activate)(const simd_outputs *s, float *y, ptrdiff_t pixels, ptrdiff_t f0,
                                            ptrdiff_t f1) {
    for (ptrdiff_t f = f0; f < f1; f += SIMD_LANES) {
        const ptrdiff_t count = f1 - f;
        const FLOATS bias = SIMD_NAME(load)(s->bias + f, count);
        float *at = y + f;
        for (ptrdiff_t pixel = 0; pixel < pixels; pixel++, at += s->filters)
            SIMD_NAME(store)(SIMD_NAME(activated)(SIMD_NAME(load)(at, count) + bias, s->slope), at, count);
    }
}

/* pool_outputs, with codes or without, which is known when it is compiled. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(pool_all)(
    const int has_codes, const simd_outputs *s, const float *rows, ptrdiff_t step, ptrdiff_t units, ptrdiff_t f0,
    ptrdiff_t f1, float *y, uint8_t *codes) {
    for (ptrdiff_t unit = 0; unit < units; unit++, rows += 2 * s->filters) {
        for (ptrdiff_t f = f0; f < f1; f += SIMD_LANES) {
            const ptrdiff_t count = f1 - f;
            const FLOATS bias = SIMD_NAME(load)(s->bias + f, count);
            FLOATS values[4], pooled;
            INTS code = {0};
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++)
                values[k] = SIMD_NAME(load)(rows + (k >> 1) * step + (k & 1) * s->filters + f, count) + bias;
            /* ReLU can wait until the maximum is found. */
            if (s->slope != 0 || s->pool == SIMD_POOL_AVERAGE) {
#pragma GCC unroll 4
                for (int k = 0; k < 4; k++) {
                    code |= ~(values[k] <= (FLOATS){0}) & 1 << k;
                    values[k] = SIMD_NAME(activated)(values[k], s->slope);
                }
            }
            if (s->pool == SIMD_POOL_AVERAGE) {
                pooled = 0.25f * ((values[0] + values[1]) + (values[2] + values[3]));
            } else {
                code = (INTS){0}, pooled = values[0];
#pragma GCC unroll 4
                for (int k = 1; k < 4; k++) {
                    const INTS larger = ~(values[k] <= pooled) & (pooled == pooled);
                    code = (code & ~larger) | (larger & k);
                    pooled = SIMD_NAME(choose)(larger, values[k], pooled);
                }
                code |= (pooled <= (FLOATS){0}) & 4;
                if (s->slope == 0) pooled = SIMD_NAME(activated)(pooled, 0);
            }
            SIMD_NAME(store)(pooled, y + unit * s->filters + f, count);
            if (has_codes) SIMD_NAME(store_codes)(code, codes + unit * s->filters + f, count);
        }
    }
}

/* Of each channel of an image (pixels, channels) the largest number, and the first pixel that has it, unless `pixel` is
 * NULL. A NaN is larger than every number.
 */
SIMD_TARGET static void SIMD_NAME(pool_image)(const float *x, ptrdiff_t pixels, ptrdiff_t channels, float *y,
                                              int32_t *pixel) {
    for (ptrdiff_t c = 0; c < channels; c += SIMD_LANES) {
        const ptrdiff_t count = channels - c;
        FLOATS largest = SIMD_NAME(load)(x + c, count);
        INTS first = {0};
        for (ptrdiff_t p = 1; p < pixels; p++) {
            const FLOATS value = SIMD_NAME(load)(x + p * channels + c, count);
            const INTS larger = ~(value <= largest) & (largest == largest);
            largest = SIMD_NAME(choose)(larger, value, largest);
            first = (first & ~larger) | (larger & (int32_t)p);
        }
        SIMD_NAME(store)(largest, y + c, count);
        if (pixel != NULL) SIMD_NAME(store)((FLOATS)first, (float *)pixel + c, count);
    }
}

/* y and codes (units, filters) = the pooled activations of two rows of outputs, which lie `step` floats apart. y may be
 * where the outputs are, or before them; codes may be NULL.
 */
SIMD_TARGET static void SIMD_NAME(pool_outputs)(const simd_outputs *s, const float *rows, ptrdiff_t step,
                                                ptrdiff_t units, ptrdiff_t f0, ptrdiff_t f1, float *y, uint8_t *codes) {
    if (codes) SIMD_NAME(pool_all)(1, s, rows, step, units, f0, f1, y, codes);
    else SIMD_NAME(pool_all)(0, s, rows, step, units, f0, f1, y, NULL);
}

/* to = the gradients with respect to the convolution's outputs from `first` to end - 1 of a row; dy, y and codes are of
 * the row behind activation and pooling. With pooling it is the row `below` of the two in a window.
 */
SIMD_TARGET static void SIMD_NAME(output_gradients)(const simd_outputs *s, const float *dy, const float *y,
                                                    const uint8_t *codes, int below, ptrdiff_t first, ptrdiff_t end,
                                                    float *to) {
    if (s->pool == SIMD_POOL_NONE) {
        const ptrdiff_t size = (end - first) * s->filters;
        dy += first * s->filters, y += first * s->filters;
        for (ptrdiff_t i = 0; i < size; i += SIMD_LANES) {
            const ptrdiff_t count = size - i;
            const INTS is_negative = SIMD_NAME(load)(y + i, count) <= (FLOATS){0};
            SIMD_NAME(store)(SIMD_NAME(activation_gradient)(SIMD_NAME(load)(dy + i, count), is_negative, s->slope),
                             to + i, count);
        }
        return;
    }
    for (ptrdiff_t column = first; column < end; column++, to += s->filters) {
        const ptrdiff_t at = column / 2 * s->filters;
        const int k = 2 * below + (int)(column & 1);
        for (ptrdiff_t f = 0; f < s->filters; f += SIMD_LANES) {
            const ptrdiff_t count = s->filters - f;
            const INTS code = SIMD_NAME(load_codes)(codes + at + f, count);
            const FLOATS gradient = SIMD_NAME(load)(dy + at + f, count);
            FLOATS own;
            if (s->pool == SIMD_POOL_AVERAGE)
                own = SIMD_NAME(activation_gradient)(0.25f * gradient, (code >> k & 1) == 0, s->slope);
            else
                own = (FLOATS)((INTS)SIMD_NAME(activation_gradient)(gradient, code > 3, s->slope) & ((code & 3) == k));
            SIMD_NAME(store)(own, to + f, count);
        }
    }
}
