/* Matrix products (GEMM) for one level.
 *
 * The register tile is up to SIMD_ROWS rows x 2 vectors of columns of C. Its sums stay in registers while the common
 * axis is walked: each vector of B serves all rows, each element of A both vectors. The rows of a block are dealt out
 * evenly, so that 50 become five tiles of 10 and not four of 12 and a slow one of 2.
 *
 * The common axis is walked in blocks of PRODUCT_DEPTH. A panel of B, 2 vectors wide, then stays in the first-level
 * cache for all tiles of rows. It is packed for that, and transposed where B is: its rows lie in more pages than a
 * processor has addresses at hand. A single tile of rows reads B in place, and takes half of the depth, so half of the
 * pages. Meanwhile the next block of B is fetched into the second-level cache, from end to end where the task has all
 * of its columns.
 */

/* What a tile is computed from: the common axis is `runs` runs of `depth` terms, which lie `run_step` floats apart in
 * A. In B `b_run_step` floats are left out behind each run. For every row of b that it reads, one or two lines from
 * `fetch` on are fetched, which are needed later; `fetch` may be NULL.
 */
typedef struct {
    ptrdiff_t depth, runs, run_step;
    const float *a;
    ptrdiff_t a_step;
    const float *b;
    ptrdiff_t b_step, b_run_step;
    const float *fetch;
    ptrdiff_t fetch_step;
    int lines;
    float *c;
    ptrdiff_t c_step;
    float alpha, beta;
} SIMD_NAME(product_terms);

/* A panel's column beyond the last one of B. */
static const float SIMD_NAME(zeros)[PRODUCT_DEPTH];

/* The micro-kernel: the sums of a tile, while `lines` lines are fetched for each row of B. It comes without as well:
 * with AVX2 loads are the limit, and a fetch is one.
 */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(product_sums)(
    const int rows, const int vectors, const int a_is_transposed, const int lines,
    const SIMD_NAME(product_terms) *t, FLOATS (*sums)[2]) {
    const float *a = t->a, *b = t->b, *fetch = t->fetch;
    const ptrdiff_t depth = t->depth, a_step = t->a_step, b_step = t->b_step, fetch_step = t->fetch_step;
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) sums[r][0] = sums[r][1] = (FLOATS){0};
    for (ptrdiff_t run = t->runs; run > 0; run--, a += t->run_step, b += t->b_run_step) {
        for (ptrdiff_t p = 0; p < depth; p++, b += b_step, fetch += fetch_step) {
            const FLOATS b0 = *(const FLOATS *)b, b1 = vectors == 2 ? *(const FLOATS *)(b + SIMD_LANES) : (FLOATS){0};
            if (lines) __builtin_prefetch(fetch, 0, 2);
            if (lines == 2) __builtin_prefetch(fetch + SIMD_LINE, 0, 2);
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++) {
                const float factor = a_is_transposed ? a[p * a_step + r] : a[r * a_step + p];
                sums[r][0] += factor * b0;
                if (vectors == 2) sums[r][1] += factor * b1;
            }
        }
    }
}

SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(product_tile)(
    const int rows, const int vectors, const int a_is_transposed, const SIMD_NAME(product_terms) *t) {
    FLOATS sums[SIMD_ROWS][2];
    if (t->fetch == NULL) SIMD_NAME(product_sums)(rows, vectors, a_is_transposed, 0, t, sums);
    else if (t->lines == 1) SIMD_NAME(product_sums)(rows, vectors, a_is_transposed, 1, t, sums);
    else SIMD_NAME(product_sums)(rows, vectors, a_is_transposed, 2, t, sums);
    float *c = t->c;
    const float alpha = t->alpha, beta = t->beta;
    if (beta == 0) {
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++, c += t->c_step) {
            *(FLOATS *)c = alpha * sums[r][0];
            if (vectors == 2) *(FLOATS *)(c + SIMD_LANES) = alpha * sums[r][1];
        }
    } else {
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++, c += t->c_step) {
            *(FLOATS *)c = beta * *(FLOATS *)c + alpha * sums[r][0];
            if (vectors == 2) {
                FLOATS *const second = (FLOATS *)(c + SIMD_LANES);
                *second = beta * *second + alpha * sums[r][1];
            }
        }
    }
}

/* A function for each size of tile: compiled as one they would take minutes. */
typedef void SIMD_NAME(product_function)(const SIMD_NAME(product_terms) *);
#define PRODUCT_TILE(rows, vectors, a_is_transposed)                                                                   \
    SIMD_TARGET static __attribute__((noinline)) void SIMD_NAME(tile_##rows##_##vectors##_##a_is_transposed)(          \
        const SIMD_NAME(product_terms) *t) {                                                                           \
        SIMD_NAME(product_tile)(rows, vectors, a_is_transposed, t);                                                    \
    }
#define PRODUCT_TILES(rows)                                                                                            \
    PRODUCT_TILE(rows, 1, 0) PRODUCT_TILE(rows, 1, 1) PRODUCT_TILE(rows, 2, 0) PRODUCT_TILE(rows, 2, 1)
#define PRODUCT_NAMES(rows)                                                                                            \
    {{SIMD_NAME(tile_##rows##_1_0), SIMD_NAME(tile_##rows##_1_1)},                                                     \
     {SIMD_NAME(tile_##rows##_2_0), SIMD_NAME(tile_##rows##_2_1)}},

SIMD_UP_TO(SIMD_ROWS, PRODUCT_TILES)

static SIMD_NAME(product_function) *const SIMD_NAME(product_tiles)[SIMD_ROWS][2][2] = {
    SIMD_UP_TO(SIMD_ROWS, PRODUCT_NAMES)};

#undef PRODUCT_TILE
#undef PRODUCT_TILES
#undef PRODUCT_NAMES

/* All rows of one panel of columns; columns that do not fill the vectors go by way of `padded`. The first tile fetches
 * what t says, the others what comes from *stream on.
 */
SIMD_TARGET static void SIMD_NAME(product_panel)(SIMD_NAME(product_terms) *t, ptrdiff_t m, ptrdiff_t columns,
                                                 int a_is_transposed, const float **stream, const float *stream_end) {
    const ptrdiff_t tiles = (m + SIMD_ROWS - 1) / SIMD_ROWS, a_step = t->a_step, c_step = t->c_step;
    const ptrdiff_t least = tiles ? m / tiles : 0, more = m - least * tiles; /* so many tiles have a row more */
    const float *const a = t->a;
    float *const c = t->c;
    const int vectors = columns > SIMD_LANES ? 2 : 1;
    float padded[SIMD_ROWS * 2 * SIMD_LANES] __attribute__((aligned(64)));
    for (ptrdiff_t tile = 0, first = 0, rows; tile < tiles; tile++, first += rows) {
        rows = least + (tile < more);
        SIMD_NAME(product_function) *const function = SIMD_NAME(product_tiles)[rows - 1][vectors - 1][a_is_transposed];
        t->a = a + first * (a_is_transposed ? 1 : a_step);
        if (tile || t->fetch == NULL) {
            if (*stream < stream_end) {
                t->fetch = *stream, t->fetch_step = t->lines * SIMD_LINE;
                *stream += t->depth * t->fetch_step;
            } else {
                t->fetch = NULL, t->fetch_step = 0;
            }
        }
        if (columns == vectors * SIMD_LANES) {
            t->c = c + first * c_step;
            function(t);
        } else {
            const size_t size = (size_t)columns * sizeof *c;
            t->c = padded, t->c_step = vectors * SIMD_LANES;
            if (t->beta != 0 && !tile) memset(padded, 0, sizeof padded);
            if (t->beta != 0)
                for (ptrdiff_t r = 0; r < rows; r++) memcpy(padded + r * t->c_step, c + (first + r) * c_step, size);
            function(t);
            for (ptrdiff_t r = 0; r < rows; r++) memcpy(c + (first + r) * c_step, padded + r * t->c_step, size);
        }
    }
}

/* Pack a panel of a transposed B: panel[p][column] = b[column][p] for p in [0, depth), and 0 for the columns from
 * `columns` to 2 vectors. What comes `ahead` floats behind b is fetched.
 */
SIMD_TARGET static void SIMD_NAME(transpose_panel)(const float *b, ptrdiff_t b_step, ptrdiff_t depth,
                                                   ptrdiff_t columns, ptrdiff_t ahead, float *panel) {
    for (ptrdiff_t first = 0; first < 2 * SIMD_LANES; first += 4) {
        const float *rows[4];
        for (int i = 0; i < 4; i++) rows[i] = first + i < columns ? b + (first + i) * b_step : SIMD_NAME(zeros);
        float *to = panel + first;
        ptrdiff_t p = 0;
        for (; p + 4 <= depth; p += 4, to += 4 * 2 * SIMD_LANES) {
            __builtin_prefetch(rows[p / 4 % 4] + p / 16 * 16 + ahead, 0, 2);
            SIMD_NAME(transpose_4)(rows[0] + p, rows[1] + p, rows[2] + p, rows[3] + p, to, 2 * SIMD_LANES);
        }
        for (; p < depth; p++, to += 2 * SIMD_LANES)
            for (int i = 0; i < 4; i++) to[i] = rows[i][p];
    }
}

/* Pack a panel: panel[p][column] = b[p][column] for p in [0, depth), with 0 for columns from `columns` to 2 vectors. */
SIMD_TARGET static void SIMD_NAME(copy_panel)(const float *b, ptrdiff_t b_step, ptrdiff_t depth, ptrdiff_t columns,
                                              float *panel) {
    for (ptrdiff_t p = 0; p < depth; p++, b += b_step, panel += 2 * SIMD_LANES) {
        if (columns == 2 * SIMD_LANES) {
            *(FLOATS *)panel = *(const FLOATS *)b;
            *(FLOATS *)(panel + SIMD_LANES) = *(const FLOATS *)(b + SIMD_LANES);
        } else {
            memcpy(panel, b, (size_t)columns * sizeof *b);
            memset(panel + columns, 0, (size_t)(2 * SIMD_LANES - columns) * sizeof *b);
        }
    }
}

/* Pack all of b (k, n): panels of 2 vectors of columns, one after the other, the last one filled up with 0. */
SIMD_TARGET static void SIMD_NAME(product_pack)(const float *b, ptrdiff_t k, ptrdiff_t n, float *panels) {
    for (ptrdiff_t first = 0; first < n; first += 2 * SIMD_LANES) {
        const ptrdiff_t columns = simd_least(n - first, 2 * SIMD_LANES);
        SIMD_NAME(copy_panel)(b + first, n, k, columns, panels);
        panels += k * 2 * SIMD_LANES;
    }
}

/* The sum of the squares of x; in double precision where that of floats overflows. */
SIMD_TARGET static double SIMD_NAME(squares)(const float *x, ptrdiff_t size) {
    FLOATS sums[8] = {{0}};
    double total = 0;
    ptrdiff_t i = 0;
    for (; i + 8 * SIMD_LANES <= size; i += 8 * SIMD_LANES) {
#pragma GCC unroll 8
        for (int v = 0; v < 8; v++) {
            const FLOATS values = *(const FLOATS *)(x + i + v * SIMD_LANES);
            sums[v] += values * values;
        }
    }
    for (int v = 0; v < 8; v++)
        for (int lane = 0; lane < SIMD_LANES; lane++) total += sums[v][lane];
    for (; i < size; i++) total += (double)x[i] * x[i];
    if (total <= DBL_MAX) return total;
    total = 0;
    for (i = 0; i < size; i++) total += (double)x[i] * x[i];
    return total;
}

/* The block of C with rows m0 to m1 and columns n0 to n1. */
SIMD_TARGET static void SIMD_NAME(product_block)(const simd_product *s, ptrdiff_t m0, ptrdiff_t m1, ptrdiff_t n0,
                                                 ptrdiff_t n1) {
    enum { WIDTH = 2 * SIMD_LANES };
    float panel[PRODUCT_DEPTH * WIDTH] __attribute__((aligned(64)));
    const float *stream = s->stream, *stream_end = s->stream + s->stream_size;
    const int is_in_place = !s->b_is_packed && !s->b_is_transposed && m1 - m0 <= SIMD_ROWS;
    const ptrdiff_t most = is_in_place ? PRODUCT_DEPTH / 2 : PRODUCT_DEPTH;
    const int is_whole = !s->b_is_packed && !s->b_is_transposed && n1 - n0 == s->b_step;
    ptrdiff_t p = 0;
    do {
        const ptrdiff_t depth = simd_least(s->k - p, most);
        const int is_last = p + depth == s->k;
        if (is_whole) {
            stream = s->b + (p + depth) * s->b_step;
            stream_end = stream + simd_least(s->k - p - depth, most) * s->b_step;
        }
        const ptrdiff_t steps = depth * simd_parts(m1 - m0, SIMD_ROWS) * simd_parts(n1 - n0, WIDTH);
        const int lines = stream_end - stream > steps * SIMD_LINE ? 2 : 1;
        for (ptrdiff_t n = n0; n < n1; n += WIDTH) {
            const ptrdiff_t columns = simd_least(n1 - n, WIDTH);
            const float *const b = s->b_is_transposed ? s->b + n * s->b_step + p : s->b + p * s->b_step + n;
            SIMD_NAME(product_terms) t = {
                .depth = depth, .runs = 1, .a = s->a + (s->a_is_transposed ? p * s->a_step + m0 : m0 * s->a_step + p),
                .a_step = s->a_step, .b = panel, .b_step = WIDTH, .lines = lines, .c = s->c + m0 * s->c_step + n,
                .c_step = s->c_step, .alpha = s->alpha, .beta = p ? 1 : s->beta};
            if (s->b_is_packed) {
                t.b = s->b + n * s->k + p * WIDTH;
            } else if (s->b_is_transposed) {
                const ptrdiff_t ahead = is_last ? WIDTH * s->b_step - p : depth;
                SIMD_NAME(transpose_panel)(b, s->b_step, depth, columns, ahead, panel);
            } else {
                /* A panel that lacks columns reads on in the next rows, where there are some; its sums are not used. */
                const int is_within = (s->k - p - depth) * s->b_step >= WIDTH - columns;
                if (is_in_place && (columns == WIDTH || is_within)) t.b = b, t.b_step = s->b_step;
                else SIMD_NAME(copy_panel)(b, s->b_step, depth, columns, panel);
                if (!is_last && !is_whole) t.fetch = b + depth * s->b_step, t.fetch_step = s->b_step, t.lines = 2;
            }
            SIMD_NAME(product_panel)(&t, m1 - m0, columns, s->a_is_transposed, &stream, stream_end);
        }
        p += depth;
    } while (p < s->k);
}
