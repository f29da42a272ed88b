/* Convolution of stride 1 + bias + ReLU + 2x2 max pooling in one pass, for one instruction set; included by
 * _simd_level.h.
 *
 * A tile is up to SIMD_FILTERS filters x 2 output rows x 2 vectors of output columns, kept in registers while the
 * filters' taps are walked: 16 sums with AVX-512, so that each vector of pixels that is loaded is used by 4 filters and
 * each weight by 4 vectors; 12 with AVX2, whose 16 registers then still hold most of the pixels, so that loads do not
 * become the limit (8 sums, for which gcc reads each pixel twice, take half as long again); 8 with vectors of 16 bytes,
 * where a product needs a register of its own. The two rows and neighbouring columns are then reduced to pooled maxima,
 * so that the convolution's output is never written to memory. A row that is not a multiple of the tile is read on into
 * the next row, whose sums are thrown away.
 */

/* Numbers below 256, as bytes. gcc takes AVX2's vectors apart for it. */
SIMD_TARGET static inline __attribute__((always_inline)) BYTES SIMD_NAME(as_bytes)(INTS numbers) {
#if SIMD_LANES == 8
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

/* Pool a tile: of each filter write up to SIMD_LANES cells, count of them, from a row of two vectors and the one below.
 * Where the filter's plane has room for it, a whole vector is written: what it has too much is overwritten by the cells
 * that follow.
 * Not inlined, for its constants would take registers from the sums while these are formed.
 */
SIMD_TARGET static __attribute__((noinline)) void SIMD_NAME(pool)(
    FLOATS (*sums)[2][2], int filters, ptrdiff_t count, ptrdiff_t room, ptrdiff_t cells, float *y, uint8_t *codes) {
    for (int f = 0; f < filters; f++, y += cells, codes += cells) {
        const FLOATS a0 = sums[f][0][0], a1 = sums[f][0][1], b0 = sums[f][1][0], b1 = sums[f][1][1];
        const FLOATS candidates[4] = {
            SIMD_SHUFFLE(INTS, a0, a1, SIMD_EVEN), SIMD_SHUFFLE(INTS, a0, a1, SIMD_ODD),
            SIMD_SHUFFLE(INTS, b0, b1, SIMD_EVEN), SIMD_SHUFFLE(INTS, b0, b1, SIMD_ODD)};
        FLOATS best = candidates[0];
        INTS code = {0};
#pragma GCC unroll 3
        for (int k = 1; k < 4; k++) {
            const FLOATS value = candidates[k];
            /* Of equals the first stays; a NaN is larger than every number, and the first one stays. */
            const INTS larger = ~(value <= best) & (best == best);
            best = (FLOATS)((larger & (INTS)value) | (~larger & (INTS)best));
            code = (larger & k) | (~larger & code);
        }
        const INTS closed = best <= (FLOATS){0};
        best = (FLOATS)(~closed & (INTS)best);
        code = (closed & SIMD_CLOSED) | (~closed & code);
#ifdef SIMD_ORDER
        best = SIMD_SHUFFLE(INTS, best, best, SIMD_ORDER);
        code = SIMD_SHUFFLE(INTS, code, code, SIMD_ORDER);
#endif
        const BYTES bytes = SIMD_NAME(as_bytes)(code);
        if (room >= SIMD_LANES) {
            *(FLOATS *)y = best;
            memcpy(codes, &bytes, sizeof bytes);
        } else {
            memcpy(y, &best, (size_t)count * sizeof *y);
            memcpy(codes, &bytes, (size_t)count);
        }
    }
}

/* All pooled rows of the filters first to first + filters - 1, filters being a constant where this is inlined. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(filters)(
    const simd_convolution *s, const int filters, ptrdiff_t first, const float *padded, float *y, uint8_t *codes) {
    const ptrdiff_t taps = s->c * s->kh * s->kw, cells = s->ph * s->pw;
    for (ptrdiff_t row = 0; row < s->ph; row++) {
        for (ptrdiff_t column = 0; column < s->pw; column += SIMD_LANES) {
            FLOATS sums[SIMD_FILTERS][2][2];
#pragma GCC unroll 4
            for (int f = 0; f < filters; f++)
                sums[f][0][0] = sums[f][0][1] = sums[f][1][0] = sums[f][1][1] = (FLOATS){0} + s->bias[first + f];
            const float *w = s->weight + first * taps;
            for (ptrdiff_t c = 0; c < s->c; c++) {
                for (ptrdiff_t i = 0; i < s->kh; i++) {
                    const float *pixels = padded + (c * s->hp + 2 * row + i) * s->wp + 2 * column;
                    for (ptrdiff_t j = 0; j < s->kw; j++, pixels++, w++) {
                        const FLOATS a0 = *(const FLOATS *)pixels, a1 = *(const FLOATS *)(pixels + SIMD_LANES);
                        const FLOATS b0 = *(const FLOATS *)(pixels + s->wp);
                        const FLOATS b1 = *(const FLOATS *)(pixels + s->wp + SIMD_LANES);
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
            const ptrdiff_t place = row * s->pw + column, cell = first * cells + place;
            SIMD_NAME(pool)(sums, filters, s->pw - column, cells - place, cells, y + cell, codes + cell);
        }
    }
}

/* Filters first to end - 1 of image n. */
SIMD_TARGET static void SIMD_NAME(convolution_forward)(const simd_convolution *s, ptrdiff_t n, ptrdiff_t first,
                                                       ptrdiff_t end) {
    const float *padded = s->padded + n * simd_padded_size(s);
    float *y = s->y + n * s->f * s->ph * s->pw;
    uint8_t *codes = s->codes + n * s->f * s->ph * s->pw;
    const ptrdiff_t tiles = simd_parts(end - first, SIMD_FILTERS);
    for (ptrdiff_t tile = 0; tile < tiles; tile++) {
        const ptrdiff_t from = first + (end - first) * tile / tiles, to = first + (end - first) * (tile + 1) / tiles;
        switch (to - from) {
#define FILTERS(count) case count: SIMD_NAME(filters)(s, count, from, padded, y, codes); break;
            FILTERS(1)
            FILTERS(2)
#if SIMD_FILTERS > 2
            FILTERS(3)
#endif
#if SIMD_FILTERS > 3
            FILTERS(4)
#endif
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

/* Add to rows of a filter's gradient the patches under all cells of an image; rows is a constant where inlined. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(patches)(
    const int rows, ptrdiff_t wp, const float *pixels, ptrdiff_t open, const uint8_t *cells, const float *factors,
    const int32_t *places, float *gradient) {
    PATCH sums[7];
#pragma GCC unroll 7
    for (int i = 0; i < rows; i++) sums[i] = *(const PATCH *)(gradient + 8 * i);
    for (ptrdiff_t i = 0; i < open; i++) {
        const ptrdiff_t cell = cells[i];
        const float *patch = pixels + places[cell];
#pragma GCC unroll 7
        for (int row = 0; row < rows; row++) sums[row] += factors[cell] * *(const PATCH *)(patch + row * wp);
    }
#pragma GCC unroll 7
    for (int i = 0; i < rows; i++) *(PATCH *)(gradient + 8 * i) = sums[i];
}

/* The gradient of filter f; its rows have 8 floats, those beyond kw without meaning. A block of cells at a time, and
 * for it the images in order: first where in the padded image the patches are, and what they are multiplied with; then
 * the cells that are open, for ReLU closes half to four fifths of ConvNet1's. Leaving these out by a branch would take
 * longer than computing with zeros; by a list, a sixth less. What the next image needs is fetched, another sixth.
 */
SIMD_TARGET static void SIMD_NAME(convolution_backward)(const simd_convolution *s, ptrdiff_t f) {
    enum { BLOCK = 256 };
    float factors[BLOCK];
    int32_t windows[BLOCK], places[BLOCK];
    uint8_t flags[BLOCK], cells[BLOCK];
    const ptrdiff_t size = s->ph * s->pw;
    const int32_t wp = (int32_t)s->wp;
    float *const dweight = s->dweight + f * s->c * s->kh * 8;
    memset(dweight, 0, (size_t)(s->c * s->kh * 8) * sizeof *dweight);
    float bias = 0;
    for (ptrdiff_t first = 0; first < size; first += BLOCK) {
        const ptrdiff_t count = simd_least(size - first, BLOCK);
        for (ptrdiff_t i = 0; i < count; i++)
            windows[i] = (int32_t)(2 * ((first + i) / s->pw * s->wp + (first + i) % s->pw));
        for (ptrdiff_t n = 0; n < s->n; n++) {
            const float *dy = s->dy + (n * s->f + f) * size + first;
            const uint8_t *codes = s->codes + (n * s->f + f) * size + first;
            if (n + 1 < s->n) {
                for (ptrdiff_t i = 0; i < count; i += SIMD_LINE) __builtin_prefetch(dy + s->f * size + i);
                for (ptrdiff_t i = 0; i < count; i += 64) __builtin_prefetch(codes + s->f * size + i);
            }
            for (ptrdiff_t i = 0; i < count; i++) {
                const int32_t code = codes[i];
                factors[i] = code == SIMD_CLOSED ? 0 : dy[i];
                places[i] = windows[i] + (code & 1) + (code & 2 ? wp : 0);
            }
            for (ptrdiff_t i = 0; i < count; i++) bias += factors[i];
            for (ptrdiff_t i = 0; i < count; i++) flags[i] = codes[i] != SIMD_CLOSED;
            const int open = SIMD_NAME(find)(flags, count, cells);
            for (ptrdiff_t c = 0; c < s->c; c++) {
                for (ptrdiff_t i = 0; i < s->kh;) {
                    const float *pixels = s->padded + n * simd_padded_size(s) + (c * s->hp + i) * s->wp;
                    float *gradient = dweight + (c * s->kh + i) * 8;
                    /* As many rows at a time as registers hold; the usual filters have 7, 5 and 3. */
                    const ptrdiff_t left = s->kh - i;
                    const int rows = left > 7 ? 4 : (int)left;
                    for (ptrdiff_t j = 0; j < s->kw; j += PATCH_LANES) {
                        switch (rows) {
#define PATCHES(rows)                                                                                                  \
    case rows: SIMD_NAME(patches)(rows, s->wp, pixels + j, open, cells, factors, places, gradient + j); break;
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

/* y[r * columns + i] = x[r * x_step + i]: rows of the columns that im2col makes. They are short; what is left of one
 * behind whole vectors is copied with a mask, or by a vector that overlaps the one before.
 */
SIMD_TARGET static void SIMD_NAME(copy_rows)(const float *x, ptrdiff_t x_step, float *y, ptrdiff_t rows,
                                             ptrdiff_t columns) {
    const ptrdiff_t whole = columns / SIMD_LANES * SIMD_LANES, rest = columns - whole;
#if SIMD_LANES == 16
    const __mmask16 lanes = (__mmask16)((1 << rest) - 1);
#endif
    for (ptrdiff_t r = 0; r < rows; r++, x += x_step, y += columns) {
        for (ptrdiff_t i = 0; i < whole; i += SIMD_LANES) *(FLOATS *)(y + i) = *(const FLOATS *)(x + i);
#if SIMD_LANES == 16
        if (rest) _mm512_mask_storeu_ps(y + whole, lanes, _mm512_maskz_loadu_ps(lanes, x + whole));
#else
        if (rest && whole) {
            *(FLOATS *)(y + columns - SIMD_LANES) = *(const FLOATS *)(x + columns - SIMD_LANES);
        } else if (rest >= 4) {
            *(simd_four *)y = *(const simd_four *)x;
            *(simd_four *)(y + rest - 4) = *(const simd_four *)(x + rest - 4);
        } else {
            for (ptrdiff_t i = 0; i < rest; i++) y[i] = x[i];
        }
#endif
    }
}

/* y[r * y_step + i] += x[r * columns + i]. */
SIMD_TARGET static void SIMD_NAME(accumulate_rows)(const float *x, float *y, ptrdiff_t y_step, ptrdiff_t rows,
                                                   ptrdiff_t columns) {
    for (ptrdiff_t r = 0; r < rows; r++, x += columns, y += y_step) {
        const float *from = x;
        float *to = y;
#define ADD(type, lanes) *(type *)to += *(const type *)from, from += lanes, to += lanes
        for (ptrdiff_t i = columns / SIMD_LANES; i > 0; i--) ADD(FLOATS, SIMD_LANES);
        if (SIMD_LANES > 8 && columns & 8) ADD(simd_eight, 8);
        if (SIMD_LANES > 4 && columns & 4) ADD(simd_four, 4);
        for (ptrdiff_t i = columns & 3; i > 0; i--) ADD(float, 1);
#undef ADD
    }
}

/* y[r * y_step + t + i] += x[t * x_step + r * columns + i] for t below `shifts`: rows of the columns that im2col makes,
 * added back to the image. With AVX-512 several shifts are added to a vector of y while it is in a register, which takes
 * a third of the time away for 5x5 windows of 14 x 14 pixels, and a tenth for 3x3 windows of 32 x 32; from three vectors
 * a row on it gains nothing. Nor does it where vectors of neighbouring rows overlap: a load waits for what a masked store
 * has just written.
 */
SIMD_TARGET static void SIMD_NAME(accumulate)(const float *x, ptrdiff_t x_step, ptrdiff_t shifts, float *y,
                                              ptrdiff_t y_step, ptrdiff_t rows, ptrdiff_t columns) {
#if SIMD_LANES == 16
    enum { MOST = 8 };    /* shifts at a time; kernels are seldom wider */
    const ptrdiff_t least = y_step >= SIMD_LANES && columns < 3 * SIMD_LANES ? 2 : PTRDIFF_MAX;
    for (; shifts >= least; shifts -= MOST, x += MOST * x_step, y += MOST) {
        const ptrdiff_t some = simd_least(shifts, MOST), width = columns + some - 1;
        for (ptrdiff_t i = 0; i < width; i += SIMD_LANES) {
            /* The first shift that reaches the vector, and the lanes that each one reaches. */
            const ptrdiff_t first = i < columns ? 0 : i - columns + 1;
            const __mmask16 inside = (__mmask16)((1 << simd_least(width - i, SIMD_LANES)) - 1);
            __mmask16 lanes[MOST];
            for (ptrdiff_t t = first; t < some; t++) {
                const int below = t > i ? (int)(t - i) : 0, all = (1 << simd_least(columns + t - i, SIMD_LANES)) - 1;
                lanes[t] = (__mmask16)(all & ~((1 << below) - 1));
            }
            for (ptrdiff_t r = 0; r < rows; r++) {
                float *const cells = y + r * y_step + i;
                __m512 sum = _mm512_maskz_loadu_ps(inside, cells);
                for (ptrdiff_t t = first; t < some; t++)
                    sum += _mm512_maskz_loadu_ps(lanes[t], x + t * x_step + r * columns + i - t);
                _mm512_mask_storeu_ps(cells, inside, sum);
            }
        }
    }
#endif
    for (ptrdiff_t t = 0; t < shifts; t++) SIMD_NAME(accumulate_rows)(x + t * x_step, y + t, y_step, rows, columns);
}
