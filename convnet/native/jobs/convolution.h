/* Convolutions, and the gradients of their weights, by the algorithm that the caller has chosen. The gradient of the
 * input is a convolution as well, where the stride is 1: of the output's gradient, with each filter turned by half a
 * turn, channels in the place of filters, and as padding what the kernel leaves.
 */

/* Whether jobs/direct.h computes it, as it does depthwise ones. */
static int simd_is_direct(const simd_convolution *s) { return s->tile == SIMD_DIRECT || s->tile == SIMD_DEPTHWISE; }

/* The level whose tiles take this convolution, by what its vectors hold. */
static const simd_level *simd_convolution_level(const simd_level *level, const simd_convolution *s) {
    if (s->tile == SIMD_POOLED) return simd_level_for(level, s->kernel_w * s->channels);
    if (s->tile == SIMD_PLANAR) return simd_level_for(level, s->out_w);
    return simd_level_for(level, !simd_is_direct(s) && s->channels > s->filters ? s->channels : s->filters);
}

/* How an algorithm computes an output, or the gradient of an input. */
typedef struct {
    ptrdiff_t (*plan)(simd_convolution_job *, int threads, uint8_t *scratch);
    ptrdiff_t (*packed)(const simd_convolution_job *);
    pool_task *pack, *task;
} simd_forward_functions;

static const simd_forward_functions *simd_forward_of(const simd_convolution *s) {
    static const simd_forward_functions planar = {
        simd_planar_plan, simd_planar_packed, simd_planar_pack_task, simd_planar_task};
    static const simd_forward_functions direct = {
        simd_direct_plan, simd_direct_packed, simd_direct_pack_task, simd_direct_task};
    static const simd_forward_functions winograd = {
        simd_winograd_plan, simd_winograd_packed, simd_winograd_pack_task, simd_winograd_task};
    return s->tile == SIMD_PLANAR ? &planar : simd_is_direct(s) ? &direct : &winograd;
}

static ptrdiff_t simd_forward_plan(simd_convolution_job *j, const simd_level *level, const simd_convolution *s,
                                   int threads, uint8_t *scratch) {
    *j = (simd_convolution_job){.convolution = s, .level = simd_convolution_level(level, s)};
    return simd_forward_of(s)->plan(j, threads, scratch);
}

static ptrdiff_t simd_gradients_plan(simd_convolution_job *j, const simd_level *level, const simd_convolution *s,
                                     int threads, uint8_t *scratch) {
    *j = (simd_convolution_job){.convolution = s, .level = simd_convolution_level(level, s)};
    return s->tile == SIMD_POOLED   ? simd_pooled_plan(j, threads, scratch)
           : s->tile == SIMD_PLANAR ? simd_planar_gradients_plan(j, threads, scratch)
           : simd_is_direct(s)      ? simd_direct_gradients_plan(j, threads, scratch)
                                    : simd_winograd_gradients_plan(j, threads, scratch);
}

/* Return the bytes of scratch memory of the functions below. */
static ptrdiff_t simd_forward_scratch(const simd_level *level, const simd_convolution *s, int threads) {
    simd_convolution_job job;
    return simd_forward_plan(&job, level, s, threads, NULL);
}

static ptrdiff_t simd_gradients_scratch(const simd_level *level, const simd_convolution *s, int threads) {
    simd_convolution_job job;
    return simd_gradients_plan(&job, level, s, threads, NULL);
}

static void simd_pack(const simd_convolution_job *j, int threads) {
    const ptrdiff_t parts = simd_parts(j->convolution->channels, PACK_CHANNELS);
    pool_run(simd_forward_of(j->convolution)->pack, (void *)j, parts, threads);
}

/* Floats of the weights, packed for a convolution; and pack them, to s->packed, which is at a cache line. */
static ptrdiff_t simd_packed_size(const simd_level *level, const simd_convolution *s) {
    simd_convolution_job job;
    simd_forward_plan(&job, level, s, 1, NULL);
    return simd_forward_of(s)->packed(&job);
}

static void simd_convolution_pack(const simd_level *level, const simd_convolution *s, int threads) {
    simd_convolution_job job;
    simd_forward_plan(&job, level, s, threads, s->scratch);
    simd_pack(&job, simd_packed_size(level, s) < SIMD_ALONE ? 1 : threads);
}

/* The convolution of x, and what follows it; or the gradient of x. */
static void simd_convolution_forward(const simd_level *level, const simd_convolution *s, int threads) {
    simd_convolution_job job;
    simd_forward_plan(&job, level, s, threads, s->scratch);
    if (simd_convolution_work(s) < SIMD_ALONE) threads = 1;
    if (s->packed == NULL) simd_pack(&job, threads);
    pool_run(simd_forward_of(s)->task, &job, job.tasks, threads);
}

/* dweight and dbias, of dy and x. */
static void simd_convolution_gradients(const simd_level *level, const simd_convolution *s, int threads) {
    simd_convolution_job job;
    simd_gradients_plan(&job, level, s, threads, s->scratch);
    if (simd_convolution_work(s) < SIMD_ALONE) threads = 1;
    const ptrdiff_t parts = simd_parts(simd_filter_channels(s), PACK_CHANNELS);
    if (s->tile == SIMD_POOLED) {
        pool_run(simd_pooled_task, &job, job.tasks, threads);
        pool_run(simd_pooled_add_task, &job, simd_parts(s->filters, PACK_CHANNELS), threads);
    } else if (s->tile == SIMD_PLANAR) {
        pool_run(simd_planar_gradients_task, &job, job.tasks, threads);
        pool_run(simd_planar_add_task, &job, parts, threads);
        simd_planar_add_biases(&job);
    } else if (!simd_is_direct(s)) {
        if (simd_winograd_is_small(&job)) threads = 1;
        if (job.groups % threads == 0)
            pool_run(simd_winograd_group_task, &job, job.groups, threads);
        else
            for (ptrdiff_t group = 0; group < job.groups; group++) simd_winograd_group(&job, group, 0, threads);
        pool_run(simd_winograd_unpack_task, &job, parts, threads);
    } else {
        pool_run(simd_direct_gradients_task, &job, job.tasks, threads);
        pool_run(simd_direct_add_task, &job, parts, threads);
        simd_direct_add_biases(&job);
    }
}
