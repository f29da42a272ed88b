/* Pooling of 2x2 windows alone, of images channels last, on the threads of the pool. A task takes an image.
 *
 * It is what follows a convolution, without the convolution: `simd_outputs` has the height, width and channels of the
 * images, a bias of 0 and a slope of 1. The result is written channels last, or as NCHW.
 */

typedef struct {
    const simd_level *level;
    const simd_outputs *outputs;
    const float *x;
    float *dx, *of_slots;       /* memory of the threads, simd_pooling_size floats each */
} simd_pooling_job;

/* Floats that a thread needs: an image's outputs before they are transposed, or two rows of their gradients. */
static ptrdiff_t simd_pooling_size(const simd_outputs *o) {
    const ptrdiff_t height = o->height / 2 < 2 ? 2 : o->height / 2;
    return simd_in_lines(height * (o->width / 2) * o->filters);
}

static void simd_pooling_task(void *job, ptrdiff_t n, int slot) {
    const simd_pooling_job *j = job;
    const simd_outputs *o = j->outputs;
    const ptrdiff_t height = o->height / 2, width = o->width / 2, step = o->width * o->filters;
    const ptrdiff_t row_size = width * o->filters, image = n * height * row_size;
    float *const y = o->channels_last ? o->y + image : j->of_slots + slot * simd_pooling_size(o);
    for (ptrdiff_t row = 0; row < height; row++)
        j->level->pool_outputs(o, j->x + (n * o->height + 2 * row) * step, step, width, 0, o->filters,
                               y + row * row_size, o->codes ? o->codes + image + row * row_size : NULL);
    if (!o->channels_last)
        j->level->transpose(y, o->filters, height * width, o->filters, o->y + image, height * width);
}

static void simd_pooling_gradient_task(void *job, ptrdiff_t n, int slot) {
    const simd_pooling_job *j = job;
    const simd_outputs *o = j->outputs;
    for (ptrdiff_t row = 0; row < o->height; row++)
        simd_gradient_row(j->level, o, n, row, 0, o->width, j->of_slots + slot * simd_pooling_size(o),
                          j->dx + (n * o->height + row) * o->width * o->filters);
}

static void simd_pooling_run(pool_task *task, simd_pooling_job *job, ptrdiff_t n, int threads) {
    const simd_outputs *o = job->outputs;
    pool_run(task, job, n, n * o->height * o->width * o->filters < SIMD_ALONE ? 1 : threads);
}

static void simd_pooling_forward(const simd_level *level, const simd_outputs *o, const float *x, ptrdiff_t n,
                                 float *memory, int threads) {
    simd_pooling_job job = {.level = level, .outputs = o, .x = x, .of_slots = memory};
    simd_pooling_run(simd_pooling_task, &job, n, threads);
}

static void simd_pooling_backward(const simd_level *level, const simd_outputs *o, float *dx, ptrdiff_t n,
                                  float *memory, int threads) {
    simd_pooling_job job = {.level = level, .outputs = o, .dx = dx, .of_slots = memory};
    simd_pooling_run(simd_pooling_gradient_task, &job, n, threads);
}
