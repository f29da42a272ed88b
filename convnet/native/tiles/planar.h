/* Direct convolution of stride 1 in NCHW, and the gradients of its weights and biases, for one level: for few channels,
 * with which vectors of channels would be empty for the most part.
 *
 * It is the product of the weights (filters, taps) with the columns that im2col would make (taps, outputs), but these
 * are not made: the columns of a tap are a row of the image, shifted. A strip has its rows channel by channel, so that
 * the taps of a row of the kernel lie one float apart, and the next channel's, like the next row's, x_columns further.
 * The tiles of product.h take that as B, with the filters as rows and the outputs of a row as columns.
 */

/* y = the convolution of a strip (rows, channels, columns), whose weights are (filters, kernel_h, channels, kernel_w).
 * The last vectors of a row of outputs read beyond what lies under them, and write on in the next rows of the strip,
 * whose outputs come later; where there is too little left of the strip, product_panel writes no more than the row.
 */
SIMD_TARGET static void SIMD_NAME(planar)(const simd_strip *s) {
    enum { WIDTH = 2 * SIMD_LANES };
    const ptrdiff_t run = s->channels * s->kernel_w, x_columns = s->x_step / s->channels;
    for (ptrdiff_t row = 0; row < s->rows; row++) {
        /* Rows of the kernel that lie above or below the image are left out. */
        const ptrdiff_t first = simd_within(s->top - row, s->kernel_h);
        const ptrdiff_t end = simd_within(s->bottom - row, s->kernel_h);
        for (ptrdiff_t column = 0; column < s->columns; column += WIDTH) {
            const ptrdiff_t columns = s->columns - column, left = (s->rows - row) * s->columns - column;
            const ptrdiff_t whole = columns > SIMD_LANES ? WIDTH : SIMD_LANES;
            const float *stream = NULL;
            SIMD_NAME(product_terms) terms = {
                .depth = s->kernel_w, .runs = end > first ? (end - first) * s->channels : 0, .run_step = s->kernel_w,
                .a = s->weight + first * run, .a_step = s->kernel_h * run,
                .b = s->x + (row + first) * s->x_step + column, .b_step = 1, .b_run_step = x_columns - s->kernel_w,
                .c = s->y + row * s->columns + column, .c_step = s->y_step, .alpha = 1, .beta = 0};
            SIMD_NAME(product_panel)(&terms, s->filters, left < whole ? simd_least(columns, WIDTH) : whole, 0,
                                     &stream, NULL);
        }
    }
}

/* ------------------------------------------------------------------------------------------- gradients of the weights
 *
 * A weight's gradient is the product of a row of dy with a shifted row of the image, summed over all rows. The sums of
 * a tile of filters and of neighbouring taps stay in registers, a vector each: what its lanes hold is added at the end.
 * Some rows are summed apart, since long sums of floats are inexact.
 */

/* Filters and taps of a tile, at most, and about how many vectors of a row of dy are summed apart. */
#define PLANAR_FILTERS 4
#define PLANAR_TAPS 3
#define PLANAR_VECTORS 128

/* sums[f][q] += dy[f] * x[q], each a vector. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(planar_add)(
    const int filters, const int taps, FLOATS (*sums)[PLANAR_TAPS], const float *dy, ptrdiff_t dy_step,
    const FLOATS *pixels) {
#pragma GCC unroll 4
    for (int f = 0; f < filters; f++) {
        const FLOATS gradients = *(const FLOATS *)(dy + f * dy_step);
#pragma GCC unroll 3
        for (int q = 0; q < taps; q++) sums[f][q] += gradients * pixels[q];
    }
}

/* to[f][q] += dy[f] * x[q], summed over some rows. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(planar_sums)(
    const int filters, const int taps, const simd_strip *s, const float *dy, const float *x, ptrdiff_t rows, float *to,
    ptrdiff_t to_step) {
    const ptrdiff_t whole = s->columns / SIMD_LANES * SIMD_LANES, dy_step = s->y_step / s->filters;
    FLOATS sums[PLANAR_FILTERS][PLANAR_TAPS], pixels[PLANAR_TAPS];
    INTS inside = {0};
    for (int lane = 0; lane < SIMD_LANES; lane++) inside[lane] = -(lane < s->columns - whole);
#pragma GCC unroll 4
    for (int f = 0; f < filters; f++)
#pragma GCC unroll 3
        for (int q = 0; q < taps; q++) sums[f][q] = (FLOATS){0};
    for (ptrdiff_t row = 0; row < rows; row++, dy += s->y_step, x += s->x_step) {
        for (ptrdiff_t column = 0; column < whole; column += SIMD_LANES) {
#pragma GCC unroll 3
            for (int q = 0; q < taps; q++) pixels[q] = *(const FLOATS *)(x + column + q);
            SIMD_NAME(planar_add)(filters, taps, sums, dy + column, dy_step, pixels);
        }
        if (whole == s->columns) continue;
        /* Behind the row dy is 0, but a pixel there may be infinite. */
#pragma GCC unroll 3
        for (int q = 0; q < taps; q++) pixels[q] = (FLOATS)((INTS)*(const FLOATS *)(x + whole + q) & inside);
        SIMD_NAME(planar_add)(filters, taps, sums, dy + whole, dy_step, pixels);
    }
#pragma GCC unroll 4
    for (int f = 0; f < filters; f++)
#pragma GCC unroll 3
        for (int q = 0; q < taps; q++) *(FLOATS *)(to + f * to_step + q * SIMD_LANES) += sums[f][q];
}

/* A function for each size of tile. */
typedef void SIMD_NAME(planar_function)(const simd_strip *, const float *, const float *, ptrdiff_t, float *,
                                        ptrdiff_t);
#define PLANAR_TILE(filters, taps)                                                                                     \
    SIMD_TARGET static __attribute__((noinline)) void SIMD_NAME(planar_##filters##_##taps)(                            \
        const simd_strip *s, const float *dy, const float *x, ptrdiff_t rows, float *to, ptrdiff_t to_step) {          \
        SIMD_NAME(planar_sums)(filters, taps, s, dy, x, rows, to, to_step);                                            \
    }
#define PLANAR_TILES(filters) PLANAR_TILE(filters, 1) PLANAR_TILE(filters, 2) PLANAR_TILE(filters, 3)
#define PLANAR_NAMES(filters)                                                                                          \
    {SIMD_NAME(planar_##filters##_1), SIMD_NAME(planar_##filters##_2), SIMD_NAME(planar_##filters##_3)},

SIMD_UP_TO(PLANAR_FILTERS, PLANAR_TILES)

static SIMD_NAME(planar_function) *const SIMD_NAME(planar_tiles)[PLANAR_FILTERS][PLANAR_TAPS] = {
    SIMD_UP_TO(PLANAR_FILTERS, PLANAR_NAMES)};

#undef PLANAR_TILE
#undef PLANAR_TILES
#undef PLANAR_NAMES

/* Add the gradients of the weights (filters, kernel_h, channels, kernel_w), a vector for each, of some rows of the
 * outputs.
 */
SIMD_TARGET static void SIMD_NAME(planar_gradients_of_rows)(const simd_strip *s, ptrdiff_t row, ptrdiff_t end) {
    const ptrdiff_t filters = simd_parts(s->filters, simd_parts(s->filters, PLANAR_FILTERS));
    const ptrdiff_t taps = simd_parts(s->kernel_w, simd_parts(s->kernel_w, PLANAR_TAPS));
    const ptrdiff_t run = s->channels * s->kernel_w, step = s->kernel_h * run * SIMD_LANES;
    const ptrdiff_t x_columns = s->x_step / s->channels, dy_step = s->y_step / s->filters;
    for (ptrdiff_t i = 0; i < s->kernel_h; i++) {
        /* The outputs for which this row of the kernel lies above or below the image are left out. */
        const ptrdiff_t first = s->top - i > row ? s->top - i : row;
        const ptrdiff_t rows = simd_least(s->bottom - i, end) - first;
        for (ptrdiff_t c = 0; c < s->channels && rows > 0; c++)
            for (ptrdiff_t f = 0; f < s->filters; f += filters)
                for (ptrdiff_t q = 0; q < s->kernel_w; q += taps) {
                    const float *const dy = s->dy + first * s->y_step + f * dy_step;
                    const float *const x = s->x + (first + i) * s->x_step + c * x_columns + q;
                    float *const to = s->dweight + f * step + (i * run + c * s->kernel_w + q) * SIMD_LANES;
                    const ptrdiff_t some_filters = simd_least(filters, s->filters - f);
                    const ptrdiff_t some_taps = simd_least(taps, s->kernel_w - q);
                    SIMD_NAME(planar_tiles)[some_filters - 1][some_taps - 1](s, dy, x, rows, to, step);
                }
    }
}

/* Add a strip's gradients of weights and biases, a vector for each. dy is (rows, filters, columns), its rows y_step
 * floats apart; zeros fill the columns up to whole vectors.
 */
SIMD_TARGET static void SIMD_NAME(planar_gradients)(const simd_strip *s) {
    const ptrdiff_t dy_step = s->y_step / s->filters, height = simd_parts(PLANAR_VECTORS * SIMD_LANES, dy_step);
    for (ptrdiff_t row = 0; row < s->rows; row += height) {
        const ptrdiff_t end = simd_least(row + height, s->rows);
        SIMD_NAME(planar_gradients_of_rows)(s, row, end);
        for (ptrdiff_t f = 0; f < s->filters; f++) {
            FLOATS bias = {0};
            for (ptrdiff_t r = row; r < end; r++)
                for (ptrdiff_t column = 0; column < dy_step; column += SIMD_LANES)
                    bias += *(const FLOATS *)(s->dy + r * s->y_step + f * dy_step + column);
            *(FLOATS *)(s->dbias + f * SIMD_LANES) += bias;
        }
    }
}
