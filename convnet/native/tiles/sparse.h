/* Products that leave out the zeros of a factor, for one level.
 *
 * ReLU makes zeros, in an Affine layer's input and even more in the gradient of its output: most of a product's work
 * would be multiplications by 0. Here the nonzeros of each row of the factor are found once, in blocks of SPARSE_DEPTH;
 * a row of the result is the sum of the rows of the second factor that they select. Its columns stay in registers
 * meanwhile, and the selected rows in the first-level cache, because each of them serves many rows of the result.
 */

/* Examples whose input gradients a task has in hand. */
#define AFFINE_EXAMPLES 128
/* A product with a single row of A takes so many rows of B at a time, so many vectors of their columns at a time, and
 * fetches the rows that are so many further on into the first-level cache.
 */
#define ROW_COUNT 4
#define ROW_VECTORS 4
#define ROW_AHEAD 4

/* Find the nonzeros of the rows first to end - 1 of a, in the order in which products read them: block by block. */
SIMD_TARGET static void SIMD_NAME(find_rows)(const float *a, const simd_sparse *s, ptrdiff_t first, ptrdiff_t end) {
    const ptrdiff_t blocks = simd_parts(s->k, SPARSE_DEPTH);
    ptrdiff_t start = first * blocks * SPARSE_DEPTH;
    for (ptrdiff_t block = 0; block < blocks; block++) {
        const ptrdiff_t size = simd_least(s->k - block * SPARSE_DEPTH, SPARSE_DEPTH);
        for (ptrdiff_t m = first; m < end; m++) {
            const ptrdiff_t slot = block * s->m + m;
            s->starts[slot] = start;
            s->counts[slot] = (uint8_t)SIMD_NAME(gather)(a + m * s->k + block * SPARSE_DEPTH, size, s->columns + start,
                                                         s->values + start);
            start += s->counts[slot];
        }
    }
}

/* c = beta * c + factor * sum of values[i] * b[numbers[i]] over i below count, for some vectors of columns. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(sparse_row)(
    const int vectors, const uint8_t *numbers, const float *values, ptrdiff_t count, const float *b, ptrdiff_t b_step,
    float *c, float factor, float beta) {
    FLOATS sums[8];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) sums[v] = (FLOATS){0};
    for (ptrdiff_t i = 0; i < count; i++) {
        const float value = values[i], *row = b + numbers[i] * b_step;
#if defined(__aarch64__)
        /* gcc 12 would multiply by b_step for each vector of the row. */
        __asm__("" : "+r"(row));
#endif
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) sums[v] += value * *(const FLOATS *)(row + v * SIMD_LANES);
    }
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) {
        FLOATS *const to = (FLOATS *)(c + v * SIMD_LANES);
        if (beta == 0) *to = factor * sums[v];
        else *to = beta * *to + factor * sums[v];
    }
}

/* The same for a slot of a sparse matrix and `width` columns. */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(sparse_columns)(
    const int width, const int vectors, const simd_sparse *s, ptrdiff_t slot, const float *b, ptrdiff_t b_step,
    float *c, float factor, float beta) {
    for (int first = 0; first < width; first += vectors * SIMD_LANES)
        SIMD_NAME(sparse_row)(vectors, s->columns + s->starts[slot], s->values + s->starts[slot], s->counts[slot],
                              b + first, b_step, c + first, factor, beta);
}

/* What simd_affine_backward does for the rows d0 to d0 + AFFINE_ROWS - 1 of the weight. They are transposed, a block of
 * columns at a time: the input gradient is a sum of rows of that, and so is what the update adds to it; then they are
 * transposed back. Where there are fewer rows, columns of zeros stand for the others.
 *
 * The rows' part of the input gradient is spread over all examples, each far from the next. It is formed in a buffer,
 * AFFINE_EXAMPLES examples at a time, the first ones last, together with the update. x is copied where that is done
 * once, or where columns of zeros are needed.
 */
SIMD_TARGET static void SIMD_NAME(sparse_affine)(const simd_affine *s, const simd_sparse *by_n, const simd_sparse *by_m,
                                                 ptrdiff_t d0, float *out) {
    /* Eight vectors of sums at a time where the level has the registers and the rows fill them. */
    enum { DEPTH = SPARSE_DEPTH, WIDTH = AFFINE_ROWS, EIGHT = 8 * SIMD_LANES };
    enum { VECTORS = SIMD_ROWS > 8 && WIDTH % EIGHT == 0 ? 8 : 4 };
    float transposed[DEPTH * WIDTH] __attribute__((aligned(64)));
    float x[DEPTH * WIDTH] __attribute__((aligned(64)));
    float dx[AFFINE_EXAMPLES * WIDTH] __attribute__((aligned(64)));
    const ptrdiff_t rows = simd_least(s->d - d0, WIDTH), groups = s->dx ? simd_parts(s->n, AFFINE_EXAMPLES) : 1;
    const size_t size = (size_t)rows * sizeof(float);
    const int is_once = s->n <= DEPTH, copies = is_once || rows < WIDTH;
    if (rows < WIDTH) memset(transposed, 0, sizeof transposed), memset(x, 0, sizeof x);
    for (ptrdiff_t group = groups - 1; group >= 0; group--) {
        const ptrdiff_t first = group * AFFINE_EXAMPLES, end = simd_least(first + AFFINE_EXAMPLES, s->n);
        for (ptrdiff_t m0 = 0; m0 < s->m; m0 += DEPTH) {
            const ptrdiff_t depth = simd_least(s->m - m0, DEPTH);
            if (s->dx || s->out == s->weight)
                SIMD_NAME(transpose)(s->weight + d0 * s->m + m0, s->m, rows, depth, transposed, WIDTH);
            for (ptrdiff_t n = first; s->dx && n < end; n++)
                SIMD_NAME(sparse_columns)(WIDTH, VECTORS, by_n, m0 / DEPTH * s->n + n, transposed, WIDTH,
                                          dx + (n - first) * WIDTH, 1, m0 ? 1 : 0);
            if (group) continue;
            for (ptrdiff_t n0 = 0; n0 < s->n; n0 += DEPTH) {
                const float *const from = s->x + n0 * s->d + d0;
                for (ptrdiff_t n = 0; copies && !(is_once && m0) && n < simd_least(s->n - n0, DEPTH); n++)
                    memcpy(x + n * WIDTH, from + n * s->d, size);
                for (ptrdiff_t m = m0; m < m0 + depth; m++)
                    SIMD_NAME(sparse_columns)(WIDTH, VECTORS, by_m, n0 / DEPTH * s->m + m, copies ? x : from,
                                              copies ? WIDTH : s->d, transposed + (m - m0) * WIDTH, -s->rate,
                                              n0 ? 1 : s->decay);
            }
            SIMD_NAME(transpose)(transposed, WIDTH, depth, rows, out + m0, s->m);
        }
        for (ptrdiff_t n = first; s->dx && n < end; n++)
            memcpy(s->dx + n * s->d + d0, dx + (n - first) * WIDTH, size);
    }
}

/* Sums of the rows p0 to p1 - 1 of B for the rows that `a` has, into C, whose rows have room for a multiple of
 * SPARSE_COLUMNS; p0 is a multiple of SPARSE_DEPTH. For each block of the common axis panels of 8 vectors of columns
 * are packed at cache lines, with zeros for columns that B does not have, and serve all rows.
 *
 * Every row ends with a branch that nothing predicts, and behind it nothing is read ahead. What is needed two rows
 * later, and a part of the next block of B, is therefore fetched meanwhile.
 */
SIMD_TARGET static void SIMD_NAME(sparse_block)(const simd_product *s, const simd_sparse *a, ptrdiff_t p0,
                                                ptrdiff_t p1) {
    enum { DEPTH = SPARSE_DEPTH, PANEL = 8 * SIMD_LANES, LATER = 2 };
    float copy[DEPTH * PANEL] __attribute__((aligned(64)));
    const ptrdiff_t panels = simd_parts(s->n, PANEL), row_lines = simd_parts(s->n, SIMD_LINE);
    for (ptrdiff_t p = p0; p < p1; p += DEPTH) {
        const ptrdiff_t depth = simd_least(p1 - p, DEPTH), slot = p / DEPTH * a->m;
        const ptrdiff_t lines = p + DEPTH < p1 ? simd_least(p1 - p - DEPTH, DEPTH) * row_lines : 0;
        const float *next = s->b + (p + DEPTH) * s->b_step;
        ptrdiff_t line = 0, column = 0;
        for (ptrdiff_t panel = 0; panel < panels; panel++) {
            const ptrdiff_t columns = simd_least(s->n - panel * PANEL, PANEL);
            if (columns < PANEL) memset(copy, 0, sizeof copy);
            for (ptrdiff_t i = 0; i < depth; i++) {
                const float *const row = s->b + (p + i) * s->b_step + panel * PANEL;
                ptrdiff_t j = 0;
                for (; j + SIMD_LANES <= columns; j += SIMD_LANES)
                    *(FLOATS *)(copy + i * PANEL + j) = *(const FLOATS *)(row + j);
                for (; j < columns; j++) copy[i * PANEL + j] = row[j];
            }
            float *sums = s->c + panel * PANEL;
            for (ptrdiff_t m = 0; m < a->m; m++, sums += s->c_step) {
                for (const ptrdiff_t end = lines * (panel * a->m + m + 1) / (panels * a->m); line < end; line++) {
                    __builtin_prefetch(next + column * SIMD_LINE, 0, 2);
                    if (++column == row_lines) column = 0, next += s->b_step;
                }
                for (ptrdiff_t j = 0; j < PANEL; j += SIMD_LINE) __builtin_prefetch(sums + LATER * s->c_step + j, 1);
                SIMD_NAME(sparse_columns)(PANEL, 8, a, slot + m, copy, PANEL, sums, 1, p > p0 ? 1 : 0);
            }
        }
    }
}

/* sums[j] += sum of values[r] * rows[r][j] over r below `count`, for `vectors` vectors from column j on; both are
 * constants where this is inlined. The same columns of the rows that are used later are fetched.
 */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(add_vectors)(
    const int count, const int vectors, const float *const *rows, const float *const *later, const float *values,
    ptrdiff_t j, float *sums) {
    FLOATS parts[ROW_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) parts[v] = *(const FLOATS *)(sums + j + v * SIMD_LANES);
#pragma GCC unroll 4
    for (int r = 0; r < count; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) parts[v] += values[r] * *(const FLOATS *)(rows[r] + j + v * SIMD_LANES);
#pragma GCC unroll 4
        for (int lane = 0; lane < vectors * SIMD_LANES; lane += SIMD_LINE)
            __builtin_prefetch(later[r] + j + lane, 0, 3);
    }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) *(FLOATS *)(sums + j + v * SIMD_LANES) = parts[v];
}

/* sums[j] += sum of values[i] * b[numbers[i]][j] over i below count, a constant where this is inlined. `tail` is the
 * last vector of columns, of which those that do not fill a vector count. The rows that are ROW_AHEAD numbers further
 * on are fetched.
 */
SIMD_TARGET static inline __attribute__((always_inline)) void SIMD_NAME(add_rows)(
    const int count, const uint8_t *numbers, const float *values, const float *b, ptrdiff_t n, float *sums,
    FLOATS *tail) {
    const float *rows[ROW_COUNT], *later[ROW_COUNT];
#pragma GCC unroll 4
    for (int r = 0; r < count; r++) rows[r] = b + numbers[r] * n, later[r] = b + numbers[r + ROW_AHEAD] * n;
    ptrdiff_t j = 0;
    for (; j + ROW_VECTORS * SIMD_LANES <= n; j += ROW_VECTORS * SIMD_LANES)
        SIMD_NAME(add_vectors)(count, ROW_VECTORS, rows, later, values, j, sums);
    for (; j + SIMD_LANES <= n; j += SIMD_LANES) SIMD_NAME(add_vectors)(count, 1, rows, later, values, j, sums);
    if (j < n) {
#pragma GCC unroll 4
        for (int r = 0; r < count; r++) *tail += values[r] * *(const FLOATS *)(rows[r] + n - SIMD_LANES);
    }
}

/* sums = a[first:end] @ b[first:end] for a vector a and a matrix b whose rows have n elements, a vector at least.
 * Memory is the limit here: the rows are read where they lie, from end to end and a few at a time, and those that a 0
 * selects not at all.
 */
SIMD_TARGET static void SIMD_NAME(product_row)(const float *a, const float *b, ptrdiff_t first, ptrdiff_t end,
                                               ptrdiff_t n, float *sums) {
    enum { DEPTH = GATHER_SIZE };
    uint8_t numbers[DEPTH + ROW_AHEAD];
    float values[DEPTH];
    FLOATS tail = {0};
    memset(sums, 0, (size_t)n * sizeof *sums);
    for (ptrdiff_t p = first; p < end; p += DEPTH) {
        const ptrdiff_t depth = simd_least(end - p, DEPTH);
        const int count = SIMD_NAME(gather)(a + p, depth, numbers, values);
        memset(numbers + (unsigned)count, count ? numbers[count - 1] : 0, ROW_AHEAD);
        int i = 0;
        for (; i + ROW_COUNT <= count; i += ROW_COUNT)
            SIMD_NAME(add_rows)(ROW_COUNT, numbers + i, values + i, b + p * n, n, sums, &tail);
        for (; i < count; i++) SIMD_NAME(add_rows)(1, numbers + i, values + i, b + p * n, n, sums, &tail);
    }
    float last[SIMD_LANES];
    memcpy(last, &tail, sizeof last);
    for (ptrdiff_t j = n / SIMD_LANES * SIMD_LANES; j < n; j++) sums[j] = last[SIMD_LANES - (n - j)];
}
