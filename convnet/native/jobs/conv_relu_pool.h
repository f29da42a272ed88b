/* Convolution + bias + ReLU + 2x2 max pooling on the threads of the pool. */

typedef struct {
    const simd_conv_relu_pool *convolution;
    const simd_level *level;
    ptrdiff_t groups;
} simd_conv_relu_pool_job;

/* Copy image n into the middle of zeros. */
static void simd_pad(const simd_conv_relu_pool *s, ptrdiff_t n) {
    const float *x = s->x + n * s->c * s->h * s->w;
    float *padded = s->padded + n * simd_padded_size(s);
    memset(padded, 0, (size_t)simd_padded_size(s) * sizeof *padded);
    for (ptrdiff_t c = 0; c < s->c; c++)
        for (ptrdiff_t h = 0; h < s->h; h++)
            memcpy(padded + (c * s->padded_h + h + s->padding_h) * s->padded_w + s->padding_w,
                   x + (c * s->h + h) * s->w, (size_t)s->w * sizeof *x);
}

static void simd_pad_task(void *job, ptrdiff_t index, int slot) {
    (void)slot;
    simd_pad(((const simd_conv_relu_pool_job *)job)->convolution, index);
}

static void simd_conv_relu_pool_forward_task(void *job, ptrdiff_t index, int slot) {
    const simd_conv_relu_pool_job *j = job;
    const simd_conv_relu_pool *s = j->convolution;
    const ptrdiff_t n = index / j->groups, group = index % j->groups;
    (void)slot;
    if (j->groups == 1) simd_pad(s, n);
    j->level->conv_relu_pool_forward(s, n, s->f * group / j->groups, s->f * (group + 1) / j->groups);
}

/* A task is an image; where there are few, its filters are dealt out in groups. */
static void simd_conv_relu_pool_forward(const simd_level *level, const simd_conv_relu_pool *s, int threads) {
    simd_conv_relu_pool_job job = {s, level, s->n < 8 ? simd_parts(s->f, 8) : 1};
    if (job.groups > 1)
        for (ptrdiff_t n = 0; n < s->n; n++) simd_pad(s, n);
    const double work = (double)s->n * s->f * s->out_h * s->out_w * 4 * s->c * s->kernel_h * s->kernel_w;
    pool_run(simd_conv_relu_pool_forward_task, &job, s->n * job.groups, work < SIMD_ALONE ? 1 : threads);
}

static void simd_conv_relu_pool_backward_task(void *job, ptrdiff_t index, int slot) {
    const simd_conv_relu_pool_job *j = job;
    (void)slot;
    j->level->conv_relu_pool_backward(j->convolution, index);
}

static void simd_conv_relu_pool_backward(const simd_level *level, const simd_conv_relu_pool *s, int threads) {
    simd_conv_relu_pool_job job = {s, level, 1};
    const double work = (double)s->n * s->f * s->out_h * s->out_w * s->c * s->kernel_h * s->kernel_w;
    if (work < SIMD_ALONE) threads = 1;
    pool_run(simd_pad_task, &job, s->n, threads);
    pool_run(simd_conv_relu_pool_backward_task, &job, s->f, threads);
}
