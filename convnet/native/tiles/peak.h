/* The most multiply-adds that a level does: independent ones, in registers. */

#define PEAK_SUMS 12

/* Return a number that depends on all of `repeats` * PEAK_SUMS multiply-adds of vectors. */
SIMD_TARGET static __attribute__((noinline)) float SIMD_NAME(peak)(ptrdiff_t repeats) {
    FLOATS sums[PEAK_SUMS];
    const FLOATS factor = (FLOATS){0} + 0.999f, term = (FLOATS){0} + 0.001f;
#pragma GCC unroll 12
    for (int i = 0; i < PEAK_SUMS; i++) sums[i] = factor * (float)(i + 2);
    for (ptrdiff_t repeat = 0; repeat < repeats; repeat++) {
#pragma GCC unroll 12
        for (int i = 0; i < PEAK_SUMS; i++) sums[i] = sums[i] * factor + term;
    }
    FLOATS total = {0};
#pragma GCC unroll 12
    for (int i = 0; i < PEAK_SUMS; i++) total += sums[i];
    return total[0];
}
