/* The peak on the threads of the pool, each of which does the same. */

typedef struct {
    const simd_level *level;
    ptrdiff_t repeats;
    float results[POOL_MAX];
} simd_peak_job;

static void simd_peak_task(void *job, ptrdiff_t index, int slot) {
    simd_peak_job *j = job;
    (void)slot;
    j->results[index] = j->level->peak(j->repeats);
}

/* Do multiply-adds on some threads; return how many floating-point operations they were. */
static double simd_peak(const simd_level *level, ptrdiff_t repeats, int threads) {
    simd_peak_job job = {.level = level, .repeats = repeats};
    pool_run(simd_peak_task, &job, threads, threads);
    double sum = 0;
    for (int i = 0; i < threads; i++) sum += job.results[i];
    return sum > 0 ? 2.0 * level->peak_sums * (double)level->lanes * (double)repeats * threads : 0;
}
