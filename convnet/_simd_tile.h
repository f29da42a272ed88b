/* The tiles of _simd.h for one instruction set; included once for each, with
 *   SIMD_LANES    floats of a vector,
 *   SIMD_FILTERS  filters of a tile,
 *   SIMD_EVEN, SIMD_ODD  the even and odd lanes of two vectors in a row,
 *   SIMD_TARGET   the attribute that allows the instructions,
 *   SIMD_NAME     the name of a function for this instruction set.
 *
 * A tile is SIMD_FILTERS filters x 2 output rows x 2 vectors of output columns, kept in registers while the filters'
 * taps are walked: with AVX-512 16 sums, so that each vector of pixels that is loaded is used by 4 filters, and each
 * weight by 4 vectors; 8 sums for the sets that have only 16 registers. The two rows and neighbouring columns are then
 * reduced to pooled maxima, so that the convolution's output is never written to memory.
 */

typedef float SIMD_NAME(floats) __attribute__((vector_size(4 * SIMD_LANES), aligned(4), may_alias));
typedef int32_t SIMD_NAME(ints) __attribute__((vector_size(4 * SIMD_LANES)));
#define FLOATS SIMD_NAME(floats)
#define INTS SIMD_NAME(ints)

/* Pool one row of sums: write up to SIMD_LANES cells, count of them, from rows a (above) and b of two vectors each. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(pool)(
    FLOATS a0, FLOATS a1, FLOATS b0, FLOATS b1, ptrdiff_t count, float *y, uint8_t *codes) {
    const FLOATS candidates[4] = {
        SIMD_SHUFFLE(INTS, a0, a1, SIMD_EVEN), SIMD_SHUFFLE(INTS, a0, a1, SIMD_ODD),
        SIMD_SHUFFLE(INTS, b0, b1, SIMD_EVEN), SIMD_SHUFFLE(INTS, b0, b1, SIMD_ODD)};
    FLOATS best = candidates[0];
    INTS code = {0};
#pragma GCC unroll 3
    for (int k = 1; k < 4; k++) {
        const FLOATS value = candidates[k];
        /* A NaN is larger than every number; of equals the first stays. */
        const INTS larger = (value > best) | ((value != value) & (best == best));
        best = (FLOATS)((larger & (INTS)value) | (~larger & (INTS)best));
        code = (larger & k) | (~larger & code);
    }
    const INTS closed = best <= (FLOATS){0};
    best = (FLOATS)(~closed & (INTS)best);
    code = (closed & SIMD_CLOSED) | (~closed & code);
    float values[SIMD_LANES];
    int32_t numbers[SIMD_LANES];
    memcpy(values, &best, sizeof values);
    memcpy(numbers, &code, sizeof numbers);
    if (count >= SIMD_LANES) {
        memcpy(y, values, sizeof values);
        for (int i = 0; i < SIMD_LANES; i++) codes[i] = (uint8_t)numbers[i];
    } else {
        for (ptrdiff_t i = 0; i < count; i++) y[i] = values[i], codes[i] = (uint8_t)numbers[i];
    }
}

/* All pooled rows of the filters first to first + filters - 1, filters being a constant where this is inlined. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(filters)(
    const simd_shape *s, const int filters, ptrdiff_t first, const float *padded, const float *weight,
    const float *bias, float *y, uint8_t *codes) {
    const ptrdiff_t taps = s->c * s->kh * s->kw, cells = s->ph * s->pw;
    for (ptrdiff_t row = 0; row < s->ph; row++) {
        for (ptrdiff_t column = 0; column < s->pw; column += SIMD_LANES) {
            FLOATS sums[SIMD_FILTERS][2][2];
#pragma GCC unroll 4
            for (int f = 0; f < filters; f++)
                sums[f][0][0] = sums[f][0][1] = sums[f][1][0] = sums[f][1][1] = (FLOATS){0} + bias[first + f];
            const float *w = weight + first * taps;
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
#pragma GCC unroll 4
            for (int f = 0; f < filters; f++) {
                const ptrdiff_t cell = (first + f) * cells + row * s->pw + column;
                SIMD_NAME(pool)(sums[f][0][0], sums[f][0][1], sums[f][1][0], sums[f][1][1], s->pw - column, y + cell,
                                codes + cell);
            }
        }
    }
}

SIMD_TARGET static void SIMD_NAME(forward)(const simd_shape *s, const float *padded, const float *weight,
                                           const float *bias, float *y, uint8_t *codes) {
    ptrdiff_t first = 0;
    for (; first + SIMD_FILTERS <= s->f; first += SIMD_FILTERS)
        SIMD_NAME(filters)(s, SIMD_FILTERS, first, padded, weight, bias, y, codes);
    for (; first < s->f; first++) SIMD_NAME(filters)(s, 1, first, padded, weight, bias, y, codes);
}

/* Add to one filter's gradient, rows of 8, the patches under its open cells; rows is a constant where it is inlined. */
#ifndef SIMD_EIGHT
#define SIMD_EIGHT
typedef float simd_eight __attribute__((vector_size(32), aligned(4), may_alias));
#endif

SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(patches)(
    const simd_shape *s, const ptrdiff_t rows, const float *pixels, const float *dy, const uint8_t *codes,
    float *gradient) {
    simd_eight sums[SIMD_MAX_KERNEL_W];
    for (ptrdiff_t i = 0; i < rows; i++) sums[i] = *(const simd_eight *)(gradient + 8 * i);
    for (ptrdiff_t row = 0; row < s->ph; row++) {
        for (ptrdiff_t column = 0; column < s->pw; column++) {
            const uint8_t code = codes[row * s->pw + column];
            if (code == SIMD_CLOSED) continue;
            const float g = dy[row * s->pw + column];
            const float *patch = pixels + (2 * row + (code >> 1)) * s->wp + 2 * column + (code & 1);
#pragma GCC unroll 8
            for (ptrdiff_t i = 0; i < rows; i++) sums[i] += g * *(const simd_eight *)(patch + i * s->wp);
        }
    }
    for (ptrdiff_t i = 0; i < rows; i++) *(simd_eight *)(gradient + 8 * i) = sums[i];
}

/* dweight is (f, c, kh, 8), its last lanes beyond kw without meaning; dweight and dbias are added to. */
SIMD_TARGET static void SIMD_NAME(backward)(const simd_shape *s, const float *padded, const float *dy,
                                            const uint8_t *codes, float *dweight, float *dbias) {
    const ptrdiff_t cells = s->ph * s->pw;
    for (ptrdiff_t f = 0; f < s->f; f++, dy += cells, codes += cells) {
        float sum = 0;
        for (ptrdiff_t i = 0; i < cells; i++) sum += codes[i] == SIMD_CLOSED ? 0 : dy[i];
        dbias[f] += sum;
        for (ptrdiff_t c = 0; c < s->c; c++) {
            for (ptrdiff_t i = 0; i < s->kh;) {
                const float *pixels = padded + (c * s->hp + i) * s->wp;
                float *gradient = dweight + ((f * s->c + c) * s->kh + i) * 8;
                /* As many rows at a time as registers hold; the usual filters have 7, 5 and 3. */
                switch (s->kh - i) {
                case 1: SIMD_NAME(patches)(s, 1, pixels, dy, codes, gradient); i += 1; break;
                case 2: SIMD_NAME(patches)(s, 2, pixels, dy, codes, gradient); i += 2; break;
                case 3: SIMD_NAME(patches)(s, 3, pixels, dy, codes, gradient); i += 3; break;
                case 5: SIMD_NAME(patches)(s, 5, pixels, dy, codes, gradient); i += 5; break;
                case 7: SIMD_NAME(patches)(s, 7, pixels, dy, codes, gradient); i += 7; break;
                default: SIMD_NAME(patches)(s, 4, pixels, dy, codes, gradient); i += 4; break;
                }
            }
        }
    }
}

#undef FLOATS
#undef INTS
#undef SIMD_LANES
#undef SIMD_FILTERS
#undef SIMD_EVEN
#undef SIMD_ODD
#undef SIMD_TARGET
#undef SIMD_NAME
