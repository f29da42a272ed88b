/* Convolutions without columns in memory, and the gradients of their weights and biases, for one instruction set;
 * included by _simd_level.h.
 *
 * These are products with the columns that im2col makes, but each element of a column is read from the padded image
 * where it lies, at the place that its tap has there: columns are neither written nor copied. 16 channels to 16 filters,
 * 32 x 32 pixels, 3x3, come to 83 % of a core's peak so, and to 56 % with columns.
 *
 * Forward, a tile is up to SIMD_ROWS filters x 2 vectors of output cells, whose sums stay in registers while all taps are
 * walked. The two vectors are neighbours in a row of cells, or lie one below the other where no more than one is left
 * of each row. All filters are taken before the next cells, whose pixels then come from the first-level cache.
 *
 * For the gradients a tile is up to SIMD_ROWS taps x 2 vectors of filters, whose sums stay in registers while as many
 * cells are walked as a panel of dy has, PRODUCT_DEPTH, transposed so that a cell's filters are neighbours. All taps are
 * taken before the next panel. The sum of the panel is the bias's gradient.
 */

/* The cells of a tile; a constant number of filters where this is inlined. The second vector lies `below` further on. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(direct_tile)(
    const int filters, const simd_direct *s, ptrdiff_t first, const float *x, ptrdiff_t below, FLOATS (*cells)[2]) {
    const float *const weight = s->weight + first * s->weight_step;
    const ptrdiff_t taps = s->taps, step = s->weight_step, *const weights = s->weights, *const pixels = s->pixels;
    FLOATS sums[SIMD_ROWS][2];
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
#pragma GCC unroll 16
    for (int f = 0; f < filters; f++) cells[f][0] = sums[f][0], cells[f][1] = sums[f][1];
}

/* The gradients of a tile, of taps at the given pixels, from rows of x and the panel; constant taps and vectors. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(gradient_tile)(
    const int taps, const int vectors, const simd_direct *s, const ptrdiff_t *pixels, const float *x, ptrdiff_t rows,
    ptrdiff_t columns, const float *panel, FLOATS (*cells)[2]) {
    FLOATS sums[SIMD_ROWS][2];
#pragma GCC unroll 16
    for (int t = 0; t < taps; t++) sums[t][0] = sums[t][1] = (FLOATS){0};
    for (ptrdiff_t row = 0; row < rows; row++, x += s->x_step) {
        const float *from[SIMD_ROWS];
#pragma GCC unroll 16
        for (int t = 0; t < taps; t++) from[t] = x + pixels[t];
        for (ptrdiff_t column = 0; column < columns; column++, panel += 2 * SIMD_LANES) {
            const FLOATS b0 = *(const FLOATS *)panel;
            const FLOATS b1 = vectors == 2 ? *(const FLOATS *)(panel + SIMD_LANES) : (FLOATS){0};
#pragma GCC unroll 16
            for (int t = 0; t < taps; t++) {
                const float factor = from[t][column];
                sums[t][0] += factor * b0;
                if (vectors == 2) sums[t][1] += factor * b1;
            }
        }
    }
#pragma GCC unroll 16
    for (int t = 0; t < taps; t++) cells[t][0] = sums[t][0], cells[t][1] = sums[t][1];
}

/* A function for each size of tile: compiled as one they would take minutes. */
typedef void SIMD_NAME(direct_function)(const simd_direct *, ptrdiff_t first, const float *x, ptrdiff_t below,
                                        FLOATS (*cells)[2]);
typedef void SIMD_NAME(gradient_function)(const simd_direct *, const ptrdiff_t *pixels, const float *x, ptrdiff_t rows,
                                          ptrdiff_t columns, const float *panel, FLOATS (*cells)[2]);
#define DIRECT_TILE(filters)                                                                                           \
    SIMD_TARGET static __attribute__((noinline)) void SIMD_NAME(direct_##filters)(                                     \
        const simd_direct *s, ptrdiff_t first, const float *x, ptrdiff_t below, FLOATS (*cells)[2]) {                  \
        SIMD_NAME(direct_tile)(filters, s, first, x, below, cells);                                                    \
    }
#define GRADIENT_TILE(taps, vectors)                                                                                   \
    SIMD_TARGET static __attribute__((noinline)) void SIMD_NAME(gradient_##taps##_##vectors)(                          \
        const simd_direct *s, const ptrdiff_t *pixels, const float *x, ptrdiff_t rows, ptrdiff_t columns,              \
        const float *panel, FLOATS (*cells)[2]) {                                                                      \
        SIMD_NAME(gradient_tile)(taps, vectors, s, pixels, x, rows, columns, panel, cells);                            \
    }
#define DIRECT_TILES(size) DIRECT_TILE(size) GRADIENT_TILE(size, 1) GRADIENT_TILE(size, 2)
#define DIRECT_NAME(size) SIMD_NAME(direct_##size),
#define GRADIENT_NAMES(size) {SIMD_NAME(gradient_##size##_1), SIMD_NAME(gradient_##size##_2)},

SIMD_EACH_ROWS(DIRECT_TILES)

static SIMD_NAME(direct_function) *const SIMD_NAME(direct_tiles)[SIMD_ROWS] = {SIMD_EACH_ROWS(DIRECT_NAME)};
static SIMD_NAME(gradient_function) *const SIMD_NAME(gradient_tiles)[SIMD_ROWS][2] = {SIMD_EACH_ROWS(GRADIENT_NAMES)};

#undef DIRECT_TILE
#undef GRADIENT_TILE
#undef DIRECT_TILES
#undef DIRECT_NAME
#undef GRADIENT_NAMES

/* Write the first cells of a vector. */
SIMD_TARGET static inline void SIMD_NAME(write_cells)(float *y, const FLOATS *cells, ptrdiff_t count) {
    if (count >= SIMD_LANES) *(FLOATS *)y = *cells;
#if SIMD_LANES == 16
    else _mm512_mask_storeu_ps(y, (__mmask16)((1 << count) - 1), (__m512)*cells);
#else
    else memcpy(y, cells, (size_t)count * sizeof *y);
#endif
}

/* Convolve the image. */
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

/* Add to the gradients of the weights and biases. */
SIMD_TARGET static void SIMD_NAME(direct_gradients)(const simd_direct *s) {
    enum { WIDTH = 2 * SIMD_LANES, DEPTH = PRODUCT_DEPTH };
    float panel[DEPTH * WIDTH] __attribute__((aligned(64)));
    FLOATS cells[SIMD_ROWS][2];
    const ptrdiff_t tiles = simd_parts(s->taps, SIMD_ROWS), some = s->columns < DEPTH ? DEPTH / s->columns : 1;
    for (ptrdiff_t f = 0; f < s->filters; f += WIDTH) {
        const ptrdiff_t filters = simd_least(s->filters - f, WIDTH);
        const int vectors = filters > SIMD_LANES ? 2 : 1;
        FLOATS bias[2] = {{0}, {0}};
        for (ptrdiff_t row = 0; row < s->rows; row += some) {
            const ptrdiff_t rows = simd_least(s->rows - row, some);
            for (ptrdiff_t column = 0; column < s->columns; column += DEPTH) {
                const ptrdiff_t columns = simd_least(s->columns - column, DEPTH), depth = rows * columns;
                const float *const x = s->x + row * s->x_step + column;
                SIMD_NAME(transpose_panel)(s->dy + f * s->y_step + row * s->columns + column, s->y_step, depth, filters,
                                           depth, panel);
                for (ptrdiff_t i = 0; i < depth; i++) {
                    bias[0] += *(const FLOATS *)(panel + i * WIDTH);
                    bias[1] += *(const FLOATS *)(panel + i * WIDTH + SIMD_LANES);
                }
                for (ptrdiff_t tile = 0; tile < tiles; tile++) {
                    const ptrdiff_t first = s->taps * tile / tiles, end = s->taps * (tile + 1) / tiles;
                    SIMD_NAME(gradient_tiles)[end - first - 1][vectors - 1](s, s->pixels + first, x, rows, columns,
                                                                            panel, cells);
                    float *to = s->dweight + first * s->filters + f;
                    for (ptrdiff_t t = 0; t < end - first; t++, to += s->filters) {
                        if (filters == WIDTH) {
                            *(FLOATS *)to += cells[t][0];
                            *(FLOATS *)(to + SIMD_LANES) += cells[t][1];
                        } else {
                            for (ptrdiff_t i = 0; i < filters; i++) to[i] += ((const float *)cells[t])[i];
                        }
                    }
                }
            }
        }
        for (ptrdiff_t i = 0; i < filters; i++) s->dbias[f + i] += ((const float *)bias)[i];
    }
}
