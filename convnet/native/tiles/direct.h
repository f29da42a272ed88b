/* Direct convolution, and the gradients of its weights and biases, for one level.
 *
 * It is the product with the columns that im2col makes, but each element of a column is read from the padded image
 * where it lies: at the offset of its tap plus the offset of its output. Columns are neither written nor copied.
 *
 * The register tile is up to SIMD_SUMS sums for each of 2 vectors of filters. They stay in registers while their terms
 * are walked, each a pixel times a row of a packed panel, in which the filters are neighbours. Forward, the sums are of
 * outputs and the terms taps; the panel is the weights. For the gradients the sums are of taps and the terms outputs;
 * the panel is dy, of so many outputs that it stays in the first-level cache for all taps.
 *
 * With filters in the vectors, and not outputs, images of any size fill them, and rows of the kernel that lie above or
 * below the image can be left out.
 */

/* Most outputs whose sums are in hand before they are written. */
#define DIRECT_OUTPUTS 48
_Static_assert(DIRECT_OUTPUTS % 4 == 0, "outputs are transposed four at a time");

/* What a tile's sums are made of: `runs` runs of `count` terms, `run_step` terms from one run to the next. */
typedef struct {
    const float *x, *panel, *start;     /* start: what the sums begin with, two vectors */
    const ptrdiff_t *offsets;           /* of the terms, in x */
    ptrdiff_t count, runs, run_step;
} SIMD_NAME(direct_terms);

/* The micro-kernel: the sums of a tile, each of which reads x from its own offset on. `size` and `vectors` are
 * constants where this is inlined.
 */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(direct_tile)(
    const int size, const int vectors, const SIMD_NAME(direct_terms) *s, const ptrdiff_t *from, FLOATS (*to)[2]) {
    const FLOATS *const start = (const FLOATS *)s->start;
    const float *panel = s->panel, *pixels[SIMD_SUMS];
    const ptrdiff_t *offsets = s->offsets;
    FLOATS sums[SIMD_SUMS][2];
#pragma GCC unroll 16
    for (int i = 0; i < size; i++) {
        pixels[i] = s->x + from[i];
        sums[i][0] = start[0], sums[i][1] = start[1];
    }
    for (ptrdiff_t run = 0; run < s->runs; run++) {
        const float *b = panel;
        for (ptrdiff_t term = 0; term < s->count; term++, b += 2 * SIMD_LANES) {
            const ptrdiff_t offset = offsets[term];
            const FLOATS b0 = *(const FLOATS *)b;
            const FLOATS b1 = vectors == 2 ? *(const FLOATS *)(b + SIMD_LANES) : (FLOATS){0};
#pragma GCC unroll 16
            for (int i = 0; i < size; i++) {
                const float pixel = pixels[i][offset];
                sums[i][0] += pixel * b0;
                if (vectors == 2) sums[i][1] += pixel * b1;
            }
        }
        offsets += s->run_step, panel += s->run_step * 2 * SIMD_LANES;
    }
#pragma GCC unroll 16
    for (int i = 0; i < size; i++) {
        to[i][0] = sums[i][0];
        if (vectors == 2) to[i][1] = sums[i][1];
    }
}

/* A function for each size of tile: compiled as one they would take minutes. */
typedef void SIMD_NAME(direct_function)(const SIMD_NAME(direct_terms) *, const ptrdiff_t *from, FLOATS (*to)[2]);
#define DIRECT_TILE(size, vectors)                                                                                     \
    SIMD_TARGET static __attribute__((noinline)) void SIMD_NAME(direct_##size##_##vectors)(                            \
        const SIMD_NAME(direct_terms) *s, const ptrdiff_t *from, FLOATS (*to)[2]) {                                    \
        SIMD_NAME(direct_tile)(size, vectors, s, from, to);                                                            \
    }
#define DIRECT_TILES(size) DIRECT_TILE(size, 1) DIRECT_TILE(size, 2)
#define DIRECT_NAMES(size) {SIMD_NAME(direct_##size##_1), SIMD_NAME(direct_##size##_2)},

SIMD_UP_TO(SIMD_SUMS, DIRECT_TILES)

static SIMD_NAME(direct_function) *const SIMD_NAME(direct_tiles)[SIMD_SUMS][2] = {
    SIMD_UP_TO(SIMD_SUMS, DIRECT_NAMES)};

#undef DIRECT_TILE
#undef DIRECT_TILES
#undef DIRECT_NAMES

/* Convolve the image. */
SIMD_TARGET static void SIMD_NAME(direct)(const simd_direct *s) {
    enum { WIDTH = 2 * SIMD_LANES };
    const ptrdiff_t area = s->kernel_h * s->kernel_w, taps = s->channels * area, outputs = s->rows * s->columns;
    /* Outputs that are written at a time: nearly the same numbers, multiples of four, which are transposed at once. */
    const ptrdiff_t most = simd_parts(simd_parts(outputs, simd_parts(outputs, DIRECT_OUTPUTS)), 4) * 4;
    FLOATS sums[DIRECT_OUTPUTS][2] __attribute__((aligned(64)));
    ptrdiff_t from[SIMD_SUMS];
    for (ptrdiff_t f = 0; f < s->filters; f += WIDTH) {
        const ptrdiff_t filters = simd_least(s->filters - f, WIDTH);
        float start[WIDTH] __attribute__((aligned(64))) = {0};
        if (s->bias != NULL) memcpy(start, s->bias + f, (size_t)filters * sizeof *start);
        SIMD_NAME(direct_terms) terms = {.x = s->x, .start = start, .run_step = area};
        ptrdiff_t row = 0, column = 0;
        for (ptrdiff_t output = 0; output < outputs; output += most) {
            const ptrdiff_t some = simd_least(outputs - output, most), tiles = simd_parts(some, SIMD_SUMS);
            for (ptrdiff_t tile = 0, done = 0; tile < tiles; tile++) {
                const ptrdiff_t size = (some - done) / (tiles - tile), first_row = row;
                ptrdiff_t last_row = row;
                for (ptrdiff_t i = 0; i < size; i++) {
                    from[i] = row * s->x_step + column, last_row = row;
                    if (++column == s->columns) column = 0, row++;
                }
                /* The rows of the kernel that lie above or below the image, for all of these outputs, are left out. */
                const ptrdiff_t above = simd_within(s->padding_h - last_row * s->stride_h, s->kernel_h);
                const ptrdiff_t below = simd_within(s->height + s->padding_h - first_row * s->stride_h, s->kernel_h);
                const int is_whole = above == 0 && below == s->kernel_h;
                terms.runs = is_whole ? 1 : s->channels;
                terms.count = is_whole ? taps : (below - above) * s->kernel_w;
                terms.offsets = s->offsets + above * s->kernel_w;
                terms.panel = s->weight + (f * taps + above * s->kernel_w * WIDTH);
                SIMD_NAME(direct_tiles)[size - 1][filters > SIMD_LANES](&terms, from, sums + done);
                done += size;
            }
            SIMD_NAME(transpose)((const float *)sums, WIDTH, some, filters, s->y + f * s->y_step + output, s->y_step);
        }
    }
}

/* Add these terms to the weights' gradients of some filters, from f on, in the kernel's rows from i to i_end - 1. */
SIMD_TARGET static void SIMD_NAME(direct_gradients_of)(const simd_direct *s, const SIMD_NAME(direct_terms) *terms,
                                                       ptrdiff_t f, ptrdiff_t filters, ptrdiff_t i, ptrdiff_t i_end) {
    FLOATS sums[SIMD_SUMS][2];
    ptrdiff_t from[SIMD_SUMS], rows[SIMD_SUMS];
    const ptrdiff_t taps = (i_end - i) * s->kernel_w, all = s->channels * taps, tiles = simd_parts(all, SIMD_SUMS);
    ptrdiff_t tap = i * s->kernel_w, left = taps;
    for (ptrdiff_t tile = 0, done = 0; tile < tiles; tile++) {
        const ptrdiff_t size = (all - done) / (tiles - tile);
        for (ptrdiff_t t = 0; t < size; t++, tap++) {
            from[t] = s->offsets[tap], rows[t] = tap;
            if (--left == 0) left = taps, tap += s->kernel_h * s->kernel_w - taps;
        }
        SIMD_NAME(direct_tiles)[size - 1][filters > SIMD_LANES](terms, from, sums);
        for (ptrdiff_t t = 0; t < size; t++) {
            float *const to = s->dweight + rows[t] * s->filters + f;
            if (filters == 2 * SIMD_LANES) {
                *(FLOATS *)to += sums[t][0];
                *(FLOATS *)(to + SIMD_LANES) += sums[t][1];
            } else {
                for (ptrdiff_t j = 0; j < filters; j++) to[j] += ((const float *)sums[t])[j];
            }
        }
        done += size;
    }
}

/* Add to the gradients of the weights and biases. */
SIMD_TARGET static void SIMD_NAME(direct_gradients)(const simd_direct *s) {
    enum { WIDTH = 2 * SIMD_LANES, DEPTH = PRODUCT_DEPTH };
    static const float start[WIDTH] __attribute__((aligned(64)));
    float panel[DEPTH * WIDTH] __attribute__((aligned(64)));
    ptrdiff_t offsets[DEPTH];
    /* Rows of the kernel that are taken together, where one would not fill a tile. */
    const ptrdiff_t group = simd_within(SIMD_SUMS / (s->channels * s->kernel_w) - 1, s->kernel_h - 1) + 1;
    const ptrdiff_t outputs = s->rows * s->columns;
    for (ptrdiff_t f = 0; f < s->filters; f += WIDTH) {
        const ptrdiff_t filters = simd_least(s->filters - f, WIDTH);
        FLOATS bias[2] = {{0}, {0}};
        ptrdiff_t row = 0, column = 0;
        for (ptrdiff_t output = 0; output < outputs; output += DEPTH) {
            const ptrdiff_t depth = simd_least(outputs - output, DEPTH);
            SIMD_NAME(transpose_panel)(s->dy + f * s->y_step + output, s->y_step, depth, filters, depth, panel);
            for (ptrdiff_t i = 0; i < depth; i++) {
                bias[0] += *(const FLOATS *)(panel + i * WIDTH);
                bias[1] += *(const FLOATS *)(panel + i * WIDTH + SIMD_LANES);
                offsets[i] = row * s->x_step + column;
                if (++column == s->columns) column = 0, row++;
            }
            for (ptrdiff_t i = 0; i < s->kernel_h; i += group) {
                /* The outputs for which all of these rows lie above or below the image are left out. */
                const ptrdiff_t end = simd_least(i + group, s->kernel_h);
                const ptrdiff_t above = simd_within(simd_parts(s->padding_h - end + 1, s->stride_h), s->rows);
                const ptrdiff_t below = simd_within(simd_parts(s->height + s->padding_h - i, s->stride_h), s->rows);
                const ptrdiff_t skipped = simd_within(above * s->columns - output, depth);
                const SIMD_NAME(direct_terms) terms = {
                    .x = s->x, .panel = panel + skipped * WIDTH, .start = start, .offsets = offsets + skipped,
                    .runs = 1, .count = simd_within(below * s->columns - output, depth) - skipped};
                if (terms.count > 0) SIMD_NAME(direct_gradients_of)(s, &terms, f, filters, i, end);
            }
        }
        for (ptrdiff_t i = 0; i < filters; i++) s->dbias[f + i] += ((const float *)bias)[i];
    }
}
