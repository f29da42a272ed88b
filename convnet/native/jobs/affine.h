/* Both gradients of an Affine layer on the threads of the pool. A task takes AFFINE_ROWS rows of the weight, which come
 * from memory once for both.
 */

typedef struct {
    const simd_affine *affine;
    const simd_level *level;
    int threads, is_sparse;
    float *panels;          /* dy: packed panels for products, or its transpose */
    double *squares;        /* of the blocks of rows: sums of weight ** 2 */
    simd_sparse by_n, by_m; /* the nonzeros of dy, and of its transpose */
} simd_affine_job;

/* Divide the scratch memory, if there is any, and return how much is needed. */
static ptrdiff_t simd_affine_divide(simd_affine_job *j, ptrdiff_t n, ptrdiff_t d, ptrdiff_t m, uint8_t *scratch) {
    const ptrdiff_t panels = n * simd_parts(m, SIMD_COLUMNS) * SIMD_COLUMNS * (ptrdiff_t)sizeof(float);
    const ptrdiff_t squares = simd_parts(d, AFFINE_ROWS) * (ptrdiff_t)sizeof(double);
    const ptrdiff_t by_n = simd_sparse_lay(NULL, n, m, NULL);
    if (scratch) {
        scratch = simd_at_line(scratch);
        j->panels = (float *)scratch, j->squares = (double *)(scratch + panels);
        simd_sparse_lay(&j->by_n, n, m, scratch + panels + squares);
        simd_sparse_lay(&j->by_m, m, n, scratch + panels + squares + by_n);
    }
    return 64 + panels + squares + by_n + simd_sparse_lay(NULL, m, n, NULL);
}

static ptrdiff_t simd_affine_scratch(ptrdiff_t n, ptrdiff_t d, ptrdiff_t m) {
    return simd_affine_divide(NULL, n, d, m, NULL);
}

/* Find the nonzeros of a block of rows of dy, or of one of columns, which are transposed before. */
static void simd_affine_find_task(void *job, ptrdiff_t index, int slot) {
    const simd_affine_job *j = job;
    const simd_affine *s = j->affine;
    const ptrdiff_t n_blocks = simd_parts(s->n, SPARSE_DEPTH);
    (void)slot;
    if (index < n_blocks) {
        j->level->find_rows(s->dy, &j->by_n, index * SPARSE_DEPTH, simd_least((index + 1) * SPARSE_DEPTH, s->n));
    } else {
        const ptrdiff_t m0 = (index - n_blocks) * SPARSE_DEPTH, m1 = simd_least(m0 + SPARSE_DEPTH, s->m);
        j->level->transpose(s->dy + m0, s->m, s->n, m1 - m0, j->panels + m0 * s->n, s->n);
        j->level->find_rows(j->panels, &j->by_m, m0, m1);
    }
}

/* Find the nonzeros of dy, and return whether they are so few that leaving out the zeros is faster. */
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
    const simd_level *level = j->level;
    const ptrdiff_t d0 = index * AFFINE_ROWS, d1 = simd_least(d0 + AFFINE_ROWS, s->d), size = (d1 - d0) * s->m;
    /* With a rule each thread writes its gradients to the same rows again and again, which so stay in its cache. */
    const int has_rows = s->rule && simd_parts(s->d, AFFINE_ROWS) > j->threads;
    float *const out = s->out + (has_rows ? slot * AFFINE_ROWS : d0) * s->m;
    /* This brings the rows into the second-level cache as well. */
    j->squares[index] = level->squares(s->weight + d0 * s->m, size);
    if (j->is_sparse) {
        level->sparse_affine(s, &j->by_n, &j->by_m, d0, out);
    } else {
        if (s->dx) {
            const simd_product product = {
                .m = s->n, .n = s->d, .k = s->m, .a = s->dy, .b = s->weight, .c = s->dx, .a_step = s->m,
                .b_step = s->m, .c_step = s->d, .b_is_transposed = 1, .alpha = 1, .beta = 0};
            level->product_block(&product, 0, s->n, d0, d1);
        }
        /* The block that this thread is likely to take next. */
        const ptrdiff_t d2 = simd_least(d1 + AFFINE_ROWS, s->d);
        const simd_product product = {
            .m = d1 - d0, .n = s->m, .k = s->n, .a = s->x + d0, .b = j->panels, .c = out, .a_step = s->d,
            .c_step = s->m, .a_is_transposed = 1, .b_is_packed = 1, .alpha = -s->rate, .beta = s->decay,
            .stream = s->weight + d1 * s->m, .stream_size = (d2 - d1) * s->m};
        level->product_block(&product, 0, d1 - d0, 0, s->m);
    }
    if (s->rule)
        level->update(s->rule, size, out, s->weight + d0 * s->m, s->first ? s->first + d0 * s->m : NULL,
                      s->second ? s->second + d0 * s->m : NULL);
}

/* Both gradients; return the sum of weight ** 2, before. */
static double simd_affine_backward(const simd_level *level, const simd_affine *s, int threads) {
    const double work = (double)s->n * (double)s->d * (double)s->m;
    const ptrdiff_t blocks = simd_parts(s->d, AFFINE_ROWS);
    if (work < SIMD_ALONE) threads = 1;
    simd_affine_job job = {.affine = s, .level = level, .threads = threads};
    simd_affine_divide(&job, s->n, s->d, s->m, s->scratch);
    job.is_sparse = simd_affine_is_sparse(&job);
    if (!job.is_sparse) job.level->product_pack(s->dy, s->n, s->m, job.panels);
    pool_run(simd_affine_task, &job, blocks, threads);
    double squares = 0;
    for (ptrdiff_t i = 0; i < blocks; i++) squares += job.squares[i];
    return squares;
}
