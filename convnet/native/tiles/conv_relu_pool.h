/* Convolution of stride 1 + bias + ReLU + 2x2 max pooling in one pass, and its gradients, for one level.
 *
 * The register tile is up to SIMD_FILTERS filters x 2 output rows x 2 vectors of output columns. Its sums stay in
 * registers while the filters' taps are walked: each vector of pixels serves all filters, each weight four vectors. The
 * epilogue is ReLU and pooling: the two rows and neighbouring columns are reduced to maxima, so that the convolution's
 * output is never written to memory. A tile that reaches beyond a row reads on into the next one; these sums are thrown
 * away.
 */

/* Numbers below 256, as bytes. gcc takes AVX2's vectors apart for it. */
SIMD_TARGET static inline __attribute__((always_inline)) BYTES SIMD_NAME(as_bytes)(INTS numbers) {
#if defined(SIMD_AVX2)
    const __m256i eight = (__m256i)numbers;
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    const __m128i bytes = _mm_packus_epi16(words, words);
    BYTES low;
    memcpy(&low, &bytes, sizeof low);
    return low;
#else
    return __builtin_convertvector(numbers, BYTES);
#endif
}

/* The epilogue of a tile: pool a row of two vectors and the one below to `count` units of each filter, at most a
 * vector. Where the filter's plane has room, a whole vector is written, and the units that follow overwrite what is too
 * much. It is not inlined: its constants would take registers from the sums.
 */
SIMD_TARGET static __attribute__((noinline)) void SIMD_NAME(pool)(
    FLOATS (*sums)[2][2], int filters, ptrdiff_t count, ptrdiff_t room, ptrdiff_t units, float *y, uint8_t *argmax) {
    for (int f = 0; f < filters; f++, y += units, argmax += units) {
        const FLOATS a0 = sums[f][0][0], a1 = sums[f][0][1], b0 = sums[f][1][0], b1 = sums[f][1][1];
        const FLOATS candidates[4] = {
            SIMD_SHUFFLE(INTS, a0, a1, SIMD_EVEN), SIMD_SHUFFLE(INTS, a0, a1, SIMD_ODD),
            SIMD_SHUFFLE(INTS, b0, b1, SIMD_EVEN), SIMD_SHUFFLE(INTS, b0, b1, SIMD_ODD)};
        FLOATS best = candidates[0];
        INTS index = {0};
#pragma GCC unroll 3
        for (int k = 1; k < 4; k++) {
            const FLOATS value = candidates[k];
            /* Of equals the first wins; a NaN is larger than every number, and the first one wins. */
            const INTS larger = ~(value <= best) & (best == best);
            best = (FLOATS)((larger & (INTS)value) | (~larger & (INTS)best));
            index = (larger & k) | (~larger & index);
        }
        const INTS inactive = best <= (FLOATS){0};
        best = (FLOATS)(~inactive & (INTS)best);
        index = (inactive & SIMD_INACTIVE) | (~inactive & index);
#ifdef SIMD_ORDER
        best = SIMD_SHUFFLE(INTS, best, best, SIMD_ORDER);
        index = SIMD_SHUFFLE(INTS, index, index, SIMD_ORDER);
#endif
        const BYTES bytes = SIMD_NAME(as_bytes)(index);
        if (room >= SIMD_LANES) {
            *(FLOATS *)y = best;
            memcpy(argmax, &bytes, sizeof bytes);
        } else {
            memcpy(y, &best, (size_t)count * sizeof *y);
            memcpy(argmax, &bytes, (size_t)count);
        }
    }
}

/* ReLU and pooling of a plane whose rows have `columns` floats. */
SIMD_TARGET static void SIMD_NAME(relu_pool)(const float *x, ptrdiff_t columns, ptrdiff_t out_h, ptrdiff_t out_w,
                                             float *y, uint8_t *argmax) {
    for (ptrdiff_t row = 0; row < out_h; row++) {
        for (ptrdiff_t column = 0; column < out_w; column += SIMD_LANES) {
            FLOATS sums[1][2][2] = {{{{0}}}};
            const float *const from = x + 2 * row * columns + 2 * column;
            const ptrdiff_t count = simd_least(2 * (out_w - column), 2 * SIMD_LANES);
            for (int i = 0; i < 2; i++) {
                if (count == 2 * SIMD_LANES) {
                    sums[0][i][0] = *(const FLOATS *)(from + i * columns);
                    sums[0][i][1] = *(const FLOATS *)(from + i * columns + SIMD_LANES);
                } else {    /* nothing is read behind the plane */
                    memcpy(sums[0][i], from + i * columns, (size_t)count * sizeof *x);
                }
            }
            const ptrdiff_t unit = row * out_w + column;
            SIMD_NAME(pool)(sums, 1, out_w - column, out_h * out_w - unit, 0, y + unit, argmax + unit);
        }
    }
}

/* All pooled rows of the filters first to first + filters - 1; `filters` is a constant where this is inlined. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(filters)(
    const simd_conv_relu_pool *s, const int filters, ptrdiff_t first, const float *padded, float *y, uint8_t *argmax) {
    const ptrdiff_t taps = s->c * s->kernel_h * s->kernel_w, units = s->out_h * s->out_w;
    for (ptrdiff_t row = 0; row < s->out_h; row++) {
        for (ptrdiff_t column = 0; column < s->out_w; column += SIMD_LANES) {
            FLOATS sums[SIMD_FILTERS][2][2];
#pragma GCC unroll 4
            for (int f = 0; f < filters; f++)
                sums[f][0][0] = sums[f][0][1] = sums[f][1][0] = sums[f][1][1] = (FLOATS){0} + s->bias[first + f];
            const float *w = s->weight + first * taps;
            for (ptrdiff_t c = 0; c < s->c; c++) {
                for (ptrdiff_t i = 0; i < s->kernel_h; i++) {
                    const float *pixels = padded + (c * s->padded_h + 2 * row + i) * s->padded_w + 2 * column;
                    for (ptrdiff_t j = 0; j < s->kernel_w; j++, pixels++, w++) {
                        const FLOATS a0 = *(const FLOATS *)pixels, a1 = *(const FLOATS *)(pixels + SIMD_LANES);
                        const FLOATS b0 = *(const FLOATS *)(pixels + s->padded_w);
                        const FLOATS b1 = *(const FLOATS *)(pixels + s->padded_w + SIMD_LANES);
#pragma GCC unroll 4
                        for (int f = 0; f < filters; f++) {
                            const float tap = w[f * taps];
                            sums[f][0][0] += tap * a0;
                            sums[f][0][1] += tap * a1;
                            sums[f][1][0] += tap * b0;
                            sums[f][1][1] += tap * b1;
                        }
                    }
                }
            }
            const ptrdiff_t unit = row * s->out_w + column, at = first * units + unit;
            SIMD_NAME(pool)(sums, filters, s->out_w - column, units - unit, units, y + at, argmax + at);
        }
    }
}

/* Filters first to end - 1 of image n. */
SIMD_TARGET static void SIMD_NAME(conv_relu_pool_forward)(const simd_conv_relu_pool *s, ptrdiff_t n,
                                                          ptrdiff_t first, ptrdiff_t end) {
    const float *padded = s->padded + n * simd_padded_size(s);
    float *y = s->y + n * s->f * s->out_h * s->out_w;
    uint8_t *argmax = s->argmax + n * s->f * s->out_h * s->out_w;
    const ptrdiff_t tiles = simd_parts(end - first, SIMD_FILTERS);
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        const ptrdiff_t from = first + (end - first) * tile / tiles, to = first + (end - first) * (tile + 1) / tiles;
        switch (to - from) {
#define FILTERS(count) case count: SIMD_NAME(filters)(s, count, from, padded, y, argmax); break;
            SIMD_UP_TO(SIMD_FILTERS, FILTERS)
#undef FILTERS
        }
    }
}

/* A part of a row of a filter's gradient: one vector, or two of 4 where there are no longer ones. */
#if SIMD_LANES == 4
#define PATCH simd_four
#define PATCH_LANES 4
#else
#define PATCH simd_eight
#define PATCH_LANES 8
#endif

/* Add the patches under the active units of an image to rows of a filter's gradient; `rows` is a constant where this is
 * inlined.
 */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(patches)(
    const int rows, ptrdiff_t step, const float *pixels, ptrdiff_t active, const uint8_t *units, const float *factors,
    const int32_t *offsets, float *gradient) {
    PATCH sums[7];
#pragma GCC unroll 7
    for (int i = 0; i < rows; i++) sums[i] = *(const PATCH *)(gradient + 8 * i);
    for (ptrdiff_t i = 0; i < active; i++) {
        const ptrdiff_t unit = units[i];
        const float *patch = pixels + offsets[unit];
#pragma GCC unroll 7
        for (int row = 0; row < rows; row++) sums[row] += factors[unit] * *(const PATCH *)(patch + row * step);
    }
#pragma GCC unroll 7
    for (int i = 0; i < rows; i++) *(PATCH *)(gradient + 8 * i) = sums[i];
}

/* The gradient of filter f; its rows have 8 floats, those beyond kernel_w without meaning. It goes a block of units at
 * a time, and for it the images in order: first the offsets of the patches in the padded image and their factors, then
 * a list of the active units, since ReLU makes most of them inactive. Leaving these out by a branch is slower than
 * multiplying by zeros; by a list it is faster. What the next image needs is fetched meanwhile.
 */
SIMD_TARGET static void SIMD_NAME(conv_relu_pool_backward)(const simd_conv_relu_pool *s, ptrdiff_t f) {
    enum { BLOCK = 256 };
    float factors[BLOCK];
    int32_t windows[BLOCK], offsets[BLOCK];
    uint8_t flags[BLOCK], units[BLOCK];
    const ptrdiff_t size = s->out_h * s->out_w;
    const int32_t step = (int32_t)s->padded_w;
    float *const dweight = s->dweight + f * s->c * s->kernel_h * 8;
    memset(dweight, 0, (size_t)(s->c * s->kernel_h * 8) * sizeof *dweight);
    float bias = 0;
    for (ptrdiff_t first = 0; first < size; first += BLOCK) {
        const ptrdiff_t count = simd_least(size - first, BLOCK);
        for (ptrdiff_t i = 0; i < count; i++)
            windows[i] = (int32_t)(2 * ((first + i) / s->out_w * s->padded_w + (first + i) % s->out_w));
        for (ptrdiff_t n = 0; n < s->n; n++) {
            const float *dy = s->dy + (n * s->f + f) * size + first;
            const uint8_t *argmax = s->argmax + (n * s->f + f) * size + first;
            if (n + 1 < s->n) {
                for (ptrdiff_t i = 0; i < count; i += SIMD_LINE) __builtin_prefetch(dy + s->f * size + i);
                for (ptrdiff_t i = 0; i < count; i += 64) __builtin_prefetch(argmax + s->f * size + i);
            }
            for (ptrdiff_t i = 0; i < count; i++) {
                const int32_t index = argmax[i];
                factors[i] = index == SIMD_INACTIVE ? 0 : dy[i];
                offsets[i] = windows[i] + (index & 1) + (index & 2 ? step : 0);
            }
            for (ptrdiff_t i = 0; i < count; i++) bias += factors[i];
            for (ptrdiff_t i = 0; i < count; i++) flags[i] = argmax[i] != SIMD_INACTIVE;
            const int active = SIMD_NAME(find)(flags, count, units);
            for (ptrdiff_t c = 0; c < s->c; c++) {
                for (ptrdiff_t i = 0; i < s->kernel_h;) {
                    const float *pixels = s->padded + n * simd_padded_size(s) + (c * s->padded_h + i) * s->padded_w;
                    float *gradient = dweight + (c * s->kernel_h + i) * 8;
                    /* As many rows at a time as registers hold; the usual filters have 7, 5 and 3. */
                    const ptrdiff_t left = s->kernel_h - i;
                    const int rows = left > 7 ? 4 : (int)left;
                    for (ptrdiff_t j = 0; j < s->kernel_w; j += PATCH_LANES) {
                        switch (rows) {
#define PATCHES(rows)                                                                                                  \
    case rows: SIMD_NAME(patches)(rows, s->padded_w, pixels + j, active, units, factors, offsets, gradient + j); break;
                            PATCHES(1)
                            PATCHES(2)
                            PATCHES(3)
                            PATCHES(4)
                            PATCHES(5)
                            PATCHES(6)
                            PATCHES(7)
#undef PATCHES
                        }
                    }
                    i += rows;
                }
            }
        }
    }
    s->dbias[f] = bias;
}

#undef PATCH
#undef PATCH_LANES
