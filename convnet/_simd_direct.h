/* Convolution without columns in memory, for one instruction set; included by _simd_level.h.
 *
 * A tile is up to SIMD_ROWS filters x 2 vectors of output cells, whose sums stay in registers while all taps are walked,
 * as in a product of the filters with the columns that im2col makes. But a column's rows are read from the padded image
 * where they lie, at the place that each tap has there: they are neither written nor copied. The two vectors are
 * neighbours in a row of cells, or lie one below the other where no more than one is left of each row. All filters are
 * taken before the next cells, whose pixels so come from the first-level cache but once.
 */

/* The sums of a tile; a constant number of filters where this is inlined. `below` is how much further on the second
 * vector lies.
 */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(direct_tile)(
    const int filters, const simd_direct *s, ptrdiff_t first, const float *x, ptrdiff_t below, FLOATS (*sums)[2]) {
    const float *const weight = s->weight + first * s->weight_step;
    const ptrdiff_t taps = s->taps, step = s->weight_step, *const weights = s->weights, *const pixels = s->pixels;
#pragma GCC unroll 16
    for (int f = 0; f < filters; f++)
        sums[f][0] = sums[f][1] = (FLOATS){0} + (s->bias == NULL ? 0 : s->bias[first + f]);
    for (ptrdiff_t tap = 0; tap < taps; tap++) {
        const float *const a = weight + weights[tap], *const b = x + pixels[tap];
        const FLOATS b0 = *(const FLOATS *)b, b1 = *(const FLOATS *)(b + below);
#pragma GCC unroll 16
        for (int f = 0; f < filters; f++) {
            const float factor = a[f * step];
            sums[f][0] += factor * b0;
            sums[f][1] += factor * b1;
        }
    }
}

/* A function for each size of tile: compiled as one they would take minutes. */
#define DIRECT_TILE(filters)                                                                                           \
    SIMD_TARGET static __attribute__((noinline)) void SIMD_NAME(direct_##filters)(                                     \
        const simd_direct *s, ptrdiff_t first, const float *x, ptrdiff_t below, FLOATS (*cells)[2]) {                  \
        FLOATS sums[SIMD_ROWS][2];                                                                                     \
        SIMD_NAME(direct_tile)(filters, s, first, x, below, sums);                                                     \
        _Pragma("GCC unroll 16")                                                                                       \
        for (int f = 0; f < filters; f++) cells[f][0] = sums[f][0], cells[f][1] = sums[f][1];                          \
    }
#define DIRECT_NAME(filters) SIMD_NAME(direct_##filters),

SIMD_EACH_ROWS(DIRECT_TILE)

static void (*const SIMD_NAME(direct_tiles)[SIMD_ROWS])(const simd_direct *, ptrdiff_t, const float *, ptrdiff_t,
                                                        FLOATS (*)[2]) = {SIMD_EACH_ROWS(DIRECT_NAME)};

#undef DIRECT_TILE
#undef DIRECT_NAME

/* Write the first cells of a vector. */
SIMD_TARGET static inline void SIMD_NAME(write_cells)(float *y, const FLOATS *cells, ptrdiff_t count) {
    if (count >= SIMD_LANES) *(FLOATS *)y = *cells;
#if SIMD_LANES == 16
    else _mm512_mask_storeu_ps(y, (__mmask16)((1 << count) - 1), (__m512)*cells);
#else
    else memcpy(y, cells, (size_t)count * sizeof *y);
#endif
}

SIMD_TARGET static void SIMD_NAME(direct)(const simd_direct *s) {
    const ptrdiff_t tiles = simd_parts(s->filters, SIMD_ROWS);
    FLOATS cells[SIMD_ROWS][2];
    for (ptrdiff_t column = 0; column < s->columns; column += 2 * SIMD_LANES) {
        const ptrdiff_t left = s->columns - column, is_narrow = left <= SIMD_LANES;
        for (ptrdiff_t row = 0; row < s->rows; row += 1 + is_narrow) {
            const ptrdiff_t is_last = row + 1 == s->rows;
            const ptrdiff_t below = is_narrow ? (is_last ? 0 : s->x_step) : SIMD_LANES;
            const float *const x = s->x + row * s->x_step + column;
            for (ptrdiff_t tile = 0; tile < tiles; tile++) {
                const ptrdiff_t first = s->filters * tile / tiles, end = s->filters * (tile + 1) / tiles;
                float *y = s->y + first * s->y_step + row * s->columns + column;
                SIMD_NAME(direct_tiles)[end - first - 1](s, first, x, below, cells);
                for (ptrdiff_t f = 0; f < end - first; f++, y += s->y_step) {
                    SIMD_NAME(write_cells)(y, &cells[f][0], left);
                    if (!is_narrow) SIMD_NAME(write_cells)(y + SIMD_LANES, &cells[f][1], left - SIMD_LANES);
                    else if (!is_last) SIMD_NAME(write_cells)(y + s->columns, &cells[f][1], left);
                }
            }
        }
    }
}
