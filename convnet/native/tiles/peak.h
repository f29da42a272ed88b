/* The most multiply-adds that a level does: independent ones, in registers. */

/* More than the multiply-adds on their way at a time: 24 where the level has 32 registers, 12 where it has 16. */
#define PEAK_SUMS (SIMD_ROWS > 8 ? 24 : 12)

/* Return a number that depends on all of `repeats` * PEAK_SUMS multiply-adds of vectors. */
SIMD_TARGET static __attribute__((noinline)) float SIMD_NAME(peak)(ptrdiff_t repeats) {
    FLOATS sums[PEAK_SUMS];
    const FLOATS factor = (FLOATS){0} + 0.999f, term = (FLOATS){0} + 0.001f;
#pragma GCC unroll 24
    for (int i = 0; i < PEAK_SUMS; i++) sums[i] = factor * (float)(i + 2);
    for (ptrdiff_t repeat = 0; repeat < repeats; repeat++) {
#pragma GCC unroll 24
        for (int i = 0; i < PEAK_SUMS; i++) {
#if defined(__aarch64__)
            /* The instruction adds to one of its registers: the expression below would take copies as well. */
            __asm__("fmla %0.4s, %1.4s, %2.4s" : "+w"(sums[i]) : "w"(factor), "w"(term));
#else
            sums[i] = sums[i] * factor + term;
#endif
        }
    }
    FLOATS total = {0};
#pragma GCC unroll 24
    for (int i = 0; i < PEAK_SUMS; i++) total += sums[i];
    return total[0];
}
