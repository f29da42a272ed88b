/* The processor's peak: float32 multiply-adds a second, by independent ones that stay in registers. Prints GFLOP/s. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#if defined(__AVX512F__)
enum { LANES = 16, SUMS = 16 };
#elif defined(__AVX2__)
enum { LANES = 8, SUMS = 12 };
#else
enum { LANES = 4, SUMS = 12 };
#endif
enum { REPEATS = 1000000 };
typedef float vector __attribute__((vector_size(4 * LANES)));

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void *run(void *result) {
    vector sums[SUMS], factor, term;
    for (int lane = 0; lane < LANES; lane++) factor[lane] = 0.999f, term[lane] = 0.001f;
#pragma GCC unroll 16
    for (int i = 0; i < SUMS; i++) sums[i] = factor * (float)(i + 2);
    for (long repeat = 0; repeat < REPEATS; repeat++) {
#pragma GCC unroll 16
        for (int i = 0; i < SUMS; i++) sums[i] = sums[i] * factor + term;
    }
#pragma GCC unroll 16
    for (int i = 1; i < SUMS; i++) sums[0] += sums[i];
    *(float *)result = sums[0][0];
    return NULL;
}

/* Let a thread run on a processor of its own: Linux may begin with several on one. */
static void place(pthread_t thread, int number) {
#if defined(__linux__)
    cpu_set_t allowed, own;
    if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && number-- == 0) {
            CPU_ZERO(&own);
            CPU_SET(cpu, &own);
            pthread_setaffinity_np(thread, sizeof own, &own);
        }
#else
    (void)thread, (void)number;
#endif
}

int main(int count, char **arguments) {
    const int threads = count > 1 ? atoi(arguments[1]) : 1;
    double best = 0;
    for (int attempt = 0; attempt < 20; attempt++) {
        pthread_t started[64];
        float results[64];
        const double start = seconds();
        for (int i = 0; i < threads; i++) {
            pthread_create(&started[i], NULL, run, &results[i]);
            place(started[i], i);
        }
        for (int i = 0; i < threads; i++) pthread_join(started[i], NULL);
        const double rate = 2.0 * REPEATS * SUMS * LANES * threads / (seconds() - start) / 1e9;
        if (rate > best && results[0] > 0) best = rate;
    }
    printf("%.1f\n", best);
    return 0;
}
