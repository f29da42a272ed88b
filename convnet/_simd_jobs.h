/* How work is dealt out to the threads of the pool; included by _simd.h.
 *
 * The tasks of a call depend on the shapes and on what is 0 alone, and each sum is formed within one task: the results
 * have the same bits for any number of threads.
 */

/* Less work than this, in multiplications, is not worth waking a thread for. */
#define SIMD_ALONE 200000

/* ------------------------------------------------------------------------------------------------ product */

/* Blocks of C: rows and columns for which A and B are read from the second-level cache. Fewer columns where there
 * would be less than four blocks otherwise.
 */
#define PRODUCT_ROWS 96
#define PRODUCT_COLUMNS 128

typedef struct {
    const simd_product *product;
    const simd_functions *functions;
    ptrdiff_t row_blocks, columns;
} simd_product_job;

static void simd_product_task(void *job, ptrdiff_t index, int slot) {
    const simd_product_job *j = job;
    const simd_product *s = j->product;
    const ptrdiff_t m = index % j->row_blocks, n = index / j->row_blocks * j->columns;
    (void)slot;
    j->functions->product_block(s, s->m * m / j->row_blocks, s->m * (m + 1) / j->row_blocks, n,
                                simd_least(n + j->columns, s->n));
}

/* Products whose A and B lie in memory row by row, with scratch memory: a task sums a part of the common axis for up to
 * COMMON_COLUMNS columns, and the parts are added in order. So B, 12.5 MB of weights in ConvNet1, is read once for every
 * COMMON_ROWS rows and from end to end, as processors fetch ahead, and A is read once as well: with 50 rows the product
 * takes a quarter less than in blocks of columns where the weights come from memory, and a fifth less where zeros are
 * left out; with half of COMMON_ROWS in hand, 250 rows take a tenth longer. The common axis is divided at multiples of
 * SPARSE_DEPTH, into so many parts that there are COMMON_TASKS tasks, which 2, 4 and 8 threads share evenly, or a few
 * more, but not into more than there are COMMON_LENGTH in it.
 */
#define COMMON_COLUMNS 512
#define COMMON_ROWS 256
#define COMMON_LENGTH 128
#define COMMON_TASKS 8

typedef enum { COMMON_DENSE, COMMON_SPARSE, COMMON_ROW } simd_common_kind;

typedef struct {
    const simd_product *product;
    const simd_functions *functions;
    simd_common_kind kind;
    ptrdiff_t parts, blocks;    /* of the common axis, and of columns */
    ptrdiff_t first, rows;      /* rows of C in hand */
    float *sums;                /* (parts, rows, step), at a cache line */
    ptrdiff_t step;             /* not a power of two, so that rows do not share few places of a cache */
    simd_sparse a;
} simd_common_job;

/* Where a part of the common axis begins. */
static ptrdiff_t simd_common_start(const simd_common_job *j, ptrdiff_t part) {
    const ptrdiff_t k = j->product->k;
    return simd_least(simd_parts(k, SPARSE_DEPTH) * part / j->parts * SPARSE_DEPTH, k);
}

static void simd_common_task(void *job, ptrdiff_t index, int slot) {
    const simd_common_job *j = job;
    const ptrdiff_t part = index / j->blocks, n0 = index % j->blocks * COMMON_COLUMNS;
    const ptrdiff_t p0 = simd_common_start(j, part), p1 = simd_common_start(j, part + 1);
    float *const sums = j->sums + part * j->rows * j->step + n0;
    simd_product s = *j->product;
    (void)slot;
    if (j->kind == COMMON_ROW) {
        j->functions->product_row(s.a, s.b, p0, p1, s.n, sums);
        return;
    }
    s.m = j->rows, s.n = simd_least(s.n - n0, COMMON_COLUMNS), s.b += n0;
    s.c = sums, s.c_step = j->step;
    if (j->kind == COMMON_SPARSE) {
        j->functions->sparse_block(&s, &j->a, p0, p1);
        return;
    }
    s.k = p1 - p0, s.a += j->first * s.a_step + p0, s.b += p0 * s.b_step, s.alpha = 1, s.beta = 0;
    j->functions->product_block(&s, 0, s.m, 0, s.n);
}

/* How many rows one of the tasks below takes. */
#define COMMON_SHARE 8

static void simd_common_find_task(void *job, ptrdiff_t index, int slot) {
    const simd_common_job *j = job;
    const ptrdiff_t first = index * COMMON_SHARE;
    (void)slot;
    j->functions->find_rows(j->product->a + j->first * j->a.k, &j->a, first,
                            simd_least(first + COMMON_SHARE, j->rows));
}

static void simd_common_add_task(void *job, ptrdiff_t index, int slot) {
    const simd_common_job *j = job;
    const simd_product *s = j->product;
    const ptrdiff_t first = index * COMMON_SHARE, end = simd_least(first + COMMON_SHARE, j->rows);
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

/* Plan a product, laid into the scratch memory if there is any, and return how much is needed: 0 where there would be
 * less than four tasks, or, with a single row, less than a line of columns.
 */
static ptrdiff_t simd_common_divide(simd_common_job *j, ptrdiff_t m, ptrdiff_t k, ptrdiff_t n, uint8_t *scratch) {
    if (!m || !k || !n) return 0;
    const ptrdiff_t groups = simd_parts(m, COMMON_ROWS), sparse = simd_may_be_sparse(m, n);
    const ptrdiff_t whole = sparse ? SPARSE_COLUMNS : SIMD_LINE;
    j->rows = simd_parts(m, groups);
    j->blocks = m == 1 ? 1 : simd_parts(n, COMMON_COLUMNS);
    j->parts = simd_least(simd_parts(COMMON_TASKS, j->blocks), simd_parts(k, COMMON_LENGTH));
    j->step = simd_parts(n, whole) * whole + SIMD_LINE;
    if (m == 1 ? n < SIMD_LINE : j->parts * j->blocks < 4) return 0;
    const ptrdiff_t sums = j->parts * j->rows * j->step * (ptrdiff_t)sizeof(float);
    if (scratch) {
        uint8_t *const line = scratch + (64 - (uintptr_t)scratch % 64) % 64;
        j->sums = (float *)line;
        if (sparse) simd_sparse_place(&j->a, j->rows, k, line + sums);
    }
    return 64 + sums + (sparse ? simd_sparse_place(NULL, j->rows, k, NULL) : 0);
}

static ptrdiff_t simd_multiply_scratch(ptrdiff_t m, ptrdiff_t k, ptrdiff_t n) {
    simd_common_job job;
    return simd_common_divide(&job, m, k, n, NULL);
}

/* Whether leaving out the zeros of A is faster, judged by a sample of A. The more rows there are, the less it matters
 * that B is copied: measured with 16 to 250 rows, 500 columns and a common axis of 6,272.
 */
static int simd_is_sparse(const simd_functions *functions, const simd_product *s) {
    enum { SAMPLE = 1021 };
    const ptrdiff_t size = s->m * s->k;
    if (!simd_may_be_sparse(s->m, s->n) || size < SAMPLE) return 0;
    int count = 0;
    for (ptrdiff_t i = 0; i < SAMPLE; i++) count += s->a[size / SAMPLE * i + size % SAMPLE * i / SAMPLE] != 0;
    const double filled = (double)s->n / (double)(simd_parts(s->n, SPARSE_COLUMNS) * SPARSE_COLUMNS);
    return count < SAMPLE * filled * (functions->sparse_limit - 20 / (24 + (double)s->m));
}

/* Whether the product was formed: not where there would be too few tasks. */
static int simd_common_multiply(const simd_functions *functions, const simd_product *s, int threads) {
    simd_common_job job = {.product = s, .functions = functions};
    if (!simd_common_divide(&job, s->m, s->k, s->n, s->scratch)) return 0;
    job.kind = s->m == 1 ? COMMON_ROW : simd_is_sparse(functions, s) ? COMMON_SPARSE : COMMON_DENSE;
    for (const ptrdiff_t most = job.rows; job.first < s->m; job.first += most) {
        job.rows = job.a.m = simd_least(s->m - job.first, most);
        const ptrdiff_t shares = simd_parts(job.rows, COMMON_SHARE);
        if (job.kind == COMMON_SPARSE) pool_run(simd_common_find_task, &job, shares, threads);
        pool_run(simd_common_task, &job, job.parts * job.blocks, threads);
        pool_run(simd_common_add_task, &job, shares, threads);
    }
    return 1;
}

static void simd_multiply(int level, const simd_product *s, int threads) {
    const simd_functions *const functions = &simd_levels[level];
    if ((double)s->m * (double)s->n * (double)s->k < SIMD_ALONE) threads = 1;
    const int is_plain = !s->a_is_transposed && !s->b_is_transposed && s->a_step == s->k && s->b_step == s->n;
    if (s->scratch && is_plain && simd_common_multiply(functions, s, threads)) return;
    const ptrdiff_t row_blocks = simd_parts(s->m, PRODUCT_ROWS);
    const ptrdiff_t quarter = simd_parts(simd_parts(s->n * row_blocks, 4), SIMD_COLUMNS) * SIMD_COLUMNS;
    simd_product_job job = {s, functions, row_blocks, simd_least(PRODUCT_COLUMNS, quarter)};
    pool_run(simd_product_task, &job, row_blocks * simd_parts(s->n, job.columns), threads);
}

/* ------------------------------------------------------------------------- Affine layer: both gradients */

typedef struct {
    const simd_affine *affine;
    const simd_functions *functions;
    int threads, is_sparse;
    float *panels;          /* dy, packed for products */
    double *squares;        /* of the blocks of rows: sums of weight ** 2 */
    simd_sparse by_n, by_m; /* dy, and its transpose, which is in `panels` then */
} simd_affine_job;

/* Divide the scratch memory, if there is any, and return how much is needed. */
static ptrdiff_t simd_affine_divide(simd_affine_job *j, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, uint8_t *scratch) {
    const ptrdiff_t panels = n * simd_parts(m, SIMD_COLUMNS) * SIMD_COLUMNS * (ptrdiff_t)sizeof(float);
    const ptrdiff_t squares = simd_parts(d, AFFINE_ROWS) * (ptrdiff_t)sizeof(double);
    const ptrdiff_t by_n = simd_sparse_place(NULL, n, m, NULL);
    if (scratch) {
        j->panels = (float *)scratch, j->squares = (double *)(scratch + panels);
        simd_sparse_place(&j->by_n, n, m, scratch + panels + squares);
        simd_sparse_place(&j->by_m, m, n, scratch + panels + squares + by_n);
    }
    return panels + squares + by_n + simd_sparse_place(NULL, m, n, NULL);
}

static ptrdiff_t simd_affine_scratch(ptrdiff_t n, ptrdiff_t d, ptrdiff_t m) {
    return simd_affine_divide(NULL, n, d, m, NULL);
}

/* What is not 0 in a block of rows of dy, or in one of columns, which are transposed before. */
static void simd_affine_find_task(void *job, ptrdiff_t index, int slot) {
    const simd_affine_job *j = job;
    const simd_affine *s = j->affine;
    const ptrdiff_t n_blocks = simd_parts(s->n, SPARSE_DEPTH);
    (void)slot;
    if (index < n_blocks) {
        j->functions->find_rows(s->dy, &j->by_n, index * SPARSE_DEPTH, simd_least((index + 1) * SPARSE_DEPTH, s->n));
    } else {
        const ptrdiff_t m0 = (index - n_blocks) * SPARSE_DEPTH, m1 = simd_least(m0 + SPARSE_DEPTH, s->m);
        j->functions->transpose(s->dy + m0, s->m, s->n, m1 - m0, j->panels + m0 * s->n, s->n);
        j->functions->find_rows(j->panels, &j->by_m, m0, m1);
    }
}

/* Find what is not 0 in dy, and return whether it is so little that leaving out the zeros is faster. */
static int simd_affine_is_sparse(simd_affine_job *j) {
    const simd_affine *s = j->affine;
    const ptrdiff_t n_blocks = simd_parts(s->n, SPARSE_DEPTH), m_blocks = simd_parts(s->m, SPARSE_DEPTH);
    if (s->n < 4) return 0;
    pool_run(simd_affine_find_task, j, n_blocks + m_blocks, s->n * s->m < SIMD_ALONE ? 1 : j->threads);
    ptrdiff_t total = 0;
    for (ptrdiff_t i = 0; i < s->n * m_blocks; i++) total += j->by_n.counts[i];
    return (double)total < 0.4 * (double)s->n * (double)s->m;
}

static void simd_affine_task(void *job, ptrdiff_t index, int slot) {
    const simd_affine_job *j = job;
    const simd_affine *s = j->affine;
    const simd_functions *functions = j->functions;
    const ptrdiff_t d0 = index * AFFINE_ROWS, d1 = simd_least(d0 + AFFINE_ROWS, s->d);
    (void)slot;
    /* This brings the rows into the second-level cache as well. */
    j->squares[index] = functions->squares(s->weight + d0 * s->m, (d1 - d0) * s->m);
    if (j->is_sparse) {
        functions->sparse_affine(s, &j->by_n, &j->by_m, d0);
        return;
    }
    if (s->dx) {
        const simd_product product = {
            .m = s->n, .n = s->d, .k = s->m, .a = s->dy, .b = s->weight, .c = s->dx, .a_step = s->m, .b_step = s->m,
            .c_step = s->d, .b_is_transposed = 1, .alpha = 1, .beta = 0};
        functions->product_block(&product, 0, s->n, d0, d1);
    }
    /* The block that this thread is likely to take next. */
    const ptrdiff_t d2 = simd_least(d1 + AFFINE_ROWS, s->d);
    const simd_product product = {
        .m = s->d, .n = s->m, .k = s->n, .a = s->x, .b = j->panels, .c = s->out, .a_step = s->d,
        .c_step = s->m, .a_is_transposed = 1, .b_is_packed = 1, .alpha = -s->rate, .beta = s->decay,
        .stream = s->weight + d1 * s->m, .stream_size = (d2 - d1) * s->m};
    functions->product_block(&product, d0, d1, 0, s->m);
}

/* Returns the sum of weight ** 2, before. */
static double simd_affine_backward(int level, const simd_affine *s, int threads) {
    const double work = (double)s->n * (double)s->d * (double)s->m;
    const ptrdiff_t blocks = simd_parts(s->d, AFFINE_ROWS);
    if (work < SIMD_ALONE) threads = 1;
    simd_affine_job job = {.affine = s, .functions = &simd_levels[level], .threads = threads};
    simd_affine_divide(&job, s->n, s->d, s->m, s->scratch);
    job.is_sparse = simd_affine_is_sparse(&job);
    if (!job.is_sparse) job.functions->product_pack(s->dy, s->n, s->m, job.panels);
    pool_run(simd_affine_task, &job, blocks, threads);
    double squares = 0;
    for (ptrdiff_t i = 0; i < blocks; i++) squares += job.squares[i];
    return squares;
}

/* -------------------------------------------------------------------------------------------- convolution */

typedef struct {
    const simd_convolution *convolution;
    const simd_functions *functions;
    ptrdiff_t groups;
} simd_convolution_job;

/* Copy image n into the middle of zeros. */
static void simd_pad(const simd_convolution *s, ptrdiff_t n) {
    const float *x = s->x + n * s->c * s->h * s->w;
    float *padded = s->padded + n * simd_padded_size(s);
    memset(padded, 0, (size_t)simd_padded_size(s) * sizeof *padded);
    for (ptrdiff_t c = 0; c < s->c; c++)
        for (ptrdiff_t h = 0; h < s->h; h++)
            memcpy(padded + (c * s->hp + h + s->padding_h) * s->wp + s->padding_w, x + (c * s->h + h) * s->w,
                   (size_t)s->w * sizeof *x);
}

static void simd_pad_task(void *job, ptrdiff_t index, int slot) {
    (void)slot;
    simd_pad(((const simd_convolution_job *)job)->convolution, index);
}

static void simd_forward_task(void *job, ptrdiff_t index, int slot) {
    const simd_convolution_job *j = job;
    const simd_convolution *s = j->convolution;
    const ptrdiff_t n = index / j->groups, group = index % j->groups;
    (void)slot;
    if (j->groups == 1) simd_pad(s, n);
    j->functions->convolution_forward(s, n, s->f * group / j->groups, s->f * (group + 1) / j->groups);
}

/* A task is an image; where there are few, its filters are dealt out in groups. */
static void simd_convolution_forward(int level, const simd_convolution *s, int threads) {
    simd_convolution_job job = {s, &simd_levels[level], s->n < 8 ? simd_parts(s->f, 8) : 1};
    if (job.groups > 1)
        for (ptrdiff_t n = 0; n < s->n; n++) simd_pad(s, n);
    const double work = (double)s->n * s->f * s->ph * s->pw * 4 * s->c * s->kh * s->kw;
    pool_run(simd_forward_task, &job, s->n * job.groups, work < SIMD_ALONE ? 1 : threads);
}

static void simd_backward_task(void *job, ptrdiff_t index, int slot) {
    const simd_convolution_job *j = job;
    (void)slot;
    j->functions->convolution_backward(j->convolution, index);
}

static void simd_convolution_backward(int level, const simd_convolution *s, int threads) {
    simd_convolution_job job = {s, &simd_levels[level], 1};
    const double work = (double)s->n * s->f * s->ph * s->pw * s->c * s->kh * s->kw;
    if (work < SIMD_ALONE) threads = 1;
    pool_run(simd_pad_task, &job, s->n, threads);
    pool_run(simd_backward_task, &job, s->f, threads);
}
