/* Products (GEMM) on the threads of the pool: in blocks of C, or divided along the common axis (split-K). */

/* Rows and columns of a block of C, for which A and B are read from the second-level cache. It has fewer columns where
 * there would be less than four blocks otherwise.
 */
#define PRODUCT_ROWS 96
#define PRODUCT_COLUMNS 128

typedef struct {
    const simd_product *product;
    const simd_level *level;
    ptrdiff_t row_blocks, columns;
} simd_product_job;

static void simd_product_task(void *job, ptrdiff_t index, int slot) {
    const simd_product_job *j = job;
    const simd_product *s = j->product;
    const ptrdiff_t m = index % j->row_blocks, n = index / j->row_blocks * j->columns;
    (void)slot;
    j->level->product_block(s, s->m * m / j->row_blocks, s->m * (m + 1) / j->row_blocks, n,
                                simd_least(n + j->columns, s->n));
}

/* Split-K, for products whose A and B lie in memory row by row, with scratch memory: a task sums a part of the common
 * axis for up to SPLIT_COLUMNS columns, and the parts are added in order. What a task works on fits into the
 * second-level cache: its part of A, its sums, and the rows of B that are used or fetched. So B, an Affine layer's
 * weight, is read once for every SPLIT_ROWS rows, and A once for every SPLIT_COLUMNS columns. The common axis is
 * divided at multiples of SPARSE_DEPTH, into so many parts that there are SPLIT_TASKS tasks, which 2, 4 and 8 threads
 * share evenly, or a few more, but not into more than there are SPLIT_LENGTH in it.
 */
#define SPLIT_COLUMNS 256
#define SPLIT_ROWS 256
#define SPLIT_LENGTH 128
#define SPLIT_TASKS 8

typedef enum { SPLIT_DENSE, SPLIT_SPARSE, SPLIT_ROW } simd_split_kind;

typedef struct {
    const simd_product *product;
    const simd_level *level;
    simd_split_kind kind;
    ptrdiff_t parts, blocks;    /* of the common axis, and of columns */
    ptrdiff_t first, rows;      /* rows of C in hand */
    float *sums;                /* (parts, rows, step), at a cache line */
    ptrdiff_t step;             /* not a power of two: rows then do not compete for the same sets of a cache */
    simd_sparse a;
} simd_split_job;

/* Where a part of the common axis begins. */
static ptrdiff_t simd_split_start(const simd_split_job *j, ptrdiff_t part) {
    const ptrdiff_t k = j->product->k;
    return simd_least(simd_parts(k, SPARSE_DEPTH) * part / j->parts * SPARSE_DEPTH, k);
}

static void simd_split_task(void *job, ptrdiff_t index, int slot) {
    const simd_split_job *j = job;
    const ptrdiff_t part = index / j->blocks, n0 = index % j->blocks * SPLIT_COLUMNS;
    const ptrdiff_t p0 = simd_split_start(j, part), p1 = simd_split_start(j, part + 1);
    float *const sums = j->sums + part * j->rows * j->step + n0;
    simd_product s = *j->product;
    (void)slot;
    if (j->kind == SPLIT_ROW) {
        j->level->product_row(s.a, s.b, p0, p1, s.n, sums);
        return;
    }
    s.m = j->rows, s.n = simd_least(s.n - n0, SPLIT_COLUMNS), s.b += n0;
    s.c = sums, s.c_step = j->step;
    if (j->kind == SPLIT_SPARSE) {
        j->level->sparse_block(&s, &j->a, p0, p1);
        return;
    }
    s.k = p1 - p0, s.a += j->first * s.a_step + p0, s.b += p0 * s.b_step, s.alpha = 1, s.beta = 0;
    j->level->product_block(&s, 0, s.m, 0, s.n);
}

/* How many rows one of the tasks below takes. */
#define SPLIT_SHARE 8

static void simd_split_find_task(void *job, ptrdiff_t index, int slot) {
    const simd_split_job *j = job;
    const ptrdiff_t first = index * SPLIT_SHARE;
    (void)slot;
    j->level->find_rows(j->product->a + j->first * j->a.k, &j->a, first,
                            simd_least(first + SPLIT_SHARE, j->rows));
}

static void simd_split_add_task(void *job, ptrdiff_t index, int slot) {
    const simd_split_job *j = job;
    const simd_product *s = j->product;
    const ptrdiff_t first = index * SPLIT_SHARE, end = simd_least(first + SPLIT_SHARE, j->rows);
    (void)slot;
    for (ptrdiff_t m = first; m < end; m++) {
        float *const c = s->c + (j->first + m) * s->c_step, *const total = j->sums + m * j->step;
        for (ptrdiff_t part = 1; part < j->parts; part++) {
            const float *const sums = total + part * j->rows * j->step;
            for (ptrdiff_t n = 0; n < s->n; n++) total[n] += sums[n];
        }
        for (ptrdiff_t n = 0; n < s->n; n++) c[n] = (s->beta == 0 ? 0 : s->beta * c[n]) + s->alpha * total[n];
    }
}

/* Whether zeros may be left out at all. */
static int simd_may_be_sparse(ptrdiff_t m, ptrdiff_t n) { return m >= 16 && n >= SPARSE_COLUMNS / 2; }

/* Plan a product, laid into the scratch memory if there is any. Return how many bytes it needs: 0, for no split-K,
 * where there would be less than four tasks, or, with a single row, less than a line of columns.
 */
static ptrdiff_t simd_split_plan(simd_split_job *j, ptrdiff_t m, ptrdiff_t k, ptrdiff_t n, uint8_t *scratch) {
    if (!m || !k || !n) return 0;
    const ptrdiff_t groups = simd_parts(m, SPLIT_ROWS), sparse = simd_may_be_sparse(m, n);
    const ptrdiff_t whole = sparse ? SPARSE_COLUMNS : SIMD_LINE;
    j->rows = simd_parts(m, groups);
    j->blocks = m == 1 ? 1 : simd_parts(n, SPLIT_COLUMNS);
    j->parts = simd_least(simd_parts(SPLIT_TASKS, j->blocks), simd_parts(k, SPLIT_LENGTH));
    j->step = simd_parts(n, whole) * whole + SIMD_LINE;
    if (m == 1 ? n < SIMD_LINE : j->parts * j->blocks < 4) return 0;
    const ptrdiff_t sums = j->parts * j->rows * j->step * (ptrdiff_t)sizeof(float);
    if (scratch) {
        uint8_t *const line = simd_at_line(scratch);
        j->sums = (float *)line;
        if (sparse) simd_sparse_lay(&j->a, j->rows, k, line + sums);
    }
    return 64 + sums + (sparse ? simd_sparse_lay(NULL, j->rows, k, NULL) : 0);
}

static ptrdiff_t simd_multiply_scratch(ptrdiff_t m, ptrdiff_t k, ptrdiff_t n) {
    simd_split_job job;
    return simd_split_plan(&job, m, k, n, NULL);
}

/* Whether leaving out the zeros of A is faster, judged by a sample of A. The more rows there are, the less it matters
 * that B is packed.
 */
static int simd_is_sparse(const simd_level *level, const simd_product *s) {
    enum { SAMPLE = 1021 };
    const ptrdiff_t size = s->m * s->k;
    if (!simd_may_be_sparse(s->m, s->n) || size < SAMPLE) return 0;
    int count = 0;
    for (ptrdiff_t i = 0; i < SAMPLE; i++) count += s->a[size / SAMPLE * i + size % SAMPLE * i / SAMPLE] != 0;
    const double filled = (double)s->n / (double)(simd_parts(s->n, SPARSE_COLUMNS) * SPARSE_COLUMNS);
    return count < SAMPLE * filled * (level->sparse_limit - 20 / (24 + (double)s->m));
}

/* Whether the product was formed: not where there would be too few tasks. */
static int simd_split_multiply(const simd_level *level, const simd_product *s, int threads) {
    simd_split_job job = {.product = s, .level = level};
    if (!simd_split_plan(&job, s->m, s->k, s->n, s->scratch)) return 0;
    job.kind = s->m == 1 ? SPLIT_ROW : simd_is_sparse(level, s) ? SPLIT_SPARSE : SPLIT_DENSE;
    for (const ptrdiff_t most = job.rows; job.first < s->m; job.first += most) {
        job.rows = job.a.m = simd_least(s->m - job.first, most);
        const ptrdiff_t shares = simd_parts(job.rows, SPLIT_SHARE);
        if (job.kind == SPLIT_SPARSE) pool_run(simd_split_find_task, &job, shares, threads);
        pool_run(simd_split_task, &job, job.parts * job.blocks, threads);
        pool_run(simd_split_add_task, &job, shares, threads);
    }
    return 1;
}

static void simd_multiply(const simd_level *level, const simd_product *s, int threads) {
    if ((double)s->m * (double)s->n * (double)s->k < SIMD_ALONE) threads = 1;
    const int is_plain = !s->a_is_transposed && !s->b_is_transposed && s->a_step == s->k && s->b_step == s->n;
    if (s->scratch && is_plain && simd_split_multiply(level, s, threads)) return;
    const ptrdiff_t row_blocks = simd_parts(s->m, PRODUCT_ROWS);
    const ptrdiff_t quarter = simd_parts(simd_parts(s->n * row_blocks, 4), SIMD_COLUMNS) * SIMD_COLUMNS;
    simd_product_job job = {s, level, row_blocks, simd_least(PRODUCT_COLUMNS, quarter)};
    pool_run(simd_product_task, &job, row_blocks * simd_parts(s->n, job.columns), threads);
}
